"""What the dashboard shows is there to be asked for; neither Prometheus nor Grafana is run."""

import json
import re
from pathlib import Path

from tests.compose.containers import ETCD, Containers

DASHBOARD = Path(__file__).parents[2] / "deploy/monitoring/grafana/dashboards/haul.json"
_READ = "import sys, urllib.request as r; sys.stdout.buffer.write(r.urlopen(sys.argv[1]).read())"


def expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_the_dashboard_asks_etcd_for_metrics_that_it_has(cluster: Containers) -> None:
    wanted = {name for expression in expressions() for name in re.findall(r"etcd_\w+", expression)}
    assert wanted
    for member in ETCD:
        answer = cluster.container("proxy1").exec_run(["python", "-c", _READ, f"http://{member}:2379/metrics"])
        assert wanted <= set(re.findall(r"^\w+", answer.output.decode(), re.MULTILINE))


def test_the_dashboard_asks_the_nodes_for_metrics_that_they_have(cluster: Containers) -> None:
    wanted = {name for expression in expressions() for name in re.findall(r"haul_\w+", expression)}
    answered: set[str] = set()
    for alias in ("proxies", "targets"):
        answer = cluster.container("proxy2").exec_run(["python", "-c", _READ, f"http://{alias}:8080/metrics"])
        assert answer.exit_code == 0
        answered |= set(re.findall(r"^haul_\w+", answer.output.decode(), re.MULTILINE))
    assert wanted
    assert wanted <= answered
