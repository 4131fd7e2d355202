"""CRC-64/NVME, which the AWS command line protects its uploads with: many lanes at once by numpy; pure.

A CRC is linear: lanes are computed side by side from nothing, then each pair is joined by what as many zero bytes as
the second has would make of the first.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

_Words = NDArray[np.uint64]
_POLYNOMIAL: Final = 0x9A6C9329AC4BC9B5
_ONES: Final = 0xFFFF_FFFF_FFFF_FFFF
_LANE_BYTES: Final = 128
_BLOCK_BYTES: Final = 256 * 1024
"""So much is gathered first: the more lanes, the less each costs."""
_BYTE: Final = np.uint64(0xFF)
_SHIFTS: Final = tuple(np.uint64(8 * number) for number in range(8))


class Crc64Nvme:
    """Hashes as hashlib's objects do."""

    def __init__(self) -> None:
        self._state = _ONES
        self._waiting = bytearray()

    def update(self, data: bytes, /) -> None:
        """Take in more."""
        self._waiting += data
        if len(self._waiting) >= _BLOCK_BYTES:
            self._take()

    def digest(self) -> bytes:
        """The checksum of all so far, big-endian."""
        self._take()
        state, bytewise = self._state, _zeros(8)[7]
        for byte in self._waiting:
            state = int(bytewise[(state ^ byte) & 0xFF]) ^ state >> 8
        return (state ^ _ONES).to_bytes(8, "big")

    def _take(self) -> None:
        """All that fills lanes; their number is a power of two at a time."""
        data = bytes(self._waiting)
        position = 0
        while (lanes := (len(data) - position) // _LANE_BYTES) > 0:
            lanes = 1 << lanes.bit_length() - 1
            block = np.frombuffer(data, "<u8", lanes * _LANE_BYTES // 8, position)
            self._state = _crc_of(block.reshape(lanes, -1), self._state)
            position += lanes * _LANE_BYTES
        self._waiting = bytearray(data[position:])


def _crc_of(block: _Words, state: int) -> int:
    """One row a lane."""
    states = np.zeros(len(block), np.uint64)
    states[0] = state
    for column in np.ascontiguousarray(block.T):
        states = _apply(_zeros(8), states ^ column)
    joined_bytes = _LANE_BYTES
    while len(states) > 1:
        states = _apply(_zeros(joined_bytes), states[0::2]) ^ states[1::2]
        joined_bytes *= 2
    return int(states[0])


def _apply(operator: _Words, states: _Words) -> _Words:
    """What a linear operator, given by what it makes of each byte at each place, makes of states."""
    result: _Words = operator[0][states & _BYTE]
    for place in range(1, 8):
        result = result ^ operator[place][states >> _SHIFTS[place] & _BYTE]
    return result


@lru_cache(maxsize=64)
def _zeros(size_bytes: int) -> _Words:
    """The operator of so many zero bytes, a power of two from 8; its last row is the usual table of one byte."""
    if size_bytes > 8:
        half = _zeros(size_bytes // 2)
        return _apply(half, half.reshape(-1)).reshape(8, 256)
    rows = np.zeros((8, 256), np.uint64)
    values = np.arange(256, dtype=np.uint64)
    for _ in range(8):
        halved = values >> np.uint64(1)
        values = np.where(values & np.uint64(1), halved ^ np.uint64(_POLYNOMIAL), halved)
    rows[7] = values
    for place in range(6, -1, -1):
        rows[place] = rows[7][rows[place + 1] & _BYTE] ^ rows[place + 1] >> _SHIFTS[1]
    return rows
