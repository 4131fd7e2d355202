"""`ais put` of large files and of standard input, `ais object concat|mv|set-custom`: requests in their order.

Sources: wire.md §3.1 (appending), §3.4 (new names, custom metadata), §3.6 (uploads in parts).
"""

from __future__ import annotations

import hashlib

import pytest
import xxhash

from tests.ais.goapi import GoApi, GoError

PART_BYTES = 300_000


def append(ais: GoApi, bucket: str, name: str, handle: str, piece: bytes) -> str:
    """`AppendObject`: returns the handle for the next one."""
    query = {"provider": "ais", "append_type": "append", "append_handle": handle}
    return ais.call("PUT", f"/v1/objects/{bucket}/{name}", query, upload=piece).header("Ais-Append-Handle")


def flush(ais: GoApi, bucket: str, name: str, handle: str, **headers: str) -> None:
    """`FlushObject`: there is no body."""
    query = {"provider": "ais", "append_type": "flush", "append_handle": handle}
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    ais.call("PUT", f"/v1/objects/{bucket}/{name}", query, headers=named)


def post(ais: GoApi, path: str, message: object, **query: str) -> str:
    return ais.call("POST", path, {"provider": "ais", **query}, message=message).body.decode()


def test_put_in_parts(ais: GoApi, bucket: str) -> None:
    data = bytes(range(256)) * 4096
    path = f"/v1/objects/{bucket}/large.bin"
    upload_id = post(ais, path, {"action": "mpt-upload", "name": "", "value": None})
    assert upload_id
    parts = []
    for number, at in enumerate(range(0, len(data), PART_BYTES), 1):
        query = {"provider": "ais", "uploadId": upload_id, "partNumber": str(number)}
        part = data[at : at + PART_BYTES]
        headers = {"Content-Length": str(len(part))}
        answer = ais.call("PUT", path, query, headers=headers, upload=part)
        assert answer.header("ETag").strip('"') == hashlib.md5(part).hexdigest()
        parts.append({"part-number": number, "etag": ""})
    assert ais.names(bucket) == [], "nothing is there before it is whole"
    post(ais, path, {"action": "mpt-complete", "name": "", "value": parts}, uploadId=upload_id)
    assert ais.get_object(bucket, "large.bin").body == data


def test_put_in_parts_that_is_given_up(ais: GoApi, bucket: str) -> None:
    path = f"/v1/objects/{bucket}/large.bin"
    upload_id = post(ais, path, {"action": "mpt-upload", "name": "", "value": None})
    query = {"provider": "ais", "uploadId": upload_id, "partNumber": "1"}
    ais.call("PUT", path, query, headers={"Content-Length": "4"}, upload=b"part")
    query = {"provider": "ais", "uploadId": upload_id}
    ais.call("DELETE", path, query, message={"action": "mpt-abort", "name": "", "value": None})
    value = [{"part-number": 1, "etag": ""}]
    with pytest.raises(GoError) as raised:
        post(ais, path, {"action": "mpt-complete", "name": "", "value": value}, uploadId=upload_id)
    assert raised.value.status == 404
    assert ais.names(bucket) == []


def test_put_from_standard_input(ais: GoApi, bucket: str) -> None:
    pieces = [b"first " * 20_000, b"second ", b"third"]
    handle = ""
    for piece in pieces:
        handle = append(ais, bucket, "stream", handle, piece)
        assert handle
    assert ais.names(bucket) == []
    checksum = xxhash.xxh64_hexdigest(b"".join(pieces), seed=0)
    flush(ais, bucket, "stream", handle, Ais_Checksum_Type="xxhash2", Ais_Checksum_Value=checksum)
    answer = ais.get_object(bucket, "stream")
    assert (answer.body, answer.header("Ais-Checksum-Value")) == (b"".join(pieces), checksum)


def test_concat(ais: GoApi, bucket: str) -> None:
    """One append for each file, and one flush."""
    handle = ""
    for content in (b"one\n", b"", b"two\n"):
        handle = append(ais, bucket, "all", handle, content)
    flush(ais, bucket, "all", handle)
    assert ais.get_object(bucket, "all").body == b"one\ntwo\n"


def test_object_mv(ais: GoApi, bucket: str) -> None:
    ais.put_object(bucket, "old", b"the same")
    message = {"action": "rename-obj", "name": "dir/new", "value": None}
    assert post(ais, f"/v1/objects/{bucket}/old", message) == ""
    assert ais.names(bucket) == ["dir/new"]
    assert ais.get_object(bucket, "dir/new").body == b"the same"
    with pytest.raises(GoError) as raised:
        post(ais, f"/v1/objects/{bucket}/old", message)
    assert (raised.value.status, raised.value.code) == (404, "ErrNotFound")


def test_set_custom(ais: GoApi, bucket: str) -> None:
    ais.put_object(bucket, "o", b"x")
    path, query = f"/v1/objects/{bucket}/o", {"provider": "ais"}
    ais.call("PATCH", path, query, message={"action": "", "name": "", "value": {"color": "red"}})
    ais.call("PATCH", path, query, message={"action": "", "name": "", "value": {"size": "XL"}})
    answer = ais.call("HEAD", path, {**query, "presence": "2", "props": "custom"})
    assert set(answer.headers.get_all("Ais-Custom-Md", [])) == {"color=red", "size=XL"}
    value = {"color": "blue"}
    ais.call("PATCH", path, {**query, "set-new-custom": "true"}, message={"action": "", "name": "", "value": value})
    answer = ais.call("HEAD", path, {**query, "presence": "2", "props": "custom"})
    assert answer.headers.get_all("Ais-Custom-Md", []) == ["color=blue"]


@pytest.mark.parametrize(("action", "instead"), [("promote", "put them"), ("blob-download", "prefetch")])
def test_what_reads_elsewhere_is_not_offered(ais: GoApi, bucket: str, action: str, instead: str) -> None:
    """`ais object promote`, `ais blob-download`: an error that is not repeated, and says what to do instead."""
    with pytest.raises(GoError) as raised:
        post(ais, f"/v1/objects/{bucket}", {"action": action, "name": "/etc/hosts", "value": {}})
    assert (raised.value.status, raised.value.code) == (501, "ErrUnsupp")
    assert instead in raised.value.message
