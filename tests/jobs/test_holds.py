"""An origin that has no requests left, or asks to be left alone: the whole cluster obeys, whoever was told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import Api
from tests.faults import Status
from tests.origin import Origin
from tests.waiting import wait_for

USED_UP = {"RateLimit": '"resolvers";r=0;t=300', "RateLimit-Policy": '"fixed window";"resolvers";q=3000;w=300'}


@pytest.fixture
def strict() -> Iterator[Origin]:
    """An origin that no other test asks for anything."""
    with Origin() as origin:
        yield origin


def held(api: Api, job_id: str) -> set[str]:
    """The targets that leave an origin of the job alone."""
    decisions: list[dict[str, Any]] = api.call("GET", f"/v1/download/{job_id}/story").json()["decisions"]
    return {line["target"] for line in decisions if "asks to be left alone for" in line["reason"]}


@pytest.mark.parametrize("is_refused", [True, False])
def test_all_targets_wait_when_one_is_told_to(api: Api, origin: Origin, strict: Origin, is_refused: bool) -> None:
    running = {f"running/{n}": strict.put(f"/running/{n}", b"r") for n in range(30)}
    gates = [strict.gate(f"/running/{n}") for n in range(30)]
    first = api.download(type="multi", objects=running)
    wait_for(lambda: len(strict.requests) == 30, what="all of the first job on their way")

    link = strict.put("/last", b"l", **({} if is_refused else USED_UP))
    if is_refused:
        strict.misbehave("/last", Status(429, USED_UP))
    telling = api.download(type="single", link=link)
    wait_for(lambda: held(api, first) == {"t1", "t2", "t3"}, what="every target told")

    late = {f"late/{n}": strict.put(f"/late/{n}", b"l") for n in range(30)}
    others = {f"others/{n}": origin.put(f"/others/{n}", b"o") for n in range(30)}
    second = api.download(type="multi", objects=late | others)
    wait_for(lambda: api.status(second)["finished_cnt"] == 30, what="what comes from elsewhere")
    assert sum(strict.count(f"/late/{n}") for n in range(30)) == 0
    assert {entry["name"] for entry in api.list("b", prefix="others/")} == set(others)

    for gate in gates:
        gate.release()
    for job_id in (first, telling, second):
        api.call("DELETE", "/v1/download/abort", {"id": job_id})
        api.finished(job_id)
