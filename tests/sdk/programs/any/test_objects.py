"""Objects: put, read in every way, described, copied, removed."""

import io

import pytest
import requests
from aistore.sdk import BlobDownloadConfig
from aistore.sdk.errors import AISError, ErrBckNotFound, ErrObjNotFound
from requests.exceptions import ChunkedEncodingError

CONTENT = bytes(range(256)) * 1200
ODD_NAMES = [
    "with space",
    "a/b//c".replace("//", "/"),
    "prozent%41",
    "frage?zeichen#raute",
    "ümläut",
    "plus+eq=&",
    "~x",
]


@pytest.fixture
def stored(bucket):
    """An object of 307,200 bytes."""
    obj = bucket.object("stored.bin")
    obj.get_writer().put_content(CONTENT)
    return obj


def test_put_content_and_read(stored):
    assert stored.get_reader().read_all() == CONTENT


def test_put_nothing(bucket):
    bucket.object("empty").get_writer().put_content(b"")
    assert bucket.object("empty").get_reader().read_all() == b""
    assert bucket.object("empty").props.size == 0


def test_put_a_file(bucket, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(CONTENT)
    bucket.object("file").get_writer().put_file(file)
    assert bucket.object("file").get_reader().read_all() == CONTENT


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names(bucket, name):
    bucket.object(name).get_writer().put_content(name.encode())
    assert bucket.object(name).get_reader().read_all() == name.encode()
    assert bucket.object(name).get_reader(direct=True).read_all() == name.encode()
    assert [entry.name for entry in bucket.list_all_objects()] == [name]
    assert bucket.object(name).props.size == len(name.encode())
    bucket.object(name).delete()
    assert bucket.list_all_objects() == []


@pytest.mark.parametrize("name", ["../up", "ends/"])
def test_names_that_cannot_be(bucket, name):
    with pytest.raises((AISError, requests.HTTPError)):
        bucket.object(name).get_writer().put_content(b"x")


def test_put_into_a_missing_bucket(client, new_name):
    with pytest.raises(ErrBckNotFound):
        client.bucket(new_name()).object("a").get_writer().put_content(b"x")


def test_get_what_is_missing(bucket):
    with pytest.raises(ErrObjNotFound):
        bucket.object("missing").get_reader().read_all()
    with pytest.raises(ErrObjNotFound):
        bucket.object("missing").get_reader(direct=True).read_all()
    with pytest.raises(ErrObjNotFound):
        bucket.object("missing").delete()


@pytest.mark.parametrize(
    ("byte_range", "expected"),
    [
        ("bytes=0-0", CONTENT[:1]),
        ("bytes=10-99", CONTENT[10:100]),
        ("bytes=307100-", CONTENT[307100:]),
        ("bytes=-7", CONTENT[-7:]),
        ("bytes=307199-999999", CONTENT[-1:]),
    ],
)
def test_byte_ranges(stored, byte_range, expected):
    assert stored.get_reader(byte_range=byte_range).read_all() == expected
    assert stored.get_reader(byte_range=byte_range, direct=True).read_all() == expected


def test_a_range_behind_the_end(stored):
    with pytest.raises(AISError) as raised:
        stored.get_reader(byte_range="bytes=400000-").read_all()
    assert raised.value.status_code == 416


def test_chunks(stored):
    chunks = list(stored.get_reader(chunk_size=100_000))
    assert [len(chunk) for chunk in chunks] == [100_000, 100_000, 100_000, 7_200]
    assert b"".join(chunks) == CONTENT


def test_into_a_writer(stored):
    into = io.BytesIO()
    stored.get_reader(writer=into)
    assert into.getvalue() == CONTENT


def test_raw(stored):
    assert stored.get_reader().raw().read() == CONTENT


def test_from_the_target(stored):
    reader = stored.get_reader(direct=True)
    assert reader.read_all() == CONTENT
    assert reader.attributes.size == len(CONTENT)


def test_latest(stored):
    assert stored.get_reader(latest=True).read_all() == CONTENT


def test_many_workers(stored):
    with stored.get_reader(num_workers=3, chunk_size=50_000).read_all() as content:
        assert content.tobytes() == CONTENT
    assert b"".join(stored.get_reader(num_workers=2, chunk_size=70_000)) == CONTENT


def test_many_workers_choose_their_chunks(stored):
    with stored.get_reader(num_workers=2).read_all() as content:
        assert content.tobytes() == CONTENT


def test_many_workers_and_something_missing(bucket):
    with pytest.raises((AISError, requests.HTTPError)) as raised:
        bucket.object("missing").get_reader(num_workers=2).read_all()
    assert "404" in str(raised.value)


def test_read_as_a_file(stored):
    with stored.get_reader().as_file() as file:
        assert file.read(10) == CONTENT[:10]
        assert file.read(0) == b""
        assert file.read() == CONTENT[10:]


def test_reading_is_resumed_where_it_broke(stored, monkeypatch):
    stream, breaks, ranges = requests.Response.iter_content, [60_000, 100_000], []

    def breaking(response, chunk_size=1, decode_unicode=False):
        if response.request.method != "GET" or response.status_code not in {200, 206}:
            yield from stream(response, chunk_size, decode_unicode)
            return
        ranges.append(response.request.headers.get("Range"))
        left = breaks.pop(0) if breaks else len(CONTENT)
        for chunk in stream(response, chunk_size, decode_unicode):
            if left <= 0:
                raise ChunkedEncodingError("the line is cut")
            yield chunk
            left -= len(chunk)

    monkeypatch.setattr(requests.Response, "iter_content", breaking)
    with stored.get_reader(chunk_size=10_000).as_file(max_resume=3) as file:
        assert file.read() == CONTENT
    assert ranges == [None, "bytes=60000-", "bytes=160000-"]


def test_attributes_of_a_reader(stored):
    reader = stored.get_reader()
    assert reader.attributes.size == len(CONTENT)
    assert reader.head().checksum_type in {"xxhash", "xxhash2"}
    reader.read_all()
    assert reader.attributes.obj_version == "1"


def test_props(stored):
    props = stored.props
    assert (props.size, props.obj_version, props.mirror_copies) == (len(CONTENT), "1", 1)
    assert props.checksum_value
    assert int(props.access_time) > 0
    assert props.location.startswith("t[")
    assert (props.name, props.bucket_name, props.bucket_provider) == ("stored.bin", stored.bucket_name, "ais")


def test_versions_count(stored):
    stored.get_writer().put_content(b"other")
    assert stored.props.obj_version == "2"


def test_props_of_what_is_missing(bucket):
    with pytest.raises((AISError, requests.HTTPError)) as raised:
        _ = bucket.object("missing").props
    assert "404" in str(raised.value)


def test_custom_properties(stored):
    stored.get_writer().set_custom_props({"colour": "blue", "shape": "round"})
    assert stored.props.custom_metadata == {"colour": "blue", "shape": "round"}
    stored.get_writer().set_custom_props({"colour": "red"})
    assert stored.props.custom_metadata == {"colour": "red", "shape": "round"}
    stored.get_writer().set_custom_props({"size": "large"}, replace_existing=True)
    assert stored.props.custom_metadata == {"size": "large"}
    assert stored.get_reader().read_all() == CONTENT


def test_custom_properties_of_what_is_missing(bucket):
    with pytest.raises((AISError, requests.HTTPError)) as raised:
        bucket.object("missing").get_writer().set_custom_props({"a": "b"})
    assert "404" in str(raised.value)


def test_append(bucket):
    writer = bucket.object("log").get_writer()
    handle = writer.append_content(b"one ")
    handle = writer.append_content(b"two ", handle=handle)
    with pytest.raises(ErrObjNotFound):
        bucket.object("log").get_reader().read_all()
    writer.append_content(b"", handle=handle, flush=True)
    assert bucket.object("log").get_reader().read_all() == b"one two "


def test_write_as_a_file(bucket):
    with bucket.object("file").get_writer().as_file(mode="w") as file:
        assert file.write(b"hello ") == 6
        file.write(b"world")
    assert bucket.object("file").get_reader().read_all() == b"hello world"
    with bucket.object("file").get_writer().as_file(mode="a") as file:
        file.write(b", again")
    assert bucket.object("file").get_reader().read_all() == b"hello world, again"


def test_delete(stored):
    stored.delete()
    with pytest.raises(ErrObjNotFound):
        stored.get_reader().read_all()


def test_copy(client, stored, new_name):
    stored.get_writer().set_custom_props({"colour": "blue"})
    to = client.bucket(new_name()).create().object("copied/to")
    stored.copy(to)
    assert to.get_reader().read_all() == CONTENT
    assert to.props.custom_metadata == {"colour": "blue"}
    assert stored.get_reader().read_all() == CONTENT


def test_copy_of_what_is_missing(bucket):
    with pytest.raises(AISError):
        bucket.object("missing").copy(bucket.object("to"))
    assert bucket.list_all_objects() == []


def test_multipart_upload(bucket):
    obj = bucket.object("parts")
    upload = obj.multipart_upload().create()
    for number, content in ((2, b"second " * 1000), (1, b"first " * 1000)):
        upload.add_part(number).put_content(content)
    upload.parts.sort()
    upload.complete()
    assert obj.get_reader().read_all() == b"first " * 1000 + b"second " * 1000


def test_aborted_multipart_upload(bucket):
    upload = bucket.object("parts").multipart_upload().create()
    upload.add_part(1).put_content(b"first")
    upload.abort()
    with pytest.raises(AISError):
        upload.complete()
    assert bucket.list_all_objects() == []


def test_blob_download_is_for_buckets_elsewhere(stored):
    with pytest.raises(AISError) as raised:
        stored.blob_download()
    assert raised.value.status_code == 501
    with pytest.raises(AISError) as raised:
        stored.get_reader(blob_download_config=BlobDownloadConfig(chunk_size="1MiB", num_workers="2")).read_all()
    assert raised.value.status_code == 400


def test_by_url(client, stored):
    obj = client.get_object_from_url(stored.get_semantic_url())
    assert obj.get_reader().read_all() == CONTENT
    assert requests.get(stored.get_url(), timeout=10).content == CONTENT


def test_of_a_service(remote):
    obj = remote.object("r-5")
    assert obj.get_reader().read_all() == b"remote 5"
    assert obj.get_reader(byte_range="bytes=0-5").read_all() == b"remote"
    assert obj.get_reader(direct=True).read_all() == b"remote 5"


def test_nothing_is_written_to_a_service(remote):
    with pytest.raises(AISError) as raised:
        remote.object("written").get_writer().put_content(b"there")
    assert raised.value.status_code == 501
    with pytest.raises(AISError) as raised:
        remote.object("r-5").delete()
    assert raised.value.status_code == 501
