"""How the S3 API answers: common headers, documents, errors, and answers that take long; what, is left to others."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine, Iterable
from typing import Any

from common.errors import HaulError
from common.web import Header, Send
from proxy.s3 import documents
from proxy.s3.errors import as_s3

_XML: Header = (b"content-type", b"application/xml")
_RETRY_AFTER = b"2"


class Responder:
    """Answers one request; every answer has its id."""

    def __init__(self, send: Send, *, is_head: bool, patience_seconds: float = 10.0) -> None:
        """`patience_seconds` is how long a slow document may take before, and between, the signs that it is made."""
        self._patience_seconds = patience_seconds
        self._send = send
        self._is_head = is_head
        self.request_id = secrets.token_hex(8).upper()
        self.is_started = False

    async def start(self, status: int, headers: Iterable[Header]) -> None:
        """Begin an answer whose body is sent in parts."""
        self.is_started = True
        common = [(b"x-amz-request-id", self.request_id.encode()), (b"server", b"Haul")]
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, *common]})

    async def part(self, data: bytes, *, more: bool = True) -> None:
        """A part of a body, sent as fast as the client takes it."""
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def answer(self, status: int, body: bytes = b"", headers: Iterable[Header] = ()) -> None:
        """A whole answer."""
        length = [] if status in (204, 304) else [(b"content-length", str(len(body)).encode())]
        await self.start(status, [*headers, *length])
        await self.part(b"" if self._is_head else body, more=False)

    async def document(self, root: str, content: documents.Content, headers: Iterable[Header] = ()) -> None:
        """A document, with status 200."""
        await self.answer(200, documents.write(root, content), [*headers, _XML])

    async def slow_document(self, root: str, making: Coroutine[Any, Any, documents.Content]) -> None:
        """A document that may take long to make: spaces are sent meanwhile, so that the client goes on waiting.

        An error after the first of them is a document, too, as S3 does it.
        """
        made = asyncio.get_running_loop().create_task(making)
        try:
            await asyncio.wait((made,), timeout=self._patience_seconds)
            if made.done():
                await self.document(root, made.result())
                return
            await self.start(200, [_XML])
            await self.part(documents.DECLARATION)
            while not made.done():
                await self.part(b" ")
                await asyncio.wait((made,), timeout=self._patience_seconds)
            try:
                body = documents.write(root, made.result())
            except HaulError as error:
                body = documents.write_error(as_s3(error), "", self.request_id)
            await self.part(body.removeprefix(documents.DECLARATION), more=False)
        finally:
            made.cancel()

    async def error(self, error: HaulError, resource: str) -> None:
        """An error as S3 shows it."""
        known = as_s3(error)
        headers: list[Header] = [_XML, (b"x-content-type-options", b"nosniff")]
        if known.code == "ServiceUnavailable":
            headers.append((b"retry-after", _RETRY_AFTER))
        await self.answer(known.status, documents.write_error(known, resource, self.request_id), headers)
