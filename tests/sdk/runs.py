"""Runs SDK programs in their environment, against a cluster, and tells what became of each of their tests."""

from __future__ import annotations

import ast
import os
import subprocess
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.sdk.environments import ENVIRONMENTS, Environment

PROGRAMS = Path(__file__).parent / "programs"
_LONGEST_SECONDS = 600


@dataclass(frozen=True)
class Case:
    """One test function of one file in one environment."""

    environment: Environment
    file: Path
    function: str

    def __str__(self) -> str:
        return f"{self.environment.name}-{self.file.stem.removeprefix('test_')}-{self.function.removeprefix('test_')}"


def cases() -> Iterator[Case]:
    """Every test function; the files are read, not imported, as the SDK is not here."""
    for environment in ENVIRONMENTS:
        for folder in environment.programs:
            for file in files(environment, folder):
                for node in ast.parse(file.read_text()).body:
                    if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                        yield Case(environment, file, node.name)


def files(environment: Environment, folder: str) -> list[Path]:
    """The programs of a folder that are run in an environment."""
    found = sorted((PROGRAMS / folder).glob("test_*.py"))
    return [file for file in found if not environment.only or file.stem in environment.only]


Test = tuple[str, str]
"""Names of a file, without its ending, and of a function in it."""


@dataclass
class Outcomes:
    """What became of tests: how many examples of each have passed, and the texts of those that have not."""

    passed: defaultdict[Test, int] = field(default_factory=lambda: defaultdict(int))
    failures: defaultdict[Test, list[str]] = field(default_factory=lambda: defaultdict(list))
    output: str = ""

    def check(self, case: Case) -> None:
        """Fails as the test has failed, and where it was not run."""
        test = (case.file.stem, case.function)
        assert not self.failures[test], "\n\n".join(self.failures[test])
        assert self.passed[test], f"{case} was not run:\n{self.output}"


def run(environment: Environment, folder: str, variables: Mapping[str, str], scratch: Path) -> Outcomes:
    """Run all programs of a folder once."""
    environment.make()
    report, temporary = scratch / f"{environment.name}-{folder}.xml", scratch / f"{environment.name}-{folder}"
    done = subprocess.run(
        [
            *(str(environment.python), "-m", "pytest", *map(str, files(environment, folder))),
            *("-c", str(PROGRAMS / "pytest.ini"), "--rootdir", str(PROGRAMS)),
            *("--junitxml", str(report), "--basetemp", str(temporary)),
        ],
        env={**os.environ, **variables, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_LONGEST_SECONDS,
        check=False,
    )
    outcomes = Outcomes(output=done.stdout)
    if not report.exists():
        return outcomes
    for case in ElementTree.parse(report).iter("testcase"):
        test = (case.attrib["classname"].rpartition(".")[2], case.attrib["name"].partition("[")[0])
        texts = [f"{case.attrib['name']}\n{each.text}" for each in case if each.tag in {"failure", "error", "skipped"}]
        if texts:
            outcomes.failures[test] += texts
        else:
            outcomes.passed[test] += 1
    return outcomes
