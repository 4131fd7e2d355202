"""Removing an object only if it is still the one that was meant, while others are stored under its name."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from common.errors import ObjectNotFound
from target.storage.store import Store
from tests.storage.disks import BUCKET, put, running_store


def _identity(store: Store, name: str) -> tuple[int, int]:
    found, _ = store.head(BUCKET, name)
    return found.link_digest, found.stored_ns


def _content(store: Store, name: str) -> bytes:
    found, _ = store.open(BUCKET, name)
    with found:
        return found.read(0, found.size)


def test_only_the_very_object_is_removed(tmp_path: Path) -> None:
    with running_store(tmp_path) as store:
        put(store, "a", b"old")
        link_digest, stored_ns = _identity(store, "a")
        store.delete_if(BUCKET, 1, "a", link_digest, stored_ns + 1)
        store.delete_if(BUCKET, 1, "a", link_digest + 1, stored_ns)
        store.delete_if(BUCKET, 2, "a", link_digest, stored_ns)
        assert _content(store, "a") == b"old"
        store.delete_if(BUCKET, 1, "a", link_digest, stored_ns)
        with pytest.raises(ObjectNotFound):
            store.head(BUCKET, "a")
        store.delete_if(BUCKET, 1, "a", link_digest, stored_ns)


@pytest.mark.parametrize("looks_before", [1, 2])
def test_what_replaces_an_object_at_any_moment_stays(
    tmp_path: Path, looks_before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored after the first look, or handed to the committer after the last one."""
    with running_store(tmp_path) as store:
        put(store, "a", b"old")
        link_digest, stored_ns = _identity(store, "a")
        looks, writers, head = [0], list[threading.Thread](), store.head

        def head_then_store(*arguments: Any) -> Any:
            found = head(*arguments)
            looks[0] += 1
            if looks[0] == looks_before:
                writers.append(threading.Thread(target=put, args=(store, "a", b"new"), kwargs={"stored_ns": 2}))
                writers[0].start()
                writers[0].join(None if looks_before == 1 else 0.5)
            return found

        monkeypatch.setattr(store, "head", head_then_store)
        store.delete_if(BUCKET, 1, "a", link_digest, stored_ns)
        writers[0].join()
        assert _content(store, "a") == b"new"
