"""A job over objects of the containers' origin, and the oracle that says whether all of them have arrived."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from tests.cluster import Api
from tests.compose.containers import Containers, path_of, patiently
from tests.compose.originserver import body_of
from tests.waiting import wait_for

_ENDED_SECONDS = 120.0


@dataclass
class Job:
    """A range job `label-0000…` into a bucket of the label's name."""

    label: str
    objects: int
    size_bytes: int
    id: str = ""

    def post(self, cluster: Containers, api: Api) -> None:
        template = cluster.origin.template(self.label, self.objects, self.size_bytes)
        body = {"type": "range", "bucket": {"name": self.label}, "template": template}
        response = patiently(lambda: api.call("POST", "/v1/download", body))
        assert response.status_code == 200, response.text
        self.id = response.json()["id"]

    def status(self, api: Api) -> dict[str, Any]:
        response = patiently(lambda: api.call("GET", "/v1/download", {"id": self.id}))
        assert response.status_code == 200, response.text
        return dict(response.json())

    def wait_until_ended(self, api: Api) -> None:
        """Until the job has ended; then it must have fetched everything."""
        wait_for(lambda: has_ended(self.status(api)), seconds=_ENDED_SECONDS, what=f"end of {self.label}")
        status = self.status(api)
        assert (status["finished_cnt"], status["error_cnt"]) == (self.objects, 0), status

    def check_every_object(self, api: Api) -> None:
        """All are listed once, and each has the origin's bytes."""
        names = [self.name(number) for number in range(self.objects)]
        assert sorted(entry["name"] for entry in api.list(self.label)) == names
        for number, name in enumerate(names):
            self.check_object(api, number, patiently(lambda name=name: api.get(self.label, name)))

    def check_object(self, api: Api, number: int, response: httpx.Response) -> None:
        assert response.status_code == 200, f"{self.name(number)}: {response.text} from {api.url}"
        assert response.content == body_of(path_of(self.label, self.size_bytes, f"{number:04}")), self.name(number)

    def check_exactly_once(self, cluster: Containers, api: Api) -> None:
        """As `check_every_object`, and no target has a copy too many on its disks."""
        self.check_every_object(api)
        wait_for(
            lambda: cluster.files_on_disks(self.label) == self.objects,
            seconds=_ENDED_SECONDS,
            what="each object on one disk only",
        )

    def name(self, number: int) -> str:
        return f"{self.label}-{number:04}"


@contextlib.contextmanager
def in_its_middle(cluster: Containers, label: str, *, objects: int = 120) -> Iterator[Job]:
    """A job of which a third has been answered; the rest is held until it is released, at the latest at the end."""
    job = Job(label, objects, size_bytes=16_384)
    cluster.origin.hold(label, after=objects // 3)
    try:
        job.post(cluster, cluster.apis["proxy1"])
        cluster.origin.wait_for(label, answered=objects // 3, waiting=4)
        yield job
    finally:
        cluster.origin.release(label)


def has_ended(status: dict[str, Any]) -> bool:
    return not status["finished_time"].startswith(("1970", "0001"))
