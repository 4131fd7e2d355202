"""Shells complete command lines of `haul`: the words themselves, and real shells with the scripts that it prints."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli import candidates
from tests.cli.conftest import Haul
from tests.cli.standin import EPOCH, Cluster, job

Ask = Callable[[str], list[str]]


@pytest.fixture
def filled(cluster: Cluster) -> Cluster:
    cluster.page_limit = 100
    cluster.buckets["data"] = {"one two": b"1", "set/a": b"2", "set/b": b"3"}
    cluster.buckets["datasets"] = {}
    cluster.buckets["logs"] = {}
    cluster.statuses["dnl-old"] = [job("dnl-old", description="an old one")]
    cluster.statuses["dnl-new"] = [job("dnl-new", started_time="2026-11-24T01:00:00Z", finished_time=EPOCH)]
    return cluster


@pytest.fixture
def values(haul: Haul) -> Callable[..., list[str]]:
    """What may stand for the last word."""

    def ask(*words: str) -> list[str]:
        done = haul("complete", "fish", "--", *words)
        assert (done.code, done.err) == (0, "")
        return [line.partition("\t")[0] for line in done.out.splitlines()]

    return ask


def test_commands_and_groups(values: Callable[..., list[str]], state_home: Path) -> None:
    assert {"download", "ls", "cp", "bucket", "completion"} <= set(values(""))
    assert "complete" not in values("com")
    assert values("bucket", "props", "") == ["show", "set", "reset"]
    assert values("bucket", "pr") == ["props"]
    assert values("nonesuch", "") == []


def test_options_and_their_values(values: Callable[..., list[str]], state_home: Path) -> None:
    assert values("ls", "--li") == ["--limit"]
    assert {"--wait", "--sync", "--hf-model", "--help"} <= set(values("download", "--"))
    assert values("ls", "--units", "") == ["iec", "si", "raw"]
    assert values("ls", "--units=r") == ["--units=raw"]
    assert values("completion", "") == ["bash", "zsh", "fish"]
    assert values("ls", "--limit", "") == []


def test_names_in_the_cluster(values: Callable[..., list[str]], filled: Cluster) -> None:
    assert values("rmb", "") == ["ais://data", "ais://datasets", "ais://logs"]
    assert values("ls", "ais://d") == ["ais://data/", "ais://datasets/"]
    assert values("rmb", "ais://l") == ["ais://logs"]
    assert values("get", "ais://data/") == ["ais://data/one two", "ais://data/set/a", "ais://data/set/b"]
    assert values("object", "cat", "ais://data/set/b") == ["ais://data/set/b"]
    assert values("download", "http://h/x", "ais://lo") == ["ais://logs/"]
    assert values("show", "job", "") == ["dnl-new", "dnl-old"]
    assert values("wait", "--timeout", "5s", "dnl-o") == ["dnl-old"]
    assert values("show", "log", "") == ["t1", "t2", "p1"]
    assert values("put", "no-uri", "ais://log") == ["ais://logs/"]
    assert values("put", "fi") == []  # files are the shell's


def test_the_cluster_that_the_line_names_is_asked(
    values: Callable[..., list[str]], filled: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAUL_ENDPOINT", "http://127.0.0.1:9")
    assert values("rmb", "--endpoint", filled.url, "ais://l") == ["ais://logs"]
    assert values("rmb", f"--endpoint={filled.url}", "ais://l") == ["ais://logs"]


def test_nothing_is_said_when_no_cluster_answers(
    values: Callable[..., list[str]], state_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert values("rmb", "ais://d") == []
    monkeypatch.setenv("HAUL_ENDPOINT", "http://127.0.0.1:9")
    assert values("get", "ais://data/") == []
    assert values("show", "job", "d") == []
    monkeypatch.setenv("HAUL_ENDPOINT", "no endpoint")
    assert values("show", "log", "") == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("haul ls ais://b", ["haul", "ls", "ais://b"]),
        ("haul ls ", ["haul", "ls", ""]),
        ("haul  get 'ais://b/a b", ["haul", "get", "ais://b/a b"]),
        ('haul get "ais://b/a \\"b', ["haul", "get", 'ais://b/a "b']),
        ("haul get ais://b/a\\ b", ["haul", "get", "ais://b/a b"]),
        ("haul get a\\", ["haul", "get", "a\\"]),
        ("haul", ["haul"]),
        ("", [""]),
    ],
)
def test_lines_are_split_as_a_shell_does(line: str, words: list[str]) -> None:
    assert candidates.split(line) == words


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A `haul` in the path, and none of the user's own settings of a shell."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "haul"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cli.main "$@"\n')
    program.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(tmp_path), "TERM": "dumb"}


def run(shell: list[str], script: str, environment: dict[str, str]) -> list[str]:
    done = subprocess.run(
        [*shell, "-c", script], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.fixture
def bash(environment: dict[str, str]) -> Ask:
    def ask(line: str) -> list[str]:
        script = (
            'eval "$(haul completion bash)"; COMP_LINE=$LINE; COMP_POINT=${#LINE}; _haul_completion haul; '
            '((${#COMPREPLY[@]})) && printf "%s\\n" "${COMPREPLY[@]}"; complete -p haul'
        )
        *found, registered = run(["bash", "--norc"], script, environment | {"LINE": line})
        assert registered.endswith("-F _haul_completion haul")
        return found

    return ask


def test_bash(bash: Ask, filled: Cluster) -> None:
    assert bash("haul buck") == ["bucket"]
    assert bash("haul ls ais://d") == ["//data/", "//datasets/"]  # bash has kept "ais:" for itself
    assert bash("haul get ais://data/on") == ["//data/one\\ two"]
    assert bash("haul ls --units=r") == ["raw"]
    assert bash("haul put no") == []


def test_fish(environment: dict[str, str], filled: Cluster) -> None:
    def ask(line: str) -> list[str]:
        found = run(["fish", "--no-config"], f"haul completion fish | source; complete -C {line!r}", environment)
        return [value.partition("\t")[0] for value in found]

    assert ask("haul buck") == ["bucket"]
    assert ask("haul ls ais://d") == ["ais://data/", "ais://datasets/"]
    assert ask("haul get ais://data/on") == ["ais://data/one two"]
    assert ask("haul wait dnl-n") == ["dnl-new"]


def test_zsh(environment: dict[str, str], filled: Cluster) -> None:
    def ask(*words: str) -> list[str]:
        quoted = " ".join(f"'{word}'" for word in ("haul", *words))
        script = (
            'compdef() { print "registered $*" }; compadd() { print -rl -- "${@[${@[(i)--]},-1]}" }; '
            '_files() { print files }; eval "$(haul completion zsh)"; '
            f"words=({quoted}); CURRENT={len(words) + 1}; _haul"
        )
        registered, *found = run(["zsh", "-f"], script, environment)
        assert registered == "registered _haul haul"
        return [line for line in found if line != "--"]

    assert ask("buck") == ["bucket"]
    assert ask("ls", "ais://d") == ["ais://data/", "ais://datasets/"]
    assert ask("get", "ais://data/on") == ["ais://data/one two"]
    assert ask("put", "no") == ["files"]


def test_a_shell_that_is_not_known(haul: Haul) -> None:
    refused = haul("completion", "tcsh")
    assert (refused.code, "there is bash, zsh, fish" in refused.err) == (2, True)
