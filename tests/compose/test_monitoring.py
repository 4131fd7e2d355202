"""What a real Prometheus sees, with the configuration that is shipped; Grafana, which only draws, is not run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.compose.containers import ETCD, PROXIES, READY_SECONDS, Containers
from tests.compose.jobs import Job
from tests.waiting import wait_for

DASHBOARD = Path(__file__).parents[2] / "deploy/monitoring/grafana/dashboards/haul.json"


class Prometheus:
    """Answers questions in PromQL."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=10)

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The series that the expression gives now; none while nobody answers."""
        try:
            answer = self._http.get("/api/v1/query", params={"query": expression})
        except httpx.TransportError:
            return []
        assert answer.status_code == 200, (expression, answer.text)
        return list(answer.json()["data"]["result"])

    def close(self) -> None:
        self._http.close()


@pytest.fixture(scope="module")
def prometheus(running: Containers) -> Iterator[Prometheus]:
    running.manage("up", COMPOSE_PROFILES="prometheus")
    prometheus = Prometheus(running.urls["prometheus"])
    yield prometheus
    prometheus.close()
    running.container("prometheus").remove(force=True)
    running.manage("up", COMPOSE_PROFILES="")


def expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_prometheus_finds_everybody(cluster: Containers, prometheus: Prometheus) -> None:
    def found() -> dict[str, int]:
        up = [series["metric"]["job"] for series in prometheus.ask("up == 1")]
        return {job: up.count(job) for job in up}

    everybody = {"etcd": len(ETCD), "haul-proxies": len(PROXIES), "haul-targets": len(cluster.targets())}
    wait_for(lambda: found() == everybody, seconds=READY_SECONDS, what=f"{everybody} are asked, and answer")


def test_every_panel_of_the_dashboard_has_something_to_show(cluster: Containers, prometheus: Prometheus) -> None:
    for expression in expressions():
        wait_for(
            lambda expression=expression: prometheus.ask(expression),
            seconds=READY_SECONDS,
            what=f"figures: {expression}",
        )


def test_what_a_job_did_is_counted(cluster: Containers, prometheus: Prometheus) -> None:
    counter = 'sum(haul_target_objects_total{outcome="downloaded"})'

    def counted() -> float:
        return sum(float(series["value"][1]) for series in prometheus.ask(counter))

    wait_for(lambda: prometheus.ask(counter), seconds=READY_SECONDS, what="the targets are asked")
    before, job = counted(), Job("counted", objects=60, size_bytes=1_000)
    job.post(cluster, cluster.apis["proxy1"])
    job.wait_until_ended(cluster.apis["proxy1"])
    wait_for(lambda: counted() >= before + job.objects, seconds=READY_SECONDS, what="the job's objects are counted")
    assert counted() == before + job.objects
