"""The shapes in which a node describes itself to AIStore's clients: NodeStatus, its tracker, its state; pure.

Source: wire.md §4.5, and the recorded answers. What is in them is left to `proxy.api` and `target.api`; a metric that
Haul does not have is listed all the same, because clients look up its kind, and counts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag
from typing import Any

from common.clustermap import FLAG_DECOMMISSION, FLAG_MAINTENANCE, ClusterMap, Node

VERSION = "5.0.0"
"""The AIStore version whose dialect is spoken: clients compare it with their own."""


class State(IntFlag):
    """AIStore's node-state flags, as far as Haul has them."""

    CLUSTER_STARTED = 2
    NODE_STARTED = 4
    REBALANCING = 8
    RESILVERING = 32
    OUT_OF_SPACE = 256
    MAINTENANCE = 1024
    LOW_CAPACITY = 2048
    DISK_FAULT = 8192


STARTED = State.CLUSTER_STARTED | State.NODE_STARTED
NO_CAPACITY: Mapping[str, Any] = {
    "mountpaths": None,
    "cs_err": "",
    "total_used": "0",
    "total_avail": "0",
    "pct_max": 0,
    "pct_avg": 0,
    "pct_min": 0,
}
"""AIStore's capacity of a node without disks."""
NO_MEMORY_AND_PROCESSORS: Mapping[str, Any] = {
    "mem_used": 0,
    "mem_avail": 0,
    "pct_mem_used": 0.0,
    "pct_cpu_used": 0.0,
    "load_avg": {"One": 0.0, "Five": 0.0, "Fifteen": 0.0},
    "cpu_util": 0,
}
"""Of a node that does not answer."""

_BOTH = (
    "append.n del.n err.append.n err.del.n err.get.n err.getblob.n err.head.n err.http.write.n err.kalive.n err.lst.n "
    "err.put.n err.ren.n get.n getblob.n head.n lst.n put.n ren.n"
)
_OF_PROXIES = (
    "acl.denied.n acl.total.n auth.expiredtoken.n auth.fail.n auth.invalidiss.n auth.invalidkid.n auth.invalidtoken.n "
    "auth.notoken.n auth.success.n auth.total.n"
)
_OF_TARGETS = (
    "cleanup.store.n dl.n err.dl.n err.fshc.n err.getbatch.n err.gfn.getbatch.n err.io.del.n err.io.get.n err.io.put.n "
    "err.lcache.n err.prefetch.n err.put.cksum.n err.soft.getbatch.n etl.inline.n etl.offline.n getbatch.file.n "
    "getbatch.gfn.n getbatch.n getbatch.obj.n lcache.collision.n lcache.evicted.n lcache.flush.cold.n lru.evict.n "
    "prefetch.blob.n prefetch.blob.rejected.n prefetch.cold.n ratelim.retry.get.n ratelim.retry.put.n remais.get.n "
    "remais.head.n remais.put.n remais.ver.change.n remote.deleted.del.n stream.in.n stream.out.n ver.change.n"
)
_SIZES = (
    "cleanup.store.size dl.size etl.inline.size etl.offline.size get.size getbatch.file.size getbatch.obj.size "
    "getblob.size lru.evict.size prefetch.blob.size prefetch.cold.size put.size remais.get.size remais.put.size "
    "remais.ver.change.size stream.in.size stream.out.size ver.change.size"
)
_TOTALS = (
    "dl.ns.total etl.inline.ns.total etl.offline.ns.total getbatch.rxwait.ns getbatch.throttle.ns "
    "head.ns.total prefetch.cold.ns.total put.ns.total ratelim.retry.get.ns.total "
    "ratelim.retry.put.ns.total remais.e2e.put.ns.total remais.get.ns.total remais.head.ns.total remais.put.ns.total"
)
_COMMON = (
    dict.fromkeys(_BOTH.split(), "counter")
    | dict.fromkeys(("get.ns", "kalive.ns", "lst.ns"), "latency")
    | {"get.ns.total": "total", "state.flags": "gauge", "up.ns.time": "special"}
)
PROXY_METRICS: Mapping[str, str] = (
    _COMMON | dict.fromkeys(_OF_PROXIES.split(), "counter") | dict.fromkeys(("auth.iss", "auth.jwks"), "histogram")
)
"""Every metric of a proxy with its kind."""
_OF_ALL_TARGETS = (
    _COMMON
    | dict.fromkeys(_OF_TARGETS.split(), "counter")
    | dict.fromkeys(("append.ns", "get.redir.ns", "put.ns", "put.redir.ns"), "latency")
    | dict.fromkeys(("get.bps", "put.bps"), "bw")
    | dict.fromkeys(_SIZES.split(), "size")
    | dict.fromkeys(_TOTALS.split(), "total")
)
_ALWAYS = frozenset({"latency", "histogram", "bw", "gauge", "compbw", "special"})
_ALWAYS_SIZES = ("get.size", "put.size")


def target_metrics(disks: list[str]) -> dict[str, str]:
    """Every metric of a target with these disks, with its kind."""
    kinds = {"avg.rsize": "gauge", "avg.wsize": "gauge", "read.bps": "compbw", "util": "gauge", "write.bps": "compbw"}
    return dict(_OF_ALL_TARGETS) | {f"disk.{disk}.{name}": kind for disk in disks for name, kind in kinds.items()}


def tracker(metrics: Mapping[str, str], figures: Mapping[str, int], *, sizes: bool = False) -> dict[str, int]:
    """The values of a node's metrics: counters that are 0 are left out, as AIStore does, everything else is there."""
    always = [name for name, kind in metrics.items() if kind in _ALWAYS]
    values = dict.fromkeys((*always, *(_ALWAYS_SIZES if sizes else ())), 0)
    return values | {name: value for name, value in figures.items() if name in metrics or name in values}


def node_state(
    cluster_map: ClusterMap, primary: Node | None, cluster_id: str, buckets_version: int, flags: State
) -> dict[str, Any]:
    """AIStore's NodeStateInfo."""
    url = primary.client_url if primary is not None else ""
    return {
        "smap": {
            "Primary": {"pub_url": url, "control_url": url, "id": primary.id if primary is not None else ""},
            "uuid": cluster_id,
            "version": str(cluster_map.version),
        },
        "bmd": {"uuid": cluster_id, "version": str(buckets_version)},
        "rmd": {"version": "0"},
        "config": {"version": "0"},
        "etlmd": {"version": "0"},
        "flags": int(flags),
    }


def standing(node: Node | None, *, is_online: bool = True) -> str:
    """A member's status as the `ais` program shows it; empty means that it is online and takes part."""
    flags = node.flags if node is not None else 0
    if flags & FLAG_DECOMMISSION:
        return "decommission"
    if flags & FLAG_MAINTENANCE:
        return "maintenance"
    return "" if is_online else "offline"


def node_status(
    stats: Mapping[str, Any],
    state: Mapping[str, Any],
    memory_and_processors: Mapping[str, Any],
    surroundings: tuple[str, str],
    status: str,
) -> dict[str, Any]:
    """AIStore's NodeStatus; `stats` are snode, tracker and capacity."""
    deployment, pod = surroundings
    return {
        "status": status,
        "deployment": deployment,
        "ais_version": VERSION,
        "build_time": "",
        "k8s_pod_name": pod,
        **stats,
        "cluster": state,
        "sys_info": memory_and_processors,
        "smap_version": state["smap"]["version"],
    }
