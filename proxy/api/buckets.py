"""`/v1/buckets`: list, create, head, destroy buckets, and list the objects of one. Source: wire.md §2, §3.5.

What a bucket is, is left to `common.buckets`; merging the targets' pages to `proxy.listing`.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response

from common.backends.sources import is_outside
from common.buckets import BucketRecord
from common.errors import InvalidRequest, RequestError, Unsupported
from common.names import Bucket, normalize_provider
from common.web import is_true
from proxy.api.answers import JSON, body_of, bucket_of, json_response, query_parameters, raw_response
from proxy.api.pages import ListMessage, json_page, msgpack_page, parse_list_message
from proxy.buckets import Buckets
from proxy.jsonbody import decode_object, string
from proxy.listing import Listing, Page, PageQuery
from proxy.remote.buckets import RemoteBuckets
from proxy.remote.listing import RemoteListing, RemoteQuery
from proxy.remote.listranges import DELETE, EVICT, PREFETCH, ListRanges

_MSGPACK = "application/msgpack"
_ACTION = "action message"


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
    ) -> None:
        self._ranges = ranges
        self._buckets = buckets
        self._remote = remote
        self._listing = listing
        self._outside = outside

    async def list_buckets(self, request: Request) -> Response:
        """All buckets, those of one provider, or the one that the body names."""
        action = parse_action(await body_of(request))
        if not action.is_empty and action.name != "list":
            raise _invalid(action)
        return await self._bucket_list(query_parameters(request), action.target)

    async def list_objects(self, request: Request, bucket: str) -> Response:
        """A page of a bucket's objects; without a body the first one."""
        query = query_parameters(request)
        found, action = bucket_of(bucket, query), parse_action(await body_of(request))
        if action.name == "summary-bck":
            raise Unsupported("bucket summaries are not available yet")
        if not action.is_empty and action.name != "list":
            raise _invalid(action)
        if action.value is None and not action.is_empty:
            if action.target == found.name:
                return await self._bucket_list(query, action.target)
            raise InvalidRequest(
                f'bad list-buckets request: "{found.name}" vs "{action.target}" ({found.cname}, actm[{action.name}])'
            )
        return await self._object_page(found, action.value or {}, request.headers.get("accept", ""))

    async def create(self, request: Request, bucket: str) -> Response:
        """Make a bucket, 409 when it exists; or have objects of one that is outside fetched."""
        query, body = query_parameters(request), await body_of(request)
        action = _required_action(body)
        found = bucket_of(bucket, query)
        if action.name != "create-bck":
            record = await self._remote.find(found)
            if action.name == PREFETCH:
                return _id_response(await self._ranges.prefetch(record, action.value))
            raise _invalid(action)
        await self._remote.create(found, action.value)
        return Response()

    async def destroy(self, request: Request, bucket: str) -> Response:
        """Remove a bucket and all that is in it, some of its objects, or what is here of what is outside."""
        query, body = query_parameters(request), await body_of(request)
        action = _required_action(body)
        found = bucket_of(bucket, query)
        if action.name == "evict-remote-bck":
            await self._evict(found, keeps=is_true(query.get("keep_bck_md", "")))
            return Response()
        record = await self._find(found, query)
        if action.name == EVICT:
            return _id_response(await self._ranges.evict(record, action.value))
        if action.name == DELETE:
            return _id_response(await self._ranges.delete(record, action.value))
        if action.name != "destroy-bck":
            raise _invalid(action)
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
        if record.backend is None:
            raise InvalidRequest(f"cannot evict {bucket.cname}: it is no remote bucket, and its objects are only here")
        if keeps or not is_outside(bucket):
            await self._buckets.empty(bucket)
        else:
            await self._buckets.destroy(bucket)

    async def head(self, request: Request, bucket: str) -> Response:
        """The bucket's properties in the header `Ais-Bucket-Props`."""
        query = query_parameters(request)
        if "bsumm_remote" in query:
            raise Unsupported("bucket summaries are not available yet")
        record = await self._find(bucket_of(bucket, query), query)
        return Response(headers={"Ais-Bucket-Props": json.dumps(record.to_bprops(), separators=(",", ":"))})

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
            raise _invalid(action)
        return Response()

    async def _find(self, bucket: Bucket, query: dict[str, str]) -> BucketRecord:
        """The bucket; one that is outside is recorded on the way, unless the client does not want that."""
        if query.get("presence") in _PRESENT_ONLY:
            return await self._buckets.get(bucket)
        return await self._remote.find(bucket, adds=not is_true(query.get("dont_add_remote_bck_md", "")))

    async def _bucket_list(self, query: dict[str, str], name: str) -> Response:
        """What is recorded; services are not asked which buckets they have besides."""
        table = await self._buckets.refresh()
        provider = normalize_provider(query["provider"]) if query.get("provider") else ""
        found = (record.bucket for record in table.sorted_records()) if query.get("presence") != _OUTSIDE_ONLY else ()
        return json_response(
            [
                bucket.to_wire()
                for bucket in found
                if (not provider or bucket.provider == provider) and (not name or bucket.name == name)
            ]
        )

    async def _object_page(self, bucket: Bucket, value: Any, accept: str) -> Response:
        message = parse_list_message(value)
        record = await self._remote.find(bucket, adds=message.adds)
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
                message.prefix, message.after, message.limit, uuid, message.needs_metadata, message.is_recursive
            )
            return await self._listing.page(record, query)
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
    api.add_api_route(one, routes.update, methods=["PATCH"], openapi_extra=_example("set-bprops", {}))
    api.add_api_route(one, routes.update, methods=["PUT"], include_in_schema=False)
    return api


def _required_action(body: bytes) -> Action:
    action = parse_action(body)
    if action.is_empty:
        raise InvalidRequest(f"failed to unmarshal {_ACTION}, err: EOF (the body is empty)")
    return action


def _id_response(action_id: str) -> Response:
    """The id of a job, as the dialect answers it: bare text."""
    return Response(action_id, headers={"content-type": "text/plain; charset=utf-8"})


def _invalid(action: Action) -> InvalidRequest:
    return InvalidRequest(f'invalid action "{action.name}"')
