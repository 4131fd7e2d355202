"""What a request that changes an object is about, for the modules that carry it out."""

from __future__ import annotations

from dataclasses import dataclass

from common import web
from common.names import Bucket, printable


@dataclass(frozen=True, slots=True)
class ObjectCall:
    """One request about one object, in an incarnation of its bucket."""

    scope: web.Scope
    receive: web.Receive
    send: web.Send
    bucket: Bucket
    bucket_id: int
    name: str
    query: dict[str, str]

    @property
    def cname(self) -> str:
        """The object as errors name it."""
        return f"{self.bucket.cname}/{printable(self.name)}"
