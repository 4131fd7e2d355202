"""A gzip file that can be read from the middle: while it is read once, states of the decompressor are kept on the way.

A state is some 40 KiB, so their number is bounded: the longer the file, the farther they are apart. They are never
changed, so any thread may go on from a copy.
"""

from __future__ import annotations

import io
import os
import zlib
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zlib import _Decompress as Inflating

_FIRST_SPACING_BYTES = 4 << 20
_MAX_STATES = 128
_STATE_BYTES = 42 * 1024
_PACKED_PIECE_BYTES = 128 * 1024
_PIECE_BYTES = 256 * 1024
_GZIP = zlib.MAX_WBITS | 16


@dataclass(frozen=True, slots=True)
class _State:
    """A decompressor, how much it has given, and how much of the file it has taken."""

    position: int
    packed_position: int
    inflating: Inflating


class States:
    """The kept states of one file, by their position."""

    def __init__(self) -> None:
        self._states: list[_State] = []
        self._spacing_bytes = _FIRST_SPACING_BYTES

    @property
    def weight_bytes(self) -> int:
        """About what they take in memory."""
        return len(self._states) * _STATE_BYTES

    def wants(self, position: int) -> bool:
        """Whether a state at this position would be kept."""
        return position >= (self._states[-1].position if self._states else 0) + self._spacing_bytes

    def add(self, state: _State) -> None:
        self._states.append(state)
        if len(self._states) > _MAX_STATES:
            self._states = self._states[1::2]
            self._spacing_bytes *= 2

    def before(self, position: int) -> _State | None:
        """The last state that is not beyond a position."""
        found = bisect_right(self._states, position, key=lambda state: state.position)
        return self._states[found - 1] if found else None


class Gunzip(io.RawIOBase):
    """What a gzip file expands to; raises zlib.error and EOFError on what is none, or not whole."""

    def __init__(self, read: Callable[[int, int], bytes], states: States, *, keeps: bool = False) -> None:
        """`read(offset, size)` gives packed bytes, none at the end. With `keeps` states are added on the way."""
        self._read_packed = read
        self._states = states
        self._keeps = keeps
        self._wanted = 0
        self._position = self._packed_position = 0
        self._waiting = b""
        self._inflating: Inflating = zlib.decompressobj(_GZIP)
        self._has_ended = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._wanted

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            raise io.UnsupportedOperation("the end is not known")
        self._wanted = offset + (self._wanted if whence == os.SEEK_CUR else 0)
        return self._wanted

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if not len(buffer):
            return 0
        self._go_to(self._wanted)
        data = self._piece(len(buffer))
        buffer[: len(data)] = data
        self._wanted += len(data)
        return len(data)

    def _go_to(self, position: int) -> None:
        state = self._states.before(position)
        if position < self._position or (state is not None and state.position > self._position):
            self._resume(state)
        while self._position < position and self._piece(min(_PIECE_BYTES, position - self._position)):
            pass

    def _resume(self, state: _State | None) -> None:
        self._has_ended = False
        self._waiting = b""
        if state is None:
            self._position = self._packed_position = 0
            self._inflating = zlib.decompressobj(_GZIP)
        else:
            self._position, self._packed_position = state.position, state.packed_position
            self._inflating = state.inflating.copy()

    def _piece(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end."""
        while not self._has_ended:
            if self._inflating.eof and not self._next_member():
                break
            if not self._waiting:
                self._waiting = self._read_packed(self._packed_position, _PACKED_PIECE_BYTES)
                self._packed_position += len(self._waiting)
            is_at_end = not self._waiting
            data = self._inflating.decompress(self._waiting, size)
            self._waiting = self._inflating.unconsumed_tail
            if data:
                self._position += len(data)
                if self._keeps and self._states.wants(self._position):
                    taken = self._packed_position - len(self._waiting)
                    self._states.add(_State(self._position, taken, self._inflating.copy()))
                return data
            if is_at_end and not self._inflating.eof:
                raise EOFError("it ends too early")
        return b""

    def _next_member(self) -> bool:
        """A gzip file may have several members one after the other, and zeros behind the last."""
        waiting = self._inflating.unused_data
        while not (waiting := waiting.lstrip(b"\0")):
            waiting = self._read_packed(self._packed_position, _PACKED_PIECE_BYTES)
            self._packed_position += len(waiting)
            if not waiting:
                self._has_ended = True
                return False
        self._waiting, self._inflating = waiting, zlib.decompressobj(_GZIP)
        return True
