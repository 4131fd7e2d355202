"""A bucket that is being given another name, and what may not be done to it until that has ended; pure.

Proxies keep the mark in the bucket table and tell it to the targets; who refuses what by it is left to both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from common.errors import Unavailable
from common.names import Bucket


class BucketMoves(Unavailable):
    """The bucket is being renamed, and what was asked for would be lost, or undone; it is to be tried again later."""


class Moving(NamedTuple):
    """The mark: which job moves the bucket's objects, and the cname of the bucket that they go to, or come from.

    A source loses nothing that is stored in it until it `is_closed`. What is deleted, or given other metadata, on
    either side would be as before in the end.
    """

    job: str
    other: str
    is_source: bool
    is_closed: bool = False

    def to_wire(self) -> list[Any]:
        """Plain values for msgpack."""
        return list(self)

    @classmethod
    def from_wire(cls, plain: Sequence[Any]) -> Self:
        """Read `to_wire`'s form; what a newer peer has appended is ignored."""
        job, other, is_source, is_closed, *_ = plain
        return cls(job, other, bool(is_source), bool(is_closed))

    def check(self, bucket: Bucket, *, adds: bool) -> None:
        """Raise BucketMoves for a change of the bucket that is not possible now; `adds`: something is stored anew."""
        if self.is_closed:
            raise BucketMoves(
                f"{bucket.cname} is being renamed to {self.other} (job {self.job}), which is about to end, and until "
                "then nothing in it is changed; try again when that has ended"
            )
        if not adds:
            what = f"being renamed to {self.other}" if self.is_source else f"what {self.other} is being renamed to"
            raise BucketMoves(
                f"{bucket.cname} is {what} (job {self.job}), and until then nothing in it is deleted or changed; try "
                "again when that has ended"
            )
