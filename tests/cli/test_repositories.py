"""`haul` and HuggingFace, end to end: the real command, a real cluster, a hub that the real client takes for one."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Haul, Outcome
from tests.cluster import Cluster
from tests.hub import TOKEN, Hub

DOCUMENT = Path(__file__).parents[2] / "docs/huggingface.md"
SQUAD = {"plain_text/train/0000.parquet": b"t" * 14_458_314, "plain_text/validation/0000.parquet": b"v" * 1_819_889}
"""As large as the real ones."""
CHANGING = [
    (r"dnl-[\w-]{9}", "dnl-…"),
    (r"@[0-9a-f]{7}\b", "@COMMIT"),
    (r" in [\d.]+ m?s( \([\d.]+ \w+/s\))?", " in TIME"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +[\d.]+ m?s", "TIME"),
    (r" +", " "),
]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        hub.add("datasets", "squad", {"README.md": b"# squad", "squad.py": b"script"})
        hub.add("datasets", "squad", SQUAD, branch="refs/convert/parquet")
        yield hub


@pytest.fixture(scope="module")
def real(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), targets=2, mountpaths=1, hf_endpoint=hub.url) as cluster:
        yield cluster


@pytest.fixture
def haul(real: Cluster, state_home: Path, monkeypatch: pytest.MonkeyPatch) -> Haul:
    """Runs one command line in a process of its own: this one's output has the nodes' logs in it."""
    monkeypatch.setenv("HAUL_ENDPOINT", real.urls["p1"])
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)

    def run(*arguments: str, stdin: bytes = b"") -> Outcome:
        command = [sys.executable, "-m", "cli.main", *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=60)
        return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


def examples() -> list[tuple[str, str]]:
    """Commands of the document, and what it says that they print."""
    (block,) = re.findall(r"```console\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    return [(command, output) for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)]


def plain(text: str) -> str:
    for pattern, replacement in CHANGING:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


def test_the_documented_example_prints_what_the_document_shows(haul: Haul) -> None:
    shown = examples()
    assert shown[0][0] == "haul download --hf-dataset squad ais://datasets/squad/ --wait"
    for command, output in shown:
        done = haul(*shlex.split(command)[1:])
        assert done.code == 0
        assert plain(done.err + done.out) == plain(output), command


def test_progress_ends_with_all_objects(haul: Haul, real: Cluster) -> None:
    done = haul("download", "--hf-dataset", "squad", "ais://progress/squad/", "--progress")
    assert done.code == 0
    assert re.search(r"dnl-[\w-]{9}: 2 of 2 objects", done.out)
    assert {entry["name"]: entry["size"] for entry in real.api.list("progress")} == {
        f"squad/{path}": str(len(data)) for path, data in SQUAD.items()
    }


def test_without_waiting_it_says_how_to_watch(haul: Haul) -> None:
    done = haul("download", "--hf-dataset", "squad", "ais://started/squad/", "--blob-threshold", "100MB")
    assert re.fullmatch(r"Started job (dnl-[\w-]{9})\n", done.out)
    job_id = done.out.split()[-1]
    assert done.err == f"  watch it:  haul show job {job_id} --progress\n"
    assert haul("wait", job_id).code == 0


def test_parts_of_a_repository(haul: Haul, hub: Hub, real: Cluster) -> None:
    first = hub.add("models", "org/parts", {"a.json": b"1", "b/c.bin": b"c" * 200})
    hub.add("models", "org/parts", {"a.json": b"2", "b/c.bin": b"C" * 200})
    model = ("download", "--hf-model", "org/parts", "--wait")
    assert haul(*model, "--hf-revision", first, "--exclude", "b/", "ais://parts/old/").code == 0
    assert haul(*model, "--hf-file", "b/c.bin", "ais://parts/c").code == 0
    assert haul(*model, "--include", "*.json", "ais://parts/new").code == 0
    stored = {entry["name"]: real.api.get("parts", entry["name"]).content for entry in real.api.list("parts")}
    assert stored == {"old/a.json": b"1", "c": b"C" * 200, "new/a.json": b"2"}
    missing = haul(*model, "--hf-file", "none", "ais://parts")
    assert missing.code == 1
    assert 'hf://org/parts has no file "none"' in missing.err


@pytest.mark.parametrize("way", ["option", "environment"])
def test_a_token_opens_what_is_private_and_is_shown_nowhere(
    way: str, haul: Haul, hub: Hub, real: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("models", "org/private", {"a.json": b"{}", "b.bin": b"b" * 200}, private=True)
    refused = haul("download", "--hf-model", "org/private", "ais://private", "--wait")
    assert (refused.code, "or it needs a token" in refused.err) == (1, True)
    option = ("--hf-auth", TOKEN) if way == "option" else ()
    if way == "environment":
        monkeypatch.setenv("HF_TOKEN", TOKEN)
    done = haul("download", "--hf-model", "org/private", f"ais://private/{way}/", "--wait", *option)
    assert done.code == 0, done.err
    job_id = done.err.split()[2]
    ledger = tmp_path / "ledger"
    assert haul("show", "job", job_id, "--ledger", str(ledger)).code == 0
    shown = [haul("show", "job", job_id, *more) for more in ((), ("-v",), ("--json",), ("--story",))]
    said = "".join(one.out + one.err for one in (done, refused, *shown)) + ledger.read_text()
    assert "org/private" in said
    assert TOKEN not in said


def test_links_to_the_hub_get_the_token_and_what_they_redirect_to_does_not(
    haul: Haul, hub: Hub, real: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("models", "org/linked", {"a.json": b"{}", "b.bin": b"linked" * 50}, private=True)
    base = f"{hub.url}/org/linked/resolve/main"
    assert haul("download", f"{base}/a.json", "ais://linked/", "--wait", "--hf-auth", TOKEN).code == 1
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for name in ("a.json", "b.bin"):
        assert haul("download", f"{base}/{name}", "ais://linked/", "--wait").code == 0
    assert real.api.get("linked", "b.bin").content == b"linked" * 50
    elsewhere = hub.storage.put("/elsewhere", b"e")
    assert haul("download", elsewhere, "ais://linked/", "--wait").code == 0
    mixed = haul(
        "download", "ais://linked", "--object-list", "-", "--wait", stdin=f"{base}/a.json\n{elsewhere}".encode()
    )
    assert "its token is not sent" in mixed.err
    assert mixed.code == 1
    assert not [request for request in hub.storage.requests if TOKEN.encode() in request.head]
