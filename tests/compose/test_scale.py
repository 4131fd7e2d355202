"""`make scale`: targets join and leave while clients work, and everything stays readable."""

from tests.compose.clients import ROUNDS, working_clients
from tests.compose.containers import Containers
from tests.compose.jobs import Job


def test_scale_out_and_in(cluster: Containers) -> None:
    before = Job("scalebefore", objects=150, size_bytes=16_384)
    before.post(cluster, cluster.apis["proxy1"])
    before.wait_until_ended(cluster.apis["proxy1"])
    with working_clients(cluster, "scale") as load:
        cluster.manage("scale", "6")
        assert cluster.members() == {f"target{number}" for number in range(1, 7)} == set(cluster.targets())
        before.check_every_object(cluster.apis["proxy1"])
        load.wait_for_rounds(ROUNDS)
        cluster.manage("scale", "4")
        assert cluster.members() == {f"target{number}" for number in range(1, 5)} == set(cluster.targets())
    before.check_exactly_once(cluster, cluster.apis["proxy2"])
