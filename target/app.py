"""The composition root of a target: the only module that builds its parts, starts them in order and stops them.

What the parts do is left to them; `python -m target` runs this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from ipaddress import ip_network
from typing import Any

from common import web
from common.backends.asking import Asking
from common.backends.settings import load_backends
from common.backends.sources import Sources
from common.clock import monotonic
from common.clustermap import TARGET, Node
from common.epochs import EpochGate
from common.errors import Fenced, HaulError
from common.identity import take as take_data_dir
from common.lifecycle import TaskScope
from common.logs import RecentLines
from common.machine import Machine
from common.metrics import Exposition
from common.names import Bucket
from common.nodeclient import NodeClient
from common.nodestream import NodeStreams
from common.traffic import Traffic
from common.vault import Vault
from target.actions.shares import CopyShares
from target.actions.summaries import Summaries
from target.addresses import OwnAddresses
from target.api.actions import ActionsApi
from target.api.archives import ArchiveReads
from target.api.batches import BatchesApi
from target.api.capacity import Capacity
from target.api.fast_reads import fast_reads
from target.api.intra import IntraApi, Parts
from target.api.metrics import Measured, MetricsApi, TargetMetrics
from target.api.node import NodeApi
from target.api.node import Parts as NodeParts
from target.api.objects import ObjectsApi
from target.api.rebalance import RebalanceApi
from target.archives.index import Indexes
from target.archives.listing import ArchiveListing
from target.archives.walking import build as build_index
from target.batches.assembling import Assembler
from target.batches.sources import Sources as BatchSources
from target.batches.spools import Spools
from target.carriers.nursery import Nursery
from target.config import TargetConfig
from target.disks import Disks
from target.downloads.breaker import BreakerSettings
from target.downloads.budgets import Budgets
from target.downloads.concurrency import ConcurrencySettings
from target.downloads.copies import Copies
from target.downloads.errands import Errands
from target.downloads.holds import Holds
from target.downloads.hosts import HostSettings
from target.downloads.journal import Journal
from target.downloads.lane import Lane
from target.downloads.lanes import Lanes
from target.downloads.ledger import Ledger
from target.downloads.recorder import Recorder
from target.downloads.retry import RetryPolicy
from target.downloads.scheduler import Scheduler
from target.downloads.service import Downloads
from target.downloads.settings import LaneSettings
from target.downloads.story import Story
from target.downloads.survey import Surveyor
from target.gates import Gates
from target.membership import Membership
from target.proxies import Proxies
from target.rebalance.copying import Copier
from target.rebalance.deletions import Deletions
from target.rebalance.figures import Tally
from target.rebalance.locks import NameLocks
from target.rebalance.mover import Mover
from target.rebalance.neighbours import Neighbours
from target.rebalance.pace import Pace
from target.rebalance.receiver import Receiver
from target.rebalance.sender import Sender
from target.remote.fetching import Fetching
from target.remote.outside import Backends
from target.storage.health import Health, HealthSettings
from target.storage.metadata import ObjectMetadata
from target.storage.mountpath import Durability
from target.storage.mountpaths import Mountpaths
from target.storage.registry import Registry
from target.storage.resilver import Resilver
from target.storage.store import Store
from target.storage.watermarks import Watermarks
from target.surface import Surface, is_by_client
from target.transfer.egress import EgressGuard
from target.transfer.request import TransferSettings


class TargetNode:
    """One target: storage, lanes, journal, membership and its HTTP surface; `nursery` is stopped by who made it."""

    def __init__(self, config: TargetConfig, nursery: Nursery, log: RecentLines | None = None) -> None:
        self.ended: asyncio.Future[HaulError]
        """Has the reason when this target must stop by itself; there from `start` on."""
        self._name = f"t[{config.id}]"
        self._scope = TaskScope()
        self._client = NodeClient()
        self._streams = NodeStreams()
        self._vault = Vault(config.secret_key_file)
        self._sources = Sources(load_backends(config.backends_file))
        self._asking = Asking(self._sources)
        identity = take_data_dir(config.data_dir, config.id, config.cluster_id)
        self._epochs = EpochGate(config.data_dir / "epoch.json")
        durability = Durability(config.durability)
        registry = Registry(config.data_dir / "mountpaths.json")
        self._mountpaths = Mountpaths(config.mountpaths, config.cluster_id, config.id, registry, durability)
        self._store = Store(self._mountpaths, durability)
        watermarks = Watermarks(config.high_watermark_percent, config.low_watermark_percent)
        self._health = Health(
            self._mountpaths,
            watermarks,
            HealthSettings(routine_seconds=config.disk_check_seconds, patience_seconds=config.disk_patience_seconds),
        )
        self._journal = Journal(config.data_dir / "journal.db")
        node = Node(
            config.id,
            TARGET,
            config.intra_url or config.public_url,
            config.public_url if config.intra_url else "",
            incarnation=identity.incarnation(),
            mountpaths=tuple(str(path) for path in config.mountpaths),
            data_id=identity.data_id,
        )
        self._survey_guard = EgressGuard([ip_network(cidr) for cidr in config.allow_origins])
        story = Story(self._journal)
        self._budgets = Budgets(config.id, self._scope, self._call_target, config.rate_limit, self._target_ids)
        self._holds = Holds(config.id, self._scope, self._call_target, self._target_ids, self._hold)
        self._gates = Gates()
        self._downloads = self._build_downloads(config, nursery, story, self._budgets)
        self._addresses = OwnAddresses(self._deny_endpoints)
        proxies = Proxies(config.proxies, self._client, self._scope, patience_seconds=config.report_seconds / 2)
        self._membership = Membership(
            node, proxies, self._client, self._store, self._addresses, self._gates, config.report_seconds
        )
        surveyor = self._build_surveyor(config)
        self._copies = Copies(self._journal)
        resilver = Resilver(self._store, config.resilver_bytes_per_second)
        self._disks = Disks(
            self._mountpaths,
            self._store,
            self._lanes,
            resilver,
            self._health,
            self._scope,
            self._downloads.unended_jobs,
        )
        self._tally = Tally()
        indexes = Indexes(build_index)
        neighbours = self._build_rebalance(config)
        objects = self._build_objects(config, neighbours, indexes)
        intra = IntraApi(
            Parts(
                downloads=self._downloads,
                stories=story,
                ledgers=Ledger(config.id, self._journal, self._stored_metadata),
                budgets=self._budgets,
                holds=self._holds,
                surveyor=surveyor,
                copies=self._copies,
                store=self._store,
                archives=ArchiveListing(self._store, indexes),
                membership=self._membership,
                epochs=self._epochs,
                disks=self._disks,
                neighbours=neighbours,
                multipart=objects.multipart,
            )
        )
        assembler = Assembler(BatchSources(self._store, self._membership, self._streams, indexes))
        batches = BatchesApi(assembler, Spools(config.data_dir))
        self._build_surface(config, resilver, objects, batches, intra, log if log is not None else RecentLines())

    def _build_surface(
        self,
        config: TargetConfig,
        resilver: Resilver,
        objects: ObjectsApi,
        batches: BatchesApi,
        intra: IntraApi,
        log: RecentLines,
    ) -> None:
        """What clients, other nodes and operators are answered by."""
        traffic = Traffic()
        self._open_uploads = objects.open_uploads
        surface = Surface(
            objects=traffic.observed(objects, is_counted=is_by_client),
            batches=batches,
            rebalance=self._rebalance_api,
            actions=self._actions_api,
            intra=intra,
            node=self._build_node_api(config, traffic, log),
            metrics=self._build_metrics(config, resilver),
        )
        self.application = web.guarded(surface, self._name)
        self.http_protocol = fast_reads(traffic.counted(objects.read_small, lambda: objects.small_read_bytes))

    def _build_downloads(self, config: TargetConfig, nursery: Nursery, story: Story, budgets: Budgets) -> Downloads:
        scheduler = self._scheduler = Scheduler(0, _host_settings(config), story.tell)
        recorder = self._recorder = Recorder(self._journal)
        settings = LaneSettings(
            Errands(self._sources, self._store.delete_if),
            config.max_transfers_per_lane,
            retry=RetryPolicy(attempts=config.retry_attempts),
            allow_origins=config.allow_origins,
            ca_file=str(config.ca_file or ""),
            known_hosts_file=str(config.known_hosts_file or ""),
            host_leases=budgets.of_hosts,
            may_work=lambda: self._membership.may_work,
            check_open=self._check_open,
            disk_failed=self._health.noticed,
            told_to_wait=self._holds.told,
        )
        self._lanes = Lanes(
            scheduler,
            self._mountpaths,
            lambda slot: Lane(slot.number, slot.mountpath, nursery, scheduler, recorder, settings),
        )
        return Downloads(
            config.id,
            self._journal,
            scheduler,
            recorder,
            self._lanes,
            story,
            budgets,
            self._vault,
        )

    def _build_surveyor(self, config: TargetConfig) -> Surveyor:
        return Surveyor(
            config.id,
            lambda bucket, name: self._store.head(bucket, name)[0],
            self._survey_guard,
            TransferSettings(ca_file=str(config.ca_file or ""), known_hosts_file=str(config.known_hosts_file or "")),
            self._sources,
            self._vault,
        )

    def _build_rebalance(self, config: TargetConfig) -> Neighbours:
        """Moving objects to their owners, and what must be known of others meanwhile."""
        locks, deletions, tally = NameLocks(), Deletions(), self._tally
        store, membership, downloads = self._store, self._membership, self._downloads
        streams, rate = config.rebalance_streams, config.rebalance_bytes_per_second
        pace = Pace(streams, rate, lambda: bool(downloads.running()))
        keep_seconds = config.rebalance_keep_seconds
        sender = Sender(store, membership, self._client, locks, tally, pace, keep_seconds)
        self._mover = Mover(store, membership, sender, tally, pace, downloads.plans, self._scope)
        look_again = self._mover.look_again
        neighbours = Neighbours(store, membership, self._client, self._streams, locks, deletions, sender, look_again)
        receiver = Receiver(store, membership, locks, deletions, tally)
        self._copier = Copier(store, membership, self._client, neighbours)
        self._rebalance_api = RebalanceApi(receiver, sender, neighbours, self._mover, self._copier)
        copies = CopyShares(
            store, membership, self._client, locks, neighbours, self._lanes.is_fetched_into, self._scope
        )
        self._actions_api = ActionsApi(copies, Summaries(store, self._asking, self._scope))
        return neighbours

    def _build_objects(self, config: TargetConfig, neighbours: Neighbours, indexes: Indexes) -> ObjectsApi:
        backends = Backends(self._membership, self._asking, Fetching(self._lanes, self._scheduler))
        archives = ArchiveReads(indexes)
        keep_seconds = config.upload_keep_seconds
        return ObjectsApi(
            self._store, self._name, neighbours, backends, archives, self._copier, keep_seconds, self._gates
        )

    def _build_node_api(self, config: TargetConfig, traffic: Traffic, log: RecentLines) -> NodeApi:
        return NodeApi(
            NodeParts(
                cluster_id=config.cluster_id,
                membership=self._membership,
                store=self._store,
                disks=self._disks,
                capacity=Capacity(self._mountpaths, self._health),
                machine=Machine(),
                traffic=traffic,
                recorder=self._recorder,
                log=log,
            )
        )

    def _build_metrics(self, config: TargetConfig, resilver: Resilver) -> MetricsApi:
        figures = TargetMetrics(
            Measured(
                membership=self._membership,
                mountpaths=self._mountpaths,
                health=self._health,
                downloads=self._downloads,
                scheduler=self._scheduler,
                recorder=self._recorder,
                tally=self._tally,
                resilver=resilver,
                epochs=self._epochs,
            )
        )
        return MetricsApi(Exposition(TARGET, config.id, figures.measure))

    def _stored_metadata(self, bucket: Bucket, name: str, bucket_id: int) -> ObjectMetadata:
        return self._store.head(bucket, name, bucket_id)[0]

    def _check_open(self, bucket: Bucket) -> None:
        """Nothing is fetched into a bucket that is being renamed, but for what it has a backend for anyway."""
        mark = self._gates.mark(bucket)
        if mark is not None and mark.is_source and self._membership.backend_of(bucket) is None:
            mark.check(bucket, adds=False)

    def _deny_endpoints(self, endpoints: Iterable[tuple[str, int]]) -> None:
        denied = list(endpoints)
        self._lanes.deny_endpoints(denied)
        self._survey_guard.deny_endpoints(denied)

    async def _call_target(self, target_id: str, path: str, body: object) -> Any:
        return await self._membership.call_target(target_id, path, body)

    def _hold(self, origin: str, seconds: float) -> None:
        self._scheduler.hold(origin, monotonic(), seconds)

    def _target_ids(self) -> list[str]:
        """Of the whole cluster, in order; none before this target has joined."""
        return sorted(node.id for node in self._membership.cluster_map.targets)

    def _job_ended(self, job_id: str) -> None:
        share = self._downloads.find(job_id)
        if share is not None:
            self._mover.share_ended(share.plan)
        self._scope.start(f"announce {job_id}", self._membership.announce_end(job_id))

    async def start(self) -> None:
        """Check the disks, replay the journal, join the cluster."""
        self.ended = asyncio.get_running_loop().create_future()
        self._epochs.start()
        await asyncio.to_thread(self._store.start)
        if self._mountpaths.is_new and not self._mountpaths.view.placed:
            self._store.choose(0)  # a mistake in the configuration: raises what is wrong
        self._holds.start()
        await self._downloads.start(self._store.sweep_parts, self._job_ended)
        self._disks.start()
        self._budgets.start()
        self._scope.start("addresses", self._addresses.run())
        self._scope.start("membership", self._stay_joined())
        self._scope.start("shares", self._membership.look_after(self._downloads, self._copies))
        self._scope.start("rebalance", self._mover.run())
        self._scope.start("uploads", self._open_uploads.look_after())

    async def _stay_joined(self) -> None:
        try:
            await self._membership.run()
        except Fenced as error:
            self.ended.set_result(error)

    async def stop(self) -> None:
        """Stop reporting, park the downloads, leave, flush and close."""
        self._disks.stop()
        await self._scope.close()
        await self._downloads.stop()
        await self._membership.leave()
        await asyncio.to_thread(self._store.stop)
        await asyncio.to_thread(self._journal.stop)
        self._asking.close()
        await asyncio.to_thread(self._sources.close)
        await self._client.close()
        await self._streams.close()


def _host_settings(config: TargetConfig) -> HostSettings:
    return HostSettings(
        ConcurrencySettings(
            max_connections=min(config.max_connections_per_host, len(config.mountpaths) * config.max_transfers_per_lane)
        ),
        BreakerSettings(patience_seconds=config.host_patience_seconds),
        frozenset(host.lower() for host in config.rate_limit),
    )
