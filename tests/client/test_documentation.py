"""The code of docs/python.md runs, and prints what stands below it."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from haul.filesystem import HaulFileSystem
from tests.cluster import Cluster
from tests.origin import Origin

_PAGE = Path(__file__).parents[2] / "docs/python.md"
_BLOCK = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", re.DOTALL)


def test_the_examples_of_the_page(
    cluster: Cluster, origin: Origin, fs: HaulFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        origin.put(f"/shard-{number:04}.tar", str(number).encode() * 1024)
    origin.put("/a.bin", b"a" * 5000)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    names: dict[str, Any] = {"__name__": "example"}
    blocks = _BLOCK.findall(_PAGE.read_text(encoding="utf-8"))
    assert len(blocks) == 6
    for code, expected in blocks:
        here = code.replace("http://localhost:51080", cluster.urls["p2"]).replace("https://example.org", origin.base)
        printed: list[str] = []
        names["print"] = lambda *values, to=printed: to.append(" ".join(map(str, values)) + "\n")
        exec(compile(here, str(_PAGE), "exec"), names)
        assert "".join(printed) == expected, code
    names["cluster"].close()
    names["shards"].files.close()
