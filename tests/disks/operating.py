"""What the tests of a running target's mountpaths do: as an operator, and when they look at the disks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from common.placement import choose, digest
from tests.nodes import Nodes
from tests.waiting import wait_for

BODY = b"body" * 64
_METHODS = {"attach": "PUT", "detach": "DELETE", "enable": "POST", "disable": "POST"}


def change(nodes: Nodes, action: str, path: Path, target: str = "t1", **query: str) -> httpx.Response:
    """One operation, through a proxy, as AIStore's clients send it."""
    return nodes.api.http.request(
        _METHODS[action],
        "/v1/reverse/daemon/mountpaths",
        params=query,
        json={"action": f"{action}-mp", "value": str(path)},
        headers={"Ais-Node-Id": target},
    )


def changed(nodes: Nodes, action: str, path: Path, **query: str) -> None:
    response = change(nodes, action, path, **query)
    assert response.status_code == 200, response.text


def listed(nodes: Nodes, target: str = "t1") -> dict[str, list[str]]:
    """The mountpaths of a target, as a proxy knows them."""
    return dict(nodes.api.call("GET", "/v1/cluster?what=mountpaths").json()["targets"][target])


def resilver(nodes: Nodes, target: str = "t1") -> dict[str, Any] | None:
    """The last resilvering of a target."""
    response = nodes.api.call("GET", "/v1/cluster?what=qryxstats", {"kind": "resilver"})
    assert response.status_code == 200, response.text
    snaps = response.json()[target]
    return dict(snaps[0]) if snaps else None


def wait_until_settled(nodes: Nodes, data_dir: Path, *, seconds: float = 60.0) -> None:
    """Until a target has recorded that every object is where it belongs."""
    registry = data_dir / "mountpaths.json"
    wait_for(lambda: '"settled": ["' in registry.read_text(), seconds=seconds, what="all objects in their places")


def objects_on(path: Path, bucket: str = "b") -> list[str]:
    """Names of the objects that lie on a mountpath at their own names."""
    base = path / "@ais" / bucket / "%ob"
    return [file.relative_to(base).as_posix() for file in base.rglob("*") if file.is_file()]


def homes(paths: list[Path], names: list[str], bucket: str = "b") -> dict[str, Path]:
    """The mountpath that each object belongs to, while all of these are in use."""
    digests = [digest(str(path)) for path in paths]
    return {name: paths[choose(digest(f"ais/@#/{bucket}/{name}"), digests)] for name in names}


def check_once(paths: list[Path], expected: list[str], bucket: str = "b") -> None:
    """Each of these objects lies on exactly one mountpath, and nothing else does."""
    counts = Counter(name for path in paths for name in objects_on(path, bucket))
    assert {name for name, count in counts.items() if count > 1} == set()
    assert sorted(counts) == sorted(expected)
