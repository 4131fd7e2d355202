"""The examples of docs/s3.md, as they stand there, against a cluster that asks nobody who he is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.ports import free_port

DOCUMENT = Path(__file__).parents[2] / "docs/s3.md"
EXAMPLES = re.findall(r"```(python|sh)\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The hosts of the examples, and where they are here."""
    port = free_port()
    with Cluster(tmp_path_factory.mktemp("documented"), proxy_settings={"s3_port": port}) as cluster:
        cluster.api.create_bucket("photos")
        yield {"localhost:8080": cluster.urls["p1"].partition("//")[2], "localhost:8081": f"127.0.0.1:{port}"}


@pytest.mark.parametrize(("language", "text"), EXAMPLES, ids=[f"{n}-{kind}" for n, (kind, _) in enumerate(EXAMPLES)])
def test_an_example_runs(language: str, text: str, places: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    for name, place in places.items():
        text = text.replace(name, place)
    text = text.replace("s3.create_bucket", "s3.head_bucket")  # others may have been first
    command = [sys.executable, "-c", text] if language == "python" else ["bash", "-euc", text]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**environment, "HOME": str(tmp_path), "RCLONE_CONFIG": "/dev/null"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if language == "python":
        assert done.stdout.startswith("b'..'\n[{'Prefix': '2026/'}")


def test_there_are_examples_of_all_clients() -> None:
    text = "".join(text for _, text in EXAMPLES)
    assert all(client in text for client in ("boto3", "s3cmd", "rclone", "curl"))
