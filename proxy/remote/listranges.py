"""Actions on many objects of a bucket at once: evicted, deleted, prefetched; by name, by template or by prefix.

What a template or a message may be is decided here; targets delete, and jobs fetch. Evicting and deleting are done when
they are answered, so that the id which the dialect wants only says when that was.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import quote

from common import clock
from common.backends.sources import source_link
from common.buckets import BucketRecord
from common.clustermap import Node
from common.errors import InvalidRequest, Unavailable, Unsupported
from common.names import validate_key, validate_object_name
from common.template import parse_template
from proxy.downloads.service import Downloads
from proxy.jsonbody import boolean, check_known, integer, lower_keys, string, type_name
from proxy.listing import Listing, PageQuery
from proxy.membership import Membership
from proxy.peers import Peers

EVICT, DELETE, PREFETCH = "evict-listrange", "delete-listrange", "prefetch-listrange"
PREFETCHING = "prefetch -> "
"""What the descriptions of jobs begin with that a prefetch has started."""
_BATCH = 2_000
_DELETE_SECONDS = 60.0
_PAGE = 10_000
_WHAT = "failed to unmarshal list-range message"
_KINDS = {EVICT: "evt", DELETE: "del"}
_SELECTION = frozenset({"objnames", "template"})
_FLAGS = frozenset({"non-recurs", "coer", "continue_on_err", "latest-ver"})
_NUMBERS = frozenset({"num-workers", "blob-threshold"})
_OF_PREFETCH = frozenset({"latest-ver", "blob-threshold"})
_KNOWN = _SELECTION | _FLAGS | _NUMBERS
_OTHER_TEMPLATE = re.compile(r"@[0-9]|%[0-9]*d")


def done_at_ns(action_id: str) -> int | None:
    """When the action was done that was answered with this id; None if it is no such id."""
    kind, _, digits = action_id.partition("-")
    return int(digits) if kind in _KINDS.values() and digits.isdecimal() and len(digits) <= 19 else None


def kind_of(action_id: str) -> str:
    """The action that was answered with this id."""
    return next(action for action, kind in _KINDS.items() if action_id.startswith(f"{kind}-"))


@dataclass(frozen=True, slots=True)
class Selection:
    """Objects of a bucket: those of these names, those that a template gives, or all that begin with a prefix."""

    names: tuple[str, ...] = ()
    template: str = ""
    prefix: str = ""

    def listed(self) -> Iterable[str] | None:
        """The names, as far as they can be told without looking; None for a prefix."""
        if self.names:
            return self.names
        return parse_template(self.template).expand() if self.template else None


class ListRanges:
    """Carries out what clients want of many objects."""

    def __init__(self, membership: Membership, peers: Peers, listing: Listing, downloads: Downloads) -> None:
        self._membership = membership
        self._peers = peers
        self._listing = listing
        self._downloads = downloads

    async def evict(self, record: BucketRecord, value: object) -> str:
        """Remove what is here of objects that are outside; returns an id. Raises InvalidRequest, Unavailable."""
        if record.backend is None:
            raise InvalidRequest(f"cannot evict objects of {record.bucket.cname}: they are only here")
        return await self._remove(EVICT, record, value)

    async def delete(self, record: BucketRecord, value: object) -> str:
        """Delete objects that are only here; returns an id. Raises InvalidRequest, Unsupported, Unavailable."""
        if record.backend is not None:
            raise Unsupported(
                f"{record.bucket.cname}: nothing is deleted at {record.backend.cname} "
                f'(what is here of it can be evicted: "{EVICT}")'
            )
        return await self._remove(DELETE, record, value)

    async def prefetch(self, record: BucketRecord, value: object) -> str:
        """Start a job that fetches objects that are outside; returns the job's id. Raises as a job's start does."""
        backend = record.backend
        if backend is None:
            raise InvalidRequest(f"cannot prefetch {record.bucket.cname}: it is no remote bucket")
        selection = parse_message(PREFETCH, value)
        names = selection.listed()
        job: dict[str, Any] = {"bucket": record.bucket.to_wire(), "description": f"{PREFETCHING}{record.bucket.cname}"}
        if names is None:
            job |= {"type": "backend", "prefix": selection.prefix}
        else:
            # A job's names are read as those in links are.
            job |= {"type": "multi", "objects": {quote(name): source_link(backend, name) for name in names}}
        return str((await self._downloads.start(json.dumps(job).encode()))["id"])

    async def _remove(self, action: str, record: BucketRecord, value: object) -> str:
        selection = parse_message(action, value)
        names = selection.listed()
        if names is not None:
            for batch in _batches(names, _BATCH):
                await self._remove_batch(record, batch)
        else:
            async for batch in self._below(record, selection.prefix):
                await self._remove_batch(record, batch)
        return f"{_KINDS[action]}-{clock.unix_ns()}"

    async def _remove_batch(self, record: BucketRecord, names: Iterable[str]) -> None:
        owned: dict[Node, list[str]] = {}
        for name in names:
            owned.setdefault(self._membership.map.owner(record.bucket, name), []).append(name)
        calls = {
            node: {"bucket": record.bucket.uname, "bucket_id": record.id, "names": names}
            for node, names in owned.items()
        }
        _, errors = await self._peers.call_each(calls, "/intra/v1/objects/delete", _DELETE_SECONDS)
        for target, error in errors.items():
            if isinstance(error, Unavailable):
                raise Unavailable(f'target "{target}" does not answer, and has kept some of the objects; try again')
            raise error

    async def _below(self, record: BucketRecord, prefix: str) -> AsyncIterator[list[str]]:
        """The names of what is here and begins with a prefix."""
        after, is_first = "", True
        while after or is_first:
            page = await self._listing.page(record, PageQuery(prefix, after, _PAGE))
            after, is_first = page.next_after, False
            for batch in _batches([entry[0] for entry in page.entries], _BATCH):
                yield batch


def _batches(names: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(names)
    while batch := list(islice(rest, size)):
        yield batch


def parse_message(action: str, value: object) -> Selection:
    """Which objects an action's message means; raises InvalidRequest, InvalidName, Unsupported.

    How many work on it, and whether they go on after an error, changes nothing here.
    """
    fields = _fields(value)
    check_known(fields, _KNOWN if action == PREFETCH else _KNOWN - _OF_PREFETCH, _WHAT)
    for flag in _FLAGS:
        boolean(fields, flag, _WHAT)
    for number in _NUMBERS:
        integer(fields, number, _WHAT)
    if boolean(fields, "non-recurs", _WHAT):
        raise Unsupported(f"{action} of only one level of a bucket ('non-recurs') is not offered")
    return parse_selection(value)


def parse_selection(value: object) -> Selection:
    """Which objects are named, whatever else there is in the value; raises InvalidRequest, InvalidName."""
    fields = _fields(value)
    template, names = string(fields, "template", _WHAT), fields.get("objnames", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidRequest(f"{_WHAT}: 'objnames' must be an array of strings")
    if names and template:
        raise InvalidRequest(f"{_WHAT}: 'objnames' and 'template' exclude each other")
    if names:
        return Selection(names=tuple(validate_key(name) for name in names))
    if "template" not in fields:
        raise InvalidRequest(f"{_WHAT}: 'objnames' or 'template' must be given")
    if not template and "objnames" in fields:
        raise InvalidRequest(f"{_WHAT}: 'objnames' is empty, and so is 'template', which alone would be all objects")
    if "{" not in template:
        return Selection(prefix=_prefix(template))
    if "*" in template:
        raise InvalidRequest(f"{_WHAT}: 'template' has ranges and '*', which is for the end of a prefix only")
    parsed = parse_template(template)
    for position in {0, parsed.count - 1}:  # numbers are all that differs
        validate_object_name(next(parsed.expand(position)))
    return Selection(template=template)


def _fields(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRequest(f"{_WHAT}: 'value' must be an object, found: {type_name(value)}")
    return lower_keys(value)


def _prefix(template: str) -> str:
    """The prefix that a template without ranges is, if AIStore would not take it for something else."""
    prefix = template.rstrip("*")
    if "*" in prefix:
        raise InvalidRequest(f"{_WHAT}: 'template' may have '*' at its end only")
    if _OTHER_TEMPLATE.search(prefix):
        raise InvalidRequest(f"{_WHAT}: 'template' may have ranges like '{{00..99}}', and no '@99' or '%02d'")
    return prefix
