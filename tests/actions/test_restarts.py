"""Copies while nodes stop and start: nothing is missing at the end, whichever proxy is asked."""

from __future__ import annotations

from pathlib import Path

from tests.actions.acting import act, contents, copy, ended, fill, snaps, started, total
from tests.cluster import Api, Cluster
from tests.origin import Origin
from tests.waiting import wait_for

OBJECTS = 4_000
"""So many that each target has more of them than a page of its walk."""


def test_a_target_that_is_stopped_and_started_does_its_part_again(tmp_path: Path) -> None:
    with Cluster(tmp_path, proxies=2, report_seconds=0.3) as cluster:
        made = fill(cluster, "a", 600, 20_000)
        job = copy(cluster.api, "a", "b", **{"num-workers": 1})
        wait_for(lambda: total(cluster.api, job, "loc-objs") > 20, what="some have been copied")
        cluster.stop("t2")
        assert ended_is_open(cluster.api, job)
        cluster.start("t2")
        assert ended(cluster.api, job)["err"] == ""
        assert contents(cluster.api, "b") == made
        assert set(snaps(cluster.api, id=job)) == {"t1", "t2", "t3"}


def ended_is_open(api: Api, job: str) -> bool:
    answer = api.call("GET", "/v1/cluster?what=status", {"id": job})
    return answer.status_code == 200 and answer.json()["end_time"] == 0


def test_the_proxy_that_began_a_move_is_stopped(tmp_path: Path) -> None:
    with Cluster(tmp_path, proxies=2, report_seconds=0.3) as cluster:
        made = fill(cluster, "a", 200, 5_000)
        other = Api(cluster.urls["p2"])
        try:
            job = started(act(other, "a", "move-bck", to="b"))
            cluster.stop("p2")
            assert ended(cluster.api, job)["err"] == ""
            assert contents(cluster.api, "b") == made
            cluster.start("p2")
            cluster.wait_until_ready()
            assert ended(other, job)["err"] == ""
        finally:
            other.close()


def test_thousands_of_objects(tmp_path: Path) -> None:
    with Origin() as origin, Cluster(tmp_path, report_seconds=0.3) as cluster:
        origin.serve_pattern("/many/", lambda path: path.encode())
        template = origin.url(f"/many/d/{{0000..{OBJECTS - 1}}}")
        cluster.api.finished(cluster.api.download(type="range", bucket={"name": "all"}, template=template))
        job = copy(cluster.api, "all", "b")
        assert ended(cluster.api, job)["err"] == ""
        assert total(cluster.api, job, "loc-objs") == OBJECTS
        wanted = {"props": "name,size,checksum"}
        assert cluster.api.list("b", **wanted) == cluster.api.list("all", **wanted)
        again = copy(cluster.api, "all", "b")
        assert ended(cluster.api, again)["err"] == ""
        assert total(cluster.api, again, "loc-objs") == 0


def test_a_copy_waits_while_objects_move(tmp_path: Path) -> None:
    with Cluster(tmp_path, report_seconds=0.3, rebalance_keep_seconds=1.0) as cluster:
        made = fill(cluster, "a", 50)
        start = {"action": "start", "value": {"kind": "rebalance"}}
        for _ in range(2):
            rebalance = started(cluster.api.call("PUT", "/v1/cluster", start))
            job = copy(cluster.api, "a", "b", prepend=f"{rebalance}/")
            assert ended(cluster.api, job)["err"] == ""
            assert ended(cluster.api, rebalance)["err"] == ""
            found = {name: data for name, data in contents(cluster.api, "b").items() if name.startswith(rebalance)}
            assert found == {f"{rebalance}/{name}": data for name, data in made.items()}
