"""Containers are killed in the middle of jobs: others answer, the job ends, and every object is there once."""

from tests.compose.containers import PROXIES, READY_SECONDS, Containers
from tests.compose.jobs import Job, has_ended, in_its_middle
from tests.waiting import wait_for


def test_a_proxy_dies(cluster: Containers) -> None:
    other = cluster.apis["proxy2"]
    with in_its_middle(cluster, "proxy") as job:
        cluster.kill("proxy1")
        assert not has_ended(job.status(other))
        cluster.origin.release(job.label)
        job.wait_until_ended(other)
    job.check_exactly_once(cluster, other)
    cluster.start("proxy1")
    assert job.status(cluster.apis["proxy1"]) == job.status(other)


def test_a_target_dies_and_comes_back(cluster: Containers) -> None:
    with in_its_middle(cluster, "target") as job:
        cluster.kill("target2")
        cluster.origin.release(job.label)
        cluster.start("target2")
        job.wait_until_ended(cluster.apis["proxy2"])
    job.check_exactly_once(cluster, cluster.apis["proxy1"])


def test_the_leader_dies(cluster: Containers) -> None:
    leader = cluster.leader()
    (other,) = set(PROXIES) - {leader}
    during = Job("meanwhile", objects=20, size_bytes=1_000)
    with in_its_middle(cluster, "leader") as job:
        cluster.kill(leader)
        wait_for(lambda: cluster.leader(other) == other, seconds=READY_SECONDS, what=f"{other} leads")
        during.post(cluster, cluster.apis[other])
        # Only now: what is held may have the only connection that a target has to the host of both jobs.
        cluster.origin.release(job.label)
        for each in (job, during):
            each.wait_until_ended(cluster.apis[other])
    cluster.start(leader)
    for each in (job, during):
        each.check_exactly_once(cluster, cluster.apis[leader])


def test_the_leader_of_etcd_dies(cluster: Containers) -> None:
    member = cluster.etcd_leader()
    during = Job("minority", objects=20, size_bytes=1_000)
    with in_its_middle(cluster, "etcd") as job:
        cluster.kill(member)
        during.post(cluster, cluster.apis["proxy2"])
        cluster.origin.release(job.label)
        for each in (job, during):
            each.wait_until_ended(cluster.apis["proxy1"])
            each.check_exactly_once(cluster, cluster.apis["proxy2"])
    cluster.start(member)
