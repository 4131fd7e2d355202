"""What every `MetaStore` must do: keys, values, transactions, revisions and limits."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest

from common.errors import InvalidRequest
from common.metastore.base import (
    ABSENT,
    MAX_KEY_BYTES,
    MAX_TRANSACTION_OPERATIONS,
    MAX_VALUE_BYTES,
    Compare,
    Delete,
    KeyValue,
    MetaStore,
    Operation,
    Put,
    TooLarge,
    create,
    delete,
    put,
)
from tests.metastore.scenario import Harness, increment, value_of, with_clients


class Transactions:
    def test_put_get_overwrite_delete(self, harness: Harness) -> None:
        async def scenario(clients: Sequence[MetaStore]) -> None:
            one, other = clients[0], clients[-1]
            assert await one.get("a") is None
            first = await put(one, "a", b"1")
            assert await other.get("a") == KeyValue("a", b"1", first, first)
            second = await put(other, "a", b"2")
            assert await one.get("a") == KeyValue("a", b"2", first, second)
            third = await delete(one, "a")
            assert await other.get("a") is None
            fourth = await put(one, "a", b"3")
            assert await one.get("a") == KeyValue("a", b"3", fourth, fourth)
            assert 0 < first < second < third < fourth

        with_clients(harness, scenario)

    def test_counter_is_exact_under_races(self, harness: Harness) -> None:
        async def scenario(clients: Sequence[MetaStore]) -> None:
            async def work(client: MetaStore) -> None:
                for _ in range(50):
                    await increment(client, "counter")

            await asyncio.gather(*(work(clients[number % len(clients)]) for number in range(harness.racers)))
            assert await value_of(clients[0], "counter") == b"%d" % (harness.racers * 50)

        with_clients(harness, scenario)

    def test_only_one_creates(self, harness: Harness) -> None:
        async def scenario(clients: Sequence[MetaStore]) -> None:
            results = await asyncio.gather(
                *(create(clients[number % len(clients)], "leader", str(number).encode()) for number in range(20))
            )
            (winner,) = (number for number, result in enumerate(results) if result.succeeded)
            losers = [result for result in results if not result.succeeded]
            revision = results[winner].revision
            item = KeyValue("leader", str(winner).encode(), revision, revision)
            assert all(result.current == {"leader": item} for result in losers)
            assert results[winner].current == {}

        with_clients(harness, scenario)

    def test_transaction_is_all_or_nothing(self, harness: Harness) -> None:
        async def scenario(clients: Sequence[MetaStore]) -> None:
            store = clients[0]
            first = await put(store, "a", b"1")
            await put(store, "b", b"1")
            operations: list[Operation] = [Put("a", b"2"), Delete("b"), Put("c", b"2")]
            refused = await store.transaction([Compare("a", first), Compare("b", ABSENT)], operations)
            assert not refused.succeeded
            assert {key: item and item.value for key, item in refused.current.items()} == {"a": b"1", "b": b"1"}
            assert [item.value for item in (await store.list("")).items] == [b"1", b"1"]
            done = await store.transaction([Compare("a", first), Compare("c", ABSENT)], operations)
            assert done.succeeded
            listing = await store.list("")
            assert listing.revision == done.revision
            assert listing.items == (
                KeyValue("a", b"2", first, done.revision),
                KeyValue("c", b"2", done.revision, done.revision),
            )

        with_clients(harness, scenario)

    def test_transactions_of_pairs_are_never_seen_half(self, harness: Harness) -> None:
        async def scenario(clients: Sequence[MetaStore]) -> None:
            async def write(number: int) -> None:
                for step in range(10):
                    value = f"{number}.{step}".encode()
                    await clients[number % len(clients)].transaction((), (Put("pair/a", value), Put("pair/b", value)))

            async def read(client: MetaStore) -> None:
                for _ in range(20):
                    assert len({(item.value, item.mod_revision) for item in (await client.list("pair/")).items}) <= 1

            await asyncio.gather(*(write(number) for number in range(6)), *(read(client) for client in clients))

        with_clients(harness, scenario)

    def test_a_long_list_is_of_one_revision(self, harness: Harness) -> None:
        async def scenario(clients: Sequence[MetaStore]) -> None:
            names = [f"long/{number:03}" for number in range(300)]
            for start in range(0, len(names), 100):
                await clients[0].transaction((), [Put(name, b"") for name in names[start : start + 100]])
            is_over = False

            async def write_both_ends(value: bytes) -> None:
                await clients[0].transaction((), [Put(name, value) for name in (names[0], names[-1])])

            async def write() -> None:
                for step in itertools.count():
                    if is_over:
                        return
                    await write_both_ends(b"%d" % step)

            await write_both_ends(b"")
            writing = asyncio.gather(write())
            for _ in range(10):
                listing = await clients[-1].list("long/")
                assert [item.key for item in listing.items] == names
                first, last = listing.items[0], listing.items[-1]
                assert (first.value, first.mod_revision) == (last.value, last.mod_revision)
                assert last.mod_revision <= listing.revision
            is_over = True
            await writing

        with_clients(harness, scenario)

    def test_revisions_grow_and_only_with_changes(self, harness: Harness) -> None:
        async def scenario(clients: Sequence[MetaStore]) -> None:
            revisions = [await put(clients[number % len(clients)], f"k{number % 3}", b"") for number in range(20)]
            assert revisions == sorted(set(revisions))
            assert await delete(clients[0], "not there") == revisions[-1]
            checked = await clients[0].transaction([Compare("k0", ABSENT)], ())
            assert (checked.succeeded, checked.revision) == (False, revisions[-1])
            checked = await clients[0].transaction([Compare("not there", ABSENT)], ())
            assert (checked.succeeded, checked.revision) == (True, revisions[-1])

        with_clients(harness, scenario)

    def test_lists_are_sorted_by_bytes_and_cut_at_the_prefix(self, harness: Harness) -> None:
        keys = [
            "jobs/",
            "jobs/Z",
            "jobs/a",
            "jobs/a/b",
            "jobs/ä",
            "jobs/ﬀ",
            "jobs/😀",
            "jobs/\U0010ffff",
            "jobs0",
            "job",
        ]

        async def scenario(clients: Sequence[MetaStore]) -> None:
            await clients[0].transaction((), [Put(key, key.encode()) for key in reversed(keys)])
            listed = [item.key for item in (await clients[-1].list("jobs/")).items]
            assert listed == sorted(keys[:8], key=str.encode)
            assert [item.key for item in (await clients[-1].list("")).items] == sorted(keys, key=str.encode)
            assert (await clients[-1].list("nothing")).items == ()

        with_clients(harness, scenario)

    def test_keys_and_values_are_kept_as_they_are(self, harness: Harness) -> None:
        keys = ["é", "e\u0301", "a b%20'\"\\", "tab\tnew\nline", "nul\0inside", "日本語/ключ", "😀", "A", "a"]

        async def scenario(clients: Sequence[MetaStore]) -> None:
            values = {key: bytes(range(256)) + key.encode() for key in keys} | {"empty": b""}
            for key, value in values.items():
                await put(clients[0], key, value)
            assert {item.key: item.value for item in (await clients[-1].list("")).items} == values
            for key, value in values.items():
                assert await value_of(clients[-1], key) == value

        with_clients(harness, scenario)

    def test_limits(self, harness: Harness) -> None:
        async def scenario(clients: Sequence[MetaStore]) -> None:
            store = clients[0]
            await put(store, "ä" * (MAX_KEY_BYTES // 2), bytes(MAX_VALUE_BYTES))
            many = [Put(f"k{number}", b"") for number in range(MAX_TRANSACTION_OPERATIONS + 1)]
            await store.transaction((), many[1:])
            before = await store.list("")
            half = bytes(MAX_VALUE_BYTES)
            too_large: list[list[Put]] = [
                [Put("ä" * (MAX_KEY_BYTES // 2) + "a", b"")],
                [Put("v", bytes(MAX_VALUE_BYTES + 1))],
                many,
                [Put(f"v{number}", half) for number in range(5)],
            ]
            for operations in too_large:
                with pytest.raises(TooLarge):
                    await store.transaction((), operations)
            with pytest.raises(TooLarge):
                await store.transaction([Compare(f"k{number}", 1) for number in range(101)], ())
            twice: list[Operation] = [Put("twice", b"1"), Delete("twice")]
            for wrong in ([Put("", b"")], [Put("\ud800", b"")], twice):
                with pytest.raises(InvalidRequest):
                    await store.transaction((), wrong)
            with pytest.raises(TooLarge):
                await store.get("k" * (MAX_KEY_BYTES + 1))
            for ttl_seconds in (0.0, -1.0, float("nan"), float("inf")):
                with pytest.raises(InvalidRequest):
                    await store.grant(ttl_seconds)
            with pytest.raises(InvalidRequest):
                await anext(store.watch("", -1))
            assert await store.list("") == before

        with_clients(harness, scenario)

    def test_incarnation_is_that_of_the_store(self, harness: Harness) -> None:
        async def scenario(clients: Sequence[MetaStore]) -> None:
            assert len({client.incarnation for client in clients} - {""}) == 1

        with_clients(harness, scenario)

    def test_many_keys(self, harness: Harness) -> None:
        async def scenario(clients: Sequence[MetaStore]) -> None:
            for start in range(0, 10_000, 100):
                await clients[0].transaction((), [Put(f"k{number:05}", b"v") for number in range(start, start + 100)])
            listed = [item.key for item in (await clients[-1].list("k")).items]
            assert listed == [f"k{number:05}" for number in range(10_000)]

        with_clients(harness, scenario)
