"""Lists of objects: pages, properties, flags, iterators."""

import pytest
from aistore.sdk import ListObjectFlag
from aistore.sdk.errors import AISError

NAMES = [f"dir/{number:03}" for number in range(25)] + ["top"]


@pytest.fixture
def full(bucket):
    for name in NAMES:
        bucket.object(name).get_writer().put_content(b"x" * len(name))
    return bucket


def test_pages(full):
    first = full.list_objects(page_size=10)
    assert [entry.name for entry in first.entries] == NAMES[:10]
    assert first.uuid
    second = full.list_objects(page_size=10, uuid=first.uuid, continuation_token=first.continuation_token)
    assert [entry.name for entry in second.entries] == NAMES[10:20]
    assert second.uuid == first.uuid


def test_all_of_them(full):
    assert [entry.name for entry in full.list_all_objects(page_size=7)] == NAMES


def test_iterators_end(full):
    assert [entry.name for entry in full.list_objects_iter(page_size=13)] == NAMES
    assert [entry.name for entry in full.list_objects_iter(prefix="none/")] == []


def test_objects_of_iterators_know_their_sizes(full):
    objects = list(full.list_all_objects_iter(prefix="dir/02"))
    assert [each.name for each in objects] == NAMES[20:25]
    assert [each.props_cached.size for each in objects] == [7] * 5
    assert objects[0].get_reader().read_all() == b"x" * 7


def test_prefixes(full):
    assert [entry.name for entry in full.list_all_objects(prefix="dir/00")] == NAMES[:10]
    assert [entry.name for entry in full.list_all_objects(prefix="dir/00*")] == NAMES[:10]


def test_properties(full):
    (entry,) = full.list_objects(
        prefix="top", props="name,size,atime,version,checksum,cached,status,copies,custom,location"
    ).entries
    assert (entry.name, entry.size, entry.version, entry.copies) == ("top", 3, "1", 1)
    assert entry.checksum
    assert entry.atime
    assert entry.location
    assert entry.is_cached()
    assert entry.is_ok()


def test_default_properties(full):
    (entry,) = full.list_objects(prefix="top").entries
    assert entry.size == 3


def test_names_only(full):
    (entry,) = full.list_objects(prefix="top", flags=[ListObjectFlag.NAME_ONLY]).entries
    assert (entry.name, entry.size) == ("top", 0)


def test_names_and_sizes(full):
    (entry,) = full.list_objects(prefix="top", flags=[ListObjectFlag.NAME_SIZE]).entries
    assert (entry.name, entry.size) == ("top", 3)


def test_without_recursion(full):
    entries = full.list_all_objects(flags=[ListObjectFlag.NO_RECURSION])
    assert [(entry.name, bool(entry.flags & 256)) for entry in entries] == [("dir/", True), ("top", False)]


def test_without_recursion_and_directories(full):
    entries = full.list_all_objects(flags=[ListObjectFlag.NO_RECURSION, ListObjectFlag.NO_DIRS])
    assert [entry.name for entry in entries] == ["top"]


def test_what_is_in_the_cluster(full):
    assert len(full.list_all_objects(flags=[ListObjectFlag.CACHED])) == len(NAMES)


def test_listed_by_a_target_of_choice(client, full):
    # As in AIStore, it chooses who asks a service; of a bucket of the cluster everything is listed all the same.
    target = next(iter(client.cluster().get_info().tmap))
    assert [entry.name for entry in full.list_all_objects(target=target)] == NAMES


def test_of_a_service(remote):
    assert [entry.name for entry in remote.list_all_objects(page_size=4)] == [f"r-{number}" for number in range(6)]
    assert {entry.size for entry in remote.list_all_objects(props="name,size")} == {8}


def test_flags_that_make_no_sense_here(full):
    with pytest.raises(AISError):
        full.list_objects(flags=[ListObjectFlag.NOT_CACHED])


def test_no_inventories(full):
    with pytest.raises(AISError):
        full.list_objects(inventory_name="none")
