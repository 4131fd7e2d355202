"""What tests of rebalance share: objects in a cluster, where they lie on disk, and clients that never stop looking."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from common.placement import choose, digest
from tests.nodes import Nodes
from tests.waiting import wait_for

OBJECTS = 320
BUCKET = "b"
SETTINGS: dict[str, Any] = {"rebalance_keep_seconds": 3.0}
PATIENT: dict[str, Any] = {"failover_grace_seconds": 60.0}
"""Nobody is given up because the machine is busy."""
_BREATH_SECONDS = 0.1
NAMES = [f"dir{number % 7}/{number:04}" for number in range(OBJECTS)]


def body_of(name: str, edition: int = 1) -> bytes:
    return f"{name} edition {edition} ".encode() * 40


def fill(nodes: Nodes, names: list[str] = NAMES) -> None:
    nodes.api.create_bucket(BUCKET)
    for name in names:
        nodes.api.put(BUCKET, name, body_of(name))


def owner_of(name: str, targets: list[str], bucket: str = BUCKET) -> str:
    """By the rule of placement, computed here."""
    return targets[choose(digest(f"ais/@#/{bucket}/{name}"), [digest(target) for target in targets])]


def copies(nodes: Nodes) -> dict[str, list[str]]:
    """The targets that have a file of each object, as their disks say."""
    found: dict[str, list[str]] = {}
    for target in nodes.target_ids:
        for root in (nodes.directory / target).glob(f"mp*/@ais/{BUCKET}/%ob"):
            for path in root.rglob("*"):
                if path.is_file():
                    found.setdefault(str(path.relative_to(root)), []).append(target)
    return found


def cluster_map(nodes: Nodes, proxy: str = "p1") -> dict[str, Any]:
    """As one target sees it, through what a proxy tells everybody who asks."""
    response = nodes.api_of(proxy).call("GET", "/v1/cluster?what=smap")
    assert response.status_code == 200
    return dict(response.json())


def is_running(nodes: Nodes, proxy: str = "p1") -> bool:
    response = nodes.api_of(proxy).call("GET", "/v1/cluster?what=status", {"kind": "rebalance"})
    assert response.status_code in (200, 404), response.text
    return response.status_code == 200 and response.json()["end_time"] == 0


def wait_until_settled(
    nodes: Nodes, members: set[str] | None = None, *, seconds: float = 90.0, proxy: str = "p1"
) -> None:
    """Until everything lies where the cluster map of just these members wants it."""
    if members is not None:
        wait_for(lambda: set(cluster_map(nodes, proxy)["tmap"]) == members, what=f"members {members}")
    wait_for(lambda: not is_running(nodes, proxy), seconds=seconds, what="the placement is settled")


def check_placed(nodes: Nodes, targets: list[str], names: list[str] = NAMES) -> None:
    """Every object lies once, at its owner."""
    assert copies(nodes) == {name: [owner_of(name, targets)] for name in names}


def moved(nodes: Nodes) -> dict[str, dict[str, int]]:
    """The figures of the latest rebalance by target."""
    response = nodes.api.call("GET", "/v1/cluster?what=qryxstats", {"kind": "rebalance"})
    assert response.status_code == 200, response.text
    return {
        target: {name: int(value) for name, value in snaps[0]["stats"].items()}
        for target, snaps in response.json().items()
        if snaps
    }


@contextmanager
def always(*looks: Callable[[], object]) -> Iterator[Callable[[], int]]:
    """Do each again and again on a thread of its own, until the end; what one of them raises fails the test."""
    stopping, failures, rounds = threading.Event(), [], [0] * len(looks)

    def repeat(number: int, look: Callable[[], object]) -> None:
        try:
            while not stopping.wait(_BREATH_SECONDS):
                look()
                rounds[number] += 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=repeat, args=(number, look)) for number, look in enumerate(looks)]
    for thread in threads:
        thread.start()
    try:
        yield lambda: min(rounds)
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]


def reads_all(nodes: Nodes, proxy: str, names: list[str] = NAMES) -> Callable[[], None]:
    """One read of everything through a proxy: GET, every third one a part of the object, every fifth one HEAD."""
    url = nodes.urls[proxy]

    def look() -> None:
        with httpx.Client(base_url=url, follow_redirects=True, timeout=30) as http:
            for number, name in enumerate(names):
                path, expected = f"/v1/objects/b/{name}", body_of(name)
                if number % 5 == 0:
                    answer = http.head(path)
                    assert (answer.status_code, answer.headers["content-length"]) == (200, str(len(expected))), name
                elif number % 3 == 0:
                    answer = http.get(path, headers={"Range": "bytes=5-14"})
                    assert (answer.status_code, answer.content) == (206, expected[5:15]), (name, answer.text)
                else:
                    answer = http.get(path)
                    assert (answer.status_code, answer.content) == (200, expected), (name, answer.text)

    return look


def lists_all(nodes: Nodes, proxy: str, names: list[str] = NAMES, pagesize: int = 50) -> Callable[[], None]:
    """One listing of the bucket through a proxy, in pages."""
    api = nodes.api_of(proxy)

    def look() -> None:
        assert [entry["name"] for entry in api.list("b", props="name,size", pagesize=pagesize)] == sorted(names)

    return look
