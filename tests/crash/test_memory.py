"""A target whose memory is limited: its streams stay within the limit; what is killed for its memory is done again."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from xxhash import xxh64_hexdigest

from tests.cgroups import MemoryGroup, memory_limit
from tests.crash.test_carriers import carriers_of, is_running, nursery_of
from tests.disks.operating import check_once
from tests.faults import Answer, Chunked, Endless, Fault, Fine, Line
from tests.nodes import Nodes
from tests.origin import Origin
from tests.waiting import wait_for

MIB = 1 << 20
LIMIT = 300 * MIB
HOSTS = 4
STREAMS = 64
"""As many as a lane has; 16 of them may begin at each host at once."""
SIZES = {"small": MIB, "medium": 4 * MIB, "large": 12 * MIB}
BOMB = gzip.compress(bytes(64 * MIB))


def body_of(path: str) -> bytes:
    """`/KIND/NUMBER`; a bomb is 64 KiB that could become 64 MiB."""
    kind = path.split("/")[1]
    return BOMB + path.encode() if kind == "bomb" else (path.encode() * (SIZES[kind] // len(path) + 1))[: SIZES[kind]]


@dataclass
class HeldBack(Fault):
    """The last so many bytes of the body are held back until the gate is released."""

    held_bytes: int
    opened: asyncio.Event

    async def send(self, answer: Answer, connection: Line) -> None:
        await connection.flush(answer.head() + answer.body[: -self.held_bytes])
        await self.opened.wait()
        connection.write(answer.body[-self.held_bytes :])


class Origins:
    """Several hosts that have the same, each below its own address."""

    def __init__(self, origins: Sequence[Origin]) -> None:
        self._origins = origins
        for origin in origins:
            origin.serve_pattern("/", body_of)

    def objects(self, *kinds: tuple[str, int]) -> dict[str, str]:
        """Links by name; so many of each kind at each host."""
        return {
            f"{origin.host}/{kind}/{number:02}": origin.url(f"/{kind}/{number:02}")
            for kind, count in kinds
            for number in range(count)
            for origin in self._origins
        }

    def behave(self, fault: Fault) -> None:
        for origin in self._origins:
            origin.everywhere = fault

    @contextmanager
    def holding_back(self, held_bytes: int) -> Iterator[None]:
        """So much of each answer is held back meanwhile."""
        gates = [(origin, origin.gate("")) for origin in self._origins]
        for origin, gate in gates:
            origin.everywhere = HeldBack(held_bytes, gate.opened)
        try:
            yield
        finally:
            self.behave(Fine())
            for _, gate in gates:
                gate.release()

    @property
    def busy(self) -> int:
        return sum(origin.busy for origin in self._origins)

    @property
    def bytes_sent(self) -> int:
        return sum(origin.bytes_sent for origin in self._origins)


@contextmanager
def limited_target(directory: Path) -> Iterator[tuple[Nodes, MemoryGroup, Origins]]:
    """A target with all its processes under the limit, one mountpath, and the origins outside."""
    proxy, target = {"failover_grace_seconds": 60}, {"durability": "power-loss"}
    with contextlib.ExitStack() as stack:
        origins = [stack.enter_context(Origin(f"127.0.0.{number + 1}")) for number in range(HOSTS)]
        group = stack.enter_context(memory_limit(LIMIT))
        nodes = Nodes(directory, targets=1, proxies=1, mountpaths=1, proxy_settings=proxy, target_settings=target)
        stack.push(nodes)
        nodes.start("p1")
        nodes.start("t1", under=group.entering)
        nodes.wait_until_ready()
        yield nodes, group, Origins(origins)


def start_job(nodes: Nodes, objects: dict[str, str]) -> str:
    return nodes.api.download(type="multi", objects=objects, limits={"connections": STREAMS})


def wait_for_streams(nodes: Nodes, job: str, size_bytes: int) -> None:
    """Until every stream holds so much."""

    def received() -> int:
        return sum(int(task["downloaded"]) for task in nodes.api.status(job).get("current_tasks") or [])

    wait_for(lambda: received() == STREAMS * size_bytes, what="what all streams hold")


def check_job(nodes: Nodes, job: str, objects: dict[str, str]) -> None:
    """Counted once, and nothing went wrong."""
    status = nodes.api.finished(job, seconds=200)
    assert (status["finished_cnt"], status["error_cnt"], status["total"]) == (len(objects), 0, len(objects))


def check_objects(nodes: Nodes, objects: dict[str, str]) -> None:
    """Each is there once, with its bytes; nothing else is, once what an abort has left is cleared away."""
    listed = {entry["name"]: entry["checksum"] for entry in nodes.api.list("b", props="name,checksum")}
    assert listed == {name: xxh64_hexdigest(body_of(urlsplit(link).path)) for name, link in objects.items()}
    mountpath = nodes.directory / "t1" / "mp1"
    check_once([mountpath], list(objects))
    wait_for(lambda: not list(mountpath.glob("@ais/*/%wk/*")), what="no unfinished object is left")


@pytest.mark.timeout(300)
def test_streams_and_what_they_bring_stay_within_a_limit_of_memory(tmp_path: Path) -> None:
    """F15: all streams hold as much as they may; then objects larger than the limit, bombs, and bodies without end."""
    with limited_target(tmp_path) as (nodes, group, origins):
        held = origins.objects(("small", STREAMS // HOSTS))
        with origins.holding_back(1):
            job = start_job(nodes, held)
            wait_for_streams(nodes, job, MIB - 1)
        check_job(nodes, job, held)
        whole = origins.objects(("medium", 12), ("large", 2), ("bomb", STREAMS // HOSTS))
        check_job(nodes, start_job(nodes, whole), whole)
        origins.behave(Chunked(64 * 1024))
        unsized = {f"unsized/{name}": link for name, link in origins.objects(("medium", 12), ("large", 2)).items()}
        check_job(nodes, start_job(nodes, unsized), unsized)
        origins.behave(Endless())
        before = origins.bytes_sent
        endless = start_job(nodes, {f"endless/{name}": link for name, link in held.items()})
        wait_for(lambda: origins.bytes_sent > before + 2 * LIMIT and origins.busy == STREAMS, what="more than there is")
        nodes.api.call("DELETE", "/v1/download/abort", {"id": endless})
        assert nodes.api.finished(endless)["aborted"] is True
        check_objects(nodes, held | whole | unsized)
        assert group.kills == 0
        assert nodes.is_running("t1")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", ["carrier", "target"])
def test_what_the_kernel_kills_for_its_memory_is_done_again(tmp_path: Path, victim: str) -> None:
    """F15: the limit becomes too small for what streams hold; somebody starts the target again if it was killed."""
    with limited_target(tmp_path) as (nodes, group, origins):
        target = nodes.pid("t1")
        (carrier,) = carriers_of(target, 1)
        for pid in (target,) if victim == "target" else (nursery_of(target), carrier):
            Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
        objects = origins.objects(("small", STREAMS))
        with origins.holding_back(MIB // 4):
            job = start_job(nodes, objects)
            wait_for_streams(nodes, job, MIB - MIB // 4)
            group.squeeze()
        wait_for(lambda: group.kills > 0, what="the kernel to kill")
        group.limit(LIMIT)
        if victim == "target":
            assert nodes.wait_for_end("t1") == -signal.SIGKILL
            nodes.start("t1", under=group.entering)
        wait_for(lambda: not is_running(carrier), what="the end of the carrier")
        check_job(nodes, job, objects)
        check_objects(nodes, objects)
        assert (nodes.pid("t1") == target) == (victim == "carrier")
