"""Batches: many objects, members and ranges in one request, streamed or with what is known of each."""

import io
import tarfile

import pytest
from aistore.sdk.errors import AISError, ErrBckNotFound

NAMES = [f"dir/{number:03}.txt" for number in range(50)]


def content(name):
    return name.encode() * 200


@pytest.fixture
def full(bucket):
    for name in NAMES:
        bucket.object(name).get_writer().put_content(content(name))
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        info = tarfile.TarInfo("a/member.bin")
        info.size = 1000
        archive.addfile(info, io.BytesIO(b"m" * 1000))
    bucket.object("shard.tar").get_writer().put_content(made.getvalue())
    return bucket


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("form", [".tar", ".tgz", ".tar.gz", ".zip"])
def test_in_every_form(client, full, form, streaming):
    names = NAMES[::-1][:20]
    batch = client.batch(names, bucket=full, output_format=form, streaming_get=streaming)
    assert [(info.obj_name, data) for info, data in batch.get()] == [(name, content(name)) for name in names]


@pytest.mark.parametrize("streaming", [True, False])
def test_the_order_is_kept(client, full, streaming):
    names = [NAMES[7], NAMES[3], NAMES[7], NAMES[0], NAMES[49]]
    batch = client.batch([full.object(name) for name in names], streaming_get=streaming)
    assert [data for _, data in batch.get()] == [content(name) for name in names]


@pytest.mark.parametrize("streaming", [True, False])
def test_members_ranges_and_marks(client, full, streaming):
    batch = client.batch(bucket=full, streaming_get=streaming)
    batch.add(NAMES[1], opaque=b"mark-1")
    batch.add("shard.tar", archpath="a/member.bin")
    got = list(batch.get())
    assert [data for _, data in got] == [content(NAMES[1]), b"m" * 1000]
    if not streaming:  # SDK 1 knows a streamed one's mark no more
        assert got[0][0].opaque == b"mark-1"
    assert (got[1][0].obj_name, got[1][0].archpath) == ("shard.tar", "a/member.bin")


def test_what_is_known_of_each(client, full):
    batch = client.batch([NAMES[0]], bucket=full, streaming_get=False)
    ((info, data),) = batch.get()
    assert (info.size, info.bucket, info.provider, info.err_msg) == (len(data), full.name, "ais", None)


@pytest.mark.parametrize("streaming", [True, False])
def test_what_is_missing(client, full, streaming):
    batch = client.batch([NAMES[0], "missing", NAMES[2]], bucket=full, streaming_get=streaming)
    got = list(batch.get())
    assert [data for _, data in got] == [content(NAMES[0]), b"", content(NAMES[2])]
    if not streaming:
        assert got[1][0].err_msg


def test_missing_and_it_matters(client, full):
    batch = client.batch([NAMES[0], "missing"], bucket=full, streaming_get=False, cont_on_err=False)
    with pytest.raises(AISError) as raised:
        list(batch.get())
    assert raised.value.status_code == 404


def test_names_in_the_archive(client, full):
    def names(**options):
        batch = client.batch([NAMES[0], "missing"], bucket=full, **options)
        with tarfile.open(fileobj=io.BytesIO(batch.get(raw=True).read())) as archive:
            return archive.getnames()

    assert names() == [f"{full.name}/{NAMES[0]}", f"__404__/{full.name}/missing"]
    assert names(only_obj_name=True) == [NAMES[0], "__404__/missing"]


def test_several_buckets(client, full, new_name):
    other = client.bucket(new_name()).create()
    other.object("x").get_writer().put_content(b"other x")
    batch = client.batch([full.object(NAMES[0]), other.object("x")])
    assert [data for _, data in batch.get()] == [content(NAMES[0]), b"other x"]


def test_decoded_as_a_stream(client, full):
    batch = client.batch(NAMES[:5], bucket=full, streaming_get=False)
    assert [data for _, data in batch.get(decode_as_stream=True)] == [content(name) for name in NAMES[:5]]


@pytest.mark.parametrize("streaming", [True, False])
def test_a_bucket_that_is_not_there(client, full, new_name, streaming):
    missing = client.bucket(new_name())
    with pytest.raises(ErrBckNotFound):
        list(client.batch([NAMES[0]], bucket=missing, streaming_get=streaming).get())
    with pytest.raises(ErrBckNotFound):
        list(client.batch([full.object(NAMES[0]), missing.object("a")], streaming_get=streaming).get())
