"""What nodes say at `/metrics`: figures that agree with the jobs, names that agree with the documentation."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from target.rebalance.figures import Tally
from tests.faults import Status
from tests.metrics.scraping import Scrape, documented
from tests.nodes import Nodes
from tests.origin import Origin
from tests.rebalance.moving import PATIENT, wait_until_settled
from tests.waiting import wait_for

OBJECTS = 24
BODY = b"x" * 1000


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Two proxies and two targets; nobody is given up because the machine is busy."""
    settings = {"rebalance_keep_seconds": 0.1}
    with Nodes(tmp_path_factory.mktemp("metrics"), targets=2, proxy_settings=PATIENT, target_settings=settings) as all_:
        yield all_


def scrapes(nodes: Nodes) -> list[Scrape]:
    return [Scrape(nodes.urls[node_id]) for node_id in (*nodes.proxy_ids, *nodes.target_ids)]


def total(nodes: Nodes, name: str, **labels: str) -> int:
    """Of all targets together."""
    return int(sum(Scrape(nodes.urls[target]).value(name, **labels) for target in nodes.target_ids))


def jobs(nodes: Nodes, state: str) -> set[float]:
    """What the proxies say, who may be told at different times."""
    return {Scrape(nodes.urls[proxy]).value("haul_cluster_jobs", state=state) for proxy in nodes.proxy_ids}


@pytest.mark.parametrize(("role", "title"), [("proxy", "A proxy"), ("target", "A target")])
def test_the_documentation_names_every_figure(nodes: Nodes, role: str, title: str) -> None:
    for node_id in nodes.proxy_ids if role == "proxy" else nodes.target_ids:
        url = nodes.urls[node_id]
        if role == "target":
            wait_for(lambda url=url: "mountpath_size_bytes{" in Scrape(url).text, what="the disks were looked at")
        assert Scrape(url).families() == documented("Every node", title)


def test_names_follow_the_conventions() -> None:
    for family in documented("Every node", "A proxy", "A target"):
        assert (family.kind == "counter") == family.name.endswith("_total"), family


def test_figures_agree_with_a_job_while_it_runs_rests_and_when_it_has_ended(nodes: Nodes) -> None:
    with Origin() as origin:
        names = [f"secret-name-{number}" for number in range(OBJECTS)]
        links = {name: origin.put(f"/{name}", BODY) for name in names}
        origin.misbehave(f"/{names[0]}", Status(503))
        held = origin.put("/held", BODY)
        gate = origin.gate("/held")
        wanted = links | {"held": held, "missing": origin.url("/missing")}
        job = nodes.api.download(type="multi", bucket={"name": "metrics"}, objects=wanted)
        ended = "haul_target_objects_total"
        wait_for(lambda: total(nodes, ended, outcome="downloaded") == OBJECTS, what="all but one are there")
        wait_for(lambda: total(nodes, ended, outcome="failed") == 1, what="what is missing has failed")
        wait_for(lambda: total(nodes, "haul_target_connections_active") == 1, what="one is held up")
        wait_for(lambda: jobs(nodes, "running") == {1}, what="both proxies know of the job")
        assert total(nodes, "haul_target_shares", state="running") >= 1
        assert total(nodes, "haul_target_tasks_queued") == 0
        assert total(nodes, "haul_target_retries_total") >= 1
        for action, state in (("pause", "paused"), ("resume", "running")):
            assert nodes.api.call("POST", f"/v1/download/{action}", {"id": job}).status_code == 200
            wait_for(lambda state=state: jobs(nodes, state) == {1}, what=f"{state} for both proxies")
            wait_for(lambda state=state: total(nodes, "haul_target_shares", state=state) >= 1, what=f"{state} shares")
        gate.release()
        status = nodes.api.finished(job)
        assert (status["finished_cnt"], status["error_cnt"]) == (OBJECTS + 1, 1)
        assert total(nodes, ended, outcome="downloaded") == status["finished_cnt"]
        assert total(nodes, ended, outcome="failed") == status["error_cnt"]
        assert total(nodes, "haul_target_downloaded_bytes_total") == (OBJECTS + 1) * len(BODY)
        received_bytes = "haul_target_received_bytes_total"
        wait_for(lambda: total(nodes, received_bytes) >= (OBJECTS + 1) * len(BODY), what="all bytes are counted")
        wait_for(lambda: jobs(nodes, "running") == {0}, what="no job for both proxies")
        assert total(nodes, "haul_target_shares", state="running") == 0
        again = nodes.api.download(type="multi", bucket={"name": "metrics"}, objects=links)
        assert nodes.api.finished(again)["skipped_cnt"] == OBJECTS
        assert total(nodes, ended, outcome="skipped") == OBJECTS
        assert total(nodes, ended, outcome="downloaded") == OBJECTS + 1
        for scrape in scrapes(nodes):
            for said in ("secret", "metrics/", f":{origin.port}", job, again):
                assert said not in scrape.text.replace(str(nodes.directory), "")


def test_one_proxy_leads_and_says_in_which_epoch(nodes: Nodes) -> None:
    leader = wait_for(lambda: [id_ for id_ in nodes.proxy_ids if leads(nodes, id_)], what="a leader")
    assert leader == [nodes.leader()]
    for proxy in nodes.proxy_ids:
        scrape = Scrape(nodes.urls[proxy])
        assert (scrape.value("haul_proxy_leader_epoch") > 0) == (proxy in leader)
        assert str(int(scrape.value("haul_cluster_map_version"))) == nodes.smap(proxy)["version"]


def leads(nodes: Nodes, proxy: str) -> bool:
    return bool(Scrape(nodes.urls[proxy]).value("haul_proxy_leading"))


def test_disks_are_shown_as_the_system_sees_them(nodes: Nodes) -> None:
    for target in nodes.target_ids:
        scrape = Scrape(nodes.urls[target])
        assert (scrape.value("haul_target_ready"), scrape.value("haul_target_may_work")) == (1, 1)
        assert scrape.value("haul_target_mountpaths", state="enabled") == 2
        assert scrape.value("haul_target_mountpaths", state="faulted") == 0
        for path in (nodes.directory / target).glob("mp*"):
            size = scrape.value("haul_target_mountpath_size_bytes", mountpath=str(path))
            assert 0 < scrape.value("haul_target_mountpath_available_bytes", mountpath=str(path)) <= size
            assert scrape.value("haul_target_mountpath_full", mountpath=str(path)) == 0


def test_members_are_counted_by_what_they_are_and_what_moves_at_both_ends(nodes: Nodes) -> None:
    def members(role: str) -> dict[str, float]:
        scrape = Scrape(nodes.urls["p1"])
        states = ("online", "offline", "maintenance", "decommission")
        return {
            state: count for state in states if (count := scrape.value("haul_cluster_nodes", role=role, state=state))
        }

    wait_for(lambda: (members("proxy"), members("target")) == ({"online": 2}, {"online": 2}), what="all are online")
    for number in range(OBJECTS):
        nodes.api.put("metrics", f"put/{number}", BODY)
    marked = nodes.api.call("PUT", "/v1/cluster", {"action": "start-maintenance", "value": {"sid": "t2"}})
    assert marked.status_code == 200
    wait_for(lambda: members("target") == {"online": 1, "maintenance": 1}, what="t2 is in maintenance")
    wait_until_settled(nodes)
    wait_for(lambda: Scrape(nodes.urls["p1"]).value("haul_cluster_placement_settled") == 1, what="settled")
    sent, taken = (Scrape(nodes.urls[target]) for target in ("t2", "t1"))
    for what in ("objects", "bytes"):
        name = f"haul_target_rebalanced_{what}_total"
        assert sent.value(name, direction="out") == taken.value(name, direction="in") > 0
    nodes.kill("p2")
    wait_for(lambda: members("proxy") == {"online": 1, "offline": 1}, what="p2 is missed")
    nodes.start("p2")
    wait_for(lambda: members("proxy") == {"online": 2}, what="p2 is back")


@pytest.mark.parametrize("node_id", ["p1", "t1"])
def test_it_is_only_read(nodes: Nodes, node_id: str) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert httpx.request(method, f"{nodes.urls[node_id]}/metrics", timeout=10).status_code in (400, 405)


def test_what_was_moved_is_not_forgotten_with_the_next_placement() -> None:
    tally = Tally()
    for version in (3, 4, 4, 7):
        figures = tally.begin(version, 0)
        figures.out_objects += 2
        figures.in_bytes += 10
    assert tally.totals() == (8, 0, 0, 40)
