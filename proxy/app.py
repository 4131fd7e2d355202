"""The composition root of a proxy: the only module that builds its parts, starts them in order and stops them.

What the parts do is left to them; `python -m proxy` runs this.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import structlog

from common import clock, web
from common.backends.asking import Asking
from common.backends.settings import load_backends
from common.backends.sources import Sources
from common.clustermap import PROXY, Node
from common.errors import Fenced, HaulError, PeerError, Unavailable
from common.identity import take as take_data_dir
from common.lifecycle import TaskScope
from common.logs import RecentLines
from common.metastore.base import MetaStore, WrongIncarnation
from common.metastore.embedded import EmbeddedStore
from common.metastore.etcd.address import member_urls, read_password, tls_context
from common.metastore.etcd.login import Credentials
from common.metastore.etcd.store import EtcdStore
from common.node import listen
from common.nodeclient import NodeClient
from common.nodestream import NodeStreams
from common.vault import Vault
from proxy.actions.store import PREFIX as ACTIONS_PREFIX
from proxy.actions.store import ActionStore
from proxy.actions.tending import Tending
from proxy.api.intra import IntraApi
from proxy.buckets import PREFIX as BUCKETS_PREFIX
from proxy.buckets import Buckets
from proxy.config import ProxyConfig
from proxy.downloads.assigning import Assigner
from proxy.downloads.claims import Claims
from proxy.downloads.control import Control
from proxy.downloads.giving import Giver
from proxy.downloads.jobstore import PREFIX as JOBS_PREFIX
from proxy.downloads.jobstore import JobStore
from proxy.downloads.listers import Listers
from proxy.downloads.reassigning import Reassigning
from proxy.downloads.service import Downloads, SourceLists
from proxy.housekeeping import Housekeeping
from proxy.leadership import Leadership
from proxy.listing import Listing
from proxy.membership import Membership
from proxy.peers import Peers
from proxy.rebalance.settling import Settling
from proxy.sources.holds import HubHolds
from proxy.sources.huggingface import DEFAULT_ENDPOINT, Hub
from proxy.surface import Parts, Surface
from proxy.watching import follow

_STILL_PART = 2 / 3
_HOLDINGS_SECONDS = 5.0
_HOLD_SECONDS = 5.0
_START_SECONDS = 20.0
_START_PAUSE_SECONDS = 0.5
_log = structlog.get_logger("proxy")


class ProxyNode:
    """One proxy: membership, buckets, downloads and its HTTP surface; `store` replaces the configured meta store."""

    def __init__(self, config: ProxyConfig, log: RecentLines | None = None, *, store: MetaStore | None = None) -> None:
        self._config = config
        self._scope = TaskScope()
        self._client = NodeClient()
        self._streams = NodeStreams()
        self.listeners: tuple[socket.socket, ...] = ()
        """Of the port of the S3 API, if it has one; there from `start` on."""
        self._store = store if store is not None else _configured_store(config)
        self._sources = Sources(load_backends(config.backends_file))
        self._asking = Asking(self._sources)
        self._walking = Asking(self._sources)  # so that no listing of a job keeps somebody waiting who only looks
        peers = Peers(self._client)
        self.ended: asyncio.Future[HaulError]
        """Has the reason when this proxy must stop by itself; there from `start` on."""
        identity = take_data_dir(config.data_dir, config.id, config.cluster_id)
        own = Node(
            config.id,
            PROXY,
            config.intra_url or config.public_url,
            config.public_url if config.intra_url else "",
            incarnation=identity.incarnation(),
            data_id=identity.data_id,
        )
        self._membership = Membership(own, self._store, peers, self._scope, config.keep_alive_seconds)
        self._leadership = Leadership(config.id, self._store, self._membership.ttl_seconds)
        self._buckets = Buckets(self._store, self._membership, peers)
        self._jobs = JobStore(self._store)
        control = Control(self._jobs, self._membership, peers, self._scope)
        claims = Claims(self._jobs, config.decision_grace_seconds)
        holds = HubHolds(partial(self._tell_proxies, peers))
        self._hub = Hub(config.hf_endpoint or os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT, holds)
        listing = Listing(self._membership, peers)
        vault = Vault(config.secret_key_file)
        giver = Giver(self._jobs, self._membership, Assigner(peers), control, claims, self._scope)
        self._listers = Listers(self._jobs, self._buckets, listing, self._walking, giver, vault, self._scope)
        self._downloads = Downloads(
            *(self._jobs, self._buckets, self._membership, peers, self._scope),
            control,
            claims,
            SourceLists(self._hub, self._listers),
        )
        self._actions = ActionStore(self._store)
        tending = Tending(self._actions, self._buckets, self._membership, peers)
        reassigning = Reassigning(self._jobs, self._membership, peers, Assigner(peers), control, self._scope)
        self._housekeeping = Housekeeping(
            self._leadership,
            self._membership,
            config.failover_grace_seconds,
            chores=(
                reassigning.look_after,
                self._listers.look_after,
                lambda _: control.settle_absent(),
                Settling(self._jobs, self._membership, peers).look_after,
                tending.look_after,
            ),
            is_empty=partial(_is_empty, peers),
        )
        # Before it could be given up: its lease must have ended, and the grace time, too.
        still_after_seconds = (self._membership.ttl_seconds + config.failover_grace_seconds) * _STILL_PART
        intra = IntraApi(
            *(self._membership, self._buckets, self._downloads), control, claims, holds, still_after_seconds
        )
        parts = Parts(
            config=config,
            log=log if log is not None else RecentLines(),
            scope=self._scope,
            client=self._client,
            streams=self._streams,
            peers=peers,
            sources=self._sources,
            asking=self._asking,
            membership=self._membership,
            leadership=self._leadership,
            buckets=self._buckets,
            jobs=self._jobs,
            listing=listing,
            downloads=self._downloads,
            actions=self._actions,
            tending=tending,
            intra=intra,
        )
        name = f"p[{config.id}]"
        self.application = web.guarded(Surface(parts, name), name)

    async def start(self) -> None:
        """Open the store, take up its state, join the cluster; raises Unavailable when the store does not let it."""
        if isinstance(self._store, EmbeddedStore) and (path := self._config.meta_store_path) is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.ended = asyncio.get_running_loop().create_future()
        if self._config.s3_port:
            self.listeners = (listen(self._config.host, self._config.s3_port),)
        await _patiently(self._store.start)
        await _patiently(self._membership.start)
        self._scope.start("membership keep-alive", self._stay_joined())
        self._scope.start("leadership", self._leadership.run())
        self._scope.start("housekeeping", self._housekeeping.run())
        await _patiently(self._buckets.refresh)
        self._scope.start("buckets", follow(self._store, BUCKETS_PREFIX, self._buckets.on_event))
        self._scope.start("jobs", follow(self._store, JOBS_PREFIX, self._jobs.on_event))
        self._scope.start("actions", follow(self._store, ACTIONS_PREFIX, self._actions.on_event))

    async def stop(self) -> None:
        """Stop the background work, leave the cluster, close."""
        await self._scope.close()
        with contextlib.suppress(PeerError):
            await self._leadership.resign()
        await self._membership.stop()
        await self._store.close()
        await self._client.close()
        await self._streams.close()
        for listener in self.listeners:
            listener.close()
        self._asking.close()
        self._walking.close()
        self._hub.close()
        await asyncio.to_thread(self._sources.close)

    def _tell_proxies(self, peers: Peers, body: dict[str, Any]) -> None:
        """One that does not hear it will hear it from the Hub, if it asks."""
        calls = dict.fromkeys(self._membership.other_proxies(), body)
        self._scope.start("hold of the hub", peers.call_each(calls, "/intra/v1/hub/hold", _HOLD_SECONDS))

    async def _stay_joined(self) -> None:
        try:
            await self._membership.keep_alive()
        except (Fenced, WrongIncarnation) as error:
            self.ended.set_result(error)


def _configured_store(config: ProxyConfig) -> MetaStore:
    """Raises InvalidRequest when a file that the configuration names cannot be used."""
    if config.meta_store_path is not None:
        return EmbeddedStore(config.meta_store_path)
    urls = member_urls(config.meta_store)
    # So that not all proxies ask the same member.
    random.shuffle(urls)
    files = (config.meta_store_ca_file, config.meta_store_cert_file, config.meta_store_key_file)
    return EtcdStore(
        urls,
        config.cluster_id,
        credentials=Credentials(config.meta_store_user, read_password(config.meta_store_password_file))
        if config.meta_store_password_file is not None
        else None,
        tls=tls_context(*files) if urls[0].startswith("https:") else None,
    )


async def _patiently(step: Callable[[], Awaitable[object]]) -> None:
    """Where everything is started at once, the store may be busy, or led by nobody for a moment."""
    deadline = clock.monotonic() + _START_SECONDS
    while True:
        try:
            await step()
            return
        except Unavailable as error:
            if clock.monotonic() >= deadline:
                raise
            _log.warning("proxy.start_delayed", error=error.message)
            await asyncio.sleep(_START_PAUSE_SECONDS)


async def _is_empty(peers: Peers, node: Node) -> bool:
    """Whether a target has neither objects nor shares of jobs left."""
    holdings = await peers.call(node, "/intra/v1/holdings", None, _HOLDINGS_SECONDS)
    return bool(holdings["is_empty"]) and not holdings["shares"]
