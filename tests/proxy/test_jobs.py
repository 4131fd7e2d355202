"""A job from POST to removal over real sockets: the commit point, what survives which loss, and all proxies alike."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from common.names import Bucket
from common.nodeclient import RemoteError
from common.shares import JobSpec
from tests.proxy.harness import Cluster, cluster, eventually

ORIGIN = "http://10.77.0.1:18080"


def slow(count: int) -> dict[str, str]:
    return {f"s/{number:04d}": f"{ORIGIN}/slow/{number}" for number in range(count)}


def held(running: Cluster, job_id: str) -> dict[str, str]:
    """Which targets hold a share, and in which state."""
    return {
        target_id: target.shares[job_id].state
        for target_id, target in running.targets.items()
        if job_id in target.shares
    }


async def is_decided(running: Cluster, job_id: str, proxy: int = 0) -> bool:
    try:
        return bool(await running.targets["t1"].ask_decision(job_id, proxy))
    except RemoteError:
        return False


async def refused(running: Cluster, **fields: Any) -> httpx.Response:
    return await running.request("POST", "/v1/download", {"bucket": {"name": "demo"}} | fields)


def test_a_job_runs_on_the_targets_that_own_its_objects(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            objects = {f"o/{number:04d}": f"{ORIGIN}/{number}" for number in range(300)}
            job_id = await running.start_job(type="multi", objects=objects)
            status = await running.finished(job_id)
            assert (status["total"], status["scheduled_cnt"], status["finished_cnt"]) == (300, 300, 300)
            assert [task["name"] for task in status["finished_tasks"]] == sorted(objects)
            shares = {target_id: target.shares[job_id] for target_id, target in running.targets.items()}
            names = [task[1] for target_id, share in shares.items() for task in share.tasks(target_id)]
            assert sorted(names) == sorted(objects)
            assert all(len(share.tasks("")) > 50 for share in shares.values())

    asyncio.run(check())


def test_a_range_is_expanded_by_the_targets(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            job_id = await running.start_job(type="range", template=f"{ORIGIN}/{{000..999}}.bin", subdir="r")
            status = await running.finished(job_id)
            assert (status["scheduled_cnt"], status["finished_cnt"], status["error_cnt"]) == (1000, 1000, 0)
            assert status["finished_tasks"][-1]["name"] == "r/999.bin"
            assert all(target.shares[job_id].batches == {0: []} for target in running.targets.values())

    asyncio.run(check())


def test_headers_and_limits_reach_the_targets_and_are_never_shown(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            job_id = await running.start_job(
                type="range",
                template="http://u:hidden-word@10.77.0.1:18080/slow/{0..9}?sig=SECRET",
                headers={"Authorization": ["Bearer SECRET"]},
                limits={"connections": 2, "bytes_per_hour": 900},
                timeout="30s",
            )
            spec: JobSpec = running.targets["t1"].shares[job_id].spec
            assert spec.headers == (("Authorization", "Bearer SECRET"),)
            assert (spec.connections, spec.bytes_per_hour, spec.timeout_seconds) == (2, 900, 30.0)
            assert "SECRET" in spec.template
            shown = json.dumps([await running.status(job_id), (await running.request("GET", "/v1/download")).json()])
            assert "SECRET" not in shown
            assert "hidden-word" not in shown
            assert b"SECRET" not in (tmp_path / "meta.db").read_bytes()

    asyncio.run(check())


def test_all_proxies_answer_alike(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, proxies=3) as running:
            job_id = await running.start_slow_job(type="multi", objects=slow(5), proxy=0)
            statuses = [await running.status(job_id, proxy=number) for number in range(3)]
            assert statuses[0] == statuses[1] == statuses[2]
            lists = [(await running.request("GET", "/v1/download", proxy=number)).json() for number in range(3)]
            assert lists[0] == lists[1] == lists[2]
            abort = await running.request("DELETE", "/v1/download/abort", {"id": job_id}, proxy=1)
            assert (abort.status_code, abort.content) == (200, b"")
            assert (await running.status(job_id, proxy=2))["aborted"]
            assert (await running.request("DELETE", "/v1/download/remove", {"id": job_id}, proxy=2)).status_code == 200
            gone = await running.request("GET", "/v1/download", {"id": job_id}, proxy=0)
            assert gone.status_code == 404
            assert held(running, job_id) == {}

    asyncio.run(check())


def test_without_targets_a_job_is_refused_for_now(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, targets=0) as running:
            answer = await refused(running, type="single", link=f"{ORIGIN}/a")
            assert (answer.status_code, answer.json()["message"]) == (503, "no storage targets in the cluster")
            assert int(answer.headers["retry-after"]) > 0

    asyncio.run(check())


def test_a_target_that_does_not_acknowledge_fails_the_job_and_nothing_is_left(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            await running.kill("t2")
            answer = await refused(running, type="range", template=f"{ORIGIN}/{{0..99}}")
            assert answer.status_code == 503
            assert '"t2"' in answer.json()["message"]
            assert "127.0.0.1" not in answer.json()["message"]
            assert "retry-after" in answer.headers
            assert [target.shares for target in running.targets.values()] == [{}, {}, {}]
            assert (await running.request("GET", "/v1/download")).json() == []

    asyncio.run(check())


def test_a_job_that_is_refused_leaves_no_bucket_and_says_what_helps(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, proxies=2) as running:
            await running.kill("t2")
            answer = await refused(running, type="range", template=f"{ORIGIN}/{{0..99}}")
            assert answer.status_code == 503
            assert "start the target again, or " in answer.json()["message"]
            for proxy in (0, 1):
                assert (await running.request("GET", "/v1/buckets", proxy=proxy)).json() == []
                assert (await running.request("HEAD", "/v1/buckets/demo", proxy=proxy)).status_code == 404
            await running.targets["t1"].report()
            assert running.targets["t1"].buckets["buckets"] == {}

    asyncio.run(check())


def test_a_bucket_that_somebody_else_makes_meanwhile_is_used(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, proxies=2) as running:
            slowest = running.targets["t3"]
            slowest.gate.clear()
            starting = asyncio.gather(running.start_job(type="range", template=f"{ORIGIN}/{{0..99}}"))
            await eventually(lambda: any(call.endswith("batches/0") for call in slowest.calls))
            making = asyncio.gather(running.request("POST", "/v1/buckets/demo", {"action": "create-bck"}, proxy=1))
            await eventually(lambda: bucket_names(running), lambda names: names == ["demo"])
            slowest.gate.set()
            ((made,), (job_id,)) = await asyncio.gather(making, starting)
            assert made.status_code == 200
            assert (await running.finished(job_id))["finished_cnt"] == 100
            await slowest.report()
            (bucket_id,) = slowest.buckets["buckets"].values()
            for target in running.targets.values():
                assert {known: share.spec.bucket_id for known, share in target.shares.items()} == {job_id: bucket_id}
            assert [job["id"] for job in (await running.request("GET", "/v1/download")).json()] == [job_id]

    async def bucket_names(running: Cluster) -> list[str]:
        return [bucket["name"] for bucket in (await running.request("GET", "/v1/buckets")).json()]

    asyncio.run(check())


def test_many_jobs_at_once_make_each_bucket_once(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, proxies=2) as running:
            jobs = await asyncio.gather(
                *(
                    running.start_job(
                        type="range",
                        template=f"{ORIGIN}/{{0..9}}",
                        bucket={"name": f"b{number % 4}"},
                        proxy=number % 2,
                    )
                    for number in range(16)
                )
            )
            assert len(set(jobs)) == 16
            target = running.targets["t1"]
            await target.report()
            assert sorted(target.buckets["buckets"]) == [Bucket(f"b{number}").uname for number in range(4)]
            assert target.buckets["version"] == 4
            used = {(share.spec.bucket.uname, share.spec.bucket_id) for share in target.shares.values()}
            assert used == set(target.buckets["buckets"].items())
            assert set(target.shares) == set(jobs)

    asyncio.run(check())


def test_a_target_that_refuses_its_share_fails_the_job_with_its_reason(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            running.targets["t3"].refusals["/intra/v1/shares/dnl-"] = "Error starting download: disk on fire"
            answer = await refused(running, type="range", template=f"{ORIGIN}/{{0..99}}")
            assert (answer.status_code, answer.json()["message"]) == (400, "Error starting download: disk on fire")
            assert running.targets["t1"].shares == running.targets["t2"].shares == {}

    asyncio.run(check())


def test_a_dead_target_does_not_matter_to_a_job_that_has_no_objects_on_it(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            job_id = await running.start_job(type="single", link=f"{ORIGIN}/a")
            (owner,) = held(running, job_id)
            await running.kill(next(target_id for target_id in running.targets if target_id != owner))
            assert (await running.finished(await running.start_job(type="single", link=f"{ORIGIN}/a")))["total"] == 1

    asyncio.run(check())


def test_a_target_that_missed_the_start_is_told_to_start(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, proxies=2) as running:
            target = running.targets["t1"]
            job_id = await running.start_slow_job(type="range", template=f"{ORIGIN}/{{0..99}}")
            target.shares[job_id].state = "prepared"
            assert await target.ask_decision(job_id, proxy=1) == "start"

    asyncio.run(check())


def test_a_job_that_was_never_committed_is_dropped_for_ever(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, proxies=2, decision_grace_seconds=0.05) as running:
            target = running.targets["t1"]
            with pytest.raises(RemoteError, match="not decided yet"):
                await target.ask_decision("dnl-lost00001", proxy=0)
            await eventually(lambda: is_decided(running, "dnl-lost00001"))
            assert await target.ask_decision("dnl-lost00001", proxy=0) == "drop"
            assert await target.ask_decision("dnl-lost00001", proxy=1) == "drop"
            assert (await running.request("GET", "/v1/download")).json() == []
            answer = await running.request("GET", "/v1/download", {"id": "dnl-lost00001"})
            assert answer.status_code == 404
            assert (await running.request("DELETE", "/v1/download/abort", {"id": "dnl-lost00001"})).status_code == 404

    asyncio.run(check())


def test_a_job_that_takes_long_to_plan_is_not_given_up(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, proxies=2, decision_grace_seconds=0.0) as running:
            slowest, asker = running.targets["t3"], running.targets["t1"]
            slowest.gate.clear()
            starting = asyncio.gather(running.start_job(type="range", template=f"{ORIGIN}/{{0..99}}"))
            await eventually(lambda: slowest.calls[-1].endswith("batches/0") and asker.shares)
            (job_id,) = asker.shares
            announced = f"planning/{job_id}".encode()
            await eventually(lambda: announced in (tmp_path / "meta.db").read_bytes())
            with pytest.raises(RemoteError, match="not decided yet"):
                await asker.ask_decision(job_id, proxy=1)
            slowest.gate.set()
            assert await starting == [job_id]
            assert await asker.ask_decision(job_id, proxy=1) == "start"
            assert (await running.finished(job_id))["finished_cnt"] == 100

    asyncio.run(check())


def test_a_finished_job_is_shown_without_any_target(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, proxies=2) as running:
            job_id = await running.start_slow_job(type="multi", objects=slow(30))
            for target in running.targets.values():
                target.finish(job_id)
                await target.hint(job_id, proxy=1)
            await eventually(lambda: has_summary(running, job_id))
            for target_id in running.targets:
                await running.kill(target_id)
            status = await running.status(job_id)
            assert (status["finished_cnt"], status["total"], status["stale_targets"]) == (30, 30, ["t1", "t2", "t3"])
            (shown,) = (await running.request("GET", "/v1/download")).json()
            assert shown["finished_time"] == status["finished_time"]
            assert "stale_targets" not in shown

    async def has_summary(running: Cluster, job_id: str) -> bool:
        calls = len(running.targets["t1"].calls)
        shown = await running.status(job_id, only_active_tasks=True)
        return shown["finished_time"][:4] != "1970" and len(running.targets["t1"].calls) == calls

    asyncio.run(check())


def test_figures_of_a_silent_target_are_the_last_known_ones(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            objects = slow(60) | {f"f/{number}": f"{ORIGIN}/{number}" for number in range(60)}
            job_id = await running.start_job(type="multi", objects=objects)
            before = await eventually(lambda: running.status(job_id), lambda shown: shown["finished_cnt"] == 60)
            await running.kill("t1")
            after = await running.status(job_id)
            assert after["stale_targets"] == ["t1"]
            assert after["finished_cnt"] == before["finished_cnt"] == 60
            assert after["scheduled_cnt"] == 120
            assert after["finished_time"] == "1970-01-01T00:00:00Z"
            assert len(after["finished_tasks"]) < 60

    asyncio.run(check())


def test_remove_waits_for_the_end_and_abort_may_be_repeated(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            job_id = await running.start_slow_job(type="multi", objects=slow(9))
            early = await running.request("DELETE", "/v1/download/remove", {"id": job_id})
            assert (early.status_code, early.json()["message"]) == (400, f'job "{job_id}" is still running')
            for _ in range(2):
                assert (await running.request("DELETE", "/v1/download/abort", {"id": job_id})).status_code == 200
            status = await running.status(job_id)
            assert status["aborted"]
            assert status["finished_time"][:4] != "1970"
            assert "current_tasks" not in status
            assert (await running.request("DELETE", "/v1/download/remove", {"id": job_id})).status_code == 200
            assert (await running.request("DELETE", "/v1/download/remove", {"id": job_id})).status_code == 404

    asyncio.run(check())


def test_a_target_that_was_away_learns_of_an_abort_and_of_a_removal(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, proxies=2) as running:
            aborted = await running.start_slow_job(type="multi", objects=slow(30))
            removed = await running.start_slow_job(type="multi", objects=slow(31))
            away = running.targets["t2"]
            away.refusals["/intra/v1/shares/dnl-"] = "away"
            for job_id in (aborted, removed):
                await running.request("DELETE", "/v1/download/abort", {"id": job_id})
            assert set(held(running, aborted).values()) == {"aborted", "running"}
            away.finish(removed)
            assert (await running.request("DELETE", "/v1/download/remove", {"id": removed})).status_code == 200
            assert list(held(running, removed)) == ["t2"]
            away.refusals.clear()
            await away.report(proxy=1)
            await eventually(lambda: held(running, removed) == {})
            await eventually(lambda: away.shares[aborted].state == "aborted")
            assert (await running.finished(aborted))["aborted"]

    asyncio.run(check())


def test_an_aborted_job_ends_even_when_a_target_is_gone_for_good(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            job_id = await running.start_slow_job(type="multi", objects=slow(30))
            await running.kill("t2")
            await running.request("DELETE", "/v1/download/abort", {"id": job_id})
            assert (await running.finished(job_id))["aborted"]
            assert (await running.request("DELETE", "/v1/download/remove", {"id": job_id})).status_code == 200
            assert (await running.request("GET", "/v1/download")).json() == []

    asyncio.run(check())


def test_a_list_is_filtered_and_ordered(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            done = await running.start_job(type="single", link=f"{ORIGIN}/a", description="first job")
            await running.finished(done)
            open_job = await running.start_slow_job(type="multi", objects=slow(1), description="second job")

            async def ids(**fields: Any) -> list[str]:
                return [job["id"] for job in (await running.request("GET", "/v1/download", fields)).json()]

            assert await ids() == [done, open_job]
            assert await ids(regex="^first") == [done]
            assert await ids(only_active_tasks=True) == [open_job]
            assert await ids(regex="^first", only_active_tasks=True) == []

    asyncio.run(check())


def test_ended_tasks_are_capped_and_paged(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            job_id = await running.start_job(type="range", template=f"{ORIGIN}/{{0000..1499}}")
            first = await running.finished(job_id)
            assert (len(first["finished_tasks"]), first["tasks_next"]) == (1000, 999)
            rest = await running.status(job_id, tasks_after=first["tasks_next"])
            assert (len(rest["finished_tasks"]), "tasks_next" in rest) == (500, False)
            few = await running.status(job_id, tasks_limit=3)
            assert [task["name"] for task in few["finished_tasks"]] == ["0000", "0001", "0002"]

    asyncio.run(check())


def test_bodies_are_bounded(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, max_body_bytes=4096) as running:
            objects = {f"{number:05d}": f"{ORIGIN}/{number}" for number in range(200)}
            too_large = await refused(running, type="multi", objects=objects)
            assert too_large.status_code == 413
            assert "4096" in too_large.json()["message"]
            query = await running.request("GET", "/v1/download", b" " * (1024 * 1024 + 1))
            assert query.status_code == 413

    asyncio.run(check())


def test_a_large_list_arrives_in_batches(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            objects = {f"{number:06d}": f"{ORIGIN}/{number}" for number in range(40_000)}
            job_id = await running.start_job(type="multi", objects=objects)
            shares = [target.shares[job_id] for target in running.targets.values()]
            assert all(len(share.batches) == 3 and share.complete for share in shares)
            assert (await running.finished(job_id))["finished_cnt"] == 40_000

    asyncio.run(check())


def test_jobs_can_be_asked_for_by_the_generic_job_api(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            job_id = await running.start_slow_job(type="multi", objects=slow(3))
            path = "/v1/cluster?what=status"
            status = (await running.request("GET", path, {"ID": job_id, "Kind": ""})).json()
            assert status == {"kind": "multi", "uuid": job_id, "err": "", "end_time": 0, "aborted": False}
            running_jobs = (await running.request("GET", "/v1/cluster?what=running_all")).json()
            assert [one for one in running_jobs if not one.startswith("rebalance")] == [f"download[{job_id}]"]
            await running.request("DELETE", "/v1/download/abort", {"id": job_id})
            status = (await running.request("GET", path, {"id": job_id})).json()
            assert status["aborted"]
            assert status["end_time"] > 0

    asyncio.run(check())
