"""Names in the cluster that are completed: buckets, objects, jobs, nodes; none when it does not answer soon.

Where in a command line they may stand is told by `cli.candidates`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cli import clusterjobs, uris
from cli.client import Client
from cli.downloads import api
from cli.endpoints import find_endpoints
from cli.errors import CommandError
from haul.places import bucket_from_wire

_TIMEOUT_SECONDS = 1.0
"""Whoever has pressed the key is waiting."""
_MAX_NAMES = 500
_NOT_RECURSIVE, _NOT_ADDED = 2048, 256
Candidate = tuple[str, str]


class ClusterNames:
    """Asks the cluster that commands without `--endpoint` would ask, or the one that the command line names."""

    def buckets(self, begin: str, endpoint: str | None) -> Iterator[Candidate]:
        for fields in _asked(endpoint, "/v1/buckets", {}, {"action": "list"}) or ():
            cname = bucket_from_wire(fields).cname
            if cname.startswith(begin):
                yield cname, ""

    def objects(self, begin: str, endpoint: str | None) -> Iterator[Candidate]:
        """Objects, and what ends with a slash where many more have that in common."""
        try:
            where = uris.parse(begin)
        except CommandError:
            return
        value = {
            "prefix": where.name,
            "props": "name",
            "flags": str(_NOT_RECURSIVE | _NOT_ADDED),
            "pagesize": _MAX_NAMES,
        }
        page = _asked(endpoint, where.bucket_path, where.query, {"action": "list", "value": value}) or {}
        before = begin.removesuffix(where.name)
        for entry in page.get("entries") or ():
            yield before + entry["name"], ""

    def jobs(self, begin: str, endpoint: str | None) -> Iterator[Candidate]:
        """Jobs, the latest first."""
        try:
            with Client(find_endpoints(endpoint), timeout_seconds=_TIMEOUT_SECONDS) as client:
                found, others = api.jobs(client), clusterjobs.running(client)
        except CommandError:
            return
        yield from ((job_id, kind) for kind, job_id in others if job_id.startswith(begin))
        for job in found[: -_MAX_NAMES - 1 : -1]:
            if job.id.startswith(begin):
                yield job.id, f"{job.state}: {job.description}"

    def nodes(self, begin: str, endpoint: str | None) -> Iterator[Candidate]:
        smap = _asked(endpoint, "/v1/daemon", {"what": "smap"}, None) or {}
        for key, role in (("tmap", "target"), ("pmap", "proxy")):
            for node_id in sorted(smap.get(key) or {}):
                if node_id.startswith(begin):
                    yield node_id, role


def _asked(endpoint: str | None, path: str, query: dict[str, str], body: object) -> Any:
    """The answer; None when there is none in time."""
    try:
        with Client(find_endpoints(endpoint), timeout_seconds=_TIMEOUT_SECONDS) as client:
            return client.call("GET", path, query=query, body=body)
    except CommandError:
        return None
