"""Reading a gzip file from the middle gives what reading it from the beginning gives."""

import gzip
import io
import random
import zlib

import pytest

from target.archives import gunzip
from target.archives.gunzip import Gunzip, States


def _content(size: int) -> bytes:
    """Bytes of which some can be compressed."""
    spread = random.Random(size)
    return b"".join(spread.randbytes(spread.randrange(1, 400)) * spread.randrange(1, 30) for _ in range(size // 3000))


def _opened(packed: bytes, states: States, *, keeps: bool = False) -> Gunzip:
    return Gunzip(lambda offset, size: packed[offset : offset + size], states, keeps=keeps)


@pytest.mark.parametrize("members", [1, 5])
@pytest.mark.parametrize("most", [3, 1000])
def test_any_part_is_the_same(monkeypatch: pytest.MonkeyPatch, members: int, most: int) -> None:
    monkeypatch.setattr(gunzip, "_FIRST_SPACING_BYTES", 50_000)
    monkeypatch.setattr(gunzip, "_MAX_STATES", most)
    monkeypatch.setattr(gunzip, "_PACKED_PIECE_BYTES", 10_007)
    parts = [_content(400_000 + number) for number in range(members)]
    content = b"".join(parts)
    packed = b"".join(gzip.compress(part) + b"\0" * 7 for part in parts)
    states = States()
    assert io.BufferedReader(_opened(packed, states, keeps=True)).read() == content
    assert 0 < states.weight_bytes <= most * 42 * 1024
    spread = random.Random(7)
    file = _opened(packed, states)
    for _ in range(60):
        start, size = spread.randrange(len(content) + 10), spread.randrange(1, 100_000)
        file.seek(start)
        found = b""
        while len(found) < size and (piece := file.read(size - len(found))):
            found += piece
        assert found == content[start : start + size]


def test_a_state_saves_what_lies_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gunzip, "_FIRST_SPACING_BYTES", 100_000)
    content = _content(20_000_000)
    packed = gzip.compress(content, 1)
    states, read = States(), []
    io.BufferedReader(_opened(packed, states, keeps=True)).read()

    def counted(offset: int, size: int) -> bytes:
        read.append(len(packed[offset : offset + size]))
        return packed[offset : offset + size]

    file = Gunzip(counted, states)
    file.seek(len(content) - 1000)
    assert file.read(10) == content[-1000:-990]
    assert sum(read) < len(packed) / 5


@pytest.mark.parametrize(
    ("packed", "error"),
    [
        (b"", EOFError),
        (gzip.compress(b"x" * 1000)[:-1], EOFError),
        (b"no gzip", zlib.error),
        (gzip.compress(b"x") + b"more", zlib.error),
        (gzip.compress(b"x" * 1000)[:-8] + bytes(8), zlib.error),
    ],
    ids=["empty", "cut short", "something else", "more behind it", "of another size"],
)
def test_what_is_not_whole_is_told(packed: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        io.BufferedReader(_opened(packed, States())).read()
