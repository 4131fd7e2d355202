"""`GET /v1/etl` and `/v1/sort`: lists of what is not offered. They are empty, so that clients that list all jobs go on.

What would start one is answered by `proxy.api.answers.unmatched`.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from proxy.actions.store import ActionNotFound
from proxy.api.answers import json_response, query_parameters


def router() -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["cluster"])

    @routes.get("/v1/etl", summary="List transformations")
    async def transformations() -> Response:
        """Always none, as the cluster offers none."""
        return json_response([])

    @routes.get("/v1/sort", summary="List sorting jobs")
    async def sortings(request: Request) -> Response:
        """Always none; of one by its id (`uuid`) it is a 404."""
        if job_id := query_parameters(request).get("uuid", ""):
            raise ActionNotFound(job_id)
        return json_response([])

    return routes
