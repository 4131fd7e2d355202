"""Jobs that rest and go on: nothing is fetched meanwhile, nothing twice, nothing is lost or counted wrongly."""

import random
from functools import partial
from pathlib import Path

import pytest

from tests.cluster import Api, Cluster
from tests.faults import Stall
from tests.origin import Origin
from tests.waiting import wait_for


def control(api: Api, action: str, job: str) -> None:
    response = api.call("POST", f"/v1/download/{action}", {"id": job})
    assert response.status_code == 200, response.text


def figures(api: Api, job: str) -> tuple[int, int, int]:
    status = api.status(job)
    return status["finished_cnt"], status["error_cnt"], status["scheduled_cnt"]


def _has_come_to(api: Api, job: str, ended: int) -> bool:
    return sum(figures(api, job)[:2]) >= ended


def _received(api: Api, job: str) -> int:
    return sum(int(task["downloaded"]) for task in api.status(job).get("current_tasks", ()))


def test_a_paused_job_fetches_nothing_and_goes_on_where_it_was(api: Api, origin: Origin) -> None:
    names = [f"/pause/{n:03}.bin" for n in range(60)]
    for name in names:
        origin.put(name, name.encode())
    gates = [origin.gate(name) for name in names[::2]]
    job = api.download(
        type="range", template=origin.url("/pause/{000..059}.bin"), subdir="pause", limits={"connections": 4}
    )
    wait_for(lambda: sum(origin.count(name) for name in names) >= 12, what="a beginning")
    control(api, "pause", job)
    status = api.status(job)
    assert status["paused"] is True
    assert status["finished_time"].startswith("1970")
    assert "current_tasks" not in status
    asked, before = sum(origin.count(name) for name in names), status["finished_cnt"]
    for gate in gates:
        gate.release()
    quick = api.download(type="single", object_name="pause/other", link=origin.put("/pause-other", b"other"))
    assert api.finished(quick)["finished_cnt"] == 1, "other jobs go on"
    assert sum(origin.count(name) for name in names) == asked
    assert api.status(job)["finished_cnt"] == before
    control(api, "pause", job)
    control(api, "resume", job)
    control(api, "resume", job)
    status = api.finished(job)
    assert (status["finished_cnt"], status["error_cnt"], status["scheduled_cnt"]) == (60, 0, 60)
    assert "paused" not in status
    assert len(status["finished_tasks"]) == 60
    for name in names:
        assert api.get("b", f"pause/{name[7:]}").content == name.encode()


def test_a_large_object_goes_on_inside_of_it(api: Api, origin: Origin) -> None:
    content = random.Random(5).randbytes(48 << 20)
    link = origin.put("/pause-large", content)
    sent = 24 << 20
    origin.misbehave("/pause-large", Stall(sent))
    job = api.download(type="single", object_name="pause-large", link=link)
    wait_for(lambda: _received(api, job) >= sent - (1 << 20), what="a part of it")
    control(api, "pause", job)
    before = origin.bytes_sent
    control(api, "resume", job)
    assert api.finished(job)["finished_cnt"] == 1
    assert api.get("b", "pause-large").content == content
    assert origin.bytes_sent - before <= len(content) - sent + (2 << 20), "what was there is not fetched again"


def test_a_job_stays_paused_over_a_restart_of_its_targets(tmp_path: Path, origin: Origin) -> None:
    names = [f"/rest/{n:02}.bin" for n in range(40)]
    for name in names:
        origin.put(name, name.encode())
    gates = [origin.gate(name) for name in names[5:]]
    with Cluster(tmp_path, targets=2, mountpaths=2) as cluster:
        api = cluster.api
        job = api.download(type="range", template=origin.url("/rest/{00..39}.bin"), subdir="rest")
        wait_for(lambda: api.status(job)["finished_cnt"] == 5, what="the first ones")
        control(api, "pause", job)
        for target in cluster.target_ids:
            cluster.stop(target)
        for gate in gates:
            gate.release()
        asked = sum(origin.count(name) for name in names)
        for target in cluster.target_ids:
            cluster.start(target)
        cluster.wait_until_ready()
        wait_for(lambda: "stale_targets" not in api.status(job), what="both targets")
        assert figures(api, job)[0] == 5
        assert api.status(job)["paused"] is True
        assert sum(origin.count(name) for name in names) == asked
        control(api, "resume", job)
        status = api.finished(job)
        assert (status["finished_cnt"], status["error_cnt"], status["scheduled_cnt"]) == (40, 0, 40)


def test_a_target_that_was_away_hears_of_pause_and_resume(tmp_path: Path, origin: Origin) -> None:
    names = [f"/away/{n:02}.bin" for n in range(40)]
    for name in names:
        origin.put(name, name.encode())
    gates = [origin.gate(name) for name in names]
    with Cluster(tmp_path, targets=2, mountpaths=1) as cluster:
        api = cluster.api
        job = api.download(type="range", template=origin.url("/away/{00..39}.bin"), subdir="away")
        wait_for(lambda: sum(origin.count(name) for name in names) >= 10, what="requests")
        cluster.stop("t2")
        control(api, "pause", job)
        for gate in gates:
            gate.release()
        cluster.start("t2")
        cluster.wait_until_ready()
        wait_for(lambda: not api.status(job).get("current_tasks"), what="t2 has heard of it")
        control(api, "resume", job)
        status = api.finished(job)
        assert (status["finished_cnt"], status["error_cnt"], status["scheduled_cnt"]) == (40, 0, 40)


def test_a_paused_job_can_be_aborted_but_not_removed(api: Api, origin: Origin) -> None:
    for n in range(5):
        origin.put(f"/pa/{n}", b"x")
    gates = [origin.gate(f"/pa/{n}") for n in range(5)]
    job = api.download(type="range", template=origin.url("/pa/{0..4}"), subdir="pa")
    control(api, "pause", job)
    assert api.call("DELETE", "/v1/download/remove", {"id": job}).status_code == 400
    assert api.call("DELETE", "/v1/download/abort", {"id": job}).status_code == 200
    for gate in gates:
        gate.release()
    status = api.finished(job)
    assert status["aborted"] is True
    for action in ("pause", "resume"):
        response = api.call("POST", f"/v1/download/{action}", {"id": job})
        assert response.status_code == 400
        assert "has ended" in response.json()["message"]
    assert api.call("DELETE", "/v1/download/remove", {"id": job}).status_code == 200


@pytest.mark.parametrize("seed", range(3))
def test_pausing_and_resuming_at_any_moment_loses_and_doubles_nothing(api: Api, origin: Origin, seed: int) -> None:
    rng = random.Random(seed)
    count = 2000
    origin.serve_pattern(f"/any{seed}/", lambda path: path.encode())
    template = origin.url(f"/any{seed}/{{0000..{count - 1}}}.bin")
    job = api.download(type="range", template=template, subdir=f"any{seed}", limits={"connections": 16})
    for _ in range(6):
        wait_for(partial(_has_come_to, api, job, rng.randrange(count)), what="some progress")
        for action in ("pause", "resume"):
            response = api.call("POST", f"/v1/download/{action}", {"id": job})
            assert response.status_code == 200 or "has ended" in response.text
    status = api.finished(job)
    assert (status["finished_cnt"], status["error_cnt"], status["scheduled_cnt"]) == (count, 0, count)
    assert len(api.list("b", prefix=f"any{seed}/", props="name")) == count


@pytest.mark.parametrize("value", [0, 6, "high", 2.5, True])
def test_priority_must_be_one_to_five(api: Api, value: object) -> None:
    job = {"type": "single", "bucket": {"name": "b"}, "link": "http://127.0.0.1:1/x", "priority": value}
    response = api.call("POST", "/v1/download", job)
    assert response.status_code == 400
    assert "priority" in response.json()["message"]


def test_priority_is_shown(api: Api, origin: Origin) -> None:
    job = api.download(type="single", object_name="prio", link=origin.put("/prio", b"p"), priority=5)
    assert api.finished(job)["priority"] == 5
