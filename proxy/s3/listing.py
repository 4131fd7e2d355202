"""Pages of a bucket as S3 lists it: keys, and with a delimiter what they have in common, in byte order.

A delimiter rolls up what follows it; what has been rolled up is skipped, not read. Names are merged from the targets by
`proxy.listing`, those that are outside come from `proxy.remote`; writing a page is left to `listpages`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from common.buckets import BucketRecord
from common.errors import InvalidRequest
from common.names import printable
from proxy.listing import Entry, Listing, PageQuery
from proxy.remote.listing import RemoteListing, RemoteQuery
from proxy.s3.errors import S3Error, not_implemented

MAX_KEYS: Final = 1000
_BEHIND: Final = "\U0010ffff"
_FEWEST, _MOST = 32, MAX_KEYS + 1
"""How many names are asked for at once: fewer while most of them are rolled up."""
_LOCAL, _REMOTE = "1", "2"


@dataclass(frozen=True, slots=True)
class ListQuery:
    """Which page: keys beyond `after` that begin with `prefix`, at most `limit` rows; or as a token of `found` says."""

    prefix: str = ""
    delimiter: str = ""
    after: str = ""
    token: str = ""
    limit: int = MAX_KEYS


@dataclass(slots=True)
class Listed:
    """Objects and common prefixes; `next_token` where there is more, `next_marker` the last row then."""

    objects: list[Entry] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    next_token: str = ""
    next_marker: str = ""

    @property
    def count(self) -> int:
        return len(self.objects) + len(self.prefixes)


class S3Listing:
    """Lists any bucket of the cluster."""

    def __init__(self, listing: Listing, outside: RemoteListing) -> None:
        self._listing = listing
        self._outside = outside

    async def page(self, record: BucketRecord, query: ListQuery) -> Listed:
        """One page; raises S3Error for what cannot be listed, and what the listings raise."""
        if query.limit == 0:
            return Listed()
        if record.backend is not None:
            return await self._remote(record, query)
        position = _position(query)
        if not query.delimiter:
            return await self._flat(record, query, position)
        return await self._rolled_up(record, query, position)

    async def _flat(self, record: BucketRecord, query: ListQuery, position: str) -> Listed:
        # One more tells whether there are more.
        entries, _ = await self._names(record, query.prefix, position, query.limit + 1)
        found = Listed(entries[: query.limit])
        if len(entries) > query.limit:
            last = found.objects[-1][0]
            found.next_token, found.next_marker = _token(_LOCAL, last), last
        return found

    async def _rolled_up(self, record: BucketRecord, query: ListQuery, position: str) -> Listed:
        found, last = Listed(), ""
        # A row that the page before this one ended with; names can be behind _BEHIND, too.
        rolled = position.removesuffix(_BEHIND) if position.endswith(query.delimiter + _BEHIND) else ""
        wanted, more = min(query.limit + 1, _MOST), True
        while more:
            entries, more = await self._names(record, query.prefix, position, wanted)
            before = found.count
            for entry in entries:
                name: str = entry[0]
                if rolled and name.startswith(rolled):
                    position = max(position, name)
                    continue
                if found.count == query.limit:
                    found.next_token, found.next_marker = _token(_LOCAL, position), last
                    return found
                end = name.find(query.delimiter, len(query.prefix))
                if end < 0:
                    found.objects.append(entry)
                    rolled, last, position = "", name, name
                else:
                    last = rolled = name[: end + len(query.delimiter)]
                    found.prefixes.append(rolled)
                    position = rolled + _BEHIND
            news = found.count - before
            wanted = min(wanted * 2, _MOST) if news * 2 > len(entries) else max(wanted // 4, _FEWEST)
        return found

    async def _names(self, record: BucketRecord, prefix: str, after: str, limit: int) -> tuple[list[Entry], bool]:
        page = await self._listing.page(record, PageQuery(prefix, after, limit, with_etags=True))
        return page.entries, bool(page.next_after)

    async def _remote(self, record: BucketRecord, query: ListQuery) -> Listed:
        """What is outside is listed in its own way: by tokens, not by names, and with no other delimiter."""
        if query.delimiter not in ("", "/"):
            raise not_implemented(f'listing {record.bucket.cname} with the delimiter "{printable(query.delimiter)}"')
        text = query.token or query.after
        token = _read_token(text, _REMOTE) if text else ""
        remote = RemoteQuery(
            prefix=query.prefix,
            token=token,
            limit=query.limit,
            with_properties=True,
            recursive=not query.delimiter,
        )
        try:
            page = await self._outside.page(record, remote)
        except InvalidRequest as error:
            raise S3Error("InvalidArgument", error.message) from None
        next_token = _token(_REMOTE, page.next_after) if page.next_after else ""
        return Listed(page.entries, page.directories, next_token, next_token)


def etag_of(entry: Entry, *, is_remote: bool) -> str:
    """An entry's ETag, quoted, as a GET of the object has it."""
    if is_remote:
        custom: Mapping[str, str] = entry[6] or {}
        etag = custom.get("ETag") or entry[2]
    else:
        etag = (entry[8] if len(entry) > 8 else "") or entry[2]
    return etag if etag.endswith('"') else f'"{etag}"'


def _position(query: ListQuery) -> str:
    """What the page begins behind. A row that was rolled up is passed as a whole."""
    if query.token:
        return _read_token(query.token, _LOCAL)
    after, delimiter = query.after, query.delimiter
    if delimiter and after.endswith(delimiter) and after.startswith(query.prefix) and after != query.prefix:
        return after + _BEHIND
    return after


def _token(kind: str, text: str) -> str:
    return base64.urlsafe_b64encode(f"{kind}{text}".encode()).decode()


def _read_token(token: str, kind: str) -> str:
    try:
        text = base64.urlsafe_b64decode(token.encode("ascii")).decode()
    except (ValueError, binascii.Error):
        text = ""
    if not text.startswith(kind):
        raise S3Error("InvalidArgument", "The continuation token (or, outside, the marker) provided is incorrect")
    return text[1:]


def number_of(query: Mapping[str, str], name: str, default: int) -> int:
    """A number in a query; raises S3Error InvalidArgument."""
    text = query.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or not text.isascii() or len(text) > 10 or int(text) >= 1 << 31:
        raise S3Error("InvalidArgument", f"Provided {name} not an integer or within integer range")
    return int(text)
