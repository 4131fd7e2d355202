"""An object as the body of a request: sent while it is read, written while it comes, compared with what its head says.

All that goes from target to target takes this way: objects that move, copies of buckets, copies under other names.
Whether an object is wanted, and what becomes of it once it is whole, is left to who sends and who receives.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from common.errors import BadChecksum
from common.names import printable
from common.nodeclient import NodeClient
from common.web import ClientGone, Receive
from target.rebalance import messages
from target.rebalance.messages import WANTED, Arrival, split
from target.storage.committer import Committer
from target.storage.incoming import Incoming, in_thread
from target.storage.mountpath import Mountpath
from target.storage.reader import OpenObject
from target.storage.store import Store
from target.storage.writer import Staged

_CHUNK_BYTES = 256 * 1024
_BATCH_BYTES = 1 << 20
_OFFER_BYTES = 1 << 20
"""Of a larger object the owner is asked first whether it wants it: to ask costs less than to send it in vain."""


class Arriving(Incoming):
    """An object that is compared with what its sender says of it; `is_moved` as in `Staged`."""

    def __init__(self, store: Store, arrival: Arrival, *, is_moved: bool) -> None:
        super().__init__(partial(store.writer, arrival.bucket, arrival.bucket_id, arrival.name, arrival.metadata.size))
        self._arrival = arrival
        self._is_moved = is_moved

    def finish(self, chunks: Sequence[bytes]) -> tuple[Staged, Committer]:
        """Write the last batch and compare; raises BadChecksum, DiskError."""
        writer = self.write(chunks)
        told = self._arrival.metadata
        if (writer.size, writer.checksum) != (told.size, told.checksum):
            raise BadChecksum(
                f"{self._arrival.bucket.cname}/{printable(self._arrival.name)} has not come as it was sent, or is "
                f"damaged where it comes from: {writer.size} bytes, xxh64 {writer.checksum}; "
                f"should be {told.size}, {told.checksum}"
            )
        staged = writer.finish(told._replace(name=""))
        staged.is_moved = self._is_moved
        return staged, self.committer


async def body_of(arrival: Arrival, found: OpenObject, mountpath: Mountpath) -> AsyncIterator[bytes]:
    """The head and the bytes of an object that is open here; raises DiskError."""
    ahead, offset = messages.framed(arrival.pack()), 0
    while True:
        wanted = min(_CHUNK_BYTES, found.size - offset)
        try:
            chunk = found.read_cached(offset, wanted)
            if chunk is None:
                chunk = await asyncio.to_thread(found.read, offset, wanted)
        except OSError as error:
            raise mountpath.error(error) from None
        yield ahead + bytes(chunk)
        ahead, offset = b"", offset + len(chunk)
        if offset >= found.size:
            return


def received(body: AsyncIterator[bytes]) -> Receive:
    """A body as a server would hand it out, so that an object takes one way wherever it goes."""

    async def receive() -> dict[str, Any]:
        async for chunk in body:
            return {"type": "http.request", "body": chunk, "more_body": True}
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive


async def handed_over(
    client: NodeClient, url: str, paths: tuple[str, str], arrival: Arrival, body: AsyncIterator[bytes]
) -> str:
    """Offer an object that is worth it, and send it if it is wanted; `paths` of offers and of objects.

    Returns the owner's answer; raises Unavailable, RemoteError, and what `body` raises.
    """
    offer_path, object_path = paths
    if arrival.metadata.size > _OFFER_BYTES:
        outcome = messages.answer_of(await client.call(url, offer_path, arrival.pack()))
        if outcome != WANTED:
            return outcome
    return messages.answer_of(await client.send(url, object_path, body))


async def head_of(receive: Receive) -> tuple[Arrival, list[bytes], bool]:
    """The head, what has come behind it, and whether that is all; raises ClientGone, InvalidRequest."""
    received_bytes, is_whole = b"", False
    while True:
        parts = split(received_bytes)
        if parts is not None:
            return Arrival.unpack(parts[0]), [parts[1]], is_whole
        if is_whole:
            raise ClientGone
        chunk, is_whole = await _more_of(receive)
        received_bytes += chunk


async def staged_of(
    incoming: Arriving, receive: Receive, batch: list[bytes], *, is_whole: bool
) -> tuple[Staged, Committer]:
    """Write what `head_of` has found behind the head, and the rest; nothing stays when it raises.

    Raises BadChecksum, BucketNotFound, DiskError, and ClientGone when the body does not end.
    """
    try:
        while not is_whole:
            chunk, is_whole = await _more_of(receive)
            batch.append(chunk)
            if not is_whole and sum(map(len, batch)) >= _BATCH_BYTES:
                full, batch = batch, []
                await in_thread(partial(incoming.write, full))
        return await in_thread(partial(incoming.finish, batch))
    except BaseException:
        await in_thread(incoming.discard)
        raise


async def _more_of(receive: Receive) -> tuple[bytes, bool]:
    """The next bytes, and whether they are the last; raises ClientGone."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message.get("body", b""), not message.get("more_body", False)
