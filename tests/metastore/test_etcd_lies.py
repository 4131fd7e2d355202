"""An etcd that stalls, cuts, repeats itself, forgets or is another one: what the store makes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import pytest

from common.errors import Unavailable
from common.metastore.base import Resync, WrongIncarnation, create, put
from common.metastore.etcd.store import EtcdStore
from common.metastore.etcd.timing import Timing
from tests.metastore.gateway import Member, State, cut, members, never, only_for
from tests.metastore.scenario import run, take, told, value_of

FAST = Timing(
    call_seconds=1.0,
    start_seconds=5.0,
    attempt_seconds=0.3,
    head_start_seconds=0.05,
    trust_seconds=0.5,
    beat_seconds=0.2,
    audit_seconds=60.0,
    settle_seconds=0.1,
)
KEYS = "/haul/c/keys/"


@asynccontextmanager
async def opened(asked: Sequence[Member], timing: Timing = FAST) -> AsyncIterator[EtcdStore]:
    store = EtcdStore([member.url for member in asked], "c", timing=timing)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


def test_events_that_come_again_are_told_once_and_half_a_line_is_not_told() -> None:
    async def scenario() -> None:
        state = State()
        async with members(1, state) as asked, opened(asked) as store:
            events = [state.put(f"{KEYS}k{number}", str(number)) for number in range(5)]
            first = state.revision - 4
            asked[0].scripts = [
                [{"events": events[:2]}, b'{"result":{"events":[{"kv":{"key":"' + b"A" * 20, cut],
                [{"events": events[:2]}, {"events": events[1:4]}, {"events": events[2:3]}, cut],
                [{"events": events[::-1]}, {"events": events[4:]}],
            ]
            async with aclosing(store.watch("", first)) as watch:
                seen = [told(event) for event in await take(watch, 5)]
            assert seen == [(first + number, f"k{number}", b"%d" % number) for number in range(5)]
            assert [int(watch["start_revision"]) for watch in asked[0].watches] == [first, first + 2, first + 4]

    run(scenario)


def test_a_lost_change_is_found_by_comparing() -> None:
    async def scenario() -> None:
        state = State()
        async with members(1, state) as asked, opened(asked, replace(FAST, audit_seconds=0.2)) as store:
            state.put(f"{KEYS}a", "1")
            async with aclosing(store.watch("")) as events:
                assert isinstance(await anext(events), Resync)
                waiting = asyncio.gather(anext(events))
                await asked[0].is_watched.wait()
                state.put(f"{KEYS}a", "2")
                (event,) = await waiting
                assert isinstance(event, Resync)
                assert [item.value for item in event.snapshot] == [b"2"]
                waiting = asyncio.gather(anext(events))
                state.keys.pop(f"{KEYS}a")
                (event,) = await waiting
                assert event == Resync(state.revision, ())

    run(scenario)


def test_comparing_finds_nothing_where_nothing_is_lost() -> None:
    async def scenario() -> None:
        state = State()
        async with (
            members(1, state) as asked,
            opened(asked, replace(FAST, audit_seconds=0.02, settle_seconds=30.0)) as store,
        ):
            script = []
            for number in range(30):
                event = state.put(f"{KEYS}k{number % 3}", str(number))

                async def pause() -> None:
                    await asyncio.sleep(0.02)

                script += [pause, {"events": [event]}]
            state.keys.clear()
            state.revision -= 30
            asked[0].scripts = [script]
            async with aclosing(store.watch("")) as events:
                assert isinstance(await anext(events), Resync)
                # What is read for a comparison is ahead of what is told.
                state.revision += 30
                for step in script[-6:]:
                    if isinstance(step, dict):
                        plain = step["events"][0]["kv"]
                        state.keys[f"{KEYS}k{len(state.keys)}"] = plain
                assert [told(event)[2] for event in await take(events, 30)] == [b"%d" % number for number in range(30)]

    run(scenario)


@pytest.mark.parametrize("stall", [never, cut], ids=["silent", "cut"])
def test_a_watch_goes_on_at_another_member(stall: object) -> None:
    async def scenario() -> None:
        state = State()
        async with members(3, state) as asked, opened(asked) as store:
            first = asked[0]
            events = [state.put(f"{KEYS}k{number}", "") for number in range(2)]

            async def fall_silent() -> None:
                first.before = lambda _: never()
                await stall()  # type: ignore[operator]

            first.scripts = [[{"events": events[:1]}, fall_silent]]
            for other in asked[1:]:
                other.scripts = [[{"events": events}]]
            async with aclosing(store.watch("", state.revision - 1)) as watch:
                assert [told(event)[1] for event in await take(watch, 2)] == ["k0", "k1"]
            assert sum(len(member.watches) for member in asked) == 2

    run(scenario)


@pytest.mark.parametrize("stall", [never, cut], ids=["silent", "cut"])
def test_a_write_without_an_answer_is_sent_once_and_may_have_been_applied(stall: object) -> None:
    async def scenario() -> None:
        async with members(3) as asked, opened(asked) as store:
            await put(store, "a", b"0")
            before = sum(member.requests["/v3/kv/txn"] for member in asked)
            for member in asked:
                member.after = only_for("/v3/kv/txn", stall)  # type: ignore[arg-type]
            with pytest.raises(Unavailable) as caught:
                await create(store, "b", b"1")
            assert caught.value.maybe_applied
            for member in asked:
                member.after = None
            assert sum(member.requests["/v3/kv/txn"] for member in asked) == before + 1
            assert await value_of(store, "b") == b"1"

    run(scenario)


def test_a_write_goes_to_a_member_that_is_there() -> None:
    async def scenario() -> None:
        async with members(3) as asked, opened(asked, replace(FAST, trust_seconds=0.0)) as store:
            asked[0].before = lambda _: never()
            revision = await put(store, "a", b"1")
            await asked[1].stop()
            assert await put(store, "a", b"2") > revision
            asked[2].before = lambda _: never()
            with pytest.raises(Unavailable) as caught:
                await put(store, "a", b"3")
            assert not caught.value.maybe_applied
            asked[0].before = None
            assert await value_of(store, "a") == b"2"

    run(scenario)


def test_reads_are_tried_at_another_member() -> None:
    async def scenario() -> None:
        async with members(3) as asked, opened(asked) as store:
            await put(store, "a", b"1")
            asked[0].after = lambda _: cut()
            assert await value_of(store, "a") == b"1"
            asked[1].after = asked[0].after
            assert await value_of(store, "a") == b"1"
            lease = await store.grant(5.0)
            assert lease.ttl_seconds == 5.0

    run(scenario)


@pytest.mark.parametrize("how", ["silent", "dripping", "garbage", "gone"])
def test_a_store_that_is_away_is_told_in_time_and_not_stormed(how: str) -> None:
    async def scenario() -> None:
        async with members(3) as asked, opened(asked) as store:
            for member in asked:
                if how == "silent":
                    member.before = lambda _: never()
                elif how == "dripping":
                    member.drip_seconds = 0.05
                elif how == "garbage":
                    member.garbage = b"<html>nothing here</html>"
                else:
                    await member.stop()
                member.requests.clear()
            began = time.monotonic()
            outcomes = await asyncio.gather(
                *(store.get("a") for _ in range(100)),
                *(put(store, "a", b"") for _ in range(100)),
                return_exceptions=True,
            )
            assert time.monotonic() - began < 10.0
            assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
            # The first calls may have trusted the member that was used last; everything else is one search for all.
            assert sum(member.requests["/v3/kv/range"] for member in asked[1:]) < 60

    run(scenario)


def test_another_cluster_in_its_place_is_refused_for_good() -> None:
    async def scenario() -> None:
        state = State()
        async with members(1, state) as asked, opened(asked) as store:
            await put(store, "a", b"1")
            state.cluster_id = 8
            for _ in range(2):
                with pytest.raises(WrongIncarnation, match="another etcd has taken its place"):
                    await store.get("a")
            state.cluster_id = 7
            with pytest.raises(WrongIncarnation):
                await put(store, "a", b"2")
            with pytest.raises(WrongIncarnation):
                await anext(store.watch(""))

    run(scenario)


def test_a_watch_notices_another_cluster() -> None:
    async def scenario() -> None:
        state = State()
        async with members(1, state) as asked, opened(asked) as store:
            event = state.put(f"{KEYS}a", "1")

            async def change() -> None:
                state.cluster_id = 8

            asked[0].scripts = [[change, {"events": [event]}]]
            with pytest.raises(WrongIncarnation):
                await anext(store.watch("", 1))

    run(scenario)


@pytest.mark.parametrize("what", ["revision", "raft_term"])
def test_a_member_that_is_behind_is_passed_over_and_a_majority_behind_is_another_history(what: str) -> None:
    async def scenario() -> None:
        state = State(revision=100, raft_term=50)
        async with members(3, state) as asked, opened(asked) as store:
            await put(store, "a", b"1")
            old = State(revision=100, raft_term=50, keys=state.keys)
            setattr(old, what, 10)
            asked[0].state = old
            assert await value_of(store, "a") == b"1"
            assert await put(store, "a", b"2") > 100
            asked[1].state = asked[2].state = old
            with pytest.raises((WrongIncarnation, Unavailable)):
                await store.get("a")
            with pytest.raises(WrongIncarnation, match="restored from a backup, or made anew"):
                await store.get("a")

    run(scenario)


def test_an_etcd_that_was_made_anew_is_another_history_though_it_has_the_same_id() -> None:
    async def scenario() -> None:
        state = State()
        async with members(1, state) as asked, opened(asked, replace(FAST, trust_seconds=0.0)) as store:
            incarnation = store.incarnation
            state.keys.clear()
            state.revision += 100
            with pytest.raises(WrongIncarnation, match="is gone"):
                await store.get("a")
            await store.close()
            with pytest.raises(WrongIncarnation):
                await store.start()
            async with opened(asked) as other:
                assert other.incarnation != incarnation

    run(scenario)


def test_closing_ends_what_waits_and_leaves_nothing() -> None:
    async def scenario() -> None:
        async with members(3) as asked, opened(asked) as store:
            await put(store, "a", b"1")
            for member in asked:
                member.after = lambda _: never()
            waiting = asyncio.gather(
                store.get("a"), put(store, "a", b"2"), anext(store.watch(""), None), return_exceptions=True
            )
            while True:
                if asked[0].requests["/v3/kv/txn"] >= 3:
                    break
                await asyncio.sleep(0.01)
            await store.close()
            read, written, watched = await waiting
            assert (type(read), type(written), watched) == (Unavailable, Unavailable, None)
            assert written.maybe_applied
            for member in asked:
                member.after = None
            await store.start()
            assert await value_of(store, "a") == b"2"

    run(scenario)
