"""Opening an object as the archive that it is: its format, its index, a reader over it. All of it may wait for a disk.

What is wrong with an archive is told with its name. In HTTP it is `target.api.archives` that tells it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from common.errors import ObjectNotFound, Unsupported
from target.archives import formats
from target.archives.formats import Format, NotAnArchive
from target.archives.index import Index, Indexes, Member
from target.archives.members import Reader, reader
from target.archives.selection import Selection
from target.storage.reader import OpenObject


class NotInArchive(ObjectNotFound):
    """The archive is here, and has nothing that was asked for."""


@dataclass(frozen=True, slots=True)
class Archive:
    """An open archive; whoever opened the object closes it."""

    shown: str
    """The object's cname."""
    index: Index
    reader: Reader

    def select(self, selection: Selection) -> list[Member]:
        """The members that are asked for, as they lie; raises NotInArchive."""
        if selection.matches is None:
            member = self.index.find(selection.path)
            chosen = [member] if member is not None else []
        else:
            chosen = self.index.chosen(selection.matches)
        if not chosen:
            raise NotInArchive(f"{self.shown} does not contain {selection.shown}")
        return chosen

    def pieces(self, member: Member, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See `members.Reader.pieces`; errors name the object."""
        try:
            yield from self.reader.pieces(member, start, end)
        except (NotAnArchive, Unsupported) as error:
            raise type(error)(f"{self.shown}: {error}") from None


def open_archive(found: OpenObject, name: str, shown: str, indexes: Indexes, kind: Format | None = None) -> Archive:
    """The archive in an open object called `name`, `shown` in errors; raises NotAnArchive, Unsupported, OSError."""
    try:
        kind = kind or _format_of(found, name)
        index = indexes.of(found, kind)
        return Archive(shown, index, reader(found, index))
    except (NotAnArchive, Unsupported) as error:
        raise type(error)(f"{shown}: {error}") from None


def opens_at_once(found: OpenObject, name: str, indexes: Indexes, kind: Format | None = None) -> bool:
    """Whether `open_archive` has nothing to build, also when it raises; raises OSError."""
    try:
        return indexes.knows(found, kind or _format_of(found, name))
    except (NotAnArchive, Unsupported):
        return True


def _format_of(found: OpenObject, name: str) -> Format:
    return formats.by_name(name) or formats.by_magic(found.read(0, min(found.size, formats.MAGIC_BYTES)))
