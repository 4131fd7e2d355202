"""Health and self-description of a target: `/v1/health` and `/v1/daemon` (wire.md §0.8, §4.1).

The cluster as a whole is described by the proxies; capacity and disks by `capacity`, operations on disks by
`mountpaths`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from common import clock, web
from common.clusterconfig import cluster_config, node_config
from common.clustermap import FLAG_DECOMMISSION, FLAG_MAINTENANCE, ClusterMap, Node
from common.errors import InvalidRequest, Unsupported
from common.growth import Growth
from common.logquery import read_log
from common.logs import RecentLines
from common.machine import Machine, deployment
from common.nodestatus import (
    STARTED,
    VERSION,
    State,
    node_state,
    node_status,
    standing,
    target_metrics,
    tracker,
)
from common.operations import refuse
from common.traffic import Traffic
from target.api.capacity import Capacity
from target.api.mountpaths import CHANGING, MAX_BODY_BYTES, change, listed
from target.disks import Disks
from target.downloads.recorder import Recorder
from target.membership import Membership
from target.storage.registry import State as MountpathState
from target.storage.store import Store

_TEXT = b"text/plain; charset=utf-8"
_MOUNTPATHS = "/v1/daemon/mountpaths"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a target tells of itself is known to these."""

    cluster_id: str
    membership: Membership
    store: Store
    disks: Disks
    capacity: Capacity
    machine: Machine
    traffic: Traffic
    recorder: Recorder
    log: RecentLines


class NodeApi:
    """Answers what a target is asked about itself."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._started = clock.monotonic()
        self._gathering = asyncio.Lock()
        self._growth = Growth({}, self._started)

    async def __call__(self, scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        path, query = scope["path"].rstrip("/"), web.query_of(scope)
        if path == _MOUNTPATHS and scope["method"] in CHANGING:
            body = await web.read_body(receive, MAX_BODY_BYTES)
            await change(self._parts.disks, body, query)
            await web.answer(send, 200)
        elif path.startswith("/v1/health"):
            await self._health(query, send)
        elif scope["method"] not in ("GET", "HEAD", "POST"):
            refuse(path.removeprefix("/v1/daemon").strip("/"), await web.read_body(receive, MAX_BODY_BYTES))
        elif path == "/v1/daemon":
            await self._daemon(query, send)
        else:
            raise InvalidRequest(f"invalid '/v1/daemon' request: there is no {path}")

    async def _health(self, query: dict[str, str], send: web.Send) -> None:
        if any(web.is_true(query.get(name, "")) for name in ("cii", "cii-apr")):
            created_ns, uptime_ns = self._map.created_ns, self._uptime_ns()
            cluster_ns = max(clock.unix_ns() - created_ns, 0) if created_ns else uptime_ns
            uptimes = [(b"ais-node-uptime", b"%d" % uptime_ns), (b"ais-cluster-uptime", b"%d" % cluster_ns)]
            await web.answer_json(send, self._state(), headers=uptimes)
            return
        ready = self._parts.membership.is_ready or not web.is_true(query.get("readiness", ""))
        await web.answer(send, 200 if ready else 503)

    async def _daemon(self, query: dict[str, str], send: web.Send) -> None:
        what = query.get("what", "")
        if what == "software_version":
            await web.answer(send, 200, VERSION.encode(), [(b"content-type", _TEXT)])
        elif what == "log":
            kind, body = await asyncio.to_thread(read_log, self._parts.log, query, self._parts.membership.node.id)
            await web.answer(send, 200, body, [(b"content-type", kind.encode())])
        elif what in ("node_status", "node_stats", "sysinfo", "disk", "metrics"):
            async with self._gathering:
                await web.answer_json(send, await asyncio.to_thread(self._gathered, what))
        else:
            await web.answer_json(send, self._known(what))

    def _known(self, what: str) -> object:
        """What needs no look at anything; raises InvalidRequest, Unsupported."""
        parts = self._parts
        match what:
            case "smap":
                return self._map.to_smap(self._primary_id(), parts.cluster_id)
            case "snode":
                return self._node().to_snode(is_smap_member=False)
            case "mountpaths":
                return listed(parts.store.mountpaths.states())
            case "config":
                primary = self._primary()
                url = primary.client_url if primary is not None else ""
                paths = parts.store.mountpaths.states()
                return node_config(cluster_config(parts.cluster_id, url), self._node().client_url, sorted(paths))
            case "bmd" | "smapvote":
                raise Unsupported(f"what={what} is known to the proxies: ask one of them")
            case "tls_certificate":
                raise Unsupported("this node has no TLS certificate of its own")
        raise InvalidRequest(f"invalid '/v1/daemon' request: unrecognized 'what={what[:64]}' query")

    def _gathered(self, what: str) -> object:
        """Figures; in a thread, one request at a time."""
        parts = self._parts
        if what == "metrics":
            return target_metrics(parts.capacity.disks())
        if what == "sysinfo":
            return self._sysinfo()
        capacity = parts.capacity.described()
        if what == "disk":
            nothing = {"total_used": "0", "total_avail": "0", "pct_max": 0, "pct_avg": 0, "pct_min": 0}
            return {"AllDiskStats": parts.capacity.disk_stats(), **capacity, **nothing}
        stats = {
            "snode": self._node().to_snode(is_smap_member=False),
            "tracker": self._tracker(),
            "capacity": capacity,
        }
        if what == "node_stats":
            return stats
        machine = parts.machine.memory_and_processors()
        return node_status(stats, self._state(), machine, deployment(), standing(self._node()))

    def _sysinfo(self) -> dict[str, Any]:
        """AIStore's TSysInfo."""
        capacity = self._parts.capacity.described()
        used, available = int(capacity["total_used"]), int(capacity["total_avail"])
        return self._parts.machine.memory_and_processors() | {
            "fs_used": str(used),
            "fs_capacity": str(used + available),
            "pct_fs_used": 100 * used // (used + available) if used + available else 0,
        }

    def _tracker(self) -> dict[str, int]:
        parts = self._parts
        traffic, totals = parts.traffic, parts.recorder.totals
        figures = traffic.figures() | {
            "get.ns": traffic.latency_ns("get"),
            "put.ns": traffic.latency_ns("put"),
            "dl.n": totals.downloaded,
            "dl.size": totals.downloaded_bytes,
            "err.dl.n": totals.failed,
            **self._bandwidth(),
            "state.flags": int(self._flags()),
            "up.ns.time": self._uptime_ns(),
        }
        for disk, of in parts.capacity.disk_stats().items():
            for name, kind in (("avg.rsize", "Ravg"), ("avg.wsize", "Wavg"), ("read.bps", "RBps"), ("util", "Util")):
                figures[f"disk.{disk}.{name}"] = of[kind]
            figures[f"disk.{disk}.write.bps"] = of["WBps"]
        figures = {name: value for name, value in figures.items() if value or name == "state.flags"}
        return tracker(target_metrics(parts.capacity.disks()), figures, sizes=True)

    def _bandwidth(self) -> dict[str, int]:
        """Bytes a second since somebody asked last."""
        figures = self._parts.traffic.figures()
        sizes = {kind: figures.get(f"{kind}.size", 0) for kind in ("get", "put")}
        return {f"{kind}.bps": int(rate) for kind, rate in self._growth.look(sizes, clock.monotonic()).items()}

    def _flags(self) -> State:
        parts, flags = self._parts, STARTED
        full, mountpaths = parts.capacity.fullness()
        run = parts.disks.last_run
        if not self._map.is_settled:
            flags |= State.REBALANCING
        if run is not None and not run.ended_ns:
            flags |= State.RESILVERING
        if full:
            flags |= State.OUT_OF_SPACE if full == mountpaths else State.LOW_CAPACITY
        if MountpathState.FAULTED in parts.store.mountpaths.states().values():
            flags |= State.DISK_FAULT
        if self._node().flags & (FLAG_MAINTENANCE | FLAG_DECOMMISSION):
            flags |= State.MAINTENANCE
        return flags

    def _state(self) -> dict[str, Any]:
        version = self._parts.membership.buckets_version
        return node_state(self._map, self._primary(), self._parts.cluster_id, version, self._flags())

    @property
    def _map(self) -> ClusterMap:
        return self._parts.membership.cluster_map

    def _node(self) -> Node:
        """This target as the cluster knows it, or as it is configured before it has joined."""
        own = self._parts.membership.node
        return self._map.get(own.id) or own

    def _primary(self) -> Node | None:
        """Some proxy: which of them leads, targets are not told."""
        return next(iter(self._map.proxies), None)

    def _primary_id(self) -> str:
        primary = self._primary()
        return primary.id if primary is not None else ""

    def _uptime_ns(self) -> int:
        return int((clock.monotonic() - self._started) * 1e9)
