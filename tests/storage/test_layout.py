from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidName
from common.names import Bucket, validate_object_name
from target.storage import layout


def is_allowed(name: str) -> bool:
    try:
        validate_object_name(name)
    except InvalidName:
        return False
    return True


parts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.sampled_from(
    ["", "a", "%ob", "%hn", "%wk", "x" * 255, "x" * 256, "é" * 128, "e\u0301", "\u00e9", "...", " ", "@ais", "~"]
)
names = st.lists(parts, min_size=1, max_size=120).map("/".join).filter(is_allowed)


@given(names)
def test_a_name_stays_inside_its_bucket_and_below_the_limits(name: str) -> None:
    for path in (layout.natural_path(name), layout.hashed_path(name)):
        if path is None:
            continue
        components = path.split(b"/")
        assert components[0] in (b"%ob", b"%hn")
        assert not {b"", b".", b".."} & set(components)
        assert max(map(len, components)) <= 255
        assert layout.MAX_MOUNTPATH_BYTES + len(path) < 4000


@given(names, names)
def test_different_names_have_different_paths(one: str, other: str) -> None:
    paths_of_one = {layout.natural_path(one), layout.hashed_path(one)} - {None}
    paths_of_other = {layout.natural_path(other), layout.hashed_path(other)} - {None}
    assert paths_of_one.isdisjoint(paths_of_other) == (one != other)


@given(names)
def test_a_natural_path_gives_its_name_back(name: str) -> None:
    path = layout.natural_path(name)
    assert path is None or path.removeprefix(b"%ob/").decode() == name


def test_buckets_of_every_provider_and_namespace_have_their_own_directory() -> None:
    buckets = [
        Bucket("b"),
        Bucket("b", "aws"),
        Bucket("b", "ais", "uuid", "ns"),
        Bucket("b", "ais", "", "ns"),
        Bucket("b", "ais", "uuid", ""),
        Bucket("c"),
    ]
    paths = [layout.bucket_path(bucket) for bucket in buckets]
    assert len(set(paths)) == len(buckets)
    assert paths[0] == b"@ais/b"
    assert paths[2] == b"@ais/@uuid#ns/b"
    for path in paths:
        assert ".." not in PurePosixPath(path.decode()).parts
