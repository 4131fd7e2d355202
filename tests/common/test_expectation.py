"""What a job may say of an object, and how it is told that it cannot be right."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidRequest
from common.expectation import HEX_LENGTHS, Expectation, parse_expectation

SHA = hashlib.sha256(b"x")


@pytest.mark.parametrize("text", [SHA.hexdigest(), SHA.hexdigest().upper(), base64.b64encode(SHA.digest()).decode()])
def test_digests_are_hex_or_base64(text: str) -> None:
    assert parse_expectation({"sha256": text}, "x") == Expectation(None, (("sha256", SHA.hexdigest()),))


@pytest.mark.parametrize(("size", "expected"), [(0, 0), ("12", 12), (2**62, 2**62)])
def test_sizes_are_numbers_or_text(size: object, expected: int) -> None:
    assert parse_expectation({"size": size}, "x") == Expectation(expected, ())


def test_an_id_of_git_needs_the_size() -> None:
    given = {"gitsha1": hashlib.sha1(b"blob 1\0x").hexdigest()}
    assert parse_expectation({"size": 1, **given}, "x") == Expectation(1, tuple(given.items()))
    with pytest.raises(InvalidRequest, match="object \"a\": 'gitsha1' needs the 'size'"):
        parse_expectation(given, 'object "a"')


@pytest.mark.parametrize("fields", [{}, {"size": None}, {"size": "", "md5": ""}, {"link": "y"}])
def test_nothing_is_nothing(fields: dict[str, object]) -> None:
    assert parse_expectation(fields, "x") is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", -1),
        ("size", 1.5),
        ("size", True),
        ("size", "1e3"),
        ("size", 2**63),
        ("size", "9" * 30),
        ("md5", "abc"),
        ("md5", 5),
        ("sha256", "z" * 64),
        ("crc32c", "AAAA"),
        ("sha512", SHA.hexdigest()),
    ],
)
def test_errors_name_object_and_field(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_expectation({field: value}, 'object "a"')
    assert 'object "a"' in caught.value.message
    assert f"'{field}'" in caught.value.message


@given(st.dictionaries(st.sampled_from(["size", *HEX_LENGTHS]), st.text(max_size=140) | st.integers() | st.none()))
def test_nothing_is_too_strange(fields: dict[str, object]) -> None:
    try:
        expected = parse_expectation(fields, "x")
    except InvalidRequest:
        return
    for algorithm, digest in expected.digests if expected else ():
        assert len(bytes.fromhex(digest)) * 2 == HEX_LENGTHS[algorithm]
