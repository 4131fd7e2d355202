"""A target that downloads nothing: it keeps shares and objects in memory and does what a test tells it, over real HTTP.

Tasks end as soon as their share starts, unless their link says otherwise: `/slow/` never ends (nor does a job with a
byte budget), `/err404/` and the like end with an error.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common import clock, web
from common.bulkplacement import digests, owners
from common.clustermap import TARGET, Node
from common.errors import InvalidRequest, RangeNotSatisfiable
from common.names import Bucket, join_subdir, normalize_object_name
from common.nodeclient import NodeClient
from common.placement import digest
from common.shares import JobSpec, ShareStatus, TaskProgress
from common.template import name_of, parse_template

_STATUS = re.compile(r"/err(\d+)/")


@dataclass
class Share:
    spec: JobSpec
    batches: dict[int, list[tuple[int, str, str]]] = field(default_factory=dict)
    complete: bool = False
    state: str = "prepared"
    started_ns: int = 0
    finished_ns: int = 0
    finished: list[TaskProgress] = field(default_factory=list)
    failed: list[TaskProgress] = field(default_factory=list)
    current: list[TaskProgress] = field(default_factory=list)

    def tasks(self, own: str) -> list[tuple[int, str, str]]:
        if not self.spec.template:
            return [task for seq in sorted(self.batches) for task in self.batches[seq]]
        links = list(parse_template(self.spec.template).expand())
        names = [normalize_object_name(join_subdir(self.spec.subdir, name_of(link))) for link in links]
        owner = owners(digests(self.spec.bucket.uname, names), [target for _, target in self.spec.targets])
        return [
            (position, names[position], links[position])
            for position in range(len(links))
            if self.spec.targets[owner[position]][0] == own
        ]


class StandIn:
    """One target; `calls` records what proxies asked, a closed `gate` makes them wait."""

    def __init__(self, node_id: str, url: str, proxies: list[str], client: NodeClient) -> None:
        self.node = Node(node_id, TARGET, url, incarnation=clock.unix_ns(), mountpaths=(f"/{node_id}/mp1",))
        self.proxies = proxies
        self.shares: dict[str, Share] = {}
        self.copies: dict[tuple[str, str], Share] = {}
        self.objects: dict[str, dict[str, int]] = {}
        self.cluster_map: dict[str, Any] = {}
        self.buckets: dict[str, Any] = {}
        self.calls: list[str] = []
        self.described: dict[str, object] = {}
        """What `GET /v1/daemon?what=…` answers, by `what`."""
        self.refusals: dict[str, str] = {}
        self.client = client
        self.gate = asyncio.Event()
        self.gate.set()
        self.application = web.guarded(self._serve, f"t[{node_id}]")

    async def start(self) -> None:
        """Nothing: a test says when to report."""

    async def stop(self) -> None:
        """Nothing either."""

    async def report(self, proxy: int = 0) -> None:
        body = {"node": self.node.to_wire(), "mountpaths": []}
        answer = await self.client.call(self.proxies[proxy], "/intra/v1/nodes", body)
        self.cluster_map, self.buckets = answer["clustermap"], answer["buckets"]

    async def ask_decision(self, job_id: str, proxy: int = 0) -> str:
        path = f"/intra/v1/jobs/{job_id}/decision"
        decision: str = (await self.client.call(self.proxies[proxy], path, {"target": self.node.id}))["decision"]
        return decision

    async def hint(self, job_id: str, proxy: int = 0) -> None:
        path = f"/intra/v1/shares/{job_id}/finished"
        await self.client.call(self.proxies[proxy], path, {"target": self.node.id})

    def owns(self, bucket: Bucket, name: str) -> bool:
        """Whether an object belongs here, by the cluster map that this target was told."""
        targets = [node for node in self.cluster_map["nodes"] if node["role"] == TARGET]
        ids = [node["id"] for node in targets]
        owner = owners(digests(bucket.uname, [name]), [digest(node_id) for node_id in ids])[0]
        return ids[owner] == self.node.id

    def finish(self, job_id: str) -> None:
        """End what runs, successfully."""
        share = self.shares[job_id]
        now = clock.unix_ns()
        share.finished += [task._replace(downloaded=task.total, end_ns=now) for task in share.current]
        share.current = []
        share.state, share.finished_ns = "finished", now

    async def _serve(self, scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        body = await web.read_body(receive, 1 << 26)
        path = scope["path"]
        self.calls.append(path)
        if path.startswith("/v1/objects/"):
            await web.answer(send, 200, path.encode())
            return
        await self.gate.wait()
        if path == "/v1/daemon":
            await web.answer_json(send, self.described.get(web.query_of(scope)["what"], {}))
            return
        for prefix, text in self.refusals.items():
            if path.startswith(prefix):
                raise InvalidRequest(text)
        message = web.decode_msgpack(body) if body else None
        await web.answer_msgpack(send, self._answer(path.split("/")[3:], web.query_of(scope), message))

    def _answer(self, path: list[str], query: Mapping[str, str], message: Any) -> object:
        match path:
            case ["shares", job_id, "batches", sequence]:
                spec = JobSpec.unpack(message["spec"])
                share = self.shares.setdefault(job_id, Share(spec))
                share.batches[int(sequence)] = [tuple(task) for task in message["tasks"]]
                share.complete = share.complete or query["last"] == "1"
            case ["shares", _, "copies", *_] | ["shares", _, "uncopy"] | ["shares", "known"]:
                return self._copy(path, message)
            case ["shares", "status"]:
                found = [self._status(job_id, message) for job_id in message["ids"] if job_id in self.shares]
                return {"shares": [share.to_wire() for share in found]}
            case ["shares", job_id, action]:
                self._act(job_id, action)
            case ["objects", "list"]:
                return {"entries": self._list(message)}
            case ["buckets", "destroy"]:
                self.objects.pop(message["bucket"], None)
            case ["buckets"]:
                self.buckets = message
            case ["rebalance"]:
                return {"placement_version": self.cluster_map["placement_version"], "is_through": True}
            case ["clustermap"]:
                self.cluster_map = message
            case _:
                raise RangeNotSatisfiable("/".join(path), 0)
        return None

    def _copy(self, path: list[str], message: Any) -> object:
        match path:
            case [_, share_id, "copies", holder, sequence]:
                copy = self.copies.setdefault((share_id, holder), Share(JobSpec.unpack(message["spec"])))
                copy.batches[int(sequence)] = [tuple(task) for task in message["tasks"]]
            case [_, share_id, "uncopy"]:
                for holder in message["holders"]:
                    self.copies.pop((share_id, holder), None)
            case _:
                return {
                    "shares": [one for one in message["shares"] if one in self.shares],
                    "copies": [copy for copy in message["copies"] if tuple(copy) in self.copies],
                }
        return None

    def _act(self, job_id: str, action: str) -> None:
        share = self.shares.get(job_id)
        if share is None:
            return
        if action == "start" and share.state == "prepared":
            self._run(share)
        elif action == "abort" and not share.finished_ns:
            share.state, share.finished_ns, share.current = "aborted", clock.unix_ns(), []
        elif action == "remove" and share.state == "running":
            raise InvalidRequest(f'job "{job_id}" is still running')
        elif action in ("drop", "remove"):
            del self.shares[job_id]

    def _run(self, share: Share) -> None:
        now = share.started_ns = clock.unix_ns()
        share.state = "running"
        for position, name, link, *_ in share.tasks(self.node.id):
            progress = TaskProgress(position, name, 0, 0, now, now)
            if "/slow/" in link or share.spec.bytes_per_hour:
                share.current.append(progress._replace(downloaded=512, total=1024, end_ns=0))
            elif status := _STATUS.search(link):
                share.failed.append(progress._replace(error=f'failed to download "{link}": status {status[1]}'))
            elif "10.77.0.1:18080" not in link or link.startswith("ftp:"):
                share.failed.append(progress._replace(error=f'Get "{link}": unreachable'))
            else:
                share.finished.append(progress._replace(downloaded=1024, total=1024))
                self.objects.setdefault(share.spec.bucket.uname, {})[name] = 1024
        if not share.current:
            share.state, share.finished_ns = "finished", now

    def _status(self, job_id: str, message: Mapping[str, Any]) -> ShareStatus:
        share = self.shares[job_id]

        def page(tasks: list[TaskProgress]) -> list[TaskProgress]:
            beyond = sorted(task for task in tasks if task.position > message["after"])
            return beyond[: message["limit"]] if message["tasks"] else []

        return ShareStatus(
            share_id=job_id,
            scheduled=len(share.tasks(self.node.id)),
            finished=len(share.finished),
            skipped=0,
            errors=len(share.failed),
            bytes=sum(task.downloaded for task in share.finished),
            all_dispatched=share.state != "prepared",
            aborted=share.state == "aborted",
            started_ns=share.started_ns,
            finished_ns=share.finished_ns,
            current_tasks=share.current,
            finished_tasks=page(share.finished + share.failed),
            error_tasks=page(share.failed),
        )

    def _list(self, message: Mapping[str, Any]) -> list[list[Any]]:
        objects = self.objects.get(message["bucket"], {})
        names = sorted(name for name in objects if name > message["after"] and name.startswith(message["prefix"]))
        stored_ns = 1_795_397_894_000_000_000
        return [
            [name, objects[name], "a88a52ebb52e0a94", stored_ns, 1, "/mp1", {"source": "web"}, "size"]
            for name in names[: message["limit"]]
        ]
