"""The compose files and what belongs to them say the same thing everywhere; containers are run by `tests/compose`."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.backends.settings import load_backends
from common.metrics import PATH
from common.settings import load_settings
from common.vault import Vault
from deploy.compose.cluster import NodeFiles, service_of, volumes_of
from proxy.config import ProxyConfig
from target.config import TargetConfig
from tests.metrics.scraping import documented

ROOT = Path(__file__).parents[2]
_VARIABLE = re.compile(r"\$\{(\w+):-((?:[^${}]|\$\{[^}]*\})*)\}")


def read(path: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / path).read_text(encoding="utf-8")))


COMPOSE = read("docker-compose.yml")
KINDS = read("deploy/compose/node.yml")["services"]
NODES = [name for name in COMPOSE["services"] if name.startswith(("proxy", "target"))]


def environment(name: str) -> dict[str, str]:
    """What a container sees when nothing is set outside."""
    variables: dict[str, str] = {}
    service: dict[str, Any] | None = COMPOSE["services"][name]
    while service is not None:
        variables = service.get("environment", {}) | variables
        extended = service.get("extends")
        service = KINDS[extended["service"]] if extended else None
    return {name: _VARIABLE.sub(lambda match: match[2], str(value)) for name, value in variables.items()}


def test_there_are_three_members_of_etcd_two_proxies_and_four_targets() -> None:
    kinds = [service.get("extends", {}).get("service") for service in COMPOSE["services"].values()]
    assert {kind: kinds.count(kind) for kind in ("etcd", "proxy", "target")} == {"etcd": 3, "proxy": 2, "target": 4}


@pytest.mark.parametrize("name", NODES)
def test_the_settings_are_those_of_the_nodes(name: str) -> None:
    settings = load_settings(ProxyConfig if name.startswith("proxy") else TargetConfig, None, environment(name))
    assert settings.id == name


def seen_by_nodes(files: NodeFiles, name: str) -> tuple[ProxyConfig | TargetConfig, Path]:
    """A node's settings with the directory that it sees, and where that is outside."""
    variables = files.variables()
    (mount,) = KINDS["node"]["volumes"]
    outside, inside, mode = _VARIABLE.sub(lambda match: variables[match[1]], mount).split(":")
    assert (inside, mode) == ("/etc/haul", "ro")
    raw = KINDS["node"]["environment"]
    told = {key: _VARIABLE.sub(lambda match: variables.get(match[1], match[2]), str(raw[key])) for key in raw}
    return load_settings(
        ProxyConfig if name.startswith("proxy") else TargetConfig, None, environment(name) | told
    ), Path(outside)


@pytest.mark.parametrize("name", ["proxy1", "target1"])
def test_nodes_get_the_key_that_is_made_for_them_and_backends_only_where_there_are_some(
    name: str, tmp_path: Path
) -> None:
    directory = tmp_path / "compose/haul-etc"
    files = NodeFiles(directory)
    files.prepare()
    settings, outside = seen_by_nodes(files, name)
    assert (outside, settings.backends_file) == (directory, None)
    key_file = settings.secret_key_file
    assert key_file == Path("/etc/haul/secret.key")
    sealed = Vault(outside / key_file.name).seal({"credentials": {"token": "t"}})
    (directory / "backends.toml").write_text("[s3]\nanonymous = true\n")
    files.prepare()
    settings, _ = seen_by_nodes(files, name)
    assert settings.backends_file == Path("/etc/haul/backends.toml")
    assert load_backends(outside / settings.backends_file.name).s3.anonymous
    assert Vault(outside / key_file.name).open(sealed) == {"credentials": {"token": "t"}}


def test_the_files_of_nodes_are_open_to_nodes_and_closed_to_others(tmp_path: Path) -> None:
    directory = tmp_path / "compose/haul-etc"
    files = NodeFiles(directory)
    files.prepare()
    modes = [path.stat().st_mode & 0o777 for path in (directory.parent, directory, directory / "secret.key")]
    assert modes == [0o700, 0o755, 0o644]
    (directory / "backends.toml").touch()
    files.forget()
    assert [path.name for path in directory.iterdir()] == ["backends.toml"]


def test_a_target_is_told_of_every_proxy_and_every_etcd_member_is_asked() -> None:
    target = load_settings(TargetConfig, None, environment("target1"))
    assert target.proxies == tuple(f"http://{name}:8080" for name in NODES if name.startswith("proxy"))
    proxy = load_settings(ProxyConfig, None, environment("proxy1"))
    members = [name for name in COMPOSE["services"] if name.startswith("etcd")]
    assert proxy.meta_store == "etcd://" + ",".join(f"{member}:2379" for member in members)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_targets_that_are_added_have_the_form_of_those_in_the_file(number: int) -> None:
    added = service_of(number)
    added["extends"]["file"] = str(Path(added["extends"]["file"]).relative_to(ROOT))
    assert added == COMPOSE["services"][f"target{number}"]
    assert set(volumes_of(f"target{number}")) <= set(COMPOSE["volumes"])


def test_every_container_has_limits_and_every_node_a_health_check() -> None:
    for name, service in COMPOSE["services"].items():
        kind = KINDS[service["extends"]["service"]] if "extends" in service else service
        assert {"mem_limit", "cpus", "restart"} <= set(kind) | set(KINDS["node"] if name in NODES else ()), name
    for kind in ("etcd", "node"):
        assert KINDS[kind]["healthcheck"]["test"]
        assert KINDS[kind]["cap_drop"] == ["ALL"]


def test_ports_are_published_where_clients_are_told_to_go() -> None:
    for name in NODES:
        (published,) = COMPOSE["services"][name]["ports"]
        port = re.fullmatch(r"\$\{HAUL_BIND:-127\.0\.0\.1\}:(\$\{\w+:-\d+\}):8080", published)
        assert port
        url = COMPOSE["services"][name]["environment"]["HAUL_NODE_PUBLIC_URL"]
        assert url == f"http://${{HAUL_PUBLIC_HOST:-localhost}}:{port[1]}"


def test_the_dashboard_asks_for_figures_that_nodes_have() -> None:
    """Those that are documented; `tests/metrics` compares the documentation with what nodes answer."""
    known = {family.name: family.labels for family in documented("Every node", "A proxy", "A target")}
    dashboard = json.loads((ROOT / "deploy/monitoring/grafana/dashboards/haul.json").read_text(encoding="utf-8"))
    targets = [target for panel in dashboard["panels"] for target in panel["targets"]]
    wanted = {name for target in targets for name in re.findall(r"haul_\w+", target["expr"])}
    assert {"haul_proxy_leading", "haul_cluster_nodes", "haul_target_objects_total"} <= wanted <= set(known)
    by_prometheus = {"job", "instance"}
    for target in targets:
        given = by_prometheus.union(*(known[name] for name in re.findall(r"haul_\w+", target["expr"])))
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= given, target
        for name, selected in re.findall(r"(haul_\w+){(\w+)[!=]", target["expr"]):
            assert selected in known[name] | by_prometheus, target
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len({str(panel["gridPos"]) for panel in panels}) == len(panels)


def test_monitoring_asks_for_aliases_that_exist_and_the_dashboard_for_what_is_asked() -> None:
    aliases = {kind["networks"]["default"]["aliases"][0] for kind in KINDS.values() if "networks" in kind}
    scrapes = {each["job_name"]: each for each in read("deploy/monitoring/prometheus.yml")["scrape_configs"]}
    assert {scrape["dns_sd_configs"][0]["names"][0] for scrape in scrapes.values()} == aliases
    assert all(scrape.get("metrics_path", PATH) == PATH for scrape in scrapes.values())
    dashboard = json.loads((ROOT / "deploy/monitoring/grafana/dashboards/haul.json").read_text(encoding="utf-8"))
    source = read("deploy/monitoring/grafana/provisioning/datasources/prometheus.yml")["datasources"][0]["uid"]
    for panel in dashboard["panels"]:
        assert panel["datasource"]["uid"] == source
        for target in panel["targets"]:
            jobs = re.findall(r'job="([^"]+)"', target["expr"])
            assert set(jobs) <= set(scrapes)
    for mount in (volume for name in ("prometheus", "grafana") for volume in COMPOSE["services"][name]["volumes"]):
        source_path = mount.partition(":")[0]
        assert not source_path.startswith(".") or (ROOT / source_path).exists()
