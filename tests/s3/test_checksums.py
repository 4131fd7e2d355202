"""Checksums of bodies: their values, however the bytes are cut, and what headers may say."""

from __future__ import annotations

import base64
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.s3.checksums import ALGORITHMS, Digests, decoded
from proxy.s3.crc64 import Crc64Nvme
from proxy.s3.errors import S3Error

CHECK = {
    "crc32": "cbf43926",
    "crc32c": "e3069283",
    "crc64nvme": "ae8b14860a799888",
    "md5": "25f9e794323b453885f5181f1b624d0b",
    "sha1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "sha512": "d9e6762dd1c8eaf6d61b3c6192fc408d4d6d5f1176d0c29169bc24e71c3f274a"
    "d27fcd5811b313d681f7e55ec02d73d499c95455b6b5bb503acf574fba8ffe85",
    "sha256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
}


def slow_crc64(data: bytes) -> bytes:
    state = (1 << 64) - 1
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x9A6C9329AC4BC9B5 if state & 1 else 0)
    return (state ^ (1 << 64) - 1).to_bytes(8, "big")


def test_every_algorithm_has_its_published_check_value() -> None:
    digests = Digests(["md5", *ALGORITHMS])
    digests.update(b"12345")
    digests.update(b"6789")
    assert {name: value.hex() for name, value in digests.values().items()} == CHECK


@given(st.lists(st.integers(0, 3000), max_size=6), st.integers(0, 1 << 32))
@settings(max_examples=30, deadline=None)
def test_crc64_is_right_however_it_is_fed(sizes: list[int], seed: int) -> None:
    pieces = [random.Random(seed + number).randbytes(size) for number, size in enumerate(sizes)]
    digest = Crc64Nvme()
    for piece in pieces:
        digest.update(piece)
        assert len(digest.digest()) == 8
    assert digest.digest() == slow_crc64(b"".join(pieces))


def test_crc64_of_more_than_a_block() -> None:
    data = random.Random(1).randbytes(300_007)
    digest = Crc64Nvme()
    for start in range(0, len(data), 65536):
        digest.update(data[start : start + 65536])
    assert digest.digest() == slow_crc64(data)


@pytest.mark.parametrize("text", ["", "x", "AAAA", "AAAAAA==AAAA", "ünï", base64.b64encode(bytes(5)).decode()])
def test_a_value_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(S3Error) as refused:
        decoded("crc32", text)
    assert refused.value.status == 400
