from pathlib import Path

import pytest

from common.errors import ObjectNotFound
from tests.storage.disks import BUCKET, files_below, get, put, put_many, running_store

LONG = "component-" + "x" * 300
AWKWARD = [
    "plain",
    "dir/plain",
    "with space/and more",
    "100%",
    "a%2fb",
    "%ob/x",
    "%wk/1",
    "'quotes' \"double\"",
    "tab\there",
    "back\\slash",
    "new\nline",
    "nfc-\u00e9",
    "nfd-e\u0301",
    "Case",
    "case",
    "CASE",
    "/leading",
    "//two",
    "empty//component",
    LONG,
    f"dir/{LONG}/leaf",
    "/".join(f"level-{level}-{'y' * 60}" for level in range(60)),
    "/".join("z" * 200 for _ in range(60)),
    "/".join("d" for _ in range(300)),
    "q" * 16_384,
    "...",
    "~user",
    ".hidden",
    "-rf",
    "\U0001f600/\u202e",
    "é" * 127,
    "é" * 128,
]


@pytest.mark.parametrize("name", AWKWARD, ids=lambda name: ascii(name[:24]))
def test_every_allowed_name_is_stored_read_listed_overwritten_and_deleted(tmp_path: Path, name: str) -> None:
    with running_store(tmp_path) as store:
        put(store, name, b"first")
        assert get(store, name) == b"first"
        put(store, name, b"second!")
        assert get(store, name) == b"second!"
        [entry] = store.list_objects(BUCKET)
        assert (entry.name, entry.size, entry.version) == (name, 7, 2)
        store.delete(BUCKET, name)
        with pytest.raises(ObjectNotFound):
            store.open(BUCKET, name)
        assert store.list_objects(BUCKET) == []
        assert not [path for path in files_below(tmp_path) if "@ais" in path]


def test_all_of_them_live_side_by_side_and_survive_a_restart(tmp_path: Path) -> None:
    with running_store(tmp_path) as store:
        assert put_many(store, [(name, name.encode()) for name in AWKWARD]) == [None] * len(AWKWARD)
    with running_store(tmp_path) as store:
        for name in AWKWARD:
            assert get(store, name) == name.encode()
        assert [entry.name for entry in store.list_objects(BUCKET)] == sorted(AWKWARD, key=str.encode)


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b", "a"), ("a", "a/b", "a/b/c")])
@pytest.mark.parametrize("together", [True, False])
def test_an_object_may_be_named_like_a_directory_of_another(
    tmp_path: Path, names: tuple[str, ...], together: bool
) -> None:
    with running_store(tmp_path, count=1) as store:
        objects = [(name, name.encode()) for name in names]
        if together:
            assert put_many(store, objects) == [None] * len(names)
        else:
            for name, data in objects:
                put(store, name, data)
        assert [get(store, name) for name in names] == [name.encode() for name in names]
        assert [entry.name for entry in store.list_objects(BUCKET)] == sorted(names)
        for position, name in enumerate(names):
            put(store, name, b"again")
            store.delete(BUCKET, name)
            left = sorted(names[position + 1 :])
            assert [entry.name for entry in store.list_objects(BUCKET)] == left
            assert [get(store, other) for other in left] == [other.encode() for other in left]


def test_a_name_keeps_one_copy_when_what_was_in_its_way_has_gone(tmp_path: Path) -> None:
    with running_store(tmp_path, count=1) as store:
        put(store, "a/b", b"1")
        put(store, "a", b"hashed")
        store.delete(BUCKET, "a/b")
        put(store, "a", b"newer")
        assert get(store, "a") == b"newer"
        assert [(entry.name, entry.version) for entry in store.list_objects(BUCKET)] == [("a", 2)]
        store.delete(BUCKET, "a")
        assert store.list_objects(BUCKET) == []


def test_metadata_too_large_for_an_attribute_stays_with_the_object(tmp_path: Path) -> None:
    custom = {f"key-{number}": "v" * 100 for number in range(60)}
    with running_store(tmp_path) as store:
        put(store, "a", b"data", custom=custom, source="http://host/" + "p" * 2000)
        put(store, "a", b"longer data", custom=custom)
        metadata, _ = store.head(BUCKET, "a")
        assert (metadata.custom, metadata.version, metadata.size) == (custom, 2, 11)
        assert get(store, "a") == b"longer data"
        [entry] = store.list_objects(BUCKET)
        assert (entry.size, entry.custom) == (11, custom)
