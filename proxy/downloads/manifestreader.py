"""Brings the bytes of a manifest to this proxy, from the target that has it as an object.

What they mean is left to `manifests`. A manifest on the web becomes an object first, by a download job like any other,
so that the rules of egress are those of the targets.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import BinaryIO, cast

from common.errors import HaulError, InvalidRequest, ObjectNotFound, Unavailable
from common.names import Bucket, printable
from common.nodeclient import RemoteError
from proxy.membership import Membership
from proxy.peers import Peers

MAX_BYTES = 1 << 30
_PIECE_BYTES = 4 << 20
_IN_MEMORY_BYTES = 16 << 20
_CALL_SECONDS = 30.0


class ManifestReader:
    """Reads whole objects through their owners."""

    def __init__(self, membership: Membership, peers: Peers) -> None:
        self._membership = membership
        self._peers = peers

    async def read(self, bucket: Bucket, name: str) -> BinaryIO:
        """A temporary file with the object's bytes; raises ObjectNotFound's like, InvalidRequest, Unavailable."""
        holders = iter(self._membership.map.holders(bucket, name))
        holder = next(holders)
        file = cast("BinaryIO", tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES))  # noqa: SIM115 - the caller closes it
        checksum, offset, size = "", 0, 1
        try:
            while offset < size:
                body = {"bucket": bucket.uname, "name": name, "offset": offset, "limit": _PIECE_BYTES}
                try:
                    piece = await self._peers.call(holder, "/intra/v1/objects/read", body, _CALL_SECONDS)
                except RemoteError as error:
                    following = next(holders, None) if error.status == ObjectNotFound.status and not offset else None
                    if following is None:
                        raise
                    holder = following
                    continue
                size = piece["size"]
                if size > MAX_BYTES:
                    raise InvalidRequest(f"manifest {_shown(bucket, name)} is larger than {MAX_BYTES} bytes")
                if checksum not in ("", piece["checksum"]):
                    raise Unavailable(f"manifest {_shown(bucket, name)} has changed while it was read; try again")
                checksum = piece["checksum"]
                file.write(piece["data"])
                offset += len(piece["data"])
                if not piece["data"]:
                    break
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file

    async def remove(self, bucket: Bucket, name: str) -> None:
        """Forget an object that was only a manifest; raises HaulError."""
        body = {"bucket": bucket.uname, "name": name}
        for holder in self._membership.map.holders(bucket, name):
            await self._peers.call(holder, "/intra/v1/objects/remove", body, _CALL_SECONDS)


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """The file in pieces; closes it at the end."""
    with file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def not_readable(location: str, error: HaulError) -> InvalidRequest:
    """The manifest of a job is not to be had."""
    return InvalidRequest(f'manifest "{printable(location)}" cannot be read: {error.message}')


def _shown(bucket: Bucket, name: str) -> str:
    return f"{bucket.cname}/{printable(name)}"
