"""Batches of parts of objects, and of few targets."""

from aistore.sdk.enums import Colocation


def test_ranges(client, bucket):
    bucket.object("a").get_writer().put_content(bytes(range(256)))
    batch = client.batch(bucket=bucket, streaming_get=False)
    batch.add("a", start=10, length=5).add("a", start=250, length=-1).add("a", length=3)
    got = list(batch.get())
    assert [data for _, data in got] == [bytes(range(10, 15)), bytes(range(250, 256)), bytes(range(3))]
    assert [info.size for info, _ in got] == [5, 6, 3]


def test_few_targets(client, bucket):
    bucket.object("a").get_writer().put_content(b"content")
    batch = client.batch(["a"], bucket=bucket, colocation=Colocation.TARGET_AWARE)
    assert [data for _, data in batch.get()] == [b"content"]
