"""Buckets: the table itself, and what clients, other proxies and targets see of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from common.buckets import BucketTable, check_properties, merged_properties
from common.errors import BucketExists, BucketNotFound, InvalidRequest, RequestError
from common.names import Bucket
from proxy.buckets import Claim
from tests.proxy.harness import Cluster, cluster, eventually

DEMO = Bucket("demo")
BPROPS_KEYS = [
    *("backend_bck", "write_policy", "provider", "Renamed", "checksum", "extra", "rate_limit", "ec", "chunks"),
    *("mirror", "lru", "access", "features", "bid", "created", "versioning"),
]


class TestTable:
    def test_a_bucket_made_again_is_another_one(self) -> None:
        first = BucketTable().with_bucket(DEMO, 5, {})
        again = first.without_bucket(DEMO).with_bucket(DEMO, 5, {})
        assert again.get(DEMO).id > first.get(DEMO).id
        assert again.version == 3

    def test_ids_grow_when_the_clock_does_not(self) -> None:
        table = BucketTable().with_bucket(DEMO, 100, {}).with_bucket(Bucket("other"), 1, {})
        assert sorted(table.ids().values()) == [100, 101]

    def test_it_travels(self) -> None:
        table = BucketTable().with_bucket(Bucket("a", "ais", "", "ns"), 5, {"mirror": {"copies": 3}})
        assert BucketTable.from_wire(json.loads(json.dumps(table.to_wire()))) == table
        with pytest.raises(InvalidRequest):
            BucketTable.from_wire({"version": 1})

    def test_what_does_not_exist_and_what_does(self) -> None:
        with pytest.raises(BucketNotFound, match='bucket "ais://demo" does not exist'):
            BucketTable().get(DEMO)
        with pytest.raises(BucketExists, match='bucket "ais://demo" already exists'):
            BucketTable().with_bucket(DEMO, 1, {}).with_bucket(DEMO, 2, {})

    def test_properties_are_the_defaults_and_what_was_set(self) -> None:
        properties = check_properties({"mirror": {"enabled": True}, "access": "1"})
        shown = BucketTable().with_bucket(DEMO, 7, properties).get(DEMO).to_bprops()
        assert list(shown) == BPROPS_KEYS
        assert shown["mirror"] == {"copies": 2, "burst_buffer": 512, "enabled": True}
        assert (shown["bid"], shown["created"], shown["provider"]) == ("7", "7", "ais")

    @pytest.mark.parametrize(
        "properties",
        [
            [],
            {"nonesuch": {}},
            {"mirror": 5},
            {"mirror": {"enable": True}},
            {"backend_bck": {"name": "x", "provider": "ais"}},
            {"backend_bck": {"name": "x", "provider": "nonesuch"}},
            {"backend_bck": "gs://x"},
        ],
    )
    def test_properties_that_are_refused(self, properties: object) -> None:
        with pytest.raises(RequestError):
            check_properties(properties)

    def test_a_backend_is_set_told_to_targets_and_detached(self) -> None:
        backend = {"name": "x", "provider": "gs", "namespace": {"uuid": "", "name": ""}}
        changes = check_properties({"backend_bck": backend})
        table = BucketTable().with_bucket(DEMO, 7, {"mirror": {"enabled": True}})
        table = table.with_properties(DEMO, merged_properties(table.get(DEMO).properties, changes))
        assert table.get(DEMO).to_bprops()["backend_bck"] == {**backend, "provider": "gcp"}
        assert table.backends() == {DEMO.uname: Bucket("x", "gcp").uname}
        assert (table.version, table.get(DEMO).id) == (2, 7)
        detached = merged_properties(table.get(DEMO).properties, check_properties({"backend_bck": {}}))
        assert detached == {"mirror": {"enabled": True}}

    def test_a_bucket_outside_is_its_own_backend(self) -> None:
        for outside in (Bucket("x", "aws"), Bucket("x", "ais", "other")):
            table = BucketTable().with_bucket(outside, 5, {})
            assert table.get(outside).backend == outside
            assert table.backends() == {}
        assert BucketTable().with_bucket(DEMO, 5, {}).get(DEMO).backend is None

    def test_the_bmd_is_grouped_by_provider_and_namespace(self) -> None:
        table = BucketTable().with_bucket(Bucket("b", "ais", "", "ns"), 5, {}).with_bucket(DEMO, 6, {})
        bmd = table.to_bmd("C1")
        assert {space: list(buckets) for space, buckets in bmd["providers"]["ais"].items()} == {
            "@#": ["demo"],
            "@#ns": ["b"],
        }
        assert (bmd["uuid"], bmd["version"]) == ("C1", "2")


async def is_gone(running: Cluster, proxy: int) -> bool:
    return (await running.request("HEAD", "/v1/buckets/demo", proxy=proxy)).status_code == 404


def test_buckets_are_made_listed_and_destroyed_through_any_proxy(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, proxies=2) as running:
            for name in ("zz", "demo", "Demo"):
                path = f"/v1/buckets/{name}?provider=ais"
                assert (await running.request("POST", path, {"action": "create-bck"}, proxy=0)).status_code == 200
                taken = await running.request("POST", path, {"action": "create-bck"}, proxy=1)
                assert (taken.status_code, taken.json()["tcode"]) == (409, "ErrBucketAlreadyExists")
            listed = await running.request("GET", "/v1/buckets/?provider=", {"action": "list"}, proxy=1)
            assert [bucket["name"] for bucket in listed.json()] == ["Demo", "demo", "zz"]
            filtered = await running.request("GET", "/v1/buckets", {"action": "list", "name": "demo"}, proxy=1)
            assert [bucket["name"] for bucket in filtered.json()] == ["demo"]
            head = await running.request("HEAD", "/v1/buckets/demo", proxy=1)
            assert list(json.loads(head.headers["ais-bucket-props"])) == BPROPS_KEYS
            destroy = {"action": "destroy-bck", "name": "", "value": None}
            for path, more in (("demo?prefix=x/", {}), ("demo", {"value": {"prefix": "x/"}})):
                answer = await running.request("DELETE", f"/v1/buckets/{path}", destroy | more, proxy=1)
                assert answer.status_code == 400, answer.text
            assert (await running.request("HEAD", "/v1/buckets/demo", proxy=1)).status_code == 200
            assert (await running.request("DELETE", "/v1/buckets/demo", destroy, proxy=1)).status_code == 200
            await eventually(lambda: is_gone(running, 0))
            missing = await running.request("DELETE", "/v1/buckets/demo", destroy, proxy=0)
            assert (missing.status_code, missing.json()["message"]) == (404, 'bucket "ais://demo" does not exist')

    asyncio.run(check())


def test_targets_are_told_of_every_change(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            target = running.targets["t1"]
            await running.request("POST", "/v1/buckets/demo", {"action": "create-bck"})
            assert list(target.buckets["buckets"]) == [DEMO.uname]
            target.objects[DEMO.uname] = {"a": 1}
            await running.request("DELETE", "/v1/buckets/demo", {"action": "destroy-bck"})
            assert (target.buckets["buckets"], target.buckets["version"]) == ({}, 2)
            assert target.buckets["last_id"] > 0
            assert target.objects == {}
            await running.request("POST", "/v1/buckets/demo", {"action": "create-bck"})
            await target.report()
            assert list(target.buckets["buckets"]) == [DEMO.uname]

    asyncio.run(check())


def test_the_same_bucket_made_by_many_at_once_is_made_once(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, proxies=2) as running:
            create = {"action": "create-bck"}
            paths = [(f"/v1/buckets/b{number % 4}", number % 2) for number in range(16)]
            answers = await asyncio.gather(
                *(running.request("POST", path, create, proxy=proxy) for path, proxy in paths)
            )
            assert sorted(answer.status_code for answer in answers) == [200] * 4 + [409] * 12
            bmd = (await running.request("GET", "/v1/daemon?what=bmd", proxy=1)).json()
            ids = [props["bid"] for props in bmd["providers"]["ais"]["@#"].values()]
            assert len(set(ids)) == 4
            assert bmd["version"] == "4"

    asyncio.run(check())


class TestClaim:
    def test_a_bucket_that_is_there_is_not_made(self) -> None:
        record = BucketTable().with_bucket(DEMO, 5, {}).get(DEMO)
        assert not Claim(record).holds_in(BucketTable())

    def test_a_claim_holds_as_long_as_the_bucket_cannot_have_been_made(self) -> None:
        table = BucketTable().with_bucket(Bucket("old"), 5, {})
        claim = Claim(BucketTable().with_bucket(DEMO, 7, {}).get(DEMO), table)
        assert claim.holds_in(table)
        assert claim.holds_in(table.with_bucket(Bucket("other"), 9, {}))
        assert not claim.holds_in(table.with_bucket(DEMO, 9, {}))
        assert not claim.holds_in(table.with_bucket(DEMO, 9, {}).without_bucket(DEMO))
        assert not claim.holds_in(table.with_bucket(Bucket("other"), 9, {}).without_bucket(Bucket("old")))


def test_a_download_makes_its_bucket(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            link = "http://10.77.0.1:18080/a"
            first, second = await asyncio.gather(
                running.start_job(type="single", link=link), running.start_job(type="single", link=link)
            )
            shares = [target.shares for target in running.targets.values() if target.shares]
            assert {share.spec.bucket_id for held in shares for share in held.values()} == {
                next(iter(running.targets["t1"].buckets["buckets"].values()))
            }
            assert first != second

    asyncio.run(check())
