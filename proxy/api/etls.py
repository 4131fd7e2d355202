"""`GET /v1/etl`: which transformations there are. None: they are not offered, and clients that list them go on."""

from __future__ import annotations

from fastapi import APIRouter, Response

from proxy.api.answers import json_response


def router() -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["cluster"])

    @routes.get("/v1/etl", summary="List transformations")
    async def listed() -> Response:
        """Always none, as the cluster offers none."""
        return json_response([])

    return routes
