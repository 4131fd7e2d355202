"""Reads `aws-chunked` bodies: data in chunks that may be signed, and trailers after it; pure, fed piece by piece.

Source: AWS, "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks" and "…
Including trailing headers". Data is given on before its chunk's signature is checked: who takes it must not keep it
when an error follows. What the trailers mean is left to `bodies`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

from proxy.s3.errors import S3Error
from proxy.s3.signature import EMPTY_SHA256, Signed, sign

_HEADER: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;chunk-signature=([0-9a-f]{64}))?\Z")
_MAX_LINE_BYTES: Final = 4096
_MAX_TRAILERS: Final = 16
_TRAILER_SIGNATURE: Final = "x-amz-trailer-signature"
_LINE, _DATA, _DATA_END, _TRAILERS, _END = range(5)


class ChunkDecoder:
    """Decodes one body; `signed` when its chunks must be signed, and have been by whom."""

    def __init__(self, signed: Signed | None = None, *, has_trailers: bool = False) -> None:
        self._signed = signed
        self._has_trailers = has_trailers
        self._previous = signed.signature if signed is not None else ""
        self._state = _LINE
        self._line = b""
        self._left_bytes = 0
        self._chunk_signature = ""
        self._chunk_digest = hashlib.sha256()
        self._trailer_lines: list[bytes] = []
        self.trailers: dict[str, str] = {}
        """By name in lower case; complete when `is_complete`."""

    @property
    def is_complete(self) -> bool:
        return self._state == _END

    def feed(self, data: bytes) -> list[bytes]:
        """The data in the next piece of the body; raises S3Error."""
        found: list[bytes] = []
        position = 0
        while position < len(data):
            if self._state == _DATA:
                piece = data[position : position + self._left_bytes]
                position += len(piece)
                self._take(piece)
                found.append(piece)
            elif self._state == _END:
                raise S3Error("IncompleteBody", "bytes follow the last chunk of the body")
            else:
                end = data.find(b"\n", position)
                part = data[position:] if end < 0 else data[position : end + 1]
                position += len(part)
                self._line += part
                if len(self._line) > _MAX_LINE_BYTES:
                    raise S3Error("InvalidRequest", "the header of a chunk of the body is too long")
                if end >= 0:
                    line, self._line = self._line, b""
                    self._on_line(line)
        return found

    def end(self) -> None:
        """The body has ended; raises S3Error IncompleteBody when there must be more of it."""
        # Some clients leave out the empty line after the last chunk.
        if self._state == _TRAILERS and not self._line and (self._trailer_lines or not self._has_trailers):
            self._finish()
        if self._state != _END:
            raise S3Error("IncompleteBody", "the body ends before its last chunk")

    def _take(self, piece: bytes) -> None:
        self._left_bytes -= len(piece)
        if self._signed is not None:
            self._chunk_digest.update(piece)
        if not self._left_bytes:
            self._state = _DATA_END

    def _on_line(self, line: bytes) -> None:
        if not line.endswith(b"\r\n"):
            raise S3Error("InvalidRequest", "a line of the chunked body does not end with CR LF")
        line = line[:-2]
        if self._state == _LINE:
            self._on_header(line)
        elif self._state == _DATA_END:
            if line:
                raise S3Error("InvalidRequest", "a chunk of the body is longer than its header says")
            self._check_chunk()
            self._state = _LINE
        elif line:
            if len(self._trailer_lines) >= _MAX_TRAILERS:
                raise S3Error("MalformedTrailerError", f"the body has more than {_MAX_TRAILERS} trailers")
            self._trailer_lines.append(line)
        else:
            self._finish()

    def _on_header(self, line: bytes) -> None:
        match = _HEADER.match(line)
        if match is None:
            raise S3Error("InvalidRequest", "the header of a chunk of the body cannot be read")
        size, signature = match.groups()
        if self._signed is not None and not signature:
            raise S3Error("AccessDenied", "a chunk of the body is not signed")
        self._left_bytes = int(size, 16)
        self._chunk_signature = (signature or b"").decode()
        self._chunk_digest = hashlib.sha256()
        self._state = _DATA
        if not self._left_bytes:
            self._check_chunk()
            self._state = _TRAILERS

    def _check_chunk(self) -> None:
        if self._signed is None:
            return
        digest = self._chunk_digest.hexdigest()
        self._check("AWS4-HMAC-SHA256-PAYLOAD", self._chunk_signature, f"{EMPTY_SHA256}\n{digest}")

    def _check(self, algorithm: str, signature: str, rest: str) -> None:
        signed = self._signed
        assert signed is not None, "only what is signed is checked"
        text = f"{algorithm}\n{signed.timestamp}\n{signed.scope}\n{self._previous}\n{rest}"
        expected = sign(signed.signing_key, text)
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise S3Error("SignatureDoesNotMatch", "the signature of a chunk of the body does not match its bytes")
        self._previous = expected

    def _finish(self) -> None:
        signature, signed_text = "", b""
        for line in self._trailer_lines:
            name, colon, value = line.partition(b":")
            key = name.strip().lower().decode("latin-1")
            if not colon or not key:
                raise S3Error("MalformedTrailerError", "a trailer of the body has no name")
            if key == _TRAILER_SIGNATURE:
                signature = value.strip().decode("latin-1")
            else:
                self.trailers[key] = value.strip().decode("latin-1")
                signed_text += key.encode("latin-1") + b":" + value.strip() + b"\n"
        if self._signed is not None and self._has_trailers:
            self._check("AWS4-HMAC-SHA256-TRAILER", signature, hashlib.sha256(signed_text).hexdigest())
        self._state = _END
