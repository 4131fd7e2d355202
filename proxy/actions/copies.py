"""Copies of buckets and of objects, and moves, as the public API offers them: checked, recorded, begun.

What lies in the cluster is copied by the targets, as `tending` has them do; what is outside is fetched by a download
job into the destination, which needs no detour through the bucket that stands for it here.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import string
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from common import clock
from common.access import Permission, check_access
from common.backends.sources import is_outside, source_link
from common.buckets import BucketRecord
from common.clustermap import NoTargets
from common.copying import CopyOrder
from common.errors import BucketExists, InvalidRequest, RequestError, Unavailable, Unsupported
from common.lifecycle import TaskScope
from common.names import Bucket
from proxy.actions.records import ActionRecord
from proxy.actions.requests import (
    COPY_BUCKET,
    COPY_OBJECTS,
    MOVE_BUCKET,
    CopyRequest,
    parse_copy,
    parse_copy_objects,
    parse_destination,
)
from proxy.actions.store import ActionStore
from proxy.actions.tending import Tending
from proxy.buckets import Buckets, ClaimLost
from proxy.downloads.service import Downloads
from proxy.membership import Membership
from proxy.remote.listranges import Selection

_MAX_RUNNING = 64
_ATTEMPTS = 10
_ALPHABET = string.ascii_letters + string.digits


class Busy(RequestError):
    """Another job works on the same bucket, and one of the two moves it; the text has no bucket in the dialect's form.

    Clients would take it for a bucket that exists already.
    """

    code = "ErrLimitedCoexistence"
    status = 409


class Copies:
    """Starts copies and moves."""

    def __init__(
        self,
        actions: ActionStore,
        tending: Tending,
        buckets: Buckets,
        membership: Membership,
        downloads: Downloads,
        scope: TaskScope,
    ) -> None:
        self._actions = actions
        self._tending = tending
        self._buckets = buckets
        self._membership = membership
        self._downloads = downloads
        self._scope = scope

    async def copy_bucket(self, source: BucketRecord, to: str, value: object) -> str:
        """Copy a bucket, or what of it begins with a prefix; returns the job's id.

        Raises InvalidRequest, Unsupported, Busy, NoTargets, Unavailable, and what a download job's start raises.
        """
        request, destination = parse_copy(value), parse_destination(to)
        if destination == source.bucket:
            raise InvalidRequest(f"cannot copy bucket {source.bucket.cname} onto itself")
        return await self._copy(COPY_BUCKET, source, destination, request, Selection(prefix=request.prefix))

    async def copy_objects(self, source: BucketRecord, value: object) -> str:
        """Copy some objects of a bucket; returns the job's id. Raises as `copy_bucket`, and InvalidName."""
        request, selection, destination = parse_copy_objects(value)
        if destination == source.bucket and (not request.prepend or selection.listed() is None):
            raise InvalidRequest(f"cannot copy objects of {source.bucket.cname} onto themselves: 'prepend' something")
        return await self._copy(COPY_OBJECTS, source, destination, request, selection)

    async def move_bucket(self, source: BucketRecord, to: str) -> str:
        """Give a bucket another name; returns the job's id. Raises BucketExists, and as `copy_bucket`."""
        destination = parse_destination(to)
        for bucket in (source.bucket, destination):
            if is_outside(bucket):
                raise Unsupported(f"{bucket.cname}: only buckets of this cluster can be renamed")
        if destination == source.bucket:
            raise InvalidRequest(f"cannot rename bucket {source.bucket.cname} to itself")
        check_access(source, Permission.MOVE_BUCKET)
        order = replace(_order(source, destination, CopyRequest(), Selection()), is_move=True)
        return await self._start(MOVE_BUCKET, order, source.properties)

    async def _copy(
        self, kind: str, source: BucketRecord, destination: Bucket, request: CopyRequest, selection: Selection
    ) -> str:
        check_access(source, Permission.GET)
        if is_outside(destination):
            raise Unsupported(f"nothing is written to {destination.cname}, which is outside of this cluster")
        if source.backend is not None:
            return await self._fetch(source, source.backend, destination, request, selection)
        if request.is_synchronized:
            raise InvalidRequest(f"'synchronize' is for remote buckets, and {source.bucket.cname} is none")
        return await self._start(kind, _order(source, destination, request, selection), source.properties)

    async def _fetch(
        self,
        source: BucketRecord,
        backend: Bucket,
        destination: Bucket,
        request: CopyRequest,
        selection: Selection,
    ) -> str:
        """Have objects that are outside fetched into the destination."""
        names, prepend = selection.listed(), request.prepend
        if request.dry_run or request.extensions:
            raise Unsupported(f"{source.bucket.cname} is remote, and copied without 'dry_run' and 'ext' only")
        if names is None and prepend and not prepend.endswith("/"):
            raise Unsupported(f"{source.bucket.cname} is remote, and 'prepend' must be a path then (end with a slash)")
        job: dict[str, Any] = {
            "bucket": destination.to_wire(),
            "description": f"copy {source.bucket.cname} -> {destination.cname}",
        }
        if names is None:
            job |= {"type": "backend", "source": backend.to_wire(), "prefix": selection.prefix}
            job |= {"subdir": prepend.rstrip("/"), "synchronize": request.is_synchronized}
        else:
            links = {quote(prepend + name): source_link(backend, name) for name in names}
            job |= {"type": "multi", "objects": links}
        return str((await self._downloads.start(json.dumps(job).encode()))["id"])

    async def _start(self, kind: str, order: CopyOrder, properties: Any) -> str:
        """Record a copy, with its destination if that is missing, and have it begun."""
        if not self._membership.map.candidates:
            raise NoTargets
        self._check_coexistence(kind, order)
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(ClaimLost):
                record = await self._recorded(kind, order, dict(properties))
                self._scope.start(f"begin {record.id}", self._begin(record))
                return record.id
        raise ClaimLost(order.destination.cname)

    async def _recorded(self, kind: str, order: CopyOrder, properties: dict[str, Any]) -> ActionRecord:
        if order.dry_run:
            record = ActionRecord(order, kind)
            await self._actions.create(record, self._buckets, None)
            return record
        claim = await self._buckets.claim(order.destination, properties)
        if claim.table is None and order.is_move:
            raise BucketExists(order.destination.cname)
        if claim.table is None:
            check_access(claim.record, Permission.PUT)
        if claim.table is None and claim.record.backend is not None:
            raise Unsupported(f"nothing is written to {claim.record.backend.cname}, the backend of the destination")
        record = ActionRecord(replace(order, destination_id=claim.record.id), kind)
        await self._actions.create(record, self._buckets, claim)
        if claim.table is not None:
            await self._buckets.tell()
        return record

    async def _begin(self, record: ActionRecord) -> None:
        await self._tending.start(record)

    def _check_coexistence(self, kind: str, order: CopyOrder) -> None:
        running = self._actions.running()
        if len(running) >= _MAX_RUNNING:
            raise Unavailable(f"{len(running)} copies are running, and no more are begun now; try again later")
        mine = {order.source, order.destination}
        for other in running:
            if (order.is_move or other.order.is_move) and not mine.isdisjoint(
                {other.order.source, other.order.destination}
            ):
                raise Busy(f'cannot start {kind} of bucket "{order.source.name}": {other.kind}[{other.id}] is running')


def _order(source: BucketRecord, destination: Bucket, request: CopyRequest, selection: Selection) -> CopyOrder:
    token = secrets.choice(string.ascii_letters) + "".join(secrets.choice(_ALPHABET) for _ in range(8))
    return CopyOrder(
        id=f"cpy-{token}",
        source=source.bucket,
        source_id=source.id,
        destination=destination,
        destination_id=0,
        started_ns=clock.unix_ns(),
        prefix=selection.prefix,
        prepend=request.prepend,
        extensions=request.extensions,
        names=selection.names,
        template=selection.template,
        dry_run=request.dry_run,
        keeps_going=request.keeps_going,
        workers=request.workers,
    )
