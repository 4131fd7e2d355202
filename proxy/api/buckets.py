"""`/v1/buckets`: list, create, head, destroy buckets, and list the objects of one. Source: wire.md §2, §3.5.

What a bucket is, is left to `common.buckets`; merging the targets' pages to `proxy.listing`.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response

from common.buckets import check_properties
from common.errors import InvalidRequest, RequestError, Unsupported
from common.names import Bucket, normalize_provider
from proxy.api.answers import JSON, body_of, bucket_of, json_response, query_parameters, raw_response
from proxy.api.pages import json_page, msgpack_page, parse_list_message
from proxy.buckets import Buckets
from proxy.jsonbody import decode_object, string
from proxy.listing import Listing, PageQuery

_MSGPACK = "application/msgpack"
_ACTION = "action message"


class RemoteBucketNotFound(RequestError):
    """The bucket lives in a cloud that this cluster has no way to."""

    code = "ErrRemoteBckNotFound"
    status = 501


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

    def __init__(self, buckets: Buckets, listing: Listing) -> None:
        self._buckets = buckets
        self._listing = listing

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
        """Make a bucket; 409 when it exists."""
        query, body = query_parameters(request), await body_of(request)
        action = _required_action(body)
        found = bucket_of(bucket, query)
        if action.name != "create-bck":
            await self._buckets.get(found)
            raise _invalid(action)
        if found.provider != "ais" or found.namespace_uuid:
            raise RemoteBucketNotFound(
                f'{found.provider} bucket "{found.cname}" does not exist (backends are not available yet)'
            )
        await self._buckets.create(found, check_properties(action.value))
        return Response()

    async def destroy(self, request: Request, bucket: str) -> Response:
        """Remove a bucket and all that is in it; 404 when it does not exist."""
        query, body = query_parameters(request), await body_of(request)
        action = _required_action(body)
        found = bucket_of(bucket, query)
        await self._buckets.get(found)
        if action.name != "destroy-bck":
            raise _invalid(action)
        await self._buckets.destroy(found)
        return Response()

    async def head(self, request: Request, bucket: str) -> Response:
        """The bucket's properties in the header `Ais-Bucket-Props`."""
        query = query_parameters(request)
        record = await self._buckets.get(bucket_of(bucket, query))
        if "bsumm_remote" in query:
            raise Unsupported("bucket summaries are not available yet")
        return Response(headers={"Ais-Bucket-Props": json.dumps(record.to_bprops(), separators=(",", ":"))})

    async def update(self, request: Request, bucket: str) -> Response:
        """Properties cannot be changed yet."""
        action = _required_action(await body_of(request))
        await self._buckets.get(bucket_of(bucket, query_parameters(request)))
        if action.name in ("set-bprops", "reset-bprops"):
            raise Unsupported("bucket properties cannot be changed yet")
        raise _invalid(action)

    async def _bucket_list(self, query: dict[str, str], name: str) -> Response:
        table = await self._buckets.refresh()
        provider = normalize_provider(query["provider"]) if query.get("provider") else ""
        found = (record.bucket for record in table.sorted_records())
        return json_response(
            [
                bucket.to_wire()
                for bucket in found
                if (not provider or bucket.provider == provider) and (not name or bucket.name == name)
            ]
        )

    async def _object_page(self, bucket: Bucket, value: Any, accept: str) -> Response:
        message = parse_list_message(value)
        record = await self._buckets.get(bucket)
        uuid = message.uuid or "l" + secrets.token_urlsafe(7)
        query = PageQuery(
            message.prefix, message.after, message.limit, uuid, message.needs_metadata, message.is_recursive
        )
        page = await self._listing.page(record, query)
        if accept == _MSGPACK:
            return raw_response(msgpack_page(page, message, uuid), _MSGPACK)
        return raw_response(json_page(page, message, uuid), JSON)


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


def _invalid(action: Action) -> InvalidRequest:
    return InvalidRequest(f'invalid action "{action.name}"')
