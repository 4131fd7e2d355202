"""Archives: their members read and listed."""

import io
import tarfile
import zipfile

import pytest
import requests
from aistore.sdk import ArchiveConfig
from aistore.sdk.archive_config import ArchiveMode
from aistore.sdk.errors import AISError

MEMBERS = {
    "img/one.jpg": b"one" * 100,
    "img/two.jpg": b"two" * 5000,
    "label/one.cls": b"1",
    "label/two.cls": b"2",
    "empty": b"",
}


def tar(mode):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:
        for name, content in MEMBERS.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


def zipped():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in MEMBERS.items():
            archive.writestr(name, content)
    return made.getvalue()


ARCHIVES = {"s/shard.tar": tar("w"), "s/shard.tgz": tar("w:gz"), "s/shard.tar.gz": tar("w:gz"), "s/shard.zip": zipped()}


@pytest.fixture(params=ARCHIVES)
def shard(request, bucket):
    obj = bucket.object(request.param)
    obj.get_writer().put_content(ARCHIVES[request.param])
    return obj


@pytest.mark.parametrize("member", MEMBERS)
def test_one_member(shard, member):
    reader = shard.get_reader(archive_config=ArchiveConfig(archpath=member))
    assert reader.read_all() == MEMBERS[member]


def test_a_member_from_the_target(shard):
    reader = shard.get_reader(archive_config=ArchiveConfig(archpath="img/two.jpg"), direct=True)
    assert b"".join(reader) == MEMBERS["img/two.jpg"]


def test_a_member_as_a_file(shard):
    with shard.get_reader(archive_config=ArchiveConfig(archpath="img/two.jpg")).as_file() as file:
        assert file.read() == MEMBERS["img/two.jpg"]


def test_a_member_that_is_not_there(shard):
    with pytest.raises(AISError) as raised:
        shard.get_reader(archive_config=ArchiveConfig(archpath="none")).read_all()
    assert raised.value.status_code == 404


@pytest.mark.parametrize(
    ("mode", "text", "expected"),
    [
        (ArchiveMode.PREFIX, "img/", {"img/one.jpg", "img/two.jpg"}),
        (ArchiveMode.SUFFIX, ".cls", {"label/one.cls", "label/two.cls"}),
        (ArchiveMode.SUBSTR, "one", {"img/one.jpg", "label/one.cls"}),
        (ArchiveMode.REGEXP, "^(empty|img/t.*)$", {"empty", "img/two.jpg"}),
        (ArchiveMode.WDSKEY, "img/one", {"img/one.jpg"}),
    ],
)
def test_many_members(shard, mode, text, expected):
    content = shard.get_reader(archive_config=ArchiveConfig(regex=text, mode=mode)).read_all()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = {info.name: archive.extractfile(info).read() for info in archive}
    assert members == {name: MEMBERS[name] for name in expected}


def test_by_url(shard):
    assert requests.get(shard.get_url(archpath="label/one.cls"), timeout=10).content == b"1"


def test_listed(bucket, shard):
    entries = bucket.list_archive(shard.name, props="name,size")
    assert {entry.name: entry.size for entry in entries} == {
        f"{shard.name}/{name}": len(content) for name, content in MEMBERS.items()
    }
    everything = bucket.list_archive(shard.name, include_archive_obj=True)
    assert len(everything) == len(MEMBERS) + 1
    assert everything[0].name == shard.name


def test_listed_in_pages(bucket, shard):
    entries = bucket.list_archive(shard.name, page_size=2)
    assert sorted(entry.name for entry in entries) == sorted(f"{shard.name}/{name}" for name in MEMBERS)


def test_what_is_no_archive(bucket):
    bucket.object("plain.tar").get_writer().put_content(b"this is no tar" * 100)
    with pytest.raises(AISError) as raised:
        bucket.object("plain.tar").get_reader(archive_config=ArchiveConfig(archpath="a")).read_all()
    assert raised.value.status_code < 500
