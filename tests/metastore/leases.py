"""What every `MetaStore` must do: leases."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

import pytest

from common.metastore.base import (
    LeaseLost,
    MetaStore,
    Put,
    create,
    put,
)
from tests.metastore.scenario import Harness, take, told, value_of, with_clients


class Leases:
    def test_lease_never_ends_early_and_takes_its_keys_along(self, harness: Harness) -> None:
        async def scenario(clients: Sequence[MetaStore]) -> None:
            granted_at = harness.now()
            lease = await clients[0].grant(harness.lease_seconds)
            assert lease.ttl_seconds >= harness.lease_seconds
            await put(clients[0], "nodes/a", b"1", lease.id)
            await put(clients[0], "nodes/b", b"1", lease.id)
            kept = await put(clients[0], "nodes/c", b"1")
            async with aclosing(clients[-1].watch("nodes/", kept + 1)) as events:
                await harness.advance(harness.lease_seconds * harness.certain_part)
                item = await clients[-1].get("nodes/a")
                assert item is not None
                assert item.lease_id == lease.id
                await harness.advance(lease.ttl_seconds)
                gone = [told(event) for event in await take(events, 2)]
                assert harness.now() - granted_at >= harness.lease_seconds
            assert [(key, value) for _, key, value in gone] == [("nodes/a", None), ("nodes/b", None)]
            assert gone[0][0] == gone[1][0] > kept
            assert [item.key for item in (await clients[0].list("")).items] == ["nodes/c"]

        with_clients(harness, scenario)

    def test_what_has_ended_is_not_read(self, harness: Harness) -> None:
        async def scenario(clients: Sequence[MetaStore]) -> None:
            lease = await clients[0].grant(harness.lease_seconds)
            await put(clients[0], "leader", b"1", lease.id)
            await harness.advance(lease.ttl_seconds * 2)
            assert (await create(clients[-1], "leader", b"2")).succeeded

        with_clients(harness, scenario)

    def test_keep_alive_and_its_loss(self, harness: Harness) -> None:
        async def scenario(clients: Sequence[MetaStore]) -> None:
            lease = await clients[0].grant(harness.lease_seconds)
            await put(clients[0], "a", b"1", lease.id)
            for _ in range(4):
                await harness.advance(harness.lease_seconds * harness.certain_part)
                assert 0 < await clients[-1].keep_alive(lease.id) <= lease.ttl_seconds
            assert await value_of(clients[0], "a") == b"1"
            await harness.advance(lease.ttl_seconds * 2)
            with pytest.raises(LeaseLost):
                await clients[0].keep_alive(lease.id)
            assert await value_of(clients[-1], "a") is None
            with pytest.raises(LeaseLost):
                await put(clients[0], "a", b"2", lease.id)
            for unknown in (1, 0, -1, 1 << 70):
                with pytest.raises(LeaseLost):
                    await clients[0].keep_alive(unknown)
                await clients[0].revoke(unknown)
            assert await value_of(clients[0], "a") is None

        with_clients(harness, scenario)

    def test_revoke_deletes_its_keys_only(self, harness: Harness) -> None:
        async def scenario(clients: Sequence[MetaStore]) -> None:
            lease = await clients[0].grant(10.0)
            other = await clients[0].grant(10.0)
            await clients[0].transaction(
                (),
                [
                    Put("a", b"", lease.id),
                    Put("freed", b"", lease.id),
                    Put("moved", b"", lease.id),
                    Put("other", b"", other.id),
                ],
            )
            await put(clients[0], "freed", b"")
            before = await put(clients[0], "moved", b"", other.id)
            async with aclosing(clients[-1].watch("", before + 1)) as events:
                await clients[0].revoke(lease.id)
                revision, key, value = told(await anext(events))
                assert (revision > before, key, value) == (True, "a", None)
            assert [item.key for item in (await clients[-1].list("")).items] == ["freed", "moved", "other"]
            await clients[0].revoke(lease.id)
            with pytest.raises(LeaseLost):
                await clients[0].keep_alive(lease.id)
            await clients[0].keep_alive(other.id)

        with_clients(harness, scenario)

    def test_refused_lease_changes_nothing(self, harness: Harness) -> None:
        async def scenario(clients: Sequence[MetaStore]) -> None:
            with pytest.raises(LeaseLost):
                await clients[0].transaction((), [Put("a", b""), Put("b", b"", 12345)])
            assert (await clients[0].list("")).items == ()

        with_clients(harness, scenario)
