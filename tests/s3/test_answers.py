"""Answers that take long: the client hears that they are made, and how it ended."""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from proxy.s3.answers import Responder
from proxy.s3.documents import Content
from proxy.s3.errors import S3Error


def slowly(*, fails: bool, is_slow: bool) -> tuple[int, bytes]:
    """Status and body of an answer that is made once some spaces have been sent, or at once."""

    async def answered() -> tuple[int, bytes]:
        sent: list[dict[str, Any]] = []
        waited = asyncio.Event()

        async def send(message: Any) -> None:
            sent.append(message)
            if sum(one.get("body") == b" " for one in sent) == 3:
                waited.set()

        async def making() -> Content:
            if is_slow:
                await waited.wait()
            if fails:
                raise S3Error("NoSuchUpload", "gone")
            return [("ETag", '"x"')]

        patience_seconds = 0.01 if is_slow else 60
        responder = Responder(send, is_head=False, patience_seconds=patience_seconds)
        await responder.slow_document("CopyObjectResult", making())
        assert not sent[-1].get("more_body", False)
        return sent[0]["status"], b"".join(one.get("body", b"") for one in sent)

    return asyncio.run(answered())


@pytest.mark.parametrize("is_slow", [False, True])
def test_a_document_comes_in_the_end(is_slow: bool) -> None:
    status, body = slowly(fails=False, is_slow=is_slow)
    assert status == 200
    assert ET.fromstring(body).findtext("{*}ETag") == '"x"'


def test_an_error_that_comes_late_is_in_the_document() -> None:
    status, body = slowly(fails=True, is_slow=True)
    assert (status, ET.fromstring(body).findtext("Code")) == (200, "NoSuchUpload")


def test_an_error_that_comes_at_once_has_its_status() -> None:
    with pytest.raises(S3Error):
        slowly(fails=True, is_slow=False)
