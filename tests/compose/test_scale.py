"""`make scale`: targets join and leave, and everything stays readable."""

from tests.compose.containers import Containers
from tests.compose.jobs import Job


def test_scale_out_and_in(cluster: Containers) -> None:
    job = Job("scale", objects=150, size_bytes=16_384)
    job.post(cluster, cluster.apis["proxy1"])
    job.wait_until_ended(cluster.apis["proxy1"])
    cluster.manage("scale", "6")
    assert cluster.members() == {f"target{number}" for number in range(1, 7)} == set(cluster.targets())
    job.check_every_object(cluster.apis["proxy1"])
    more = Job("more", objects=150, size_bytes=16_384)
    more.post(cluster, cluster.apis["proxy2"])
    more.wait_until_ended(cluster.apis["proxy2"])
    cluster.manage("scale", "4")
    assert cluster.members() == {f"target{number}" for number in range(1, 5)} == set(cluster.targets())
    for each in (job, more):
        each.check_exactly_once(cluster, cluster.apis["proxy2"])
