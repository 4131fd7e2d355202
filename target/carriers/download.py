"""One large object on its way: several streams into one partial file, from the first byte or from where a crash was.

Opens streams while they help (`streams`), gives each its piece, takes back what a broken one has left, and never mixes
versions: every request but the first carries the validator. Connections are lent by the lane; small objects and those
without a strong validator never come here.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from common.errors import HaulError, OriginError, Retry
from common.links import redact
from target.carriers.streams import MIN_PIECE_BYTES, StreamCount, next_piece
from target.storage.partial import MAX_UNCLAIMED_BYTES, PartialFile
from target.storage.ranges import Range, RangeSet
from target.transfer.request import Enough, FetchError, FetchRequest, Meter, Part, ResponseHead, TransferEngine

if TYPE_CHECKING:
    from target.carriers.fetch import Fetch

_GATHER_BYTES = 256 * 1024
_WAIT_SECONDS = 0.01


class StartOver(OriginError):
    """What is there belongs to another version, or cannot be continued: it must be fetched from the beginning.

    `ignores_ranges`: the version is the same, but the origin sends all of it whatever is asked for.
    """

    retry = Retry.LATER

    def __init__(self, text: str, *, ignores_ranges: bool = False) -> None:
        super().__init__(text)
        self.ignores_ranges = ignores_ranges


class Stream:
    """One fetch of a download; writes what arrives to its place until its end."""

    __slots__ = ("_asked_end", "_chunks", "_gathered", "download", "end", "is_whole", "position")

    def __init__(self, download: Download, start: int, end: int, *, is_whole: bool) -> None:
        """`is_whole`: the request asked for everything; `end` may come down while it runs, and the origin goes on."""
        self.download = download
        self.position = start
        self.end = end
        self.is_whole = is_whole
        self._asked_end = download.part.size if is_whole else end
        self._chunks: list[bytes] = []
        self._gathered = 0

    def __repr__(self) -> str:
        return f"<Stream {self.position}-{self.end}>"

    def open(self, head: ResponseHead) -> Stream:
        """The sink for the answer to a request for a part; raises StartOver."""
        self.download.check_version(head)
        return self

    @property
    def left_bytes(self) -> int:
        """What is still to come."""
        return self.end - self.position - self._gathered

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; raises Enough at the end, DiskError."""
        room = self.left_bytes
        if len(chunk) > room:
            chunk = chunk[:room]
        self._chunks.append(chunk)
        self._gathered += len(chunk)
        room -= len(chunk)
        if self._gathered >= _GATHER_BYTES or room == 0:
            self.flush()
        if room == 0 and self.end < self._asked_end:
            raise Enough("the rest comes by other streams")

    def flush(self) -> None:
        """Put what is gathered into the file; raises DiskError."""
        if self._chunks:
            chunks, size_bytes = self._chunks, self._gathered
            self._chunks, self._gathered = [], 0
            self.download.part.write(self.position, chunks, size_bytes)
            self.position += size_bytes


class Pace:
    """Holds streams back while too much is not claimed yet, and obeys the job's own meter."""

    def __init__(self, download: Download, meter: Meter | None) -> None:
        self._download = download
        self._meter = meter

    @property
    def bytes_per_second(self) -> float:
        return self._meter.bytes_per_second if self._meter else float("inf")

    def charge(self, size_bytes: int) -> None:
        if self._meter:
            self._meter.charge(size_bytes)

    def delay(self) -> float:
        download = self._download
        if download.part.unclaimed_bytes >= MAX_UNCLAIMED_BYTES * max(1, len(download.streams)):
            return _WAIT_SECONDS
        return self._meter.delay() if self._meter else 0.0


class Download:
    """The streams of one object; used by the carrier's thread."""

    def __init__(
        self,
        fetch: Fetch,
        part: PartialFile,
        request: FetchRequest,
        engine: TransferEngine,
        now: float,
        *,
        splits: bool,
    ) -> None:
        """`request` is for the whole object; `splits`: the origin has said that it serves ranges."""
        self.fetch = fetch
        self.part = part
        self.streams: set[Stream] = set()
        self.lent = 0
        self.asked_for = 0
        self.began_with_bytes = part.received_bytes
        self._engine = engine
        self._request = request._replace(budget=Pace(self, request.budget), conditional=())
        self._count = StreamCount(now, part.received_bytes)
        self._splits = splits
        fetch.download = self

    def __repr__(self) -> str:
        return f"<Download {self.part} by {len(self.streams)} streams>"

    @property
    def gained_bytes(self) -> int:
        """What this attempt has brought."""
        return self.part.received_bytes - self.began_with_bytes

    def take_whole(self) -> Stream:
        """The stream of the first request, which asked for everything and gets it from the beginning."""
        stream = Stream(self, 0, self.part.size, is_whole=True)
        self.streams.add(stream)
        return stream

    def resume(self) -> None:
        """Ask for the front of the largest gap; more streams may follow."""
        piece = self._next_piece(1)
        if piece is not None:
            self._start(*piece)

    def check_version(self, head: ResponseHead) -> None:
        """Raise StartOver unless the answer is a part of the version that is being fetched."""
        validator, failed = self.part.identity.validator, f'failed to download "{redact(self._request.url)}"'
        told = head.etag if validator.startswith('"') else head.last_modified
        if told not in ("", validator):
            raise StartOver(f"{failed}: it has changed while being fetched")
        if head.status != 206:
            raise StartOver(f"{failed}: it broke off, and the origin ignores ranges", ignores_ranges=True)

    def wants(self, now: float) -> int:
        """How many connections more it could use, after looking at what the last ones have brought."""
        if not self._splits:
            return 0
        wanted = self._count.observe(now, self.part.received_bytes, len(self.streams))
        return max(0, wanted - 1 - self.lent)

    def granted(self, connections: int, now: float) -> None:
        """The lane's answer."""
        self.lent += connections
        if connections < self.asked_for:
            self._count.refused(1 + self.lent, now)
        self.asked_for = 0

    def spread(self) -> None:
        """Open streams as far as there are connections and something to fetch."""
        while len(self.streams) < min(self._count.wanted, 1 + self.lent):
            piece = self._next_piece(self._count.wanted) or self._take_from_another()
            if piece is None:
                return
            self._start(*piece)

    def ended(self, stream: Stream, now: float, error: HaulError | None) -> HaulError | None:
        """A stream is done, or broken; an error comes back when nobody can go on. Raises DiskError."""
        self.streams.discard(stream)
        stream.flush()
        if error is None or isinstance(error, Enough):
            if not self.streams or self._count.wanted > len(self.streams):
                piece = self._next_piece(max(1, self._count.wanted))
                if piece is not None:
                    self._start(*piece)
            return None
        if isinstance(error, StartOver) or is_unsatisfiable(error) or not self.streams:
            return error
        self._count.refused(len(self.streams), now)
        return None

    def cancel(self) -> None:
        """Drop all streams; what they brought stays in the file, if the disk takes it."""
        for stream in self.streams:
            self._engine.cancel(self.fetch if stream.is_whole else stream)
            with contextlib.suppress(HaulError):
                stream.flush()
        self.streams.clear()

    def _start(self, start: int, end: int) -> None:
        stream = Stream(self, start, end, is_whole=False)
        self.streams.add(stream)
        identity = self.part.identity
        part = Part(start, end, identity.size, identity.validator)
        self._engine.start(stream, self._request._replace(part=part), stream.open)

    def _next_piece(self, streams: int) -> Range | None:
        return next_piece(self._free_gaps(), streams)

    def _free_gaps(self) -> list[Range]:
        taken = RangeSet((stream.position, stream.end) for stream in self.streams)
        for start, end in self.part.present():
            taken.add(start, end)
        return taken.gaps(self.part.size)

    def _take_from_another(self) -> Range | None:
        """Where all is given out: let the stream that has most before it end early, and give the rest to another."""
        stream = max(self.streams, key=lambda stream: stream.left_bytes, default=None)
        if stream is None or stream.left_bytes < 2 * MIN_PIECE_BYTES:
            return None
        start, end = stream.end - stream.left_bytes, stream.end
        if stream.is_whole and end == self.part.size:
            own = next_piece([(start, end)], self._count.wanted)
            stream.end = own[1] if own else end
        else:
            stream.end = start + stream.left_bytes // 2
        return self._next_piece(self._count.wanted)


def is_unsatisfiable(error: HaulError) -> bool:
    """Whether the origin says that it has no such range (any more): 416, or a 206 with other bytes."""
    return isinstance(error, FetchError) and (error.http_status == 416 or error.kind == "range")
