"""`/v1/buckets`: list, create, head, destroy buckets, and list the objects of one. Source: wire.md §2, §3.5.

What a bucket is, is left to `common.buckets`; merging the targets' pages to `proxy.listing`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response

from common.access import Permission, check_access
from common.backends.sources import is_outside
from common.buckets import BucketRecord
from common.errors import InvalidRequest, RequestError, Unsupported
from common.names import Bucket, normalize_provider
from common.web import is_true
from proxy.actions import requests
from proxy.actions.copies import Copies
from proxy.api.answers import JSON, body_of, bucket_of, json_response, query_parameters, raw_response, unmatched
from proxy.api.pages import ListMessage, json_page, msgpack_page, parse_list_message
from proxy.api.summaries import SummaryRoutes
from proxy.buckets import Buckets
from proxy.jsonbody import decode_object, string
from proxy.listing import Listing, Page, PageQuery
from proxy.remote.buckets import RemoteBuckets
from proxy.remote.listing import RemoteListing, RemoteQuery
from proxy.remote.listranges import DELETE, EVICT, PREFETCH, ListRanges

_MSGPACK = "application/msgpack"
_ACTION = "action message"
SUMMARY = "summary-bck"
_NOT_OFFERED = frozenset(
    {
        *("etl-bck", "etl-listrange", "archive", "make-n-copies", "ec-encode", "rechunk", "index-shard"),
        *("create-inventory", "show-inventory", "destroy-inventory", "promote", "blob-download"),
    }
)
"""Actions of AIStore's that there are no jobs for."""


_PRESENT_ONLY = frozenset({"2", "3", "4"})
_OUTSIDE_ONLY = "5"
"""Values of the query parameter `presence`."""


class NotOurs(RequestError):
    """The bucket is kept by somebody else, and nothing is changed there."""

    code = "ErrUnsupp"
    status = 405


@dataclass(frozen=True, slots=True)
class Action:
    """AIStore's ActMsg; `is_empty` when there was no body."""

    name: str
    target: str
    value: Any
    is_empty: bool


def parse_action(body: bytes) -> Action:
    """The body of a bucket request; raises InvalidRequest."""
    fields = decode_object(body, _ACTION)
    name, target = string(fields, "action", _ACTION), string(fields, "name", _ACTION)
    return Action(name, target, fields.get("value"), not body.strip())


def _example(action: str, value: object = None) -> dict[str, Any]:
    message = {"action": action} | ({} if value is None else {"value": value})
    return {"requestBody": {"content": {"application/json": {"examples": {action: {"value": message}}}}}}


class BucketRoutes:
    """The handlers behind the routes."""

    def __init__(
        self,
        buckets: Buckets,
        remote: RemoteBuckets,
        listing: Listing,
        outside: RemoteListing,
        ranges: ListRanges,
        copies: Copies,
        summaries: SummaryRoutes,
        check_staying: Callable[[Bucket], None],
    ) -> None:
        """`check_staying` raises while nothing in a bucket may be deleted or changed."""
        self._check_staying = check_staying
        self._summaries = summaries
        self._ranges = ranges
        self._copies = copies
        self._buckets = buckets
        self._remote = remote
        self._listing = listing
        self._outside = outside

    async def list_buckets(self, request: Request) -> Response:
        """All buckets, those of one provider, or the one that the body names."""
        action, query = parse_action(await body_of(request)), query_parameters(request)
        if action.name == SUMMARY:
            return await self._summaries.get(await self._listed(query), action.value)
        if not action.is_empty and action.name != "list":
            raise _refusal(action)
        return await self._bucket_list(query, action.target)

    async def list_objects(self, request: Request, bucket: str) -> Response:
        """A page of a bucket's objects; without a body the first one."""
        query = query_parameters(request)
        found, action = bucket_of(bucket, query), parse_action(await body_of(request))
        if action.name == SUMMARY:
            return await self._summarised(found, query, action.value)
        if not action.is_empty and action.name != "list":
            raise _refusal(action)
        if action.value is None and not action.is_empty:
            if action.target == found.name:
                return await self._bucket_list(query, action.target)
            if not action.target:  # AIStore's documentation lists objects so
                return await self._object_page(found, {}, request.headers.get("accept", ""))
            raise InvalidRequest(
                f'bad list-buckets request: "{found.name}" vs "{action.target}" ({found.cname}, actm[{action.name}])'
            )
        return await self._object_page(found, action.value or {}, request.headers.get("accept", ""))

    async def create(self, request: Request, bucket: str) -> Response:
        """Make a bucket, 409 when it exists; or start a job: copy, rename, fetch what is outside."""
        query, body = query_parameters(request), await body_of(request)
        action = _required_action(body)
        found = bucket_of(bucket, query)
        if action.name != "create-bck":
            return _id_response(await self._start_job(action, await self._remote.find(found), query.get("bck_to", "")))
        await self._remote.create(found, action.value)
        return Response()

    async def _start_job(self, action: Action, record: BucketRecord, to: str) -> str:
        match action.name:
            case requests.COPY_BUCKET:
                return await self._copies.copy_bucket(record, to, action.value)
            case requests.MOVE_BUCKET:
                _check_no_value(action)
                return await self._copies.move_bucket(record, to)
            case requests.COPY_OBJECTS:
                return await self._copies.copy_objects(record, action.value)
            case _ if action.name == PREFETCH:
                check_access(record, Permission.GET)  # as whoever reads them one by one
                return await self._ranges.prefetch(record, action.value)
        raise _refusal(action)

    async def destroy(self, request: Request, bucket: str) -> Response:
        """Remove a bucket and all that is in it, some of its objects, or what is here of what is outside."""
        query, body = query_parameters(request), await body_of(request)
        action = _required_action(body)
        found = bucket_of(bucket, query)
        is_destroying = action.name == "destroy-bck"
        if is_destroying:
            _check_whole(action, query)
        if action.name == "evict-remote-bck":
            await self._evict(found, keeps=is_true(query.get("keep_bck_md", "")))
            return Response()
        record = await self._find(found, query)
        check_access(record, Permission.DESTROY_BUCKET if is_destroying else Permission.DELETE_OBJECT)
        if action.name == EVICT:
            return _id_response(await self._ranges.evict(record, action.value))
        if action.name == DELETE:
            self._check_staying(record.bucket)
            return _id_response(await self._ranges.delete(record, action.value))
        if not is_destroying:
            raise _refusal(action)
        if is_outside(record.bucket):
            raise NotOurs(
                f"cannot destroy cloud bucket {found.cname}: it is kept by its provider "
                "(what is here of it can be evicted)"
            )
        await self._buckets.destroy(found)
        return Response()

    async def _evict(self, bucket: Bucket, *, keeps: bool) -> None:
        """Remove what is here of a bucket's objects; of one that is outside the record, too, unless it `keeps` that."""
        record = await self._buckets.get(bucket)
        check_access(record, Permission.DESTROY_BUCKET)
        if record.backend is None:
            raise InvalidRequest(f"cannot evict {bucket.cname}: it is no remote bucket, and its objects are only here")
        if keeps or not is_outside(bucket):
            await self._buckets.empty(bucket)
        else:
            await self._buckets.destroy(bucket)

    async def head(self, request: Request, bucket: str) -> Response:
        """The bucket's properties in the header `Ais-Bucket-Props`."""
        query = query_parameters(request)
        record = await self._find(bucket_of(bucket, query), query)
        check_access(record, Permission.HEAD_BUCKET)
        if "bsumm_remote" in query:
            return await self._summaries.head(record, query, "")
        return Response(headers={"Ais-Bucket-Props": json.dumps(record.to_bprops(), separators=(",", ":"))})

    async def head_below(self, request: Request, bucket: str, prefix: str) -> Response:
        """The summary of what of a bucket begins with a prefix; nothing else has a path like this."""
        query = query_parameters(request)
        if "bsumm_remote" not in query:
            raise unmatched(request.scope)
        record = await self._find(bucket_of(bucket, query), query)
        check_access(record, Permission.HEAD_BUCKET)
        return await self._summaries.head(record, query, _prefix(request, prefix))

    async def summary_below(self, request: Request, bucket: str, prefix: str) -> Response:
        """The same for GET, where the message may have a prefix of its own."""
        action = parse_action(await body_of(request))
        if action.name != SUMMARY:
            raise unmatched(request.scope)
        query, value = query_parameters(request), action.value if action.value is not None else {}
        if isinstance(value, dict) and not value.get("prefix"):
            value = value | {"prefix": _prefix(request, prefix)}
        return await self._summarised(bucket_of(bucket, query), query, value)

    async def _summarised(self, bucket: Bucket, query: dict[str, str], value: Any) -> Response:
        record = await self._find(bucket, query)
        check_access(record, Permission.LIST_OBJECTS)
        return await self._summaries.get([record], value)

    async def update(self, request: Request, bucket: str) -> Response:
        """Change properties, or reset them."""
        action = _required_action(await body_of(request))
        found = bucket_of(bucket, query_parameters(request))
        if action.name == "set-bprops":
            await self._remote.set_properties(found, action.value)
        elif action.name == "reset-bprops":
            await self._remote.reset_properties(found)
        else:
            await self._remote.find(found)
            raise _refusal(action)
        return Response()

    async def _find(self, bucket: Bucket, query: dict[str, str]) -> BucketRecord:
        """The bucket; one that is outside is recorded on the way, unless the client does not want that."""
        if query.get("presence") in _PRESENT_ONLY:
            return await self._buckets.get(bucket)
        return await self._remote.find(bucket, adds=not is_true(query.get("dont_add_remote_bck_md", "")))

    async def _bucket_list(self, query: dict[str, str], name: str) -> Response:
        """What is recorded; services are not asked which buckets they have besides."""
        found = await self._listed(query)
        return json_response([one.bucket.to_wire() for one in found if name in ("", one.bucket.name)])

    async def _listed(self, query: dict[str, str]) -> list[BucketRecord]:
        table = await self._buckets.refresh()
        provider = normalize_provider(query["provider"]) if query.get("provider") else ""
        if query.get("presence") == _OUTSIDE_ONLY:
            return []
        return [record for record in table.sorted_records() if provider in ("", record.bucket.provider)]

    async def _object_page(self, bucket: Bucket, value: Any, accept: str) -> Response:
        message = parse_list_message(value)
        if message.only_recorded:
            record = await self._buckets.get(bucket)
        else:
            record = await self._remote.find(bucket, adds=message.adds)
        check_access(record, Permission.LIST_OBJECTS)
        uuid = message.uuid or "l" + secrets.token_urlsafe(7)
        page = await self._page(record, message, uuid)
        if accept == _MSGPACK:
            return raw_response(msgpack_page(page, message, uuid), _MSGPACK)
        return raw_response(json_page(page, message, uuid), JSON)

    async def _page(self, record: BucketRecord, message: ListMessage, uuid: str) -> Page:
        """What is here, or for a bucket that has a backend what is there."""
        if record.backend is None or message.only_here:
            if message.only_absent:
                raise InvalidRequest("flag 'not-cached' requires a remote bucket, and excludes 'cached'")
            query = PageQuery(
                *(message.prefix, message.after, message.limit, uuid, message.needs_metadata, message.is_recursive),
                with_archives=message.with_archives,
            )
            return await self._listing.page(record, query)
        if message.with_archives:
            raise InvalidRequest(
                f"{record.bucket.cname}: flag 'arch-dir' shows what is in archives in the cluster, "
                "so for a bucket with a backend it requires the flag 'cached'"
            )
        if message.start_after:
            raise InvalidRequest(f"{record.bucket.cname}: 'start_after' is for buckets without a backend")
        remote = RemoteQuery(
            prefix=message.prefix,
            token=message.token,
            limit=message.limit,
            with_properties=message.needs_metadata,
            recursive=message.is_recursive,
            looks_here=message.looks_here,
            only_absent=message.only_absent,
        )
        return await self._outside.page(record, remote)


def router(routes: BucketRoutes) -> APIRouter:
    """The routes of buckets."""
    api = APIRouter(tags=["buckets"])
    one = "/v1/buckets/{bucket}"
    page = {"prefix": "", "pagesize": 1000, "props": "name,size,checksum", "continuation_token": ""}
    listing, destroying = _example("list"), _example("destroy-bck")
    api.add_api_route("/v1/buckets", routes.list_buckets, methods=["GET"], openapi_extra=listing)
    api.add_api_route(one, routes.list_objects, methods=["GET"], openapi_extra=_example("list", page))
    api.add_api_route(one, routes.create, methods=["POST"], openapi_extra=_example("create-bck"))
    api.add_api_route(one, routes.destroy, methods=["DELETE"], openapi_extra=destroying)
    api.add_api_route(one, routes.head, methods=["HEAD"])
    below = one + "/{prefix:path}"
    api.add_api_route(below, routes.head_below, methods=["HEAD"], include_in_schema=False)
    api.add_api_route(below, routes.summary_below, methods=["GET"], include_in_schema=False)
    api.add_api_route(one, routes.update, methods=["PATCH"], openapi_extra=_example("set-bprops", {}))
    api.add_api_route(one, routes.update, methods=["PUT"], include_in_schema=False)
    return api


def _prefix(request: Request, prefix: str) -> str:
    """The prefix as it stands in the path, whose last slash routes do not see."""
    return f"{prefix}/" if request.scope["raw_path"].endswith(b"/") else prefix


def _required_action(body: bytes) -> Action:
    action = parse_action(body)
    if action.is_empty:
        raise InvalidRequest(f"failed to unmarshal {_ACTION}, err: EOF (the body is empty)")
    return action


def _check_whole(action: Action, query: dict[str, str]) -> None:
    """Refuse what would narrow down an action that is done to a whole bucket."""
    _check_no_value(action)
    if query.get("prefix"):
        raise InvalidRequest(f"{action.name}: all of a bucket is destroyed, so there must be no 'prefix' ('{DELETE}')")


def _check_no_value(action: Action) -> None:
    """Refuse a value that says something; one whose fields are all empty, as a copy's defaults are, says nothing."""
    if any(action.value.values()) if isinstance(action.value, dict) else action.value:
        raise InvalidRequest(f"{action.name}: 'value' must be empty, for nothing can be said in it")


def _id_response(action_id: str) -> Response:
    """The id of a job, as the dialect answers it: bare text."""
    return Response(action_id, headers={"content-type": "text/plain; charset=utf-8"})


def _refusal(action: Action) -> RequestError:
    if action.name in _NOT_OFFERED:
        return Unsupported(f"'{action.name}' is not offered by this cluster")
    return InvalidRequest(f'invalid action "{action.name}"')
