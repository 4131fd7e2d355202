"""How one target sends another the entries of a batch: for each a head, then its bytes, in the order asked; pure.

A head is four bytes of length and msgpack: the size, and for an entry that cannot be read the error. What a newer
target appends to a head is ignored.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgpack

from common.errors import HaulError, InvalidRequest
from common.names import Bucket, validate_key
from common.nodeclient import RemoteError
from target.batches.requests import Entry

PATH = "/intra/v1/batch"
LENGTH = struct.Struct(">I")
MAX_REQUEST_BYTES = 64 << 20
"""More than clients may send, as every entry names its bucket here."""
MAX_HEAD_BYTES = 64 * 1024
_MAX_MESSAGE = 4096


@dataclass(frozen=True, slots=True)
class Head:
    """What comes before an entry's bytes."""

    size: int
    error: RemoteError | None = None


def pack_entries(entries: Iterable[Entry]) -> bytes:
    """A request for entries."""
    packed: bytes = msgpack.packb(
        [[one.bucket.uname, one.name, one.archpath, one.start, one.length] for one in entries]
    )
    return packed


def unpack_entries(body: bytes) -> list[Entry]:
    """Read `pack_entries`' form; raises InvalidRequest, InvalidName."""
    try:
        return [
            Entry(Bucket.from_uname(uname), validate_key(name), str(archpath), int(start), int(length))
            for uname, name, archpath, start, length, *_ in msgpack.unpackb(body)
        ]
    except (ValueError, TypeError, msgpack.UnpackException):
        raise InvalidRequest("not a request for entries of a batch") from None


def pack_head(size: int, error: HaulError | None) -> bytes:
    """A head with its length in front."""
    told = [] if error is None else [error.status, str(error)[:_MAX_MESSAGE], error.code]
    packed: bytes = msgpack.packb([size, *told])
    return LENGTH.pack(len(packed)) + packed


def unpack_head(packed: bytes) -> Head:
    """A head without its length; raises ValueError."""
    fields: list[Any] = msgpack.unpackb(packed)
    if len(fields) < 4:
        return Head(int(fields[0]))
    return Head(0, RemoteError(str(fields[2]), status=int(fields[1]), code=str(fields[3])))
