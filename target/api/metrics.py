"""`GET /metrics` of a target: its disks, shares, transfers and what it has done since it started.

Everything is counted elsewhere and only read here; nothing touches a disk. The text is made in `common.metrics`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from common import web
from common.epochs import EpochGate
from common.errors import MethodNotAllowed
from common.metrics import CONTENT_TYPE, Exposition, Metrics, counter, counters, gauge, gauges
from common.names import printable
from target.downloads.recorder import Recorder
from target.downloads.scheduler import Scheduler
from target.downloads.service import Downloads
from target.downloads.share import State as ShareState
from target.membership import Membership
from target.rebalance.figures import Tally
from target.storage.health import Health
from target.storage.mountpaths import Mountpaths
from target.storage.registry import State as MountpathState
from target.storage.resilver import Resilver

_SHARE_STATES = (ShareState.PREPARED, ShareState.RUNNING, ShareState.PAUSED)
_MOUNTPATH_STATES = tuple(state for state in MountpathState if state is not MountpathState.DETACHED)
_PATH_LENGTH = 4096
_HEADERS = [(b"content-type", CONTENT_TYPE.encode())]


@dataclass(frozen=True, slots=True)
class Measured:
    """The parts of a target that have figures."""

    membership: Membership
    mountpaths: Mountpaths
    health: Health
    downloads: Downloads
    scheduler: Scheduler
    recorder: Recorder
    tally: Tally
    resilver: Resilver
    epochs: EpochGate


class TargetMetrics:
    """The figures of a target; belongs to the event loop."""

    def __init__(self, parts: Measured) -> None:
        self._parts = parts

    def measure(self) -> Metrics:
        """Each figure once."""
        yield from self._standing()
        yield from self._disks()
        yield from self._work()
        yield from self._totals()
        yield from self._moved()

    def _standing(self) -> Metrics:
        membership = self._parts.membership
        yield gauge("haul_target_ready", "Whether a proxy has taken this target into the cluster.", membership.is_ready)
        text = "Whether what this target holds is surely still its own, so that it may begin to fetch it."
        yield gauge("haul_target_may_work", text, membership.may_work)
        text = "Messages of earlier leaders that this target has refused."
        yield counter("haul_target_refused_epochs_total", text, self._parts.epochs.refused)

    def _disks(self) -> Metrics:
        mountpaths, spaces = self._parts.mountpaths, self._parts.health.spaces
        states = Counter(mountpaths.states().values())
        values: dict[tuple[str, ...], float] = {(state.value,): states[state] for state in _MOUNTPATH_STATES}
        yield gauges("haul_target_mountpaths", "Mountpaths of this target by state.", ("state",), values)
        by = ("mountpath",)
        values = {(printable(path, _PATH_LENGTH),): space.total_bytes for path, space in spaces.items()}
        yield gauges("haul_target_mountpath_size_bytes", "Size of a mountpath's file system.", by, values)
        values = {(printable(path, _PATH_LENGTH),): space.free_bytes for path, space in spaces.items()}
        text = "Bytes of a mountpath's file system that are free for this target."
        yield gauges("haul_target_mountpath_available_bytes", text, by, values)
        readable = mountpaths.view.readable
        values = {(printable(slot.mountpath.path, _PATH_LENGTH),): bool(slot.mountpath.refusal) for slot in readable}
        text = "Whether a mountpath takes nothing new, because it is above its watermark."
        yield gauges("haul_target_mountpath_full", text, by, values)

    def _work(self) -> Metrics:
        shares = self._parts.downloads.unended()
        states = Counter(share.state for share in shares)
        values: dict[tuple[str, ...], float] = {(state.value,): states[state] for state in _SHARE_STATES}
        text = "Shares of jobs that have not ended; one that is prepared waits until its job is recorded."
        yield gauges("haul_target_shares", text, ("state",), values)
        queued = sum(sum(share.queued) for share in shares)
        text = "Objects that wait for their turn; of a long share only the next ones are there."
        yield gauge("haul_target_tasks_queued", text, queued)
        text = "Connections to origins that transfers have; a large object may have several."
        yield gauge("haul_target_connections_active", text, self._parts.scheduler.active_connections)

    def _totals(self) -> Metrics:
        totals, scheduler = self._parts.recorder.totals, self._parts.scheduler
        outcomes: dict[tuple[str, ...], float] = {
            ("downloaded",): totals.downloaded,
            ("skipped",): totals.skipped,
            ("removed",): totals.removed,
            ("failed",): totals.failed,
        }
        text = (
            "Objects of jobs whose end is durable; those that were there already are skipped, those that a "
            "synchronised source has lost are removed."
        )
        yield counters("haul_target_objects_total", text, ("outcome",), outcomes)
        text = "Bytes of the objects that were downloaded, counted when an object is durable."
        yield counter("haul_target_downloaded_bytes_total", text, totals.downloaded_bytes)
        text = "Bytes that have come from origins, counted while they come."
        yield counter("haul_target_received_bytes_total", text, scheduler.received_bytes)
        text = "Objects that were queued again, after a failed attempt or because their mountpath is gone."
        yield counter("haul_target_retries_total", text, scheduler.retries)

    def _moved(self) -> Metrics:
        moved, resilver = self._parts.tally.totals(), self._parts.resilver
        by = ("direction",)
        text = "Objects that rebalance has moved to their owners, out of this target or into it."
        yield counters(
            "haul_target_rebalanced_objects_total", text, by, {("out",): moved.out_objects, ("in",): moved.in_objects}
        )
        yield counters(
            "haul_target_rebalanced_bytes_total",
            "Bytes of those objects.",
            by,
            {("out",): moved.out_bytes, ("in",): moved.in_bytes},
        )
        text = "Objects that were moved to the mountpath that they belong to."
        yield counter("haul_target_resilvered_objects_total", text, resilver.moved)
        yield counter("haul_target_resilvered_bytes_total", "Bytes of those objects.", resilver.moved_bytes)


class MetricsApi:
    """Answers a scrape."""

    def __init__(self, exposition: Exposition) -> None:
        self._exposition = exposition

    async def __call__(self, scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        if scope["method"] != "GET":
            raise MethodNotAllowed("GET")
        await web.answer(send, 200, self._exposition.text(), _HEADERS)
