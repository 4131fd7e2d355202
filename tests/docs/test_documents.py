"""The documents tell the truth: the configuration is complete, the reading path leads from file to file."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from cli import groups, tree
from common.settings import Settings
from proxy.config import ProxyConfig
from target.config import TargetConfig

ROOT = Path(__file__).parents[2]


def rows_of(model: type[Settings]) -> list[str]:
    rows = []
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else f"`{field.default}`"
        rows.append(f"| `{name}` | {default} | {field.description} |")
    return rows


@pytest.mark.parametrize(("title", "model"), [("proxy", ProxyConfig), ("target", TargetConfig)])
def test_every_setting_is_documented_with_its_default(title: str, model: type[Settings]) -> None:
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    section = text.split(f"## A {title}", 1)[1].split("\n## ", 1)[0]
    assert [line for line in section.splitlines() if line.startswith("| `")] == rows_of(model)


def reading_path() -> list[Path]:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split("## A job in six files", 1)[1].split("\n## ")[0]
    return [ROOT / path for path in re.findall(r"^\d\. \[`([^`]+)`\]", text, re.MULTILINE)]


def test_a_job_can_be_followed_through_six_short_files() -> None:
    path = reading_path()
    assert len(path) == 6
    for file in path:
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 350, file


def test_the_links_of_the_documents_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_every_command_is_described_once_where_commands_are_described() -> None:
    text = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    described = re.findall(r"`haul ([a-z][a-z -]*)`", "\n".join(re.findall(r"^\| .*", text, re.MULTILINE)))
    root = typer.main.get_command(tree.build())
    commands = []
    for path in groups.paths_of(root):
        command: Any = root
        for word in path:
            command = command.commands[word]
        commands += [] if getattr(command, "commands", None) else [" ".join(path)]
    assert sorted(described) == sorted([*commands, "show storage", "storage show"])


def test_the_product_is_imported_from_this_repository() -> None:
    import common  # noqa: PLC0415 - the name is so general that another package might win

    assert Path(str(common.__file__)).parent.parent == ROOT


def test_the_tests_that_the_failure_modes_name_exist() -> None:
    text = (ROOT / "docs/failure-modes.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > 50
    for file, test in named:
        assert re.search(rf"^ *def {test}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), (
            f"{file}::{test}"
        )
    faults = {int(number) for number in re.findall(r"\bF(\d+)\b", text)}
    assert faults >= {*range(1, 19), *range(55, 73)}
