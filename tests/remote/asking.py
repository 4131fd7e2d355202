"""What clients ask about buckets, and how answers are read."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.cluster import Cluster


def props(cluster: Cluster, bucket: str, query: str = "") -> dict[str, Any]:
    """Of a bucket, as HEAD shows them."""
    answer = cluster.api.call("HEAD", f"/v1/buckets/{bucket}?{query}")
    assert answer.status_code == 200, answer.headers.get("hdr-error")
    return dict(json.loads(answer.headers["ais-bucket-props"]))


def set_backend(cluster: Cluster, bucket: str, name: str, provider: str = "aws") -> httpx.Response:
    """As `ais bucket props set` sends it."""
    backend = {"name": name, "provider": provider, "namespace": {"uuid": "", "name": ""}}
    body = {"action": "set-bprops", "value": {"backend_bck": backend}}
    return cluster.api.call("PATCH", f"/v1/buckets/{bucket}", body)


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an error."""
    text = answer.headers.get("hdr-error") or answer.text
    return answer.status_code, json.loads(text).get("tcode", "")
