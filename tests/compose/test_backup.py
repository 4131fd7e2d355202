"""What docs/deployment.md says about backups: etcd is lost, its snapshot is restored, and the cluster goes on."""

from tests.compose.containers import ETCD, PROXIES, Containers
from tests.compose.jobs import Job

SNAPSHOT = "snapshot.db"


def test_the_cluster_goes_on_from_a_snapshot_of_etcd(cluster: Containers) -> None:
    before = Job("before", objects=50, size_bytes=4_000)
    before.post(cluster, cluster.apis["proxy1"])
    before.wait_until_ended(cluster.apis["proxy1"])
    saved = cluster.container(ETCD[0]).exec_run(["etcdctl", "snapshot", "save", f"/data/{SNAPSHOT}"])
    assert saved.exit_code == 0, saved.output
    unknown = Job("unknown", objects=10, size_bytes=4_000)
    unknown.post(cluster, cluster.apis["proxy1"])
    unknown.wait_until_ended(cluster.apis["proxy1"])

    nodes = [*PROXIES, *cluster.targets()]
    for service in (*nodes, *ETCD):
        cluster.container(service).stop(timeout=30)
    peers = ",".join(f"{member}=http://{member}:2380" for member in ETCD)
    for member in ETCD:
        cluster.run_beside(
            f"rm -rf /data/{member}/member; etcdctl snapshot restore /data/{ETCD[0]}/{SNAPSHOT} --data-dir=/tmp/new "
            f"--name={member} --initial-cluster={peers} --initial-cluster-token=haul "
            f"--initial-advertise-peer-urls=http://{member}:2380 && mv /tmp/new/member /data/{member}/",
            {member, ETCD[0]},
        )
    for target in cluster.targets():
        cluster.run_beside(f"rm -f /data/{target}/epoch.json", {target})
    for service in (*ETCD, *nodes):
        cluster.container(service).start()
    for service in (*ETCD, *nodes):
        cluster.wait_until_ready(service)

    before.check_exactly_once(cluster, cluster.apis["proxy2"])
    assert cluster.apis["proxy1"].call("GET", "/v1/download", {"id": unknown.id}).status_code == 404
    after = Job("after", objects=50, size_bytes=4_000)
    after.post(cluster, cluster.apis["proxy2"])
    after.wait_until_ended(cluster.apis["proxy1"])
    after.check_exactly_once(cluster, cluster.apis["proxy1"])
