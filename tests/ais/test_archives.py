"""`ais ls --archive`, `ais get --archpath` and its kin: what is asked for members of archives (wire.md §3.2, §3.5)."""

from __future__ import annotations

import io
import tarfile

import pytest

from tests.ais.goapi import GoApi, GoError

ARCH_DIR, NAME_SIZE = 8, 32
IN_ARCHIVE, IS_ARCHIVE = 128, 512
MEMBERS = {"a.jpg": b"picture", "a.txt": b"what it shows", "sub/b.jpg": b"another"}


@pytest.fixture
def shard(ais: GoApi, bucket: str) -> str:
    """A bucket with `shard.tar` and an object beside it."""
    ais.put_object(bucket, "shard.tar", tar(MEMBERS))
    ais.put_object(bucket, "shard.txt", b"no archive")
    return bucket


def tar(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def get(ais: GoApi, bucket: str, name: str, **query: str) -> bytes:
    return ais.call("GET", f"/v1/objects/{bucket}/{name}", {"provider": "ais", **query}).body


def test_ls_archive(ais: GoApi, shard: str) -> None:
    entries = [
        entry for page in ais.pages(shard, props="name,size", flags=str(ARCH_DIR)) for entry in page["entries"] or ()
    ]
    listed = [(entry["n"], entry.get("s", 0), entry.get("f", 0) & (IN_ARCHIVE | IS_ARCHIVE)) for entry in entries]
    inside = [(f"shard.tar/{name}", len(content), IN_ARCHIVE) for name, content in MEMBERS.items()]
    assert listed == [("shard.tar", len(tar(MEMBERS)), IS_ARCHIVE), *inside, ("shard.txt", 10, 0)]


def test_ls_archive_in_pages(ais: GoApi, shard: str) -> None:
    names = ais.names(shard, props="name", flags=str(ARCH_DIR), pagesize=2)
    assert names == ["shard.tar", *(f"shard.tar/{name}" for name in MEMBERS), "shard.txt"]


def test_get_archpath(ais: GoApi, shard: str) -> None:
    ais.head_bucket(shard)
    answer = ais.call("GET", f"/v1/objects/{shard}/shard.tar", {"provider": "ais", "archpath": "sub/b.jpg"})
    assert (answer.hops, answer.body, answer.header("Content-Length")) == ((301,), b"another", "7")


def test_get_archpath_of_nothing(ais: GoApi, shard: str) -> None:
    with pytest.raises(GoError) as raised:
        get(ais, shard, "shard.tar", archpath="c.jpg")
    assert raised.value.status == 404
    assert "c.jpg" in raised.value.message
    assert f"ais://{shard}/shard.tar" in raised.value.message


@pytest.mark.parametrize(
    ("mode", "text", "names"),
    [
        ("prefix", "a.", ["a.jpg", "a.txt"]),
        ("suffix", ".jpg", ["a.jpg", "sub/b.jpg"]),
        ("substr", "b", ["sub/b.jpg"]),
        ("wdskey", "a", ["a.jpg", "a.txt"]),
        ("regexp", r"\.(txt|nothing)$", ["a.txt"]),
    ],
)
def test_get_archregx(ais: GoApi, shard: str, mode: str, text: str, names: list[str]) -> None:
    answer = get(ais, shard, "shard.tar", archregx=text, archmode=mode)
    with tarfile.open(fileobj=io.BytesIO(answer)) as archive:
        found = {entry.name: archive.extractfile(entry) for entry in archive}
        assert {name: file.read() for name, file in found.items() if file} == {name: MEMBERS[name] for name in names}


def test_archives_are_not_made(ais: GoApi, shard: str) -> None:
    """`ais archive bucket|put`: 501, which the program shows and does not repeat."""
    message = {"action": "archive", "name": "", "value": {"objnames": ["shard.txt"], "archname": "new.tar"}}
    with pytest.raises(GoError) as raised:
        ais.call("POST", f"/v1/buckets/{shard}", {"provider": "ais"}, message=message)
    assert (raised.value.status, raised.value.code) == (501, "ErrUnsupp")
    query = {"provider": "ais", "archpath": "new.txt", "archmime": ".tar"}
    with pytest.raises(GoError) as raised:
        ais.call("PUT", f"/v1/objects/{shard}/shard.tar", query, upload=b"new")
    assert (raised.value.status, raised.value.code) == (501, "ErrUnsupp")
    assert get(ais, shard, "shard.tar") == tar(MEMBERS)
