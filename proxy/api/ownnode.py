"""What a proxy tells of itself: its state, figures, configuration and log. Source: wire.md §0.8, §4.1, §4.5.

Which requests ask for it is left to `cluster`; the shapes are those of `common.nodestatus`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Response

from common import clock
from common.clusterconfig import cluster_config, node_config
from common.clustermap import Node
from common.errors import InvalidRequest, Unsupported
from common.logquery import read_log
from common.logs import RecentLines
from common.machine import Machine, deployment
from common.nodestatus import (
    NO_CAPACITY,
    NO_MEMORY_AND_PROCESSORS,
    PROXY_METRICS,
    STARTED,
    VERSION,
    State,
    node_state,
    node_status,
    tracker,
)
from common.traffic import Traffic
from proxy.api.answers import json_response, raw_response
from proxy.buckets import Buckets
from proxy.leadership import Leadership
from proxy.membership import Membership

TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Identity:
    """Which proxy of which cluster this is; `started` on the monotonic clock."""

    node_id: str
    cluster_id: str
    started: float


class OwnNode:
    """One proxy as clients ask about it."""

    def __init__(
        self,
        identity: Identity,
        membership: Membership,
        leadership: Leadership,
        buckets: Buckets,
        machine: Machine,
        traffic: Traffic,
        log: RecentLines,
    ) -> None:
        self.identity = identity
        self._membership = membership
        self._leadership = leadership
        self._buckets = buckets
        self._machine = machine
        self._traffic = traffic
        self._log = log

    async def answer(self, what: str, query: Mapping[str, str]) -> Response | None:
        """The answer to `what`, None where the proxy has no such thing; raises InvalidRequest, Unsupported."""
        if what == "log":
            kind, body = await asyncio.to_thread(read_log, self._log, query, self.identity.node_id)
            return raw_response(body, kind)
        if what == "software_version":
            return raw_response(VERSION.encode(), TEXT)
        if what == "tls_certificate":
            raise Unsupported("this node has no TLS certificate of its own")
        if what in ("mountpaths", "disk"):
            raise InvalidRequest(f'node "{self.identity.node_id}" is a proxy, and has no mountpaths')
        known = await self._known(what)
        return json_response(known) if known is not None else None

    async def _known(self, what: str) -> object:
        known: Mapping[str, Callable[[], object]] = {
            "config": lambda: node_config(self.cluster_config(), self._membership.own.client_url),
            "metrics": lambda: PROXY_METRICS,
            "node_stats": self.stats,
        }
        gathered: Mapping[str, Callable[[], Awaitable[object]]] = {
            "sysinfo": lambda: asyncio.to_thread(self._machine.memory_and_processors),
            "node_status": self._status,
            "smapvote": self.everything,
        }
        if what in gathered:
            return await gathered[what]()
        return known[what]() if what in known else None

    async def smap(self) -> dict[str, Any]:
        """AIStore's Smap, as new as the meta store has it."""
        await self._membership.refresh_map()
        return self._membership.map.to_smap(self.primary_id(), self.identity.cluster_id)

    def snode(self) -> dict[str, Any]:
        """AIStore's Snode of this proxy."""
        return self._membership.own.to_snode(is_smap_member=False)

    async def bmd(self) -> dict[str, Any]:
        """AIStore's BMD, as new as the meta store has it."""
        return dict((await self._buckets.refresh()).to_bmd(self.identity.cluster_id))

    def cluster_config(self) -> dict[str, Any]:
        """What all nodes have in common."""
        return cluster_config(self.identity.cluster_id, self._primary().client_url)

    def state(self) -> dict[str, Any]:
        """AIStore's NodeStateInfo."""
        cluster_map = self._membership.map
        flags = STARTED if cluster_map.is_settled else STARTED | State.REBALANCING
        version = self._buckets.table.version
        return node_state(cluster_map, self._primary(), self.identity.cluster_id, version, flags)

    def stats(self) -> dict[str, Any]:
        """AIStore's Node: the snode, its counters, and no capacity."""
        figures = self._traffic.figures() | {
            "get.ns": self._traffic.latency_ns("get"),
            "lst.ns": self._traffic.latency_ns("lst"),
            "state.flags": self.state()["flags"],
            "up.ns.time": self.uptime_ns(),
        }
        return {"snode": self.snode(), "tracker": tracker(PROXY_METRICS, figures), "capacity": NO_CAPACITY}

    def absent(self, node: Node, status: str) -> dict[str, Any]:
        """The NodeStatus of a member that does not answer."""
        snode = node.to_snode(is_smap_member=False)
        stats = {"snode": snode, "tracker": {"state.flags": 0, "up.ns.time": 0}, "capacity": NO_CAPACITY}
        return node_status(stats, self.state(), NO_MEMORY_AND_PROCESSORS, deployment(), status)

    def uptime_ns(self) -> int:
        """Since this proxy started."""
        return int((clock.monotonic() - self.identity.started) * 1e9)

    def primary_id(self) -> str:
        """The proxy that clients may rely on: the leader, as far as it is known to live."""
        leader_id = self._leadership.leader_id
        is_known = self._membership.is_online(leader_id) and self._membership.map.get(leader_id) is not None
        return leader_id if is_known else self._membership.first_online_proxy()

    def _primary(self) -> Node:
        return self._membership.map.get(self.primary_id()) or self._membership.own

    async def _status(self) -> dict[str, Any]:
        machine = await asyncio.to_thread(self._machine.memory_and_processors)
        return node_status(self.stats(), self.state(), machine, deployment(), "")

    async def everything(self) -> dict[str, Any]:
        """AIStore's cluMeta; a vote is never going on, because proxies hold a lease in the meta store instead."""
        return {
            "smap": await self.smap(),
            "bmd": await self.bmd(),
            "rmd": {"cluster_id": "", "version": 0},
            "etlMD": {"etls": {}, "version": 0},
            "config": self.cluster_config(),
            "si": self.snode(),
            "primeTime": str(self._membership.map.created_ns),
            "voteInProgress": False,
        }
