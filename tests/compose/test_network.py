"""A target loses its network, for a moment and for so long that it is given up; it comes back in both cases."""

from tests.compose.containers import READY_SECONDS, Containers
from tests.compose.jobs import in_its_middle
from tests.waiting import wait_for

OBJECTS = 200


def test_a_short_cut_delays_only_what_the_target_has_to_do(cluster: Containers) -> None:
    with in_its_middle(cluster, "short", objects=OBJECTS) as job:
        with cluster.cut_off("target3"):
            cluster.origin.release(job.label)
            cluster.origin.wait_for(job.label, answered=OBJECTS // 2)
        cluster.wait_until_ready("target3")
        job.wait_until_ended(cluster.apis["proxy1"])
    job.check_exactly_once(cluster, cluster.apis["proxy2"])


def test_after_a_long_cut_the_others_have_done_its_part(cluster: Containers) -> None:
    with in_its_middle(cluster, "long", objects=OBJECTS) as job, cluster.cut_off("target3"):
        wait_for(lambda: "target3" not in cluster.members(), seconds=READY_SECONDS, what="target3 is given up")
        cluster.origin.release(job.label)
        job.wait_until_ended(cluster.apis["proxy2"])
        job.check_every_object(cluster.apis["proxy2"])
    wait_for(lambda: "target3" in cluster.members(), seconds=READY_SECONDS, what="target3 is a member again")
    cluster.wait_until_ready("target3")
    job.check_every_object(cluster.apis["proxy1"])
