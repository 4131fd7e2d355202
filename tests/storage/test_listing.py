from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from target.storage.listing import MAX_KEPT_WALKS
from target.storage.store import Store
from tests.storage.disks import BUCKET, put, put_many, running_store

component = st.text("ab-/.0é\U0001f600", min_size=1, max_size=4) | st.sampled_from(["x" * 256, "y"])
names = (
    st.lists(component, min_size=1, max_size=4)
    .map("/".join)
    .filter(lambda name: not name.endswith("/") and not {".", ".."} & set(name.split("/")))
)


def pages(store: Store, limit: int, uuid: str = "", prefix: str = "", after: str = "") -> list[list[str]]:
    result = []
    while True:
        page = [entry.name for entry in store.list_objects(BUCKET, uuid=uuid, prefix=prefix, after=after, limit=limit)]
        result.append(page)
        if len(page) < limit:
            return result
        after = page[-1]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(names, max_size=25), st.data())
def test_pages_are_the_sorted_names(
    tmp_path_factory: pytest.TempPathFactory, stored: set[str], data: st.DataObject
) -> None:
    with running_store(tmp_path_factory.mktemp("listing"), count=3) as store:
        assert not stored or put_many(store, [(name, b"x") for name in stored]) == [None] * len(stored)
        ordered = sorted(stored, key=str.encode)
        prefix = data.draw(st.sampled_from(["", *(name[:cut] for name in ordered for cut in range(1, 4))]), "prefix")
        after = data.draw(st.sampled_from(["", "a", "a/", "é", *ordered]), "after")
        limit = data.draw(st.integers(1, 30), "limit")
        wanted = [name for name in ordered if name.startswith(prefix) and name.encode() > after.encode()]
        for uuid in ("", "walk"):
            found = pages(store, limit, uuid, prefix, after)
            assert [name for page in found for name in page] == wanted
            assert all(len(page) == limit for page in found[:-1])


def test_a_walk_that_was_forgotten_or_asked_twice_is_found_again(tmp_path: Path) -> None:
    with running_store(tmp_path, count=3) as store:
        stored = [f"d{number % 4}/{number:03}" for number in range(100)]
        put_many(store, [(name, b"x") for name in stored])
        first = store.list_objects(BUCKET, uuid="walk", limit=30)
        second = store.list_objects(BUCKET, uuid="walk", after=first[-1].name, limit=30)
        assert store.list_objects(BUCKET, uuid="walk", after=first[-1].name, limit=30) == second
        for number in range(MAX_KEPT_WALKS + 1):
            store.list_objects(BUCKET, uuid=f"other-{number}", limit=1)
        rest = store.list_objects(BUCKET, uuid="walk", after=second[-1].name, limit=100)
        assert [entry.name for entry in [*first, *second, *rest]] == sorted(stored)
        narrower = store.list_objects(BUCKET, uuid="walk", prefix="d1/", after="", limit=100)
        assert [entry.name for entry in narrower] == sorted(name for name in stored if name.startswith("d1/"))


def test_what_changes_during_a_listing_neither_hides_nor_doubles_the_rest(tmp_path: Path) -> None:
    with running_store(tmp_path, count=2) as store:
        stored = [f"dir{number % 5}/{number:03}" for number in range(100)]
        put_many(store, [(name, b"x") for name in stored])
        listed, after = [], ""
        while len(listed) % 7 == 0:
            page = store.list_objects(BUCKET, uuid="walk", after=after, limit=7)
            listed += [entry.name for entry in page]
            after = page[-1].name
            put(store, f"{after}-new", b"x")
            put(store, listed[0], b"overwritten")
            if len(listed) == 49:
                store.delete(BUCKET, stored[-1])
        assert len(listed) == len(set(listed))
        assert set(stored) - set(listed) <= {stored[-1]}


def test_a_listing_ends_with_its_bucket(tmp_path: Path) -> None:
    with running_store(tmp_path) as store:
        put_many(store, [(f"{number}", b"x") for number in range(10)])
        first = store.list_objects(BUCKET, uuid="walk", limit=3)
        store.destroy_bucket(BUCKET, 1)
        put(store, "9-new", b"x", bucket_id=2)
        rest = store.list_objects(BUCKET, uuid="walk", after=first[-1].name, limit=10)
        assert [entry.name for entry in rest] == ["9-new"]


def test_entries_have_what_the_wire_wants(tmp_path: Path) -> None:
    with running_store(tmp_path, count=1) as store:
        put(store, "a", b"hello", custom={"k": "v"})
        [entry] = store.list_objects(BUCKET)
        [mountpath] = store.usable
        assert entry == ("a", 5, "26c7827d889f6da3", 1, 1, mountpath.id, {"k": "v"}, "none", "", "")
