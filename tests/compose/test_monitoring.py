"""What the dashboard shows is there to be asked for; neither Prometheus nor Grafana is run."""

import json
import re
from pathlib import Path

from tests.compose.containers import ETCD, Containers

DASHBOARD = Path(__file__).parents[2] / "deploy/monitoring/grafana/dashboards/haul.json"
_READ = "import sys, urllib.request as r; sys.stdout.buffer.write(r.urlopen(sys.argv[1]).read())"


def test_the_dashboard_asks_etcd_for_metrics_that_it_has(cluster: Containers) -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    wanted = {name for panel in panels for name in re.findall(r"etcd_\w+", json.dumps(panel["targets"]))}
    assert wanted
    for member in ETCD:
        answer = cluster.container("proxy1").exec_run(["python", "-c", _READ, f"http://{member}:2379/metrics"])
        assert wanted <= set(re.findall(r"^\w+", answer.output.decode(), re.MULTILINE))


def test_a_node_is_found_by_the_name_that_prometheus_asks_for(cluster: Containers) -> None:
    for alias in ("proxies", "targets"):
        url = f"http://{alias}:8080/v1/health?readiness=true"
        answer = cluster.container("proxy2").exec_run(["python", "-c", _READ, url])
        assert (answer.exit_code, answer.output) == (0, b"")
