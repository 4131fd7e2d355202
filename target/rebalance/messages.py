"""What a target says to the owner of an object that it has: offers and the object itself; pure.

An object travels as the body of one request: four bytes that tell the length of its head, the head (msgpack), its
bytes. Sending is left to `sender`, taking in to `receiver`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Self

import msgpack

from common.errors import InvalidRequest
from common.names import Bucket, validate_key
from target.storage.metadata import Damaged, ObjectMetadata

STORED, KEPT, DELETED, WANTED = "stored", "kept", "deleted", "wanted"
"""The owner's answers: it is durable here; what is here is at least as new; it was deleted since; let it come."""
_LENGTH = struct.Struct(">I")
MAX_HEAD_BYTES = 1 << 20
OBJECT_PATH = "/intra/v1/rebalance/object"
OFFER_PATH = "/intra/v1/rebalance/offer"


@dataclass(frozen=True, slots=True)
class Arrival:
    """An object on its way, by the placement of this version.

    `replaces_own`: what the same job has stored under the name before is replaced by another version, or metadata.
    """

    placement_version: int
    bucket: Bucket
    bucket_id: int
    name: str
    metadata: ObjectMetadata
    replaces_own: bool = False

    def pack(self) -> bytes:
        """The msgpack form."""
        fields = [self.placement_version, self.bucket.uname, self.bucket_id, self.name, self.metadata.pack()]
        fields.append(self.replaces_own)
        packed: bytes = msgpack.packb(fields)
        return packed

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Read `pack`'s form, what a newer target has appended is ignored; raises InvalidRequest, InvalidName."""
        try:
            version, uname, bucket_id, name, metadata, *later = msgpack.unpackb(packed)
            described = ObjectMetadata.unpack(metadata)
        except (ValueError, TypeError, msgpack.UnpackException, Damaged):
            raise InvalidRequest("not the head of an object") from None
        bucket, replaces_own = Bucket.from_uname(uname), bool(later and later[0])
        return cls(int(version), bucket, int(bucket_id), validate_key(name), described, replaces_own)


def framed(head: bytes) -> bytes:
    """A head as it stands before the object's bytes."""
    return _LENGTH.pack(len(head)) + head


def split(received: bytes) -> tuple[bytes, bytes] | None:
    """Head and what has come behind it, None while the head is not complete; raises InvalidRequest."""
    if len(received) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack_from(received)
    if size > MAX_HEAD_BYTES:
        raise InvalidRequest("the head of an object is too large")
    end = _LENGTH.size + size
    return (received[_LENGTH.size : end], received[end:]) if len(received) >= end else None


def answer_of(answer: Any) -> str:
    """What the owner has answered; raises InvalidRequest for what is no answer."""
    outcome = answer.get("outcome") if isinstance(answer, dict) else None
    if outcome not in (STORED, KEPT, DELETED, WANTED):
        raise InvalidRequest("the owner's answer is not understood")
    return str(outcome)
