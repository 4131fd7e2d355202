"""Clients at work while the cluster is being changed: none of their calls may fail for good, and no job may."""

import contextlib
import itertools
import threading
from collections.abc import Iterator
from typing import Any, Self

import httpx

from tests.cluster import Api
from tests.compose.containers import PROXIES, Containers, patiently
from tests.compose.jobs import Job, in_its_middle

_OBJECTS = 300
ROUNDS = 3


class AnyProxy(Api):
    """Asks another proxy every time."""

    def __init__(self, apis: list[Api]) -> None:
        self.url = "any proxy"
        self._turns = itertools.cycle(apis)

    def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return next(self._turns).call(method, path, body)

    def get(self, bucket: str, name: str, **headers: str) -> httpx.Response:
        return next(self._turns).get(bucket, name, **headers)


class Load:
    """A client that posts jobs, asks for their status and reads objects back, until a call fails for good."""

    def __init__(self, cluster: Containers, stored: Job) -> None:
        self._cluster = cluster
        self._stored = stored
        self._apis = [Api(cluster.urls[proxy]) for proxy in PROXIES]
        self._api = AnyProxy(self._apis)
        self._stopping = False
        self._turn = threading.Condition()
        self._thread = threading.Thread(target=self._run)
        self._rounds = 0
        self.jobs: list[Job] = []
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._thread.join()
        for api in self._apis:
            api.close()

    def wait_for_rounds(self, number: int) -> None:
        """Until that many rounds more have been made; fails when a call has failed."""
        with self._turn:
            wanted = self._rounds + number
            assert self._turn.wait_for(lambda: self._rounds >= wanted or self.failures, 120)
        assert not self.failures, self.failures

    def _run(self) -> None:
        while not self._stopping and not self.failures:
            try:
                self._make_a_round()
            except (AssertionError, httpx.HTTPError) as error:
                self.failures.append(repr(error))
            with self._turn:
                self._rounds += 1
                self._turn.notify_all()

    def _make_a_round(self) -> None:
        job = Job("load", objects=4, size_bytes=1_000 + self._rounds)
        job.post(self._cluster, self._api)
        self.jobs.append(job)
        job.status(self._api)
        number = self._rounds % self._stored.objects
        response = patiently(lambda: self._api.get(self._stored.label, self._stored.name(number)))
        self._stored.check_object(self._api, number, response)


@contextlib.contextmanager
def working_clients(cluster: Containers, label: str) -> Iterator[Load]:
    """Clients at work, and a large job in its middle; at the end nobody has been refused and nothing is missing."""
    stored = Job(f"{label}stored", objects=40, size_bytes=16_384)
    stored.post(cluster, cluster.apis["proxy1"])
    stored.wait_until_ended(cluster.apis["proxy1"])
    with in_its_middle(cluster, f"{label}large", objects=_OBJECTS) as large:
        with Load(cluster, stored) as load:
            yield load
            cluster.origin.release(large.label)
            load.wait_for_rounds(ROUNDS)
        large.wait_until_ended(cluster.apis["proxy2"])
    assert not load.failures, load.failures
    for job in load.jobs:
        job.wait_until_ended(cluster.apis["proxy1"])
    for job in (large, stored):
        job.check_exactly_once(cluster, cluster.apis["proxy2"])
