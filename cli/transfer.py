"""Bytes between local files and objects, hashed on the way; a local file appears whole or not at all.

Which files and objects, and what is said about them, is left to `cli.objects`.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import xxhash

from cli.client import Client
from cli.errors import CommandError
from cli.uris import Location
from common.names import printable

CHECKSUM_TYPE = "xxhash2"
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Range:
    """Part of an object: from `offset`, `length` bytes, to the end when that is 0."""

    offset: int = 0
    length: int = 0

    @property
    def is_whole(self) -> bool:
        return not self.offset and not self.length

    @property
    def header(self) -> str:
        return f"bytes={self.offset}-{self.offset + self.length - 1 if self.length else ''}"


class Writable(Protocol):
    """Where the bytes of an object go."""

    def write(self, data: bytes, /) -> int: ...


def fetch(client: Client, source: Location, part: Range, to: Writable) -> int:
    """Write an object, or a part of it, and return how many bytes; verified against the cluster's checksum when whole.

    Raises CommandError when the bytes are not those that the cluster has.
    """
    headers = {} if part.is_whole else {"Range": part.header}
    with client.stream(source.object_path, query=source.query, headers=headers) as response:
        if not part.is_whole and response.status_code != 206:
            raise CommandError(f"the cluster does not serve parts of {printable(source.uri)}")
        hasher, size_bytes = xxhash.xxh64(), 0
        for chunk in response.iter_raw(_CHUNK_BYTES):
            to.write(chunk)
            hasher.update(chunk)
            size_bytes += len(chunk)
        if part.is_whole:
            _verify(response.headers, hasher.hexdigest(), source)
    return size_bytes


def _verify(headers: Mapping[str, str], digest: str, source: Location) -> None:
    """Compare with the checksum headers, if they are of a kind that is computed here."""
    if headers.get("Ais-Checksum-Type", "") not in {CHECKSUM_TYPE, "xxhash"}:
        return
    expected = headers.get("Ais-Checksum-Value", "")
    if expected != digest:
        raise CommandError(
            f"{printable(source.uri)} arrived damaged: checksum {digest}, while the cluster has {printable(expected)}"
        )


def store_file(client: Client, path: Path, destination: Location) -> int:
    """Store a file as an object and return its size; the cluster refuses it if it changes on the way."""
    try:
        with path.open("rb") as file:
            hasher, size_bytes = xxhash.xxh64(), 0
            for chunk in _chunks(file):
                hasher.update(chunk)
                size_bytes += len(chunk)
            file.seek(0)
            headers = {
                "Content-Length": str(size_bytes),
                "Content-Type": "application/octet-stream",
                "Ais-Checksum-Type": CHECKSUM_TYPE,
                "Ais-Checksum-Value": hasher.hexdigest(),
            }
            client.put(
                destination.object_path, query=destination.query, chunks=_exactly(file, size_bytes), headers=headers
            )
    except OSError as error:
        raise CommandError(f"cannot read {printable(str(path))}: {error.strerror}") from None
    return size_bytes


def store_stream(client: Client, stream: BinaryIO, destination: Location) -> int:
    """Store all that a stream gives; it is compared with what the cluster says it has got."""
    hasher, size_bytes = xxhash.xxh64(), 0

    def counted() -> Iterator[bytes]:
        nonlocal size_bytes
        try:
            for chunk in _chunks(stream):
                hasher.update(chunk)
                size_bytes += len(chunk)
                yield chunk
        except OSError as error:
            raise CommandError(f"cannot read standard input: {error.strerror}") from None

    headers = {"Content-Type": "application/octet-stream"}
    answer = client.put(destination.object_path, query=destination.query, chunks=counted(), headers=headers)
    if answer.get("Ais-Checksum-Type") == CHECKSUM_TYPE and answer["Ais-Checksum-Value"] != hasher.hexdigest():
        raise CommandError(f"{printable(destination.uri)} was stored with other bytes than were sent; put it again")
    return size_bytes


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def _exactly(file: BinaryIO, size_bytes: int) -> Iterator[bytes]:
    """The announced number of bytes; a file that has shrunk since raises CommandError, one that grew is cut."""
    left = size_bytes
    while left:
        chunk = file.read(min(_CHUNK_BYTES, left))
        if not chunk:
            raise CommandError(f"{printable(str(file.name))} became shorter while it was read")
        left -= len(chunk)
        yield chunk


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends well, and is removed when it does not.

    What is no regular file (a terminal, a pipe, /dev/null) is written to as it is.
    """
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
            return
        temporary = path.with_name(f".{path.name[:128]}.{secrets.token_hex(4)}.part")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CommandError(f"cannot write {printable(str(path))}: {error.strerror}") from None


def standard_output() -> BinaryIO:
    """Standard output as bytes."""
    return sys.stdout.buffer
