"""The HTTP surface of a proxy, put together: which part answers which path, and what each part is given.

What the parts answer is left to `proxy.api` and `proxy.s3`; what runs without being asked, to `app`.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request, Response
from starlette.exceptions import HTTPException

from common import clock, web
from common.backends.asking import Asking
from common.backends.sources import Sources
from common.clustermap import PROXY
from common.errors import HaulError, InvalidRequest
from common.lifecycle import TaskScope
from common.logs import RecentLines
from common.machine import Machine
from common.metrics import Exposition
from common.nodeclient import NodeClient
from common.nodestream import NodeStreams
from common.traffic import Traffic
from proxy.actions.copies import Copies
from proxy.actions.jobs import Jobs
from proxy.actions.store import ActionStore
from proxy.actions.summaries import Summaries
from proxy.actions.tending import Tending
from proxy.api import absent
from proxy.api import buckets as bucket_api
from proxy.api import cluster as cluster_api
from proxy.api import downloads as download_api
from proxy.api import members as member_api
from proxy.api import metrics as metrics_api
from proxy.api import reverse as reverse_api
from proxy.api.answers import ErrorResponse, collapse, unmatched
from proxy.api.batches import PREFIX as BATCHES_PREFIX
from proxy.api.batches import BatchRedirects
from proxy.api.easyurls import written_out
from proxy.api.intra import PREFIX as INTRA_PREFIX
from proxy.api.intra import IntraApi
from proxy.api.jobs import JobRoutes
from proxy.api.objects import PREFIX as OBJECTS_PREFIX
from proxy.api.objects import ObjectRedirects
from proxy.api.openapi import DocumentedApi
from proxy.api.ownnode import Identity, OwnNode
from proxy.api.summaries import SummaryRoutes
from proxy.buckets import Buckets
from proxy.config import ProxyConfig
from proxy.downloads.jobstore import JobStore
from proxy.downloads.reports import Reports
from proxy.downloads.service import Downloads
from proxy.leadership import Leadership
from proxy.listing import Listing
from proxy.membership import Membership
from proxy.peers import Peers
from proxy.rebalance.reports import RebalanceReports
from proxy.remote.buckets import RemoteBuckets
from proxy.remote.clusters import RemoteClusters
from proxy.remote.listing import RemoteListing
from proxy.remote.listranges import ListRanges
from proxy.s3.api import Operations, S3Api
from proxy.s3.buckets import S3Buckets
from proxy.s3.copying import Copying
from proxy.s3.credentials import load_credentials
from proxy.s3.deleting import Deleting
from proxy.s3.listing import S3Listing
from proxy.s3.listpages import ListPages
from proxy.s3.multipart import Multipart
from proxy.s3.objects import S3Objects
from proxy.s3.targets import Targets
from proxy.s3.uploads import UploadList


@dataclass(frozen=True, slots=True)
class Parts:
    """What the surface shows and changes."""

    config: ProxyConfig
    log: RecentLines
    scope: TaskScope
    client: NodeClient
    streams: NodeStreams
    peers: Peers
    sources: Sources
    asking: Asking
    membership: Membership
    leadership: Leadership
    buckets: Buckets
    jobs: JobStore
    listing: Listing
    downloads: Downloads
    actions: ActionStore
    tending: Tending
    intra: IntraApi


class Surface:
    """The ASGI application; errors are answered by who guards it."""

    def __init__(self, parts: Parts, name: str) -> None:
        traffic = Traffic()
        remote = RemoteBuckets(parts.buckets, parts.asking)
        outside = RemoteListing(parts.asking, parts.membership, parts.peers)
        self._s3_port = parts.config.s3_port
        self._intra = parts.intra
        self._redirects = traffic.observed(ObjectRedirects(remote, parts.membership, parts.actions.check_staying))
        self._batches = BatchRedirects(remote, parts.membership)
        self._api = _documented_api(parts, name, traffic, remote, outside)
        self._listings = traffic.observed(self._api, "lst")
        self._s3 = _s3_api(parts, outside)

    async def __call__(self, scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        """Raises HaulError for what no part answers."""
        # A bucket may have the name of an easy URL at the port of S3's own.
        if self._s3_port and scope["server"][1] == self._s3_port:
            await self._s3(scope, receive, send, is_mounted=False)
            return
        if S3Api.is_at(scope["raw_path"]):
            await self._s3(scope, receive, send)
            return
        scope = written_out(scope)
        raw_path: bytes = scope["raw_path"]
        if raw_path.startswith(OBJECTS_PREFIX):
            await self._redirects(scope, receive, send)
        elif raw_path == BATCHES_PREFIX or raw_path.startswith(BATCHES_PREFIX + b"/"):
            await self._batches(scope, receive, send)
        elif scope["path"].startswith(INTRA_PREFIX):
            await self._intra(scope, receive, send)
        else:
            path = _api_path(scope)
            is_listing = scope["method"] == "GET" and path.startswith("/v1/buckets/")
            await (self._listings if is_listing else self._api)({**scope, "path": path}, receive, send)


def _documented_api(
    parts: Parts, name: str, traffic: Traffic, remote: RemoteBuckets, outside: RemoteListing
) -> DocumentedApi:
    """All that `/openapi.json` tells of."""
    config, membership, peers, downloads = parts.config, parts.membership, parts.peers, parts.downloads
    ranges = ListRanges(membership, peers, parts.listing, downloads)
    copies = Copies(parts.actions, parts.tending, parts.buckets, membership, downloads, parts.scope)
    summaries = SummaryRoutes(Summaries(membership, peers))
    shown = Jobs(downloads, parts.actions, parts.tending)
    jobs = JobRoutes(membership, shown, RebalanceReports(membership, peers), peers)
    identity = Identity(config.id, config.cluster_id, clock.monotonic())
    own = OwnNode(identity, membership, parts.leadership, parts.buckets, Machine(), traffic, parts.log)
    clusters = RemoteClusters(parts.sources.clusters())
    cluster = cluster_api.ClusterRoutes(own, membership, clusters, jobs, peers, parts.sources.providers)
    buckets = bucket_api.BucketRoutes(
        *(parts.buckets, remote, parts.listing, outside, ranges, copies, summaries), parts.actions.check_staying
    )
    figures = metrics_api.ProxyMetrics(membership, parts.leadership, parts.jobs)
    routers = (
        download_api.router(downloads, Reports(parts.jobs, membership, peers), config.max_body_bytes),
        bucket_api.router(buckets),
        cluster_api.router(cluster),
        reverse_api.router(reverse_api.ReverseRoutes(own, membership, parts.client, cluster.daemon)),
        absent.router(),
        member_api.router(member_api.MemberRoutes(membership, jobs)),
        metrics_api.router(Exposition(PROXY, config.id, figures.measure)),
    )
    api = DocumentedApi(
        title="Haul",
        description="Download jobs, buckets and objects; the REST dialect of NVIDIA AIStore's downloader.",
        version="1",
        redirect_slashes=False,
    )
    for router in routers:
        api.include_router(router)
    _answer_errors(api, name)
    return api


def _answer_errors(api: DocumentedApi, name: str) -> None:
    async def on_error(_: Request, error: Exception) -> Response:
        known = error if isinstance(error, HaulError) else HaulError(f"internal error ({type(error).__name__})")
        return ErrorResponse(known, name)

    async def on_unmatched(request: Request, _: Exception) -> Response:
        return ErrorResponse(unmatched(request.scope), name)

    api.add_exception_handler(HaulError, on_error)
    api.add_exception_handler(Exception, on_error)
    api.add_exception_handler(HTTPException, on_unmatched)


def _s3_api(parts: Parts, outside: RemoteListing) -> S3Api:
    targets = Targets(parts.membership, parts.streams)
    buckets = S3Buckets(parts.buckets, parts.listing)
    objects = S3Objects(targets)
    operations = Operations(
        buckets=buckets,
        pages=ListPages(S3Listing(parts.listing, outside)),
        objects=objects,
        copying=Copying(buckets, targets),
        deleting=Deleting(objects),
        multipart=Multipart(targets),
        uploads=UploadList(parts.membership, parts.peers),
    )
    secrets = load_credentials(parts.config.s3_credentials_file)
    return S3Api(operations, parts.actions.check_staying, secrets, parts.config.s3_domains)


def _api_path(scope: web.Scope) -> str:
    """The path as the documented routes know it."""
    path = collapse(scope["path"])
    if path == "/v1/objects" or path.startswith("/v1/objects/"):
        items = path.strip("/").split("/")
        raise InvalidRequest(f"URL '{'/'.join(items)}' is too short: expected 4 items, got {len(items)}")
    return path
