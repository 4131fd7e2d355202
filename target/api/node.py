"""Health and self-description of a target: `/v1/health` and `/v1/daemon` (wire.md §0.8, §4.1).

The cluster as a whole is described by the proxies.
"""

from __future__ import annotations

from common import clock, web
from common.errors import InvalidRequest, MethodNotAllowed
from target.api.mountpaths import CHANGING, MAX_BODY_BYTES, change, listed
from target.disks import Disks
from target.membership import Membership
from target.storage.store import Store


class NodeApi:
    """Answers what a target is asked about itself."""

    def __init__(self, node_id: str, membership: Membership, store: Store, disks: Disks) -> None:
        self._node_id = node_id
        self._membership = membership
        self._store = store
        self._disks = disks
        self._started = clock.monotonic()

    async def __call__(self, scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        if scope["path"].rstrip("/") == "/v1/daemon/mountpaths" and scope["method"] in CHANGING:
            body = await web.read_body(receive, MAX_BODY_BYTES)
            await change(self._disks, body, web.query_of(scope))
            await web.answer(send, 200)
            return
        if scope["method"] not in ("GET", "HEAD", "POST"):
            raise MethodNotAllowed("GET")
        query = web.query_of(scope)
        if scope["path"].startswith("/v1/health"):
            await self._health(query, send)
        else:
            await web.answer_json(send, self._describe(query.get("what", "")))

    async def _health(self, query: dict[str, str], send: web.Send) -> None:
        uptime_ns = int((clock.monotonic() - self._started) * 1e9)
        headers = [(b"ais-node-uptime", str(uptime_ns).encode())]
        ready = self._membership.is_ready or query.get("readiness", "") not in ("true", "1", "yes", "on", "t", "y")
        await web.answer(send, 200 if ready else 503, b"", headers)

    def _describe(self, what: str) -> object:
        cluster_map = self._membership.cluster_map
        match what:
            case "smap":
                proxies = cluster_map.proxies
                return cluster_map.to_smap(proxies[0].id if proxies else "", "")
            case "snode":
                node = cluster_map.get(self._node_id)
                return node.to_snode(is_smap_member=False) if node else {}
            case "mountpaths":
                return listed(self._store.mountpaths.states())
        raise InvalidRequest("invalid '/v1/daemon' request: unrecognized 'what=…' query")
