"""The blocks of docs/clients.md, as they stand there, against a cluster."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.origin import Origin
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
SHOWN = {"boto3": "b'on'", "pandas": "6", "curl": "one", "rclone": "tree/notes.txt", "A download": "b'one'"}
"""What the blocks of a section print, or a part of it."""


def blocks() -> list[tuple[str, str, str]]:
    """The title of each block's section, its language and its text."""
    text = (ROOT / "docs/clients.md").read_text(encoding="utf-8")
    return [
        (section.partition("\n")[0], language, block)
        for section in text.split("\n## ")[1:]
        for language, block in re.findall(r"```(python|sh)\n(.*?)```", section, re.DOTALL)
        if "from aistore" not in block  # which tests/sdk/test_documented.py runs
    ]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The hosts of the page, and where they are here."""
    port = free_port()
    with Origin() as origin, Cluster(tmp_path_factory.mktemp("c"), proxy_settings={"s3_port": port}) as cluster:
        origin.put("/one.bin", b"one and all")
        yield {
            "localhost:8080": cluster.urls["p1"].partition("//")[2],
            "localhost:8090": f"127.0.0.1:{port}",
            "http://origin.example": origin.base,
        }


@pytest.mark.parametrize(("title", "language", "text"), blocks(), ids=[title for title, _, _ in blocks()])
def test_a_block_runs(title: str, language: str, text: str, places: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    for name, place in places.items():
        text = text.replace(name, place)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HAUL_", "AIS_"))}
    done = subprocess.run(
        [sys.executable, "-c", text] if language == "python" else ["bash", "-euc", text],
        cwd=tmp_path,
        env={**clean, "HOME": str(tmp_path), "RCLONE_CONFIG": "/dev/null", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = next((output for start, output in SHOWN.items() if title.startswith(start)), "")
    assert shown in done.stdout


def test_what_is_shown_is_looked_for() -> None:
    titles = [title for title, _, _ in blocks()]
    assert all(any(title.startswith(start) for title in titles) for start in SHOWN)
