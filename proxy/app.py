"""The composition root of a proxy: the only module that builds its parts, starts them in order and stops them.

What the parts do is left to them; `python -m proxy` runs this.
"""

from __future__ import annotations

import secrets

from fastapi import Request, Response
from starlette.exceptions import HTTPException

from common import clock, web
from common.clustermap import PROXY, Node
from common.errors import HaulError, InvalidRequest
from common.lifecycle import TaskScope
from common.metastore.base import MetaStore
from common.metastore.embedded import EmbeddedStore
from common.nodeclient import NodeClient
from proxy.api import buckets as bucket_api
from proxy.api import cluster as cluster_api
from proxy.api import downloads as download_api
from proxy.api.answers import ErrorResponse, collapse, unmatched
from proxy.api.intra import PREFIX as INTRA_PREFIX
from proxy.api.intra import IntraApi
from proxy.api.objects import EASY_PREFIX, PREFIX, ObjectRedirects
from proxy.api.openapi import DocumentedApi
from proxy.buckets import PREFIX as BUCKETS_PREFIX
from proxy.buckets import Buckets
from proxy.config import ProxyConfig
from proxy.downloads.control import Control
from proxy.downloads.jobstore import PREFIX as JOBS_PREFIX
from proxy.downloads.jobstore import JobStore
from proxy.downloads.reports import Reports
from proxy.downloads.service import Downloads
from proxy.listing import Listing
from proxy.membership import Membership
from proxy.peers import Peers
from proxy.watching import follow


class ProxyNode:
    """One proxy: membership, buckets, downloads and its HTTP surface; `store` replaces the configured meta store."""

    def __init__(self, config: ProxyConfig, store: MetaStore | None = None) -> None:
        self._config = config
        self._name = f"p[{config.id}]"
        self._scope = TaskScope()
        self._client = NodeClient()
        self._store = store if store is not None else EmbeddedStore(config.meta_store_path)
        peers = Peers(self._client)
        own = Node(config.id, PROXY, config.public_url, incarnation=secrets.randbits(53))
        self._membership = Membership(own, self._store, peers, self._scope, config.keep_alive_seconds)
        self._buckets = Buckets(self._store, self._membership, peers)
        self._jobs = JobStore(self._store)
        control = Control(self._jobs, self._membership, peers, self._scope)
        self._downloads = Downloads(
            self._jobs, self._buckets, self._membership, peers, self._scope, control, config.decision_grace_seconds
        )
        self._listing = Listing(self._membership, peers)
        self._redirects = ObjectRedirects(self._buckets, self._membership)
        self._intra = IntraApi(self._membership, self._buckets, self._downloads, control)
        self._api = self._build_api(Reports(self._jobs, self._membership, peers))
        self.application = web.guarded(self._dispatch, self._name)

    async def start(self) -> None:
        """Open the store, take up its state, join the cluster."""
        if isinstance(self._store, EmbeddedStore):
            self._config.meta_store_path.parent.mkdir(parents=True, exist_ok=True)
        await self._store.start()
        await self._membership.start()
        await self._buckets.refresh()
        self._scope.start("buckets", follow(self._store, BUCKETS_PREFIX, self._buckets.on_event))
        self._scope.start("jobs", follow(self._store, JOBS_PREFIX, self._jobs.on_event))

    async def stop(self) -> None:
        """Stop the background work, leave the cluster, close."""
        await self._scope.close()
        await self._membership.stop()
        await self._store.close()
        await self._client.close()

    def _build_api(self, reports: Reports) -> DocumentedApi:
        identity = cluster_api.Identity(self._config.id, self._config.cluster_id, clock.monotonic())
        api = DocumentedApi(
            title="Haul",
            description="Download jobs, buckets and objects; the REST dialect of NVIDIA AIStore's downloader.",
            version="1",
            redirect_slashes=False,
        )
        api.include_router(download_api.router(self._downloads, reports, self._config.max_body_bytes))
        api.include_router(bucket_api.router(bucket_api.BucketRoutes(self._buckets, self._listing)))
        routes = cluster_api.ClusterRoutes(identity, self._membership, self._buckets, self._downloads)
        api.include_router(cluster_api.router(routes))

        async def on_error(_: Request, error: Exception) -> Response:
            known = error if isinstance(error, HaulError) else HaulError(f"internal error ({type(error).__name__})")
            return ErrorResponse(known, self._name)

        async def on_unmatched(request: Request, _: Exception) -> Response:
            return ErrorResponse(unmatched(request.scope), self._name)

        api.add_exception_handler(HaulError, on_error)
        api.add_exception_handler(Exception, on_error)
        api.add_exception_handler(HTTPException, on_unmatched)
        return api

    async def _dispatch(self, scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        raw_path: bytes = scope["raw_path"]
        if raw_path.startswith(PREFIX) or (raw_path.startswith(EASY_PREFIX) and b"/" in raw_path[5:]):
            await self._redirects(scope, receive, send)
        elif scope["path"].startswith(INTRA_PREFIX):
            await self._intra(scope, receive, send)
        else:
            await self._api({**scope, "path": _api_path(scope)}, receive, send)


def _api_path(scope: web.Scope) -> str:
    """The path as the documented routes know it: easy URLs of buckets are written out."""
    path = collapse(scope["path"])
    if path == "/v1/objects" or path.startswith("/v1/objects/"):
        items = path.strip("/").split("/")
        raise InvalidRequest(f"URL '{'/'.join(items)}' is too short: expected 4 items, got {len(items)}")
    if path == "/ais" or path.startswith("/ais/"):
        if scope["method"] == "PUT":
            raise InvalidRequest(f'missing destination object name in the "easy URL": PUT {path}')
        return "/v1/buckets" + path.removeprefix("/ais")
    return path
