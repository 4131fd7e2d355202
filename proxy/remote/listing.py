"""One page of a bucket that has a backend: what is there, and which of it is here; writing it is left to the API.

Names come from the backend, a page of its at a time, and targets are asked which of them they have: the owner, and
while objects move also those where an object may still be. What is only here is not shown.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack

from common.backends.asking import Asking
from common.backends.base import MAX_PAGE, ObjectPage, SourceObject, custom_of
from common.buckets import BucketRecord
from common.clustermap import ClusterMap, Node
from common.errors import InvalidName, InvalidRequest, Unavailable
from common.names import Bucket, validate_object_name
from proxy.listing import Entry, Page
from proxy.membership import Membership
from proxy.peers import Peers
from proxy.remote.buckets import NOT_RECORDED

_LOOK_SECONDS = 10.0
_MAX_PAGES = 10
"""So many pages of a backend are gone through for one of ours at most; then that is short, or even empty."""
_ATTEMPTS = 5
_STORED_NS = 3
_CHECKSUMS = ("md5", "crc32c", "sha256")


@dataclass(frozen=True, slots=True)
class RemoteQuery:
    """Which page: that of `token`, or the first one; names that begin with `prefix`, at most `limit`.

    With `only_absent` what is in the cluster is left out; without `looks_here` nobody asks what is.
    """

    prefix: str = ""
    token: str = ""
    limit: int = MAX_PAGE
    with_properties: bool = False
    recursive: bool = True
    looks_here: bool = True
    only_absent: bool = False


@dataclass(slots=True)
class _Position:
    """Where a listing goes on: the backend's token, and the directory that was shown last."""

    token: str = ""
    directory: str = ""

    @classmethod
    def read(cls, text: str) -> _Position:
        """What `write` gave; raises InvalidRequest for anything else."""
        if not text:
            return cls()
        try:
            token, directory = msgpack.unpackb(base64.urlsafe_b64decode(text.encode("ascii")))
        except (ValueError, TypeError, binascii.Error, msgpack.UnpackException):
            token = directory = None
        if not isinstance(token, str) or not isinstance(directory, str) or not token:
            raise InvalidRequest("'continuation_token' is none that a listing of a remote bucket has given")
        return cls(token, directory)

    def write(self) -> str:
        """As clients hand it back; empty at the end."""
        packed: bytes = msgpack.packb((self.token, self.directory))
        return base64.urlsafe_b64encode(packed).decode("ascii") if self.token else ""


@dataclass(slots=True)
class _Found:
    """What has been gathered for a page."""

    entries: list[Entry] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    absent: set[str] = field(default_factory=set)

    @property
    def count(self) -> int:
        return len(self.entries) + len(self.directories)


class RemoteListing:
    """Lists what is outside."""

    def __init__(self, asking: Asking, membership: Membership, peers: Peers) -> None:
        self._asking = asking
        self._membership = membership
        self._peers = peers

    async def page(self, record: BucketRecord, query: RemoteQuery) -> Page:
        """One page; raises what the backend raises, Unavailable naming a target that does not answer."""
        backend, position, found = record.backend, _Position.read(query.token), _Found()
        assert backend is not None, "the bucket has a backend"
        for _ in range(_MAX_PAGES):
            listed = await self._listed(backend, query.prefix, position.token, min(query.limit - found.count, MAX_PAGE))
            position.token = listed.token
            objects = listed.objects if query.recursive else _level(listed.objects, query.prefix, position, found)
            await self._add(record, backend, query, objects, found)
            is_enough = found.count if query.recursive else found.count >= min(query.limit, MAX_PAGE)
            if not position.token or is_enough:
                break
        return Page(found.entries, found.directories, position.write(), frozenset(found.absent))

    async def _listed(self, backend: Bucket, prefix: str, token: str, limit: int) -> ObjectPage:
        return await self._asking.ask(backend, lambda asked: asked.page(prefix, token, limit))

    async def _add(
        self,
        record: BucketRecord,
        backend: Bucket,
        query: RemoteQuery,
        objects: Iterable[SourceObject],
        found: _Found,
    ) -> None:
        shown = [one for one in objects if not one.name.endswith("/")]  # what a service shows as a folder
        here = await self._here(record, [one.name for one in shown], query) if query.looks_here else {}
        for one in shown:
            entry = here.get(one.name)
            if entry is None:
                found.absent.add(one.name)
                found.entries.append(_outside(one, backend))
            elif not query.only_absent:
                found.entries.append(entry)

    async def _here(self, record: BucketRecord, names: Sequence[str], query: RemoteQuery) -> dict[str, Entry]:
        """Those that are in the cluster, by name."""
        if record.id == NOT_RECORDED:
            return {}
        for _ in range(_ATTEMPTS):
            cluster_map = self._membership.map
            answers = await self._look(cluster_map, record, names)
            if all(answer["placement_version"] <= cluster_map.placement_version for answer in answers.values()):
                return _newest(answers, with_target=query.with_properties)
            await self._membership.refresh_map()
        raise Unavailable("the cluster map is changing too fast for a listing; try again")

    async def _look(self, cluster_map: ClusterMap, record: BucketRecord, names: Sequence[str]) -> dict[str, Any]:
        """What each target says that may have one of these objects."""
        asked: dict[Node, list[str]] = {}
        for name in names:
            if _is_valid(name):
                for node in cluster_map.holders(record.bucket, name):
                    asked.setdefault(node, []).append(name)
        calls = {
            node: {"bucket": record.bucket.uname, "bucket_id": record.id, "names": names}
            for node, names in asked.items()
        }
        answers, errors = await self._peers.call_each(calls, "/intra/v1/objects/look", _LOOK_SECONDS)
        for target, error in errors.items():
            if isinstance(error, Unavailable):
                raise Unavailable(f'target "{target}" does not answer, and it is not known what it has; try again')
            raise error
        return answers


def _newest(answers: Mapping[str, Any], *, with_target: bool) -> dict[str, Entry]:
    """The entries by name; of an object that is moving, and with two targets, the newer one."""
    newest: dict[str, Entry] = {}
    for target, answer in answers.items():
        for entry in answer["entries"]:
            known = newest.get(entry[0])
            if known is None or known[_STORED_NS] < entry[_STORED_NS]:
                newest[entry[0]] = [*entry, target] if with_target else entry
    return newest


def _level(objects: Iterable[SourceObject], prefix: str, position: _Position, found: _Found) -> list[SourceObject]:
    """The objects of one level of a hierarchy; what lies deeper is shown as its directory, once."""
    level = []
    for one in objects:
        slash = one.name.find("/", len(prefix))
        if slash < 0:
            level.append(one)
        elif one.name[: slash + 1] != position.directory:
            position.directory = one.name[: slash + 1]
            found.directories.append(position.directory)
    return level


def _is_valid(name: str) -> bool:
    """Whether an object of that name can be in the cluster."""
    try:
        validate_object_name(name)
    except InvalidName:
        return False
    return True


def _outside(found: SourceObject, backend: Bucket) -> Entry:
    """An object that is not here, as a listing shows it."""
    checksum = next((found.digests[one] for one in _CHECKSUMS if one in found.digests), "")
    custom = custom_of(found, backend.provider)
    return [found.name, found.size_bytes or 0, checksum, 0, found.version, "", custom, ""]
