"""The manifests of deploy/k8s: valid for the API servers of several versions, and made of parts that fit together.

The schemas are those of the package `kubernetes-validate`; no cluster is asked.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from common.settings import load_settings
from proxy.config import ProxyConfig
from target.config import TargetConfig

ROOT = Path(__file__).parents[2] / "deploy/k8s"
OVERLAYS = ("base", "with-etcd")
VERSIONS = ("1.29", "1.32", "1.35")


def kustomization(overlay: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / overlay / "kustomization.yaml").read_text(encoding="utf-8")))


def manifests() -> Iterator[dict[str, Any]]:
    """All resources that the kustomizations name; that each file is named is checked, too."""
    for overlay in OVERLAYS:
        named = [name for name in kustomization(overlay)["resources"] if not name.startswith("..")]
        files = {path.name for path in (ROOT / overlay).glob("*.yaml")} - {"kustomization.yaml"}
        assert set(named) == files
        for name in named:
            yield from yaml.safe_load_all((ROOT / overlay / name).read_text(encoding="utf-8"))


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [manifest for manifest in manifests() if manifest["kind"] in kinds]


def workload(name: str) -> dict[str, Any]:
    (found,) = [each for each in of_kind("Deployment", "StatefulSet") if each["metadata"]["name"] == name]
    return found


def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    return dict(manifest["spec"]["template"]["spec"])


def environment_file(name: str) -> dict[str, str]:
    lines = (ROOT / "base" / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def environment(container: dict[str, Any], pod_name: str) -> dict[str, str]:
    """What the container sees, with a pod's name for everything that the API server would fill in."""
    values: dict[str, str] = {}
    for variable in container.get("env", []):
        text = variable.get("value", pod_name)
        values[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda match: values[match[1]], text)
    return values


@pytest.mark.parametrize("version", VERSIONS)
def test_the_manifests_are_valid(version: str) -> None:
    for manifest in manifests():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_selectors_choose_the_pods_that_they_mean() -> None:
    pods = {name: workload(name)["spec"]["template"]["metadata"]["labels"] for name in _workloads()}
    for manifest in (workload(name) for name in _workloads()):
        assert manifest["spec"]["selector"]["matchLabels"] == pods[manifest["metadata"]["name"]]
    for service, chosen in (
        ("haul-proxies", "haul-proxy"),
        ("haul-targets", "haul-target"),
        ("haul-etcd", "haul-etcd"),
    ):
        (found,) = [each for each in of_kind("Service") if each["metadata"]["name"] == service]
        assert found["spec"]["selector"] == pods[chosen]
    budgets = {each["metadata"]["name"]: each["spec"] for each in of_kind("PodDisruptionBudget")}
    assert {name: budget["selector"]["matchLabels"] for name, budget in budgets.items()} == pods


def _workloads() -> list[str]:
    return [manifest["metadata"]["name"] for manifest in of_kind("Deployment", "StatefulSet")]


def test_stateful_sets_name_the_service_that_gives_their_pods_names() -> None:
    services = {each["metadata"]["name"]: each["spec"] for each in of_kind("Service")}
    for manifest in of_kind("StatefulSet"):
        service = services[manifest["spec"]["serviceName"]]
        assert service["clusterIP"] == "None"
        assert service["publishNotReadyAddresses"]


def test_pods_keep_to_the_restricted_standard() -> None:
    for manifest in of_kind("Deployment", "StatefulSet"):
        assert pod(manifest)["securityContext"]["runAsNonRoot"]
        assert pod(manifest)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod(manifest)["automountServiceAccountToken"]
        for container in pod(manifest)["containers"]:
            assert not container["securityContext"]["allowPrivilegeEscalation"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert {"readinessProbe", "livenessProbe", "resources"} <= set(container)
            assert container["resources"]["limits"]["memory"]


def test_every_mount_has_a_volume() -> None:
    for manifest in of_kind("Deployment", "StatefulSet"):
        claims = [claim["metadata"]["name"] for claim in manifest["spec"].get("volumeClaimTemplates", [])]
        volumes = [volume["name"] for volume in pod(manifest).get("volumes", [])]
        for container in pod(manifest)["containers"]:
            assert sorted(mount["name"] for mount in container["volumeMounts"]) == sorted(claims + volumes)


def test_probes_and_services_use_ports_that_are_there() -> None:
    for manifest in of_kind("Deployment", "StatefulSet"):
        for container in pod(manifest)["containers"]:
            ports = {port["name"] for port in container["ports"]}
            probes = [container[name] for name in container if name.endswith("Probe")]
            assert {(probe.get("httpGet") or probe["tcpSocket"])["port"] for probe in probes} <= ports
    for service in of_kind("Service"):
        assert all(port["targetPort"] == port["name"] for port in service["spec"]["ports"])


def test_the_settings_are_those_of_the_nodes() -> None:
    (container,) = pod(workload("haul-proxy"))["containers"]
    proxy = load_settings(
        ProxyConfig, None, environment_file("proxy.env") | environment(container, "haul-proxy-7d9-x2x4")
    )
    (container,) = pod(workload("haul-target"))["containers"]
    target = load_settings(TargetConfig, None, environment_file("target.env") | environment(container, "haul-target-0"))
    assert proxy.cluster_id == target.cluster_id
    assert (proxy.id, target.id) == ("haul-proxy-7d9-x2x4", "haul-target-0")
    assert {proxy.port, target.port} == {container["ports"][0]["containerPort"]}
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {str(target.data_dir), *(str(path) for path in target.mountpaths)} <= mounts
    assert target.proxies == ("http://haul-proxies:8080",)


def test_nodes_see_the_secrets_that_there_are_and_start_without_any() -> None:
    for name in ("haul-proxy", "haul-target"):
        (volume,) = [volume for volume in pod(workload(name))["volumes"] if "secret" in volume]
        assert volume["secret"] == {"secretName": "haul-secrets", "optional": True, "defaultMode": 0o440}
        assert pod(workload(name))["securityContext"]["fsGroup"] == 10001
        (container,) = pod(workload(name))["containers"]
        (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == volume["name"]]
        assert (mount["mountPath"], mount["readOnly"]) == ("/etc/haul", True)


def test_the_etcd_that_comes_along_is_the_one_that_the_proxies_ask() -> None:
    etcd = workload("haul-etcd")
    members = [f"haul-etcd-{number}.haul-etcd" for number in range(etcd["spec"]["replicas"])]
    (container,) = pod(etcd)["containers"]
    initial = {variable["name"]: variable.get("value", "") for variable in container["env"]}["ETCD_INITIAL_CLUSTER"]
    assert initial == ",".join(f"{member.split('.')[0]}=http://{member}:2380" for member in members)
    assert environment_file("proxy.env")["HAUL_NODE_META_STORE"] == "etcd://" + ",".join(f"{m}:2379" for m in members)


def test_the_settings_come_from_the_files_beside_them() -> None:
    generators = kustomization("base")["configMapGenerator"]
    assert {each["name"]: each["envs"] for each in generators} == {
        "haul-proxy": ["proxy.env"],
        "haul-target": ["target.env"],
    }
    for name in ("haul-proxy", "haul-target"):
        (container,) = pod(workload(name))["containers"]
        assert container["envFrom"] == [{"configMapRef": {"name": name}}]
