"""Jobs through `haul.Client` and `haul.AsyncClient`: every type that needs no service, and all that is told of them."""

import asyncio
import hashlib
import json

import pytest

import haul
from tests.cluster import Cluster
from tests.faults import Status
from tests.origin import Origin


def test_a_single_job_is_started_followed_and_read_back(client: haul.Client, origin: Origin) -> None:
    link = origin.put("/one.bin", b"one" * 1000)
    job_id = client.start(haul.SingleJob("b", link, "single/one.bin", description="one", timeout_seconds=30))
    states = list(client.follow(job_id))
    assert [state.is_over for state in states] == [False] * (len(states) - 1) + [True]
    last = states[-1]
    assert (last.state, last.finished_count, last.stored_bytes, last.description) == ("finished", 1, 3000, "one")
    assert last.started is not None
    assert last.ended is not None
    assert last.ended >= last.started
    assert client.get("b", "single/one.bin") == b"one" * 1000


def test_a_job_waits_at_a_gate_and_is_shown_on_its_way(client: haul.Client, origin: Origin) -> None:
    gate = origin.gate("/gated.bin")
    job_id = client.start(haul.SingleJob("b", origin.put("/gated.bin", b"x"), "gated"))
    states = client.follow(job_id)
    first = next(states)
    assert (first.state, first.succeeded, first.ended) == ("running", False, None)
    assert job_id in [job.id for job in client.jobs(only_active=True)]
    with pytest.raises(TimeoutError, match=job_id):
        client.wait(job_id, timeout_seconds=0.05)
    gate.release()
    assert client.wait(job_id).succeeded
    assert [state.state for state in states][-1] == "finished"


def test_sizes_digests_and_links_of_many_objects(client: haul.Client, origin: Origin) -> None:
    data = b"many"
    link, digest = origin.put("/many.bin", data), hashlib.sha256(data).hexdigest()
    objects = {"m/plain": link, "m/known": haul.Link(link, len(data), {"sha256": digest})}
    job = client.wait(client.start(haul.MultiJob("b", objects, priority=5)))
    assert (job.state, job.total_count) == ("finished", 2)
    listed = client.wait(client.start(haul.MultiJob("b", [link], headers={"X-Test": "yes"})))
    assert listed.succeeded
    assert origin.requests[-1].headers["x-test"] == "yes"
    grades = {line.name: line.grade for line in client.ledger(job.id)}
    assert grades == {"m/plain": "size", "m/known": "user"}


def test_a_digest_that_cannot_be_checked_is_refused_at_once() -> None:
    for name in ("sha-256", "xxhash2", "size"):
        with pytest.raises(haul.InvalidInput, match=f"unknown digest '{name}'"):
            haul.Link("http://h/x", digests={name: "0"})


def test_a_template_is_a_range_job(client: haul.Client, origin: Origin) -> None:
    for number in range(3):
        origin.put(f"/shard-{number}.tar", b"%d" % number)
    template = origin.url("/shard-{0..2}.tar")
    survey = client.survey(haul.RangeJob("b", template, "range"))
    assert (survey.object_count, survey.fetch_count, survey.estimated_bytes) == (3, 3, 3)
    assert client.wait(client.start(haul.RangeJob("b", template, "range", connections=2))).finished_count == 3
    assert [entry.name for entry in client.objects("b", "range/")] == [f"range/shard-{n}.tar" for n in range(3)]


def test_a_manifest_that_is_an_object(client: haul.Client, origin: Origin) -> None:
    lines = [{"link": origin.put("/listed.bin", b"listed"), "name": "from-manifest"}]
    client.put("b", "list.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    assert client.wait(client.start(haul.MultiJob("b", manifest="ais://b/list.jsonl"))).succeeded
    assert client.get("b", "from-manifest") == b"listed"


def test_what_failed_is_told_in_every_form(client: haul.Client, origin: Origin) -> None:
    good = origin.put("/good.bin", b"good")
    objects = {"f/good": good, "f/missing": origin.url("/nowhere"), "f/gone": origin.url("/nowhere-2")}
    job_id = client.start(haul.MultiJob("b", objects))
    job = client.wait(job_id)
    assert (job.state, job.succeeded, job.error_count) == ("failed", False, 2)
    failures = {failure.name: failure.reason for failure in client.failures(job_id)}
    assert failures.keys() == {"f/missing", "f/gone"}
    assert "does not exist" in failures["f/missing"]
    finished = {task.name: task.downloaded_bytes for task in client.finished_tasks(job_id)}
    assert finished["f/good"] == 4
    lines = {line.name: line for line in client.ledger(job_id)}
    assert {name: line.state for name, line in lines.items()} == {
        "f/good": "finished",
        "f/missing": "failed",
        "f/gone": "failed",
    }
    assert lines["f/good"].digests.keys() >= {"xxh64"}
    assert lines["f/missing"].error
    assert {line.name for line in client.ledger(job_id, only_failed=True)} == {"f/missing", "f/gone"}
    assert client.story(job_id)


def test_pages_of_tasks_and_failures_have_each_of_them_once(
    client: haul.Client, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("haul.calls._TASKS_AT_ONCE", 7)
    links = {f"page/{n:03}": origin.put(f"/page/{n}", b"x") for n in range(40)}
    links |= {f"page/bad-{n:03}": origin.url(f"/page/none-{n}") for n in range(15)}
    job_id = client.start(haul.MultiJob("b", links))
    client.wait(job_id)
    failures = [failure.name for failure in client.failures(job_id)]
    assert sorted(failures) == [name for name in sorted(links) if "bad" in name]
    finished = [task.name for task in client.finished_tasks(job_id)]
    assert len(finished) == len(set(finished))
    assert set(finished) == set(links)


def test_a_job_is_paused_resumed_aborted_and_removed(client: haul.Client, origin: Origin) -> None:
    gate = origin.gate("/held.bin")
    job_id = client.start(haul.SingleJob("b", origin.put("/held.bin", b"x"), "held", description="to be held"))
    client.pause(job_id)
    assert client.status(job_id).state == "paused"
    client.resume(job_id)
    assert client.status(job_id).state == "running"
    with pytest.raises(haul.InvalidRequest):
        client.remove(job_id)
    client.abort(job_id)
    assert client.wait(job_id).state == "aborted"
    assert [job.id for job in client.jobs("^to be held$")] == [job_id]
    client.remove(job_id)
    with pytest.raises(haul.NotFound, match=job_id):
        client.status(job_id)
    gate.release()


def test_one_key_is_one_job(client: haul.Client, origin: Origin) -> None:
    job = haul.SingleJob("b", origin.put("/key.bin", b"x"), "key")
    assert client.start(job, idempotency_key="k1") == client.start(job, idempotency_key="k1")
    other = haul.SingleJob("b", job.link, "other")
    with pytest.raises(haul.InvalidRequest, match="Idempotency-Key"):
        client.start(other, idempotency_key="k1")


@pytest.mark.parametrize(
    ("job", "body"),
    [
        (
            haul.BackendJob("b", "s3://source", "p/", ".tar", "sub", sync=True, max_delete=-1),
            {
                "type": "backend",
                "source": {"name": "source", "provider": "aws", "namespace": {"uuid": "", "name": ""}},
                "prefix": "p/",
                "suffix": ".tar",
                "subdir": "sub",
                "sync": True,
                "max_delete": -1,
            },
        ),
        (
            haul.HubJob("b", dataset="squad", include=["*.parquet"], headers={"Authorization": "Bearer t"}),
            {
                "type": "hf",
                "dataset": "squad",
                "include": ["*.parquet"],
                "headers": {"Authorization": "Bearer t"},
            },
        ),
        (haul.SingleJob("s3://cloud", name="n"), {"type": "single", "from_remote": True, "object_name": "n"}),
    ],
)
def test_bodies_of_jobs_that_need_a_service(job: haul.Job, body: dict[str, object]) -> None:
    sent = job.to_wire()
    assert {name: value for name, value in sent.items() if name not in ("bucket", "priority")} == body
    assert "Bearer" not in repr(job)


def test_what_cannot_be_meant_is_refused_before_it_is_sent(client: haul.Client) -> None:
    for job in (haul.MultiJob("b"), haul.HubJob("b"), haul.SingleJob("no/bucket", "http://x/y"), haul.SingleJob("")):
        with pytest.raises(haul.InvalidInput):
            client.start(job)
    with pytest.raises(haul.InvalidInput):
        client.status("../buckets")
    with pytest.raises(haul.InvalidRequest, match="invalid syntax"):
        client.start(haul.RangeJob("b", "http://host/{0..}"))


def test_the_same_on_asyncio(cluster: Cluster, endpoints: list[str], origin: Origin) -> None:
    good = origin.put("/async.bin", b"async")
    origin.misbehave("/async-bad", Status(404), lasting=True)

    async def run() -> None:
        async with haul.AsyncClient(endpoints) as client:
            await client.create_bucket("asynchronous")
            job = haul.MultiJob("asynchronous", {"a": good, "bad": origin.url("/async-bad")})
            assert (await client.survey(job)).object_count == 2
            job_id = await client.start(job)
            states = [state async for state in client.follow(job_id)]
            assert states[-1].state == "failed"
            assert (await client.wait(job_id)).id == job_id
            assert [failure.name async for failure in client.failures(job_id)] == ["bad"]
            assert {task.name async for task in client.finished_tasks(job_id)} == {"a", "bad"}
            lines = {line.name: line.state async for line in client.ledger(job_id)}
            assert lines == {"a": "finished", "bad": "failed"}
            assert await client.story(job_id)
            assert job_id in [one.id for one in await client.jobs()]
            for act in (client.pause, client.resume):
                with pytest.raises(haul.InvalidRequest):
                    await act(job_id)
            await client.abort(job_id)
            await client.remove(job_id)
            with pytest.raises(haul.NotFound):
                await client.status(job_id)

    asyncio.run(run())
