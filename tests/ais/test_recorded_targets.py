"""What a target of AIStore 5.0 was recorded to tell of itself, asked of a real one: same statuses, headers and shapes.

The exchanges with proxies are replayed by tests/proxy/test_captures.py. Which disks there are is the machine's affair.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.proxy.derive_captures import shape

CAPTURES: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("target_captures.json").read_text(encoding="utf-8")
)
NODES = {"p1": "jpnp18100", "t1": "Swht18101", "t2": "bzst18102", "t3": "hyEt18103"}
OURS = {"dl.n": "str"}
"""Metrics that AIStore does not have."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("recorded"), targets=3, mountpaths=4) as running:
        running.api.create_bucket("demo")
        yield running


def without_disks(value: Any) -> Any:
    """A shape without what depends on the machine's disks, and without the key that nodes of Haul do not have."""
    if isinstance(value, list):
        return [without_disks(element) for element in value]
    if not isinstance(value, dict):
        return value
    kept = {key: element for key, element in value.items() if key != "verifying_key" and not key.startswith("disk.")}
    return {key: None if key in ("disks", "AllDiskStats") else without_disks(kept[key]) for key in kept}


def as_recorded(cluster: Cluster, text: str) -> str:
    """One of our answers with the recorded names of nodes and mountpaths."""
    for number, path in enumerate(cluster.mountpaths("t1"), start=1):
        text = text.replace(f'"{path}"', f'"/ais/mp{number}/1"')
    for ours, theirs in NODES.items():
        text = text.replace(f'"{ours}"', f'"{theirs}"').replace(f"t[{ours}]", f"t[{theirs}]")
    return text


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: capture["name"])
def test_a_target_answers_as_recorded(recorded: Cluster, capture: dict[str, Any]) -> None:
    body = capture["body"]
    headers = {"Content-Type": "application/json"} if body else {}
    answer = recorded.api.http.request(
        capture["method"], recorded.urls["t1"] + capture["path"], content=body, headers=headers
    )
    assert answer.status_code == capture["accept_status"]
    assert set(answer.headers) - {"content-length", "date", "connection"} == set(capture["headers"])
    text = as_recorded(recorded, answer.text)
    if "shape" not in capture:
        assert text == capture["text"]
    elif "message" in capture:
        error = json.loads(text)
        assert error["message"].partition(" from ")[0] == capture["message"].partition(" from ")[0]
        assert error.get("tcode", "") == capture["tcode"]
    else:
        found = shape(json.loads(text))
        if capture["path"].endswith("metrics"):
            assert found.items() >= OURS.items()
            found = {name: kind for name, kind in found.items() if name not in OURS}
        assert without_disks(found) == without_disks(capture["shape"])
