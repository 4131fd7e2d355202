"""The payload of a request as it comes: taken out of its chunks, compared with all that the client promises of it.

The last bytes are given on only when what is compared here is right; who passes the payload on must take one that
raises for broken off. The rest is compared by the target, before it stores anything. So what is wrong never becomes an
object. What the checksums are is left to `checksums`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from common.web import ClientGone, Header, Receive
from proxy.s3.checksums import HEADER, Digests, announced, announced_in_trailers, decoded
from proxy.s3.chunked import ChunkDecoder
from proxy.s3.errors import S3Error
from proxy.s3.request import S3Request
from proxy.s3.signature import UNSIGNED, Signed

_COMPARED_BY_TARGETS: Final = frozenset({"md5", "sha1", "sha256", "crc32c"})
_FAST: Final = frozenset({"crc32", "crc32c"})
"""A gigabyte a second and more: a thread would cost as much as it saves."""
_HASHED_BYTES: Final = 256 * 1024
"""So much is hashed at once; CRC-64 takes 2 to 6 ms for it."""
_STREAMING: Final = {
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": (True, False),
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": (True, True),
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER": (False, True),
}
"""Whether the chunks are signed, and whether trailers follow."""


class Payload:
    """What a request carries."""

    def __init__(self, request: S3Request, signed: Signed, receive: Receive) -> None:
        """Raises S3Error when the headers say what cannot be."""
        self._receive = receive
        self._is_chunked = "transfer-encoding" in request.headers
        self._decoder, self.size_bytes = _decoder_of(request, signed)
        self.checksums = announced(request)
        """Those that the headers announce, by algorithm."""
        self._trailing = announced_in_trailers(request) if self._decoder is not None else []
        self._signed_hash = _signed_hash(request)
        self._here = [one for one in self.checksums if one not in _COMPARED_BY_TARGETS]
        self._digests = Digests({*self._here, *self._trailing})
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._received_bytes = 0
        self.computed: dict[str, bytes] = {}
        """The checksums of the payload once it was read, of the algorithms that were computed here."""

    def check_length(self) -> None:
        """Raise S3Error MissingContentLength for a body that nothing tells the end of.

        HTTP takes the request for one without a body, and what the client means to store would become an empty object.
        """
        if self.size_bytes is None and not self._is_chunked:
            raise S3Error("MissingContentLength", "You must provide the Content-Length HTTP header.")

    @property
    def digest_headers(self) -> list[Header]:
        """What a target is to compare, in threads of its own, before anything is stored."""
        found = {one: value.hex() for one, value in self.checksums.items() if one in _COMPARED_BY_TARGETS}
        pairs = [*found.items(), *([("sha256", self._signed_hash)] if self._signed_hash is not None else [])]
        return [(b"haul-digest", f"{algorithm}={value}".encode()) for algorithm, value in dict.fromkeys(pairs)]

    def refusal(self, error: S3Error) -> S3Error:
        """What a target has answered: that the signed hash is not that of the bytes has a code of its own."""
        if error.code == "BadDigest" and "sha256" not in self.checksums and "sha256(" in error.message:
            return _mismatch()
        return error

    async def chunks(self) -> AsyncIterator[bytes]:
        """The payload, its last part once it is known to be right; raises S3Error, ClientGone."""
        held = b""
        async for data in self._decoded():
            self._received_bytes += len(data)
            if self.size_bytes is not None and self._received_bytes > self.size_bytes:
                raise S3Error("IncompleteBody", f"the body has more than the {self.size_bytes} bytes it should have")
            await self._hash(data)
            if held:
                yield held
            held = data
        await self._hash_waiting()
        self._check()
        if held:
            yield held

    async def body(self) -> bytes | AsyncIterator[bytes]:
        """What to pass on: `chunks`, or nothing for a payload that is empty, which is looked at here."""
        return await self.read(0) if self.size_bytes == 0 else self.chunks()

    async def read(self, limit_bytes: int) -> bytes:
        """All of a small payload, for use here; raises S3Error, too, when it is larger."""
        everything = Digests({*self.checksums, *(("sha256",) if self._signed_hash is not None else ())})
        body = b""
        async for data in self.chunks():
            body += data
            if len(body) > limit_bytes:
                raise S3Error("MaxMessageLengthExceeded", f"the body is larger than {limit_bytes} bytes")
        everything.update(body)
        computed = everything.values()
        for algorithm, value in self.checksums.items():
            if computed[algorithm] != value:
                raise _bad_digest(algorithm)
        if self._signed_hash is not None and computed["sha256"].hex() != self._signed_hash:
            raise _mismatch()
        return body

    async def _hash(self, data: bytes) -> None:
        if not self._digests.algorithms:
            return
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= _HASHED_BYTES:
            await self._hash_waiting()

    async def _hash_waiting(self) -> None:
        """What is much, and takes long, in a thread: other requests go on meanwhile."""
        pieces, size_bytes = self._waiting, self._waiting_bytes
        self._waiting, self._waiting_bytes = [], 0
        if size_bytes >= _HASHED_BYTES and not _FAST.issuperset(self._digests.algorithms):
            await asyncio.to_thread(self._digests.update, *pieces)
        else:
            self._digests.update(*pieces)

    async def _decoded(self) -> AsyncIterator[bytes]:
        async for data in self._raw():
            if self._decoder is None:
                yield data
            else:
                for piece in self._decoder.feed(data):
                    yield piece
        if self._decoder is not None:
            self._decoder.end()

    async def _raw(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            more = message.get("more_body", False)
            if data := message.get("body", b""):
                yield data

    def _check(self) -> None:
        if self.size_bytes is not None and self._received_bytes != self.size_bytes:
            raise S3Error("IncompleteBody", f"the body has {self._received_bytes} of {self.size_bytes} bytes")
        computed = self._digests.values()
        expected = {algorithm: self.checksums[algorithm] for algorithm in self._here}
        for algorithm in self._trailing:
            text = self._decoder.trailers.get(HEADER + algorithm, "") if self._decoder is not None else ""
            if not text:
                raise S3Error("MalformedTrailerError", f"the trailer {HEADER}{algorithm} is announced and missing")
            expected[algorithm] = decoded(algorithm, text)
        for algorithm, value in expected.items():
            if computed[algorithm] != value:
                raise _bad_digest(algorithm)
        self.computed = {**self.checksums, **computed}


def _bad_digest(algorithm: str) -> S3Error:
    return S3Error("BadDigest", f"The {algorithm} you specified did not match the calculated checksum.")


def _mismatch() -> S3Error:
    return S3Error("XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' does not match what was computed.")


def _decoder_of(request: S3Request, signed: Signed) -> tuple[ChunkDecoder | None, int | None]:
    """How the payload is to be decoded, and its length if that is known."""
    kind = request.header("x-amz-content-sha256")
    if kind not in _STREAMING:
        if kind.startswith("STREAMING-"):
            raise S3Error("NotImplemented", "bodies in chunks are accepted with AWS4-HMAC-SHA256 or without signatures")
        return None, request.size_bytes
    text = request.header("x-amz-decoded-content-length")
    if not text.isdecimal() or len(text) > 18:
        raise S3Error("MissingContentLength", "You must provide the x-amz-decoded-content-length HTTP header.")
    is_signed, has_trailers = _STREAMING[kind]
    decoder = ChunkDecoder(signed if is_signed and signed.access_key else None, has_trailers=has_trailers)
    return decoder, int(text)


def _signed_hash(request: S3Request) -> str | None:
    kind = request.header("x-amz-content-sha256")
    if not kind or kind == UNSIGNED or kind in _STREAMING:
        return None
    if len(kind) != 64 or not set(kind) <= set("0123456789abcdef"):
        raise S3Error("InvalidArgument", "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-…, or a sha256")
    return kind
