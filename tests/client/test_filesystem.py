"""`haul://` beyond what fsspec's own tests ask for: names, buckets, big files, replaced objects, other processes."""

import errno
import importlib.metadata
import io
import json
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
import tomllib
import tracemalloc
from pathlib import Path
from typing import Any

import fsspec
import httpx
import pytest

import haul
from haul.filesystem import HaulFileSystem
from tests.client.test_objects import ODD_NAMES

_MIB = 1 << 20


@pytest.mark.parametrize("name", [name for name in ODD_NAMES if "//" not in name])
def test_every_name_can_be_opened(fs: HaulFileSystem, name: str) -> None:
    path = f"haul://b/odd/{name}"
    with fs.open(path, "wb") as file:
        file.write(name.encode())
    with fs.open(path) as file:
        assert file.read() == name.encode()
    assert f"b/odd/{name}" in fs.find("b/odd")
    assert fs.cat_file(path) == name.encode()
    assert fs.size(path) == len(name.encode())
    fs.rm_file(path)
    assert not fs.exists(path)


def test_buckets_are_directories(fs: HaulFileSystem) -> None:
    fs.mkdir("made")
    with pytest.raises(FileExistsError):
        fs.mkdir("made")
    with pytest.raises(FileExistsError):
        fs.makedirs("made")
    fs.makedirs("made/and/below", exist_ok=True)
    assert "made" in fs.ls("", detail=False)
    assert fs.ls("made") == []
    assert fs.isdir("made")
    fs.touch("made/file")
    with pytest.raises(OSError, match="not empty") as raised:
        fs.rmdir("made")
    assert raised.value.errno == errno.ENOTEMPTY
    with pytest.raises(IsADirectoryError):
        fs.rm("made")
    with pytest.raises(IsADirectoryError):
        fs.open("made", "wb")
    fs.rm("made/file")
    fs.rmdir("made")
    fs.makedirs("implied/deep/er")
    fs.pipe({f"implied/d{n}/f{n}": b"x" for n in range(5)})
    fs.rm("implied", recursive=True)
    assert {"made", "implied"}.isdisjoint(fs.ls("", detail=False))
    for missing in ("made", "made/file"):
        with pytest.raises(FileNotFoundError):
            fs.ls(missing)
        with pytest.raises(FileNotFoundError):
            fs.rm(missing, recursive=True)
    assert not fs.exists("made")


def test_walk_find_glob_and_info(fs: HaulFileSystem) -> None:
    fs.mkdir("tree")
    names = ["a.csv", "sub/b.csv", "sub/c.txt", "sub/deep/d.csv", "sub.csv"]
    fs.pipe({f"tree/{name}": name.encode() for name in names})
    assert fs.find("tree") == sorted(f"tree/{name}" for name in names)
    assert fs.find("tree", maxdepth=1) == ["tree/a.csv", "tree/sub.csv"]
    assert fs.find("tree/sub", withdirs=True) == [
        "tree/sub",
        "tree/sub/b.csv",
        "tree/sub/c.txt",
        "tree/sub/deep",
        "tree/sub/deep/d.csv",
    ]
    assert fs.find("tree/a.csv") == ["tree/a.csv"]
    assert fs.find("tree/none") == []
    assert fs.glob("tree/*.csv") == ["tree/a.csv", "tree/sub.csv"]
    assert fs.glob("tree/s*.csv") == ["tree/sub.csv"]
    assert fs.glob("tree/**/*.csv") == ["tree/a.csv", "tree/sub.csv", "tree/sub/b.csv", "tree/sub/deep/d.csv"]
    assert fs.glob("tre*/sub/*.t?t") == ["tree/sub/c.txt"]
    assert [path for path, _, _ in fs.walk("tree")] == ["tree", "tree/sub", "tree/sub/deep"]
    assert fs.info("haul://tree/sub/")["type"] == "directory"
    info = fs.info("tree/a.csv")
    assert (info["type"], info["size"], info["name"]) == ("file", 5, "tree/a.csv")
    assert fs.du("tree") == sum(map(len, names))
    assert fs.created("tree/a.csv") is not None
    assert fs.modified("tree/a.csv") is not None
    fs.cp("tree/a.csv", "tree/copy")
    assert fs.checksum("tree/copy") == fs.checksum("tree/a.csv") != fs.checksum("tree/sub.csv")
    fs.mv("tree/copy", "tree/moved")
    assert (fs.exists("tree/copy"), fs.cat("tree/moved")) == (False, b"a.csv")
    fs.rm("tree", recursive=True)


def test_a_move_of_limited_depth_is_refused(fs: HaulFileSystem) -> None:
    fs.pipe({"b/deep/a": b"a", "b/deep/er/b": b"b"})
    with pytest.raises(ValueError, match="maxdepth"):
        fs.mv("b/deep", "b/moved", recursive=True, maxdepth=1)
    assert fs.find("b/deep") == ["b/deep/a", "b/deep/er/b"]
    fs.rm("b/deep", recursive=True)


def test_folders_that_s3_tools_have_made_are_directories(
    fs: HaulFileSystem, endpoints: list[str], tmp_path: Path
) -> None:
    fs.mkdir("folders")
    for key in ("a/", "a/b/", "a/b/x", "a/empty/"):
        httpx.put(f"{endpoints[0]}/s3/folders/{key}", content=b"x" if key == "a/b/x" else b"").raise_for_status()
    assert fs.ls("folders", detail=False) == ["folders/a"]
    assert sorted(fs.ls("folders/a", detail=False)) == ["folders/a/b", "folders/a/empty"]
    assert fs.ls("folders/a/empty") == []
    assert [(top, sorted(below), files) for top, below, files in fs.walk("folders")] == [
        ("folders", ["a"], []),
        ("folders/a", ["b", "empty"], []),
        ("folders/a/b", [], ["x"]),
        ("folders/a/empty", [], []),
    ]
    assert fs.find("folders") == ["folders/a/b/x"]
    assert fs.find("folders", withdirs=True)[1:] == ["folders/a", "folders/a/b", "folders/a/b/x", "folders/a/empty"]
    assert fs.isdir("folders/a/empty")
    assert not fs.isfile("folders/a/empty")
    fs.get("folders/a", str(tmp_path / "got"), recursive=True)
    assert sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "got").rglob("*") if path.is_file()) == [
        "got/b/x"
    ]
    fs.rm("folders/a/b", recursive=True)
    assert fs.ls("folders/a", detail=False) == ["folders/a/empty"]
    fs.rm("folders/a", recursive=True)
    assert fs.ls("folders") == []
    fs.rmdir("folders")


def test_copies_and_moves_keep_what_was_stored_with_an_object(fs: HaulFileSystem, client: haul.Client) -> None:
    fs.makedirs("moves", exist_ok=True)
    client.put("b", "move/one", b"1", metadata={"author": "me"})
    fs.mv("b/move/one", "b/move/two")
    fs.cp("b/move/two", "moves/three")
    fs.mv("moves/three", "b/move/four")
    assert fs.find("b/move") == ["b/move/four", "b/move/two"]
    assert client.head("b", "move/four").custom["author"] == "me"
    fs.mv("b/move/two", "moves/into/")
    assert fs.find("moves") == ["moves/into/two"]
    with pytest.raises(FileNotFoundError):
        fs.mv("b/move/two", "b/move/five")
    fs.mv("b/move", "b/moved", recursive=True)
    assert (fs.find("b/move"), fs.find("b/moved")) == ([], ["b/moved/four"])
    fs.rm(["moves", "b/moved"], recursive=True)


def test_what_was_stored_while_a_file_moved_to_another_bucket_stays(
    fs: HaulFileSystem, client: haul.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = haul.AsyncClient.copy

    async def meanwhile(mine: haul.AsyncClient, *arguments: Any) -> None:
        await copy(mine, *arguments)
        await mine.put("b", "busy", b"newer")

    fs.makedirs("moves", exist_ok=True)
    client.put("b", "busy", b"older")
    monkeypatch.setattr(haul.AsyncClient, "copy", meanwhile)
    with pytest.raises(OSError, match="changed while it was copied to moves/busy, and stays") as raised:
        fs.mv("b/busy", "moves/busy")
    assert raised.value.errno == errno.ESTALE
    assert (fs.cat("b/busy"), fs.cat("moves/busy")) == (b"newer", b"older")
    fs.rm("moves", recursive=True)


def test_many_reads_at_once(fs: HaulFileSystem) -> None:
    data = {f"b/many/{n:03}": f"{n:03}".encode() * 10 for n in range(100)}
    fs.pipe(data)
    assert fs.cat(list(data)) == data
    assert fs.cat("b/many/00*") == {path: content for path, content in data.items() if path.startswith("b/many/00")}
    paths = list(data)
    parts = fs.cat_ranges(paths, [3] * 100, [6] * 100)
    assert parts == [content[3:6] for content in data.values()]
    [found, missing] = fs.cat_ranges([paths[0], "b/none"], [0, 0], [1, 1], on_error="return")
    assert (found, type(missing)) == (b"0", FileNotFoundError)
    content = data[paths[0]]
    for start, end in [
        (None, None),
        (5, None),
        (None, 5),
        (-5, None),
        (None, -5),
        (-7, -3),
        (40, 50),
        (5, 5),
        (20, 99),
    ]:
        assert fs.cat_file(paths[0], start, end) == content[start:end], (start, end)


def test_big_files_go_through_in_blocks(fs: HaulFileSystem, tmp_path: Path) -> None:
    block, count = bytes(range(256)) * 4096, 48
    tracemalloc.start()
    with fs.open("b/big", "wb", block_size=_MIB) as file:
        for number in range(count):
            file.write(number.to_bytes(4, "big") + block[4:])
    with fs.open("b/big", "rb", block_size=_MIB) as file:
        for number in range(count):
            assert file.read(_MIB)[:4] == number.to_bytes(4, "big")
        file.seek(10 * _MIB)
        assert file.read(4) == (10).to_bytes(4, "big")
        file.seek(-_MIB, io.SEEK_END)
        assert file.read(4) == (count - 1).to_bytes(4, "big")
    fs.cp("b/big", "b/copied")
    fs.get("b/copied", str(tmp_path / "big"))
    fs.put(str(tmp_path / "big"), "b/returned")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < count * _MIB // 2
    assert fs.checksum("b/big") == fs.checksum("b/returned")


@pytest.mark.parametrize("size", [0, 1, _MIB, _MIB + 1, 3 * _MIB])
def test_what_is_written_is_there_when_the_file_is_closed(fs: HaulFileSystem, size: int) -> None:
    file = fs.open("b/closing", "wb", block_size=_MIB)
    file.write(b"x" * size)
    if fs.exists("b/closing"):
        fs.rm("b/closing")
    file.close()
    assert fs.size("b/closing") == size
    fs.rm("b/closing")


@pytest.mark.parametrize("size", [10, 3 * _MIB])
def test_after_an_error_nothing_is_stored(fs: HaulFileSystem, size: int) -> None:
    def write(path: str, *, fails: bool) -> None:
        with fs.open(path, "wb", block_size=_MIB) as file:
            file.write(b"x" * size)
            if fails:
                raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        write("b/half", fails=True)
    assert not fs.exists("b/half")
    with pytest.raises(FileNotFoundError):
        write("unmade/half", fails=False)
    with pytest.raises(ValueError, match="ab"):
        fs.open("b/half", "ab")


@pytest.mark.parametrize("size", [10, 3 * _MIB])
def test_what_was_stored_while_a_file_was_written_is_not_replaced(
    fs: HaulFileSystem, client: haul.Client, size: int
) -> None:
    file = fs.open(f"b/exclusive/{size}", "xb", block_size=_MIB)
    file.write(b"m" * size)
    client.put("b", f"exclusive/{size}", b"theirs")
    with pytest.raises(FileExistsError):
        file.close()
    assert fs.cat(f"b/exclusive/{size}") == b"theirs"


def test_what_was_stored_after_the_look_is_not_replaced(
    fs: HaulFileSystem, client: haul.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_yet(*_: object) -> bool:
        return False

    monkeypatch.setattr(fs, "_exists", not_yet)
    client.put("b", "exclusive", b"theirs")
    (tmp_path / "mine").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        fs.pipe_file("b/exclusive", b"mine", mode="create")
    with pytest.raises(FileExistsError):
        fs.put_file(str(tmp_path / "mine"), "b/exclusive", mode="create")
    assert client.get("b", "exclusive") == b"theirs"


@pytest.mark.parametrize("size", [10, 3 * _MIB])
def test_transactions_store_all_or_nothing(fs: HaulFileSystem, size: int) -> None:
    def write(*, fails: bool) -> None:
        with fs.transaction:
            with fs.open("b/transacted", "wb", block_size=_MIB) as file:
                file.write(b"x" * size)
            assert not fs.exists("b/transacted")
            if fails:
                raise RuntimeError

    write(fails=False)
    assert fs.size("b/transacted") == size
    fs.rm("b/transacted")
    with pytest.raises(RuntimeError):
        write(fails=True)
    assert not fs.exists("b/transacted")


@pytest.mark.parametrize("cache_type", ["readahead", "none", "bytes", "blockcache"])
def test_an_object_that_is_replaced_while_it_is_read_is_never_mixed(fs: HaulFileSystem, cache_type: str) -> None:
    fs.pipe_file("b/mixed", b"a" * 100_000)
    with fs.open("b/mixed", "rb", block_size=1000, cache_type=cache_type) as file:
        assert file.read(10) == b"a" * 10
        fs.pipe_file("b/mixed", b"b" * 100_000)
        file.seek(50_000)
        with pytest.raises(OSError, match="replaced") as raised:
            file.read(1000)
        assert raised.value.errno == errno.ESTALE
        assert isinstance(raised.value.__cause__, haul.Changed)
    with fs.open("b/mixed") as file:
        assert file.read() == b"b" * 100_000


def test_a_bucket_of_another_provider_is_told_apart(fs: HaulFileSystem) -> None:
    with pytest.raises(PermissionError, match="s3://elsewhere"):
        fs.info("haul://s3@elsewhere/x")
    for wrong in ("haul://wasb@x/y", "haul://a b/y"):
        with pytest.raises(OSError) as raised:
            fs.cat_file(wrong)
        assert raised.value.errno == errno.EINVAL


def _read_in_another_process(pickled: bytes, path: str) -> bytes:
    data: bytes = pickle.loads(pickled).cat_file(path)
    return data


def test_a_file_system_goes_to_other_processes(fs: HaulFileSystem) -> None:
    fs.pipe_file("b/shared", b"seen by all")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_read_in_another_process, (pickle.dumps(fs), "b/shared")) == b"seen by all"


_FORKING = """
import multiprocessing
from haul.filesystem import HaulFileSystem

files = HaulFileSystem()
assert files.cat_file("b/shared") == b"seen by all"

def read(path):
    with files.open(path) as file:
        return file.read()

with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(read, ["b/shared"] * 20) == [b"seen by all"] * 20
assert read("b/shared") == b"seen by all"
print("all read")
"""


def test_a_file_system_goes_through_a_fork(fs: HaulFileSystem, endpoints: list[str]) -> None:
    fs.pipe_file("b/shared", b"seen by all")
    environment = os.environ | {"HAUL_ENDPOINT": endpoints[0], "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _FORKING]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, "all read\n"), ended.stderr


def test_urls_are_opened_by_anyone_who_uses_fsspec(
    fs: HaulFileSystem, endpoints: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAUL_ENDPOINT", ",".join(endpoints))
    with fsspec.open("haul://b/urls/lines.jsonl.gz", "wt", compression="infer") as file:
        file.writelines(json.dumps({"n": n}) + "\n" for n in range(3))
    with fsspec.open("haul://b/urls/lines.jsonl.gz", "rt", compression="infer") as file:
        assert [json.loads(line)["n"] for line in file] == [0, 1, 2]
    mapping = fsspec.get_mapper("haul://b/mapped")
    mapping["k/1"] = b"v"
    assert (list(mapping), mapping["k/1"]) == (["k/1"], b"v")
    assert [file.path for file in fsspec.open_files("haul://b/urls/*")] == ["b/urls/lines.jsonl.gz"]
    fsspec.filesystem("haul").close()


def test_fsspec_finds_the_protocol_by_itself() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = project["entry-points"]["fsspec.specs"]["haul"]
    entry = importlib.metadata.EntryPoint("haul", named, "fsspec.specs")
    assert entry.load() is HaulFileSystem
    assert re.match(r"fsspec", project["optional-dependencies"]["fsspec"][0])
