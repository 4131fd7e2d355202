"""The header Idempotency-Key: who has not heard whether a job was taken sends it again, and it is the same job; pure.

Where keys are kept, and how long, is left to `jobstore`. Source: draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from common.errors import InvalidRequest
from common.names import printable

HEADER = "idempotency-key"
_KEY = re.compile(r'"?[\x21\x23-\x7e]{1,255}"?')


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What a client calls its request: `name` stands for the key, `fingerprint` for what it wants under it."""

    name: str
    fingerprint: str

    @classmethod
    def of(cls, text: str, body: bytes) -> RequestKey:
        """Of a header's value, with or without quotes, and the request's body; raises InvalidRequest."""
        if not _KEY.fullmatch(text):
            raise InvalidRequest(
                f"header Idempotency-Key: '{printable(text, 40)}' is not 1 to 255 printable characters without spaces"
            )
        return cls(_digest(text.strip('"').encode()), _digest(body))

    def pack(self, job_id: str) -> bytes:
        """What is kept under the name when the job has been started."""
        return f"{self.fingerprint} {job_id}".encode()

    def job_id(self, value: bytes) -> str:
        """The job that was started under this key; raises InvalidRequest when something else was wanted then."""
        fingerprint, job_id = value.decode().split(" ")
        if fingerprint != self.fingerprint:
            raise InvalidRequest(f'another job, "{job_id}", was started with this Idempotency-Key: use a new key')
        return job_id


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
