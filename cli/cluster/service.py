"""Brings a cluster on one machine up and down, and tells how it is: decided here, carried out by `processes`.

Texts and options are left to `cli.cluster.commands`.
"""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import httpx

from cli import state
from cli.cluster import configs, ports, processes, shape
from cli.cluster.shape import ClusterShape, NodeShape, Wanted
from cli.errors import CommandError, NoAnswer
from common import vault
from common.clock import monotonic
from common.names import printable
from haul.settings import verification

_READY_DEADLINE_SECONDS = 60.0
_STOP_DEADLINE_SECONDS = 20.0
_GIVE_UP_SECONDS = 5.0
_PORT_PATIENCE_SECONDS = 3.0
_POLL_SECONDS = 0.05
_LOCK_FILE = ".lock"
_EXPECTED_FILES = {_LOCK_FILE, configs.BACKENDS_FILE}
"""What may be in the directory of a cluster that is not there yet."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """How one node is: `online`, `starting` (it runs and is not ready yet), `silent` (it has run for longer than a
    start takes, and does not answer), `stopped`; `pid` None when stopped.
    """

    id: str
    role: str
    url: str
    pid: int | None
    state: str
    mountpaths: list[str]


@dataclass(frozen=True, slots=True)
class Started:
    """What `up` did: the shape, whether it is a new one, the ids of the nodes that it started, and how long it took."""

    shape: ClusterShape
    is_new: bool
    started: tuple[str, ...]
    seconds: float


def up(directory: Path, wanted: Wanted) -> Started:
    """Start whatever of the cluster is not running, and return when all of it is ready.

    A directory without a cluster gets a new one. When that fails nothing is left: no process, no files. Raises
    CommandError.
    """
    began = monotonic()
    shape.check(wanted)
    with exclusive(directory, create=True):
        existing = shape.load(directory)
        if existing:
            _refuse_changes(directory, existing, wanted)
        plan = existing or _new_shape(directory, wanted)
        try:
            started = _start_missing(directory, plan)
        except BaseException:
            if not existing:
                _remove_files(directory, plan)
            raise
        state.save(state.LastCluster(str(directory), plan.endpoints))
    return Started(plan, existing is None, started, monotonic() - began)


def down(directory: Path) -> tuple[list[str], list[int]]:
    """Stop the cluster; returns the ids of the nodes that ran and the pids that had to be killed."""
    with exclusive(directory, create=False):
        plan = _existing(directory)
        nodes = {configs.path_of(directory, node): node for node in plan.nodes}
        roles = {config: node.role for config, node in nodes.items()}
        running = processes.find((role, config) for config, role in roles.items())
        killed = processes.stop(running, roles, deadline_seconds=_STOP_DEADLINE_SECONDS)
    return [node.id for config, node in nodes.items() if config in running], killed


def status(directory: Path, *, ready_deadline_seconds: float = _READY_DEADLINE_SECONDS) -> list[NodeReport]:
    """Every node, whether it runs or not."""
    plan = _existing(directory)
    running = processes.find((node.role, configs.path_of(directory, node)) for node in plan.nodes)
    reports = []
    with _http() as http:
        for node in plan.nodes:
            pid = running.get(configs.path_of(directory, node))
            word = "stopped" if pid is None else _state(http, plan, node, pid, ready_deadline_seconds)
            mountpaths = plan.mountpath_dirs(directory, node)
            reports.append(NodeReport(node.id, node.role, plan.public_url(node), pid, word, mountpaths))
    return reports


def _state(http: httpx.Client, plan: ClusterShape, node: NodeShape, pid: int, ready_deadline_seconds: float) -> str:
    code = _readiness(http, plan, node)
    if code is None and processes.age_seconds(pid) > ready_deadline_seconds:
        return "silent"
    return "online" if code == 200 else "starting"


def to_plain(reports: list[NodeReport]) -> list[dict[str, object]]:
    """The form of `--json`."""
    return [asdict(report) for report in reports]


@contextlib.contextmanager
def exclusive(directory: Path, *, create: bool) -> Iterator[None]:
    """Keep other `haul cluster` commands off the directory; raises CommandError when one is at work there."""
    if create:
        _make(directory)
    try:
        lock = (directory / _LOCK_FILE).open("a")
    except FileNotFoundError:
        raise CommandError(_no_cluster(directory)) from None
    except OSError as error:
        raise CommandError(f"cannot use {directory}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(f"another haul command is starting or stopping the cluster in {directory}") from None
        yield


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot make the directory {directory}: {error.strerror}") from None


def _no_cluster(directory: Path) -> str:
    return f"there is no cluster in {directory}. Start one:  haul cluster up --dir {directory}"


def _existing(directory: Path) -> ClusterShape:
    plan = shape.load(directory)
    if plan is None:
        raise CommandError(_no_cluster(directory))
    return plan


def _refuse_changes(directory: Path, existing: ClusterShape, wanted: Wanted) -> None:
    different = shape.differences(existing, wanted)
    if different:
        raise CommandError(
            f"the cluster in {directory} has another shape than: {', '.join(different)}.\n"
            f"       Leave these options out to go on with it, or make another cluster with another --dir.\n"
            f"       Ports, durability and allowed origins can be changed: haul cluster down --dir {directory}, "
            f"edit {directory / shape.FILE_NAME}, and start it again."
        )


def _new_shape(directory: Path, wanted: Wanted) -> ClusterShape:
    """Decide the shape of a cluster in an empty directory and record it."""
    if strangers := sorted(entry.name for entry in directory.iterdir() if entry.name not in _EXPECTED_FILES):
        shown = ", ".join(printable(name) for name in strangers[:3])
        raise CommandError(f"{directory} holds no cluster and is not empty ({shown}); choose an empty --dir")
    defaults = shape.DEFAULTS
    host = wanted.host or defaults.host or ""
    plan = ClusterShape(
        cluster_id=secrets.token_hex(8),
        host=host,
        public_host=ports.public_host(host),
        mountpaths=wanted.mountpaths or defaults.mountpaths or 0,
        durability=wanted.durability or defaults.durability or "",
        allow_origins=wanted.allow_origins or (),
        meta_store=wanted.meta_store or "",
        s3_port=wanted.s3_port or 0,
        nodes=ports.assign(
            host,
            wanted.port or defaults.port or 0,
            wanted.proxies or defaults.proxies or 0,
            wanted.targets or defaults.targets or 0,
            wanted.s3_port or 0,
        ),
    )
    # Cluster ids begin with a letter, like all ids of the dialect.
    plan = replace(plan, cluster_id=f"c{plan.cluster_id}")
    shape.save(directory, plan)
    for node in plan.nodes:
        configs.path_of(directory, node).parent.mkdir(mode=0o700)
        # Made once and never again: a mountpath that has gone missing is a lost disk, not an empty one.
        for mountpath in plan.mountpath_dirs(directory, node):
            Path(mountpath).mkdir(mode=0o700)
    return plan


def _remove_files(directory: Path, plan: ClusterShape) -> None:
    """Take away what a failed first start has made; the directory was empty before."""
    for node in plan.nodes:
        shutil.rmtree(directory / node.id, ignore_errors=True)
    for leftover in [*directory.glob("meta.db*"), directory / shape.FILE_NAME, directory / configs.KEY_FILE]:
        leftover.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Starting:
    node: NodeShape
    process: subprocess.Popen[bytes]
    log: Path
    log_begins_at: int


def _start_missing(directory: Path, plan: ClusterShape) -> tuple[str, ...]:
    """Start the nodes that are not running and wait until every node is ready; stop them again if that fails."""
    starting: dict[str, _Starting] = {}
    try:
        _start_stopped(directory, plan, starting)
        _wait_until_ready(directory, plan, starting)
    except BaseException:
        processes.give_up([start.process for start in starting.values()], deadline_seconds=_GIVE_UP_SECONDS)
        for start in starting.values():
            (start.log.parent / processes.PID_FILE).unlink(missing_ok=True)
        raise
    for start in starting.values():
        processes.leave_running(start.process)
    return tuple(starting)


def _start_stopped(directory: Path, plan: ClusterShape, starting: dict[str, _Starting]) -> None:
    """Start what neither runs nor has been started, and add it to `starting`."""
    running = processes.find((node.role, configs.path_of(directory, node)) for node in plan.nodes)
    missing = [node for node in plan.nodes if configs.path_of(directory, node) not in running]
    for node in missing:
        if node.id in starting:
            continue
        for port in filter(None, (node.port, plan.s3_port_of(node))):
            if problem := ports.wait_until_free(plan.host, port, _PORT_PATIENCE_SECONDS):
                path = directory / shape.FILE_NAME
                raise CommandError(f"{problem}, and {node.id} needs it; end that program, or change the port in {path}")
        starting[node.id] = _start(directory, plan, node)


def _start(directory: Path, plan: ClusterShape, node: NodeShape) -> _Starting:
    config = configs.path_of(directory, node)
    config.parent.mkdir(mode=0o700, exist_ok=True)
    if not (key_file := directory / configs.KEY_FILE).exists():
        state.write_atomically(key_file, vault.new_key())
    has_backends = (directory / configs.BACKENDS_FILE).exists()
    fields = configs.fields_of(plan, directory, node, has_backends=has_backends)
    state.write_atomically(config, configs.to_toml(fields))
    log = config.parent / processes.LOG_FILE
    begins_at = processes.size_of(log)
    return _Starting(node, processes.start(node.role, config), log, begins_at)


def _wait_until_ready(directory: Path, plan: ClusterShape, starting: dict[str, _Starting]) -> None:
    deadline = monotonic() + _READY_DEADLINE_SECONDS
    waiting = list(plan.nodes)
    with _http() as http:
        while True:
            for start in starting.values():
                if start.process.poll() is not None:
                    raise CommandError(_why_it_ended(start))
            waiting = [node for node in waiting if not _is_healthy(http, plan, node)]
            if not waiting and all(_knows_all_targets(http, plan, proxy) for proxy in plan.proxies):
                return
            if monotonic() > deadline:
                late = ", ".join(node.id for node in waiting) or "the cluster map"
                logs = _logs_of(list(starting.values()), waiting)
                raise NoAnswer(f"not ready after {_READY_DEADLINE_SECONDS:.0f} s: {late}{logs}")
            if any(node.id not in starting for node in waiting):
                # A process that was just killed is still there for a moment.
                _start_stopped(directory, plan, starting)
            time.sleep(_POLL_SECONDS)


def _why_it_ended(start: _Starting) -> str:
    code = start.process.returncode
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"{start.node.role} {start.node.id} {how} while it was starting{_quoted(start)}"


def _logs_of(starting: list[_Starting], waiting: list[NodeShape]) -> str:
    return "".join(_quoted(start) for start in starting if start.node in waiting)


def _quoted(start: _Starting) -> str:
    lines = processes.last_lines(start.log, start.log_begins_at)
    shown = "".join(f"\n       {printable(line, 500)}" for line in lines) or " (it has written nothing)"
    return f"; the end of its log:{shown}" if lines else shown


def _http() -> httpx.Client:
    return httpx.Client(timeout=httpx.Timeout(2.0, connect=1.0), trust_env=False, verify=verification((), None))


def _is_healthy(http: httpx.Client, plan: ClusterShape, node: NodeShape) -> bool:
    return _readiness(http, plan, node) == 200


def _readiness(http: httpx.Client, plan: ClusterShape, node: NodeShape) -> int | None:
    """The HTTP status that the node answers with; None when it does not answer."""
    try:
        return http.get(f"{plan.public_url(node)}/v1/health", params={"readiness": "true"}).status_code
    except httpx.HTTPError:
        return None


def _knows_all_targets(http: httpx.Client, plan: ClusterShape, proxy: NodeShape) -> bool:
    """Whether a job that is posted to this proxy now would be spread over all targets."""
    try:
        answer = http.get(f"{plan.public_url(proxy)}/v1/daemon", params={"what": "smap"})
        known = answer.json()["tmap"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return False
    return all(target.id in known for target in plan.targets)
