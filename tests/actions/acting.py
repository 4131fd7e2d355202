"""What tests of actions share: actions on buckets as clients send them, and what is seen of their jobs."""

from __future__ import annotations

from typing import Any

import httpx

from tests.cluster import Api, Cluster
from tests.waiting import wait_for


def uname(bucket: str) -> str:
    return f"ais/@%23/{bucket}/"


def act(api: Api, bucket: str, action: str, value: object = None, *, to: str = "") -> httpx.Response:
    query = f"?bck_to={uname(to)}" if to else ""
    return api.call("POST", f"/v1/buckets/{bucket}{query}", {"action": action, "value": value})


def started(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.text


def copy(api: Api, bucket: str, to: str, **value: Any) -> str:
    return started(act(api, bucket, "copy-bck", value, to=to))


def status(api: Api, job_id: str) -> dict[str, Any]:
    answer = api.call("GET", "/v1/cluster?what=status", {"ID": job_id, "Kind": ""})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ended(api: Api, job_id: str, *, seconds: float = 60.0) -> dict[str, Any]:
    """The status of a job once it has ended."""
    wait_for(lambda: status(api, job_id)["end_time"], seconds=seconds, what=f"end of {job_id}")
    return status(api, job_id)


def snaps(api: Api, **query: Any) -> dict[str, list[dict[str, Any]]]:
    answer = api.call("GET", "/v1/cluster?what=qryxstats", query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def total(api: Api, job_id: str, figure: str) -> int:
    """One of the figures of a job over all targets."""
    return sum(int(snap["stats"][figure]) for found in snaps(api, id=job_id).values() for snap in found)


def contents(api: Api, bucket: str) -> dict[str, bytes]:
    """All objects of a bucket, read one by one."""
    return {entry["name"]: api.get(bucket, entry["name"]).content for entry in api.list(bucket)}


def fill(cluster: Cluster, bucket: str, count: int, size: int = 0) -> dict[str, bytes]:
    """Objects with names in directories; what is in them."""
    cluster.api.create_bucket(bucket)
    made = {
        f"d{number % 5}/{number:05}.jpg": f"{number} of {bucket} ".encode().ljust(size, b"x") for number in range(count)
    }
    for name, data in made.items():
        cluster.api.put(bucket, name, data)
    return made


def summary(api: Api, path: str, other: Api | None = None, **value: Any) -> list[dict[str, Any]]:
    """What comes of it in the end; asked for at the `other` proxy, if there is one."""
    started = api.call("GET", path, {"action": "summary-bck", "value": value})
    assert started.status_code == 202, started.text
    message = {"action": "summary-bck", "value": value | {"uuid": started.text}}

    def ask() -> httpx.Response | None:
        answer = (other or api).call("GET", path, message)
        assert answer.status_code in (200, 202, 206), answer.text
        return answer if answer.status_code == 200 else None

    return list(wait_for(ask, what="the summary").json())
