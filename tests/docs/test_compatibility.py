"""docs/compatibility.md: every row has a state, and the tests that rows name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STATES = ("works", "works differently", "not offered")
SECTIONS = (
    *("Python SDK", "PyTorch", "The `ais` program", "AIStore's integration tests", "boto3", "s3cmd", "rclone", "curl"),
    *("fsspec and pandas", "The library `haul`"),
)
COMMANDS = (
    *("ais show cluster", "ais create", "ais ls", "ais ls ais://b", "ais ls ais://b/o", "ais download"),
    *("ais download gs://", "ais download ais://", "ais download --progress", "ais download --wait"),
    *("ais show job download", "ais show job download ID", "ais show job", "ais wait download", "ais stop download"),
    *("ais job rm download", "ais get", "ais object cat", "ais put", "ais bucket props set", "ais bucket props show"),
    *("ais bucket rm", "ais show storage", "ais show config", "ais show log", "ais evict", "ais prefetch", "ais cp"),
)
"""What wire.md §9.2 lists, and what else is promised."""


def sections() -> dict[str, list[list[str]]]:
    """The rows of each section as their cells."""
    text = (ROOT / "docs/compatibility.md").read_text(encoding="utf-8")
    found = {}
    for section in text.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines() if line[:2] == "| "]
        found[title] = [row for row in rows if row[1:2] != ["state"]]
    return found


def test_there_is_a_section_for_every_client() -> None:
    titles = list(sections())
    assert len(titles) == len(SECTIONS)
    assert all(title.startswith(start) for title, start in zip(titles, SECTIONS, strict=True))


@pytest.mark.parametrize("title", list(sections()))
def test_every_row_has_a_state_and_its_tests_exist(title: str) -> None:
    rows = sections()[title]
    assert rows
    for row in rows:
        assert len(row) == 4, row
        request, state, reason, test = row
        assert state in STATES, request
        assert test.startswith("`tests/"), f"{request}: how is that known?"
        assert state == "works" or reason, f"{request}: what is different, or why is it not offered?"
        for file, _, name in re.findall(r"`(tests/[\w/]+\.py)(::(\w+))?`", test):
            source = (ROOT / file).read_text(encoding="utf-8")
            assert not name or re.search(rf"^ *(async )?def {name}\(", source, re.MULTILINE), f"{file}::{name}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_row(command: str) -> None:
    rows = sections()["The `ais` program (1.32)"]
    assert any(command in request for request, *_ in rows)


def test_the_states_are_those_that_are_explained() -> None:
    text = (ROOT / "docs/compatibility.md").read_text(encoding="utf-8").split("\n## ")[0]
    explained = re.findall(r"^\| ([a-z ]+) \|", text, re.MULTILINE)
    assert explained == ["state", *STATES]
