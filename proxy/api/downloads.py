"""`/v1/download`: start, status, list, abort, remove. What the bodies mean is left to `proxy.downloads`.

Bodies are read as bytes, not by pydantic models: a job of a million objects is one body.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from common.errors import InvalidRequest
from common.web import is_true
from proxy.api.answers import body_of, json_response, query_parameters
from proxy.downloads import idempotency
from proxy.downloads.fields import check_query
from proxy.downloads.idempotency import RequestKey
from proxy.downloads.reports import Reports
from proxy.downloads.requests import parse_job_id, parse_status_query
from proxy.downloads.service import Downloads

_JSON = "application/json"
"""Without a charset, as AIStore answers a start."""
_BUCKET = {"name": "demo"}
_START_EXAMPLES = {
    "single": {
        "summary": "One object; its name is taken from the link when `object_name` is missing",
        "value": {"type": "single", "bucket": _BUCKET, "object_name": "a.bin", "link": "http://example.com/a.bin"},
    },
    "multi, as a map": {
        "summary": "Names and links",
        "value": {"type": "multi", "bucket": _BUCKET, "objects": {"a/1.bin": "http://example.com/1.bin"}},
    },
    "multi, as a list": {
        "summary": "Links; names are taken from them",
        "value": {"type": "multi", "bucket": _BUCKET, "objects": ["http://example.com/1.bin"]},
    },
    "hf": {
        "summary": "A repository of HuggingFace's Hub",
        "value": {"type": "hf", "bucket": _BUCKET, "dataset": "squad", "subdir": "squad", "include": ["*.parquet"]},
    },
    "range": {
        "summary": "A template, with limits",
        "value": {
            "type": "range",
            "bucket": _BUCKET,
            "subdir": "imagenet",
            "template": "http://example.com/shard-{000000..000999}.tar",
            "description": "the whole set",
            "timeout": "30m",
            "limits": {"connections": 8, "bytes_per_hour": 0},
            "headers": {"Authorization": ["Bearer …"]},
        },
    },
}
_QUERY_EXAMPLES = {
    "all jobs": {"value": {}},
    "some jobs": {
        "summary": "Description matches, not finished",
        "value": {"regex": "^image", "only_active_tasks": True},
    },
    "one job": {"value": {"id": "dnl-bRuTxKvEM"}},
    "one job, next page of its tasks": {"value": {"id": "dnl-bRuTxKvEM", "tasks_limit": 1000, "tasks_after": 1000}},
}
_ID_EXAMPLES = {"one job": {"value": {"id": "dnl-bRuTxKvEM"}}}


def _body(examples: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    return {"requestBody": {"required": required, "content": {"application/json": {"examples": examples}}}}


def router(downloads: Downloads, reports: Reports, max_body_bytes: int) -> APIRouter:
    """The routes of the downloader."""
    routes = APIRouter(tags=["downloads"])

    @routes.post("/v1/download", summary="Start a download job", openapi_extra=_body(_START_EXAMPLES))
    async def start(request: Request) -> Response:
        """Answers with the job's id as soon as the job is durable on all targets that take part in it.

        With `"dry_run": true` nothing is fetched or kept; the answer says what would be. A request that is sent again
        with the same header `Idempotency-Key` within a day, to any proxy, answers with the same job.
        """
        check_query(query_parameters(request))
        body = await body_of(request, max_body_bytes)
        key = request.headers.get(idempotency.HEADER)
        return json_response(await downloads.start(body, None if key is None else RequestKey.of(key, body)), _JSON)

    @routes.get("/v1/download", summary="Show jobs", openapi_extra=_body(_QUERY_EXAMPLES, required=False))
    async def show(request: Request) -> Response:
        """With `id` one job and its tasks; without it a list of jobs, filtered by a POSIX regular expression."""
        query = parse_status_query(await body_of(request), query_parameters(request))
        return json_response(await downloads.status(query) if query.id else await downloads.list_jobs(query), _JSON)

    @routes.get("/v1/download/{job_id}/story", summary="Show why a job goes as it does")
    async def story(job_id: str) -> Response:
        """Every change of how many connections a host gets, with its reason."""
        return json_response(await reports.story(job_id), _JSON)

    @routes.get("/v1/download/{job_id}/ledger", summary="Show what has become of each object")
    async def ledger(job_id: str, request: Request) -> Response:
        """JSON lines in no particular order; with `only_failed=true` what failed. Both are manifests for a new job."""
        only_failed = is_true(query_parameters(request).get("only_failed", ""))
        lines = await reports.ledger(job_id, failed_only=only_failed)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    @routes.post("/v1/download/pause", summary="Let a job rest", openapi_extra=_body(_ID_EXAMPLES))
    async def pause(request: Request) -> Response:
        """Nothing more of it is fetched until it is resumed; what is half there stays. May be repeated."""
        await downloads.pause(parse_job_id(await body_of(request)))
        return Response()

    @routes.post("/v1/download/resume", summary="Let a job go on", openapi_extra=_body(_ID_EXAMPLES))
    async def resume(request: Request) -> Response:
        """A paused job goes on where it was. May be repeated."""
        await downloads.resume(parse_job_id(await body_of(request)))
        return Response()

    @routes.delete("/v1/download/{action:path}", summary="Abort or remove a job", openapi_extra=_body(_ID_EXAMPLES))
    async def change(request: Request, action: str) -> Response:
        """`abort` stops a job for good and may be repeated; `remove` forgets one that has ended."""
        actions = {"abort": downloads.abort, "remove": downloads.remove}
        if action not in actions:
            raise InvalidRequest(f'invalid action "{action}"')
        await actions[action](parse_job_id(await body_of(request)))
        return Response()

    return routes
