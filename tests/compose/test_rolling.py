"""Everything is restarted, one container after the other, while clients go on working: nobody notices for good."""

from tests.compose.clients import ROUNDS, working_clients
from tests.compose.containers import ETCD, PROXIES, Containers


def test_a_rolling_restart_of_everything(cluster: Containers) -> None:
    with working_clients(cluster, "restart") as load:
        for service in (*ETCD, *PROXIES, *cluster.targets()):
            load.wait_for_rounds(ROUNDS)
            code = cluster.restart_gracefully(service)
            assert code == 0 or service in ETCD, f"{service} ended with exit code {code}"


def test_an_upgrade_replaces_every_container_of_a_node(cluster: Containers) -> None:
    nodes = [*PROXIES, *cluster.targets()]
    before = {node: cluster.container(node).id for node in nodes}
    with working_clients(cluster, "upgrade") as load:
        load.wait_for_rounds(ROUNDS)
        cluster.manage("upgrade", HAUL_PROXY_MEMORY="600m", HAUL_TARGET_MEMORY="1100m")
    assert all(cluster.container(node).id != before[node] for node in nodes)
