"""Every proxy takes jobs, and every proxy gives the same answers."""

from tests.compose.containers import PROXIES, Containers
from tests.compose.jobs import Job


def test_a_job_posted_to_any_proxy_is_known_to_all(cluster: Containers) -> None:
    for proxy, label in zip(PROXIES, ("first", "second"), strict=True):
        job = Job(label, objects=100, size_bytes=16_384)
        job.post(cluster, cluster.apis[proxy])
        for other in PROXIES:
            job.wait_until_ended(cluster.apis[other])
        assert job.status(cluster.apis[PROXIES[0]]) == job.status(cluster.apis[PROXIES[1]])
        assert cluster.apis[PROXIES[0]].list(label) == cluster.apis[PROXIES[1]].list(label)
        for other in PROXIES:
            job.check_exactly_once(cluster, cluster.apis[other])


def test_the_objects_are_spread_over_all_targets(cluster: Containers) -> None:
    job = Job("spread", objects=64, size_bytes=1_000)
    job.post(cluster, cluster.apis["proxy1"])
    job.wait_until_ended(cluster.apis["proxy1"])
    locations = {
        cluster.apis["proxy1"]
        .http.get(f"/v1/objects/spread/{job.name(number)}", follow_redirects=False)
        .headers["location"]
        .split("/v1/")[0]
        for number in range(job.objects)
    }
    assert locations == {cluster.urls[target] for target in cluster.targets()}
    assert cluster.members() == set(cluster.targets())


def test_the_nodes_are_no_root_and_cannot_change_their_image(cluster: Containers) -> None:
    for service in (*PROXIES, *cluster.targets()):
        container = cluster.container(service)
        assert container.exec_run(["id", "-u"]).output.strip() == b"10001"
        assert container.exec_run(["touch", "/opt/haul/x"]).exit_code != 0
        assert container.attrs["HostConfig"]["Memory"] > 0
        assert container.attrs["HostConfig"]["NanoCpus"] > 0
