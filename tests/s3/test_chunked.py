"""aws-chunked bodies: AWS's published examples, any cutting of them, and whatever is malformed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.s3.chunked import ChunkDecoder
from proxy.s3.errors import S3Error
from proxy.s3.signature import Signed, signing_key

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SCOPE = "20130524/us-east-1/s3/aws4_request"
KEY = signing_key(SECRET, "20130524", "us-east-1", "s3")
SEED = Signed(
    "AKIAIOSFODNN7EXAMPLE",
    "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    "20130524T000000Z",
    SCOPE,
    KEY,
)
SEED_WITH_TRAILER = replace(SEED, signature="106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e")
SIGNED = (
    b"10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n"
    + b"a" * 65536
    + b"\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n"
    + b"a" * 1024
    + b"\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"
)
WITH_TRAILER = (
    b"10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n"
    + b"a" * 65536
    + b"\r\n400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n"
    + b"a" * 1024
    + b"\r\n0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n"
    + b"x-amz-checksum-crc32c:sOO8/Q==\r\n"
    + b"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
)
UNSIGNED = b"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n"


def decode(decoder: ChunkDecoder, body: bytes, cut_bytes: int = 1 << 20) -> bytes:
    data = b""
    for start in range(0, len(body), cut_bytes):
        data += b"".join(decoder.feed(body[start : start + cut_bytes]))
    decoder.end()
    return data


@pytest.mark.parametrize("cut_bytes", [1 << 20, 8192, 1021])
def test_aws_examples_decode(cut_bytes: int) -> None:
    assert decode(ChunkDecoder(SEED), SIGNED, cut_bytes) == b"a" * 66560
    decoder = ChunkDecoder(SEED_WITH_TRAILER, has_trailers=True)
    assert decode(decoder, WITH_TRAILER, cut_bytes) == b"a" * 66560
    assert decoder.trailers == {"x-amz-checksum-crc32c": "sOO8/Q=="}


@given(st.integers(1, 70))
def test_pieces_may_be_cut_anywhere(cut_bytes: int) -> None:
    decoder = ChunkDecoder(has_trailers=True)
    assert decode(decoder, UNSIGNED, cut_bytes) == b"hello world"
    assert decoder.trailers == {"x-amz-checksum-crc32": "DUoRhQ=="}


def test_the_last_empty_line_may_be_missing() -> None:
    assert decode(ChunkDecoder(), b"2\r\nok\r\n0\r\n") == b"ok"
    assert decode(ChunkDecoder(has_trailers=True), UNSIGNED[:-2]) == b"hello world"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"a\r\n400", b"b\r\n400"),
        (b"ad80c730", b"ad80c731"),
        (b"0055627c", b"1055627c"),
        (b"b6c6ea8a", b"c6c6ea8a"),
    ],
)
def test_a_chunk_that_is_not_what_was_signed_is_refused(old: bytes, new: bytes) -> None:
    with pytest.raises(S3Error) as refused:
        decode(ChunkDecoder(SEED), SIGNED.replace(old, new, 1))
    assert refused.value.code == "SignatureDoesNotMatch"


@pytest.mark.parametrize(("old", "new"), [(b"sOO8/Q==", b"sOO8/Q=A"), (b"d81f82fc", b"e81f82fc")])
def test_trailers_that_are_not_what_was_signed_are_refused(old: bytes, new: bytes) -> None:
    with pytest.raises(S3Error) as refused:
        decode(ChunkDecoder(SEED_WITH_TRAILER, has_trailers=True), WITH_TRAILER.replace(old, new, 1))
    assert refused.value.code == "SignatureDoesNotMatch"


def test_signed_chunks_cannot_be_left_out_or_unsigned() -> None:
    first_end = SIGNED.index(b"\r\n400;") + 2
    for body, code in [
        (SIGNED[first_end:], "SignatureDoesNotMatch"),
        (b"1\r\na\r\n0\r\n\r\n", "AccessDenied"),
        (SIGNED[:first_end], "IncompleteBody"),
    ]:
        with pytest.raises(S3Error) as refused:
            decode(ChunkDecoder(SEED), body)
        assert refused.value.code == code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "IncompleteBody"),
        (b"5\r\nhel", "IncompleteBody"),
        (b"5\r\nhello\r\n", "IncompleteBody"),
        (b"5\r\nhello\r\n0\r\n", "IncompleteBody"),
        (b"x\r\n", "InvalidRequest"),
        (b"-5\r\nhello\r\n", "InvalidRequest"),
        (b"5\nhello\r\n", "InvalidRequest"),
        (b"5 \r\nhello\r\n", "InvalidRequest"),
        (b"4\r\nhello\r\n", "InvalidRequest"),
        (b"ffffffffffffffffffff\r\n", "InvalidRequest"),
        (b"1" * 5000, "InvalidRequest"),
        (b"0\r\nno colon\r\n\r\n", "MalformedTrailerError"),
        (b"0\r\n" + b"a:b\r\n" * 17 + b"\r\n", "MalformedTrailerError"),
        (UNSIGNED + b"x", "IncompleteBody"),
    ],
)
def test_malformed_bodies_are_refused(body: bytes, code: str) -> None:
    with pytest.raises(S3Error) as refused:
        decode(ChunkDecoder(has_trailers=True), body)
    assert refused.value.code == code


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_no_bytes_are_taken_for_anything_else_than_an_error(body: bytes) -> None:
    data, status = b"", 0
    try:
        data = decode(ChunkDecoder(), body)
    except S3Error as error:
        status = error.status
    assert 400 <= status < 500 or len(data) < len(body)
