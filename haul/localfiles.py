"""Local files and open streams as chunks, and a local file that appears whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeGuard

CHUNK_BYTES = 1 << 20


def is_open_file(data: object) -> TypeGuard[BinaryIO]:
    """Whether it is read by `read`: iterated, a file gives lines."""
    return hasattr(data, "read")


def open_to_read(path: str | os.PathLike[str]) -> BinaryIO:
    """Raises OSError."""
    return Path(path).open("rb")


def chunks(file: BinaryIO) -> Iterator[bytes]:
    """What is left of a file."""
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write that replaces `path` at the end; after an error nothing of it is left. Raises OSError."""
    final = Path(path)
    part = final.with_name(f".{final.name[:200]}.{secrets.token_hex(6)}.part")
    try:
        with part.open("xb") as file:
            yield file
        part.replace(final)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
