"""Where each member of an archive lies, found by its name; and the indexes of the archives that were read last.

Walking through an archive costs as much as it has headers, a compressed one all of its bytes. So what was found is
kept, by what the stored object is: an object never changes in place. Building an index is left to `walking`.
"""

from __future__ import annotations

import os
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from common.errors import Unsupported
from target.archives.formats import Format, NotAnArchive
from target.archives.gunzip import States
from target.storage.reader import OpenObject

MAX_INDEX_BYTES = 64 << 20
"""About what one archive's index takes in memory at most: half a million members with names of usual length."""
MAX_KEPT_BYTES = 96 << 20
MAX_REFUSALS = 4096
"""Objects of which is remembered that they have no index; each takes some hundred bytes."""
BUILDS = 2
"""Indexes that are built at the same time; a large one takes a processor and memory."""
_MEMBER_BYTES = 120
_MAX_TEXT = 500


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file in an archive. `offset` is that of its bytes, in a zip that of its local header.

    The last three are of a zip: bytes as stored, CRC-32, compression method.
    """

    name: str
    size: int
    offset: int
    packed_size: int = 0
    crc: int = 0
    method: int = 0


class Index:
    """The members of an archive in byte order of their names; of several with one name the last is the member."""

    def __init__(self, kind: Format, members: Iterable[Member], states: States | None = None) -> None:
        """`states` are filled while the members of a compressed tar come. Raises Unsupported: too many members."""
        self.format = kind
        self.states = states if states is not None else States()
        self.weight_bytes = 0
        names: list[str] = []
        columns = tuple(array("Q") for _ in range(5))
        for member in members:
            self.weight_bytes += _MEMBER_BYTES + len(member.name)
            if self.weight_bytes > MAX_INDEX_BYTES:
                raise Unsupported(f"it has too many members: more than {len(names)}")
            names.append(member.name)
            values = (member.size, member.offset, member.packed_size, member.crc, member.method)
            for column, value in zip(columns, values, strict=True):
                column.append(value)
        self.weight_bytes += self.states.weight_bytes
        order = sorted(range(len(names)), key=names.__getitem__)
        kept = [
            row for place, row in enumerate(order) if place + 1 == len(order) or names[order[place + 1]] != names[row]
        ]
        self._names = [names[row] for row in kept]
        self._columns = tuple(array("Q", (column[row] for row in kept)) for column in columns)

    def __len__(self) -> int:
        return len(self._names)

    def find(self, name: str) -> Member | None:
        """A member by its name, leading slashes and `./` aside."""
        wanted = plain_name(name)
        row = bisect_left(self._names, wanted)
        return self._member(row) if row < len(self._names) and self._names[row] == wanted else None

    def beyond(self, after: str = "", prefix: str = "") -> Iterator[Member]:
        """Members with names greater than `after` that begin with `prefix`, in byte order."""
        first = max(bisect_right(self._names, after) if after else 0, bisect_left(self._names, prefix))
        for row in range(first, len(self._names)):
            if not self._names[row].startswith(prefix):
                return
            yield self._member(row)

    def chosen(self, matches: Callable[[str], bool]) -> list[Member]:
        """The members whose names match, in the order in which they lie in the archive."""
        rows = [row for row, name in enumerate(self._names) if matches(name)]
        rows.sort(key=self._columns[1].__getitem__)
        return [self._member(row) for row in rows]

    def _member(self, row: int) -> Member:
        size, offset, packed_size, crc, method = (column[row] for column in self._columns)
        return Member(self._names[row], size, offset, packed_size, crc, method)


def plain_name(name: str) -> str:
    """A member's name as it is asked for and shown: text, without `./` and `/` in front."""
    while name.startswith(("./", "/")):
        name = name[2:] if name[0] == "." else name[1:]
    if name.isascii():
        return name
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class Refusal(NamedTuple):
    """Why an object has no index."""

    kind: type[NotAnArchive | Unsupported]
    text: str


class Indexes:
    """Indexes by the identity of stored objects, the longest unused are forgotten. From any thread.

    That an object has none is kept, too: finding it out can take as long.
    """

    def __init__(self, build: Callable[[OpenObject, Format], Index], max_bytes: int = MAX_KEPT_BYTES) -> None:
        self._build = build
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[object, ...], Index] = OrderedDict()
        self._kept_bytes = 0
        self._refusals: OrderedDict[tuple[object, ...], Refusal] = OrderedDict()
        self._lock = threading.Lock()
        self._builds = threading.Semaphore(BUILDS)

    def __repr__(self) -> str:
        return f"<Indexes of {len(self._kept)} archives, {self._kept_bytes} bytes>"

    def of(self, found: OpenObject, kind: Format) -> Index:
        """The index of an open object; takes long if it has to be built. Raises NotAnArchive, Unsupported, OSError."""
        key = identity(found, kind)
        index = self._known(key)
        if index is not None:
            return index
        with self._builds:
            index = self._known(key)
            if index is None:
                index = self._built(key, found, kind)
        return index

    def knows(self, found: OpenObject, kind: Format) -> bool:
        """Whether `of` returns, or raises, at once."""
        key = identity(found, kind)
        with self._lock:
            return key in self._kept or key in self._refusals

    def _known(self, key: tuple[object, ...]) -> Index | None:
        """A kept index by its `identity`; raises NotAnArchive, Unsupported when it is known that there is none."""
        with self._lock:
            if key in self._refusals:
                self._refusals.move_to_end(key)
                refusal = self._refusals[key]
                raise refusal.kind(refusal.text)
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _built(self, key: tuple[object, ...], found: OpenObject, kind: Format) -> Index:
        try:
            index = self._build(found, kind)
        except (NotAnArchive, Unsupported) as error:
            with self._lock:
                self._refusals[key] = Refusal(type(error), str(error)[:_MAX_TEXT])
                if len(self._refusals) > MAX_REFUSALS:
                    self._refusals.popitem(last=False)
            raise
        self._keep(key, index)
        return index

    def _keep(self, key: tuple[object, ...], index: Index) -> None:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = index
                self._kept_bytes += index.weight_bytes
            while self._kept_bytes > self._max_bytes:
                _, forgotten = self._kept.popitem(last=False)
                self._kept_bytes -= forgotten.weight_bytes


def identity(found: OpenObject, kind: Format) -> tuple[object, ...]:
    """What tells one stored object from every other, even at the same place."""
    status, metadata = os.fstat(found.fd), found.metadata
    return (
        *(status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size),
        *(metadata.stored_ns, metadata.checksum, kind),
    )
