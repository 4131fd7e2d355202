"""What heads say about the bytes that follow: validators, ranges, digests."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.expectation import HEX_LENGTHS
from target.transfer.request import ResponseHead
from target.transfer.verification import content_range, known_digests, strong_validator

BODY = b"what it is"
MD5, SHA = hashlib.md5(BODY).digest(), hashlib.sha256(BODY).digest()
OLD, NOW = "Wed, 01 Jan 2025 00:00:00 GMT", "Wed, 01 Jan 2025 00:00:59 GMT"
LATER = "Wed, 01 Jan 2025 00:01:00 GMT"


def head(status: int = 200, **headers: str) -> ResponseHead:
    return ResponseHead(status, None, {name.replace("_", "-"): value for name, value in headers.items()}, "http://x/")


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"etag": '"a"'}, '"a"'),
        ({"etag": 'W/"a"'}, ""),
        ({"etag": "bare"}, ""),
        ({"etag": '"'}, ""),
        ({"etag": 'W/"a"', "last_modified": OLD, "date": LATER}, ""),
        ({"last_modified": OLD, "date": LATER}, OLD),
        ({"last_modified": OLD, "date": NOW}, ""),
        ({"last_modified": OLD}, ""),
        ({"last_modified": "yesterday", "date": LATER}, ""),
        ({}, ""),
    ],
)
def test_strong_validators(headers: dict[str, str], validator: str) -> None:
    assert strong_validator(head(**headers)) == validator


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes 0-9/10", (0, 10, 10)),
        ("bytes 5-9/*", (5, 10, None)),
        (" Bytes 0-0/1 ", (0, 1, 1)),
        ("bytes 9-5/10", None),
        ("bytes 0-10/10", None),
        ("bytes */10", None),
        ("bytes 0-9", None),
        ("items 0-9/10", None),
        ("bytes 0-9/10, bytes 0-9/10", None),
        ("bytes -1-9/10", None),
        ("bytes \u0661-9/10", None),
        ("", None),
    ],
)
def test_content_ranges(value: str, expected: tuple[int, int, int | None] | None) -> None:
    assert content_range(value) == expected


@given(st.text(max_size=60))
def test_no_content_range_is_too_strange(value: str) -> None:
    told = content_range(value)
    assert told is None or 0 <= told[0] < told[1]


@pytest.mark.parametrize(
    ("headers", "digests"),
    [
        ({"x_goog_hash": f"crc32c={b64(bytes(4))}, md5={b64(MD5)}"}, {"crc32c": "00000000", "md5": MD5.hex()}),
        ({"x_goog_hash": f"md5={b64(MD5)}", "x_goog_stored_content_encoding": "gzip"}, {}),
        ({"x_amz_checksum_sha256": b64(SHA)}, {"sha256": SHA.hex()}),
        ({"x_amz_checksum_sha256": f"{b64(SHA)}-3"}, {}),
        ({"x_amz_checksum_sha256": b64(SHA), "x_amz_checksum_type": "COMPOSITE"}, {}),
        ({"x_amz_checksum_sha256": b64(SHA), "x_amz_checksum_type": "FULL_OBJECT"}, {"sha256": SHA.hex()}),
        ({"x_amz_checksum_sha256": b64(SHA), "etag": '"1-2"'}, {}),
        (
            {"x_amz_checksum_sha256": b64(SHA), "x_amz_checksum_type": "FULL_OBJECT", "etag": '"1-2"'},
            {"sha256": SHA.hex()},
        ),
        ({"x_amz_checksum_md5": b64(MD5)}, {"md5": MD5.hex()}),
        ({"x_amz_checksum_sha512": b64(SHA)}, {}),
        ({"repr_digest": f"sha-256=:{b64(SHA)}:, unknown=:AAAA:"}, {"sha256": SHA.hex()}),
        ({"digest": f"SHA-256={b64(SHA)},MD5={b64(MD5)}"}, {"sha256": SHA.hex(), "md5": MD5.hex()}),
        ({"content_md5": b64(MD5)}, {"md5": MD5.hex()}),
        ({"etag": f'"{MD5.hex()}"'}, {}),
        ({"etag": f'"{MD5.hex()}"', "x_amz_request_id": "1"}, {"md5": MD5.hex()}),
        ({"etag": f'"{MD5.hex()}-2"', "x_amz_request_id": "1"}, {}),
        ({"etag": f'"{MD5.hex()}"', "x_amz_request_id": "1", "x_amz_server_side_encryption": "aws:kms"}, {}),
        ({"content_md5": "garbage!"}, {}),
        ({"content_md5": b64(SHA)}, {}),
    ],
)
def test_digests_that_are_told(headers: dict[str, str], digests: dict[str, str]) -> None:
    assert known_digests(head(**headers)) == digests


def test_the_md5_of_a_part_is_not_that_of_the_object() -> None:
    assert known_digests(head(206, content_md5=b64(MD5))) == {}
    assert known_digests(head(206, x_amz_checksum_sha256=b64(SHA))) == {}


@given(
    st.dictionaries(
        st.sampled_from(["x-goog-hash", "digest", "repr-digest", "content-md5", "etag", "x-amz-checksum-sha256"]),
        st.text(max_size=80),
    )
)
def test_no_header_is_too_strange(headers: dict[str, str]) -> None:
    for algorithm, value in known_digests(ResponseHead(200, None, headers, "http://x/")).items():
        assert len(value) == HEX_LENGTHS[algorithm]
        bytes.fromhex(value)


def test_a_part_comes_with_the_digest_of_the_whole_only_where_it_is_called_so() -> None:
    headers = {"content-md5": b64(SHA[:16]), "x-ms-blob-content-md5": b64(MD5)}
    assert known_digests(ResponseHead(206, None, headers, "http://x/")) == {"md5": MD5.hex()}
