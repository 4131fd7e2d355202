"""What every `MetaStore` must do: watches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from common.errors import Unavailable
from common.metastore.base import (
    Change,
    DeleteEvent,
    KeyValue,
    MetaStore,
    Put,
    PutEvent,
    Resync,
    delete,
    put,
)
from common.metastore.subscription import MAX_WAITING_CHANGES
from tests.metastore.scenario import Harness, run, take, told, with_clients


class Watches:
    def test_watch_begins_with_everything(self, harness: Harness) -> None:
        async def scenario(clients: Sequence[MetaStore]) -> None:
            await put(clients[0], "nodes/a", b"1")
            await put(clients[0], "other", b"1")
            async with aclosing(clients[-1].watch("nodes/")) as events:
                listing = await clients[0].list("nodes/")
                assert await anext(events) == Resync(listing.revision, listing.items)
                await put(clients[0], "other", b"2")
                created = await put(clients[0], "nodes/b", b"2")
                deleted = await delete(clients[0], "nodes/a")
                assert await take(events, 2) == [
                    PutEvent(KeyValue("nodes/b", b"2", created, created)),
                    DeleteEvent("nodes/a", deleted),
                ]

        with_clients(harness, scenario)

    def test_watch_from_a_revision(self, harness: Harness) -> None:
        async def scenario(clients: Sequence[MetaStore]) -> None:
            await put(clients[0], "a", b"0")
            two = await clients[0].transaction((), [Put("a", b"1"), Put("b", b"1")])
            last = await delete(clients[0], "a")
            expected = [(two.revision, "a", b"1"), (two.revision, "b", b"1"), (last, "a", None)]
            async with aclosing(clients[-1].watch("", two.revision)) as events:
                assert [told(event) for event in await take(events, 3)] == expected
                after = await put(clients[0], "c", b"1")
                assert told(await anext(events)) == (after, "c", b"1")
            async with aclosing(clients[-1].watch("", after + 1)) as events:
                next_event = asyncio.gather(anext(events))
                revision = await put(clients[0], "d", b"")
                assert [told(event) for event in await next_event] == [(revision, "d", b"")]

        with_clients(harness, scenario)

    def test_watch_has_no_gap_no_double_and_no_disorder(self, harness: Harness) -> None:
        async def scenario(clients: Sequence[MetaStore]) -> None:
            start = await put(clients[0], "w/start", b"")
            written: list[tuple[int, str, bytes | None]] = []

            async def write(number: int) -> None:
                client = clients[number % len(clients)]
                for step in range(25):
                    value = str(step).encode()
                    done = await client.transaction((), (Put(f"w/{number}/a", value), Put(f"w/{number}/b", value)))
                    written.extend((done.revision, f"w/{number}/{name}", value) for name in "ab")
                    await put(client, "unwatched", value)

            async def follow(client: MetaStore) -> list[Change]:
                seen: list[Change] = []
                async with aclosing(client.watch("w/", start + 1)) as events:
                    async for event in events:
                        assert not isinstance(event, Resync)
                        seen.append(event)
                        if len(seen) == 8 * 25 * 2:
                            return seen
                raise AssertionError("the watch has ended")

            writing = asyncio.gather(*(write(number) for number in range(8)))
            seen_by_all = await asyncio.gather(*(follow(client) for client in clients for _ in range(2)))
            await writing
            for seen in seen_by_all:
                assert [told(event) for event in seen] == sorted(written)

        with_clients(harness, scenario)

    def test_snapshot_and_changes_join_without_a_gap(self, harness: Harness) -> None:
        async def scenario(clients: Sequence[MetaStore]) -> None:
            async def write() -> None:
                for step in range(60):
                    await put(clients[0], f"k{step % 7}", str(step).encode())

            async def follow(client: MetaStore, begin_at: int) -> None:
                async with aclosing(client.watch("")) as events:
                    while (revision := (await client.list("")).revision) < begin_at:
                        pass
                    first = await anext(events)
                    assert isinstance(first, Resync)
                    assert first.revision >= revision
                    state = {item.key: item for item in first.snapshot}
                    while not any(item.value == b"59" for item in state.values()):
                        event = await anext(events)
                        assert isinstance(event, PutEvent)
                        old = state.get(event.key)
                        assert (old.create_revision if old else event.revision) == event.item.create_revision
                        state[event.key] = event.item
                assert {item.key: item for item in (await client.list("")).items} == state

            await asyncio.gather(write(), *(follow(client, begin_at) for client in clients for begin_at in (0, 10, 30)))

        with_clients(harness, scenario)

    def test_watch_of_what_is_compacted_begins_anew(self, harness: Harness) -> None:
        async def scenario(clients: Sequence[MetaStore]) -> None:
            first = await put(clients[0], "a", b"0")
            for step in range(60):
                await put(clients[0], "a", str(step).encode())
            await harness.compact()
            async with aclosing(clients[-1].watch("", first)) as events:
                event = await anext(events)
                assert isinstance(event, Resync)
                assert [item.value for item in event.snapshot] == [b"59"]
                revision = await put(clients[0], "a", b"60")
                assert told(await anext(events)) == (revision, "a", b"60")
            async with aclosing(clients[-1].watch("", revision - 3)) as events:
                assert [told(event)[2] for event in await take(events, 4)] == [b"57", b"58", b"59", b"60"]

        with_clients(harness, scenario, keep_revisions=10)

    def test_slow_reader_misses_nothing(self, harness: Harness) -> None:
        async def scenario(clients: Sequence[MetaStore]) -> None:
            rounds = MAX_WAITING_CHANGES // 100 + 2
            async with aclosing(clients[-1].watch("")) as events:
                await anext(events)
                for step in range(rounds):
                    await clients[0].transaction((), [Put(f"k{number:02}", b"%d" % step) for number in range(100)])
                seen = [told(event)[1:] for event in await take(events, rounds * 100)]
            assert seen == [(f"k{number:02}", b"%d" % step) for step in range(rounds) for number in range(100)]

        with_clients(harness, scenario)

    def test_close_ends_watches_and_refuses_calls(self, harness: Harness) -> None:
        async def scenario() -> None:
            async with harness.opened() as clients:
                store = clients[0]
                events = store.watch("")
                await anext(events)
                waiting = asyncio.gather(anext(events, None))
                await asyncio.sleep(0)
                await store.close()
                (event,) = await waiting
                assert event is None
                for call in (store.get("a"), store.list(""), put(store, "a", b""), store.grant(1.0)):
                    with pytest.raises(Unavailable):
                        await call
                with pytest.raises(Unavailable):
                    await anext(store.watch(""))
                await store.close()

        run(scenario)
