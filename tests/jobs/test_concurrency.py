"""What the number of connections does to real origins of limited strength, and that the story tells why."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster import Cluster
from tests.faults import Answer, Fault, Line, Status
from tests.origin import Origin

SERVICE_SECONDS = 0.02


@dataclass
class Strength(Fault):
    """An origin that works on `slots` requests at a time, the others wait; `most` is how many were there at once."""

    slots: int
    active: int = 0
    most: int = 0
    refused: int = 0
    _free: asyncio.Semaphore | None = field(default=None, repr=False)

    async def send(self, answer: Answer, connection: Line) -> None:
        self._free = self._free or asyncio.Semaphore(self.slots)
        self.active += 1
        self.most = max(self.most, self.active)
        try:
            await self.serve(answer, connection)
        finally:
            self.active -= 1

    async def serve(self, answer: Answer, connection: Line) -> None:
        assert self._free
        async with self._free:
            await asyncio.sleep(self.service_seconds())
        await super().send(answer, connection)

    def service_seconds(self) -> float:
        return SERVICE_SECONDS


@dataclass
class Refusing(Strength):
    """… and answers 503 to what is too much."""

    async def serve(self, answer: Answer, connection: Line) -> None:
        if self.active > self.slots:
            self.refused += 1
            await Status(503).send(answer, connection)
        else:
            await super().serve(answer, connection)


@dataclass
class Collapsing(Strength):
    """… and becomes twenty times slower for everybody while there is too much."""

    def service_seconds(self) -> float:
        return SERVICE_SECONDS * (20 if self.active > 2 * self.slots else 1)


def story_of(tmp_path: Path, strength: Strength, count: int) -> list[dict[str, Any]]:
    """The decisions about an origin of that strength during a job of so many objects, all of which must come."""
    with Origin() as origin, Cluster(tmp_path, targets=1, mountpaths=2, retry_attempts=10) as cluster:
        origin.serve_pattern("/o/", lambda path: path.encode() * 20)
        origin.everywhere = strength
        job = cluster.api.download(type="range", template=origin.url(f"/o/{{0000..{count - 1:04}}}"))
        status = cluster.api.finished(job, seconds=100)
        assert (status["finished_cnt"], status["error_cnt"]) == (count, 0), status
        decisions: list[dict[str, Any]] = cluster.api.call("GET", f"/v1/download/{job}/story").json()["decisions"]
        assert all(decision["reason"] for decision in decisions)
        return decisions


def test_it_grows_to_what_helps_and_holds_there(tmp_path: Path) -> None:
    strength = Strength(32)
    decisions = story_of(tmp_path, strength, 6000)
    assert 32 <= decisions[-1]["connections"] <= 128, decisions
    assert strength.most >= 32, "the origin was used as far as it could be"
    assert any("grows with the connections" in decision["reason"] for decision in decisions)


def test_it_stays_below_what_is_refused(tmp_path: Path) -> None:
    strength = Refusing(40)
    decisions = story_of(tmp_path, strength, 6000)
    assert decisions[-1]["connections"] <= 44, decisions
    assert any("struggles (status 503)" in decision["reason"] for decision in decisions)
    assert strength.refused < 600


def test_it_survives_an_origin_that_collapses(tmp_path: Path) -> None:
    strength = Collapsing(24)
    decisions = story_of(tmp_path, strength, 4000)
    assert decisions[-1]["connections"] <= 48, decisions
