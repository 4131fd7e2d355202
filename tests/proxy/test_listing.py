"""Listings: every name once, in byte order, whatever the page size and the spread; and never silently short."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import httpx
import msgpack
import pytest

from common.errors import InvalidRequest, Unsupported
from common.names import Bucket
from proxy.api.pages import parse_list_message
from tests.proxy.harness import Cluster, cluster

BUCKET = Bucket("demo")
PATIENCE_SECONDS = 15.0


async def fill(running: Cluster, names: list[str], spread: random.Random) -> None:
    assert (await running.request("POST", "/v1/buckets/demo", {"action": "create-bck"})).status_code == 200
    targets = list(running.targets.values())
    for name in names:
        spread.choice(targets).objects.setdefault(BUCKET.uname, {})[name] = len(name)


async def page(running: Cluster, **value: Any) -> httpx.Response:
    return await running.request("GET", "/v1/buckets/demo?provider=ais", {"action": "list", "value": value})


async def walk(running: Cluster, **value: Any) -> list[dict[str, Any]]:
    """All entries, following the continuation tokens as AIStore's SDK does."""
    entries: list[dict[str, Any]] = []
    token, uuid = "", ""
    while True:
        answer = (await page(running, continuation_token=token, uuid=uuid, **value)).json()
        assert answer["uuid"]
        assert uuid in ("", answer["uuid"])
        entries += answer["entries"]
        token, uuid = answer["continuation_token"], answer["uuid"]
        if not token:
            return entries


def test_all_names_come_once_and_in_byte_order(tmp_path: Path) -> None:
    spread = random.Random(1)
    letters = 'aB/é\U0001f600 "\\\tz%'
    names = sorted({"".join(spread.choices(letters, k=spread.randint(1, 4))).strip("/") or "x" for _ in range(120)})

    async def check() -> None:
        async with cluster(tmp_path) as running:
            await fill(running, names, spread)
            expected = [{"name": name, "size": str(len(name)), "flags": 64} for name in sorted(names, key=str.encode)]
            for page_size in (1, 7, 64, 0):
                assert await walk(running, pagesize=page_size) == expected
                with_prefix = await walk(running, pagesize=page_size, prefix="aB*")
                assert [entry["name"] for entry in with_prefix] == [name for name in names if name.startswith("aB")]

    asyncio.run(check())


def test_pages_get_on_behind_a_directory_with_names_of_the_last_character(tmp_path: Path) -> None:
    last = "\U0010ffff"
    names = ["a", *(f"a/{name}" for name in ("x", last, last + "y", last * 3)), f"b{last}/x", f"b{last}/{last}1", "c"]

    async def check() -> None:
        async with cluster(tmp_path) as running:
            await fill(running, names, random.Random(2))
            for page_size in (1, 2, 3, 100):
                shown = [entry["name"].rstrip("/") for entry in await walk(running, pagesize=page_size, flags="2048")]
                assert sorted(shown) == ["a", "a", f"b{last}", "c"]

    asyncio.run(check())


def test_uneven_spreads_and_a_full_last_page(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            names = [f"{number:04d}" for number in range(3000)]
            await fill(running, [], random.Random(0))
            running.targets["t1"].objects[BUCKET.uname] = dict.fromkeys(names[:2900], 1)
            running.targets["t3"].objects[BUCKET.uname] = dict.fromkeys(names[2900:], 1)
            assert [entry["name"] for entry in await walk(running, pagesize=1000)] == names
            assert (await page(running, pagesize=3000)).json()["continuation_token"] == ""

    asyncio.run(check())


def test_an_object_that_two_targets_hold_is_shown_once(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            await fill(running, ["a", "b", "c"], random.Random(1))
            for target in running.targets.values():
                target.objects.setdefault(BUCKET.uname, {})["b"] = 1
            assert [entry["name"] for entry in await walk(running, pagesize=1)] == ["a", "b", "c"]

    asyncio.run(check())


def test_without_recursion_what_lies_deeper_is_a_directory(tmp_path: Path) -> None:
    names = ["a", "d/1", "d/2", "d/e/3", *(f"many/{number:04d}" for number in range(900)), "z", "d.x"]

    async def check() -> None:
        async with cluster(tmp_path) as running:
            await fill(running, names, random.Random(2))
            for size in (1, 2, 0):
                entries = await walk(running, pagesize=size, flags="2048")
                shown = [(entry["name"], entry["flags"]) for entry in entries]
                assert sorted(shown) == [("a", 64), ("d.x", 64), ("d/", 256), ("many/", 256), ("z", 64)]
                below = await walk(running, pagesize=size, flags="2048", prefix="d/")
                assert sorted(entry["name"] for entry in below) == ["d/1", "d/2", "d/e/"]
            only = await walk(running, flags=str(2048 | 8192))
            assert [entry["name"] for entry in only] == ["a", "d.x", "z"]

    asyncio.run(check())


def test_properties_are_those_that_were_asked_for(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            await fill(running, ["a"], random.Random(3))
            holder = next(target_id for target_id, target in running.targets.items() if target.objects)
            everything = "name,size,checksum,atime,version,location,custom,copies"
            (entry,) = (await page(running, props=everything)).json()["entries"]
            assert list(entry.items()) == [
                ("name", "a"),
                ("checksum", "a88a52ebb52e0a94"),
                ("atime", "23 Nov 26 01:38 UTC"),
                ("version", "1"),
                ("location", f"t[{holder}]:mp[/mp1]"),
                ("custom-md", "[source:web]"),
                ("size", "1"),
                ("copies", 1),
                ("flags", 64),
            ]
            (named,) = (await page(running, flags="16")).json()["entries"]
            assert named == {"name": "a", "flags": 64}

    asyncio.run(check())


def test_the_sdk_gets_msgpack(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            await fill(running, ["a", "é"], random.Random(4))
            answer = await running.http.request(
                "GET",
                running.proxies[0].url + "/v1/buckets/demo",
                json={"action": "list", "value": {"props": "name,size,checksum", "uuid": "u1"}},
                headers={"accept": "application/msgpack"},
            )
            assert answer.headers["content-type"] == "application/msgpack"
            assert msgpack.unpackb(answer.content) == {
                "UUID": "u1",
                "ContinuationToken": "",
                "Entries": [
                    {"n": "a", "cs": "a88a52ebb52e0a94", "s": 1, "f": 64},
                    {"n": "é", "cs": "a88a52ebb52e0a94", "s": 1, "f": 64},
                ],
                "Flags": 0,
            }

    asyncio.run(check())


def test_a_target_that_does_not_answer_fails_the_listing(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            await fill(running, ["a", "b", "c"], random.Random(5))
            await running.kill("t2")
            answer = await page(running)
            assert answer.status_code == 503
            assert '"t2"' in answer.json()["message"]
            assert "retry-after" in answer.headers

    asyncio.run(check())


def test_a_target_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            await fill(running, ["a", "b", "c"], random.Random(6))
            running.targets["t2"].gate.clear()
            async with asyncio.timeout(PATIENCE_SECONDS):
                answer = await page(running)
            running.targets["t2"].gate.set()
            assert answer.status_code == 503
            assert 'target "t2" does not answer' in answer.json()["message"]
            assert "start the target again" in answer.json()["message"]
            assert "retry-after" in answer.headers

    asyncio.run(check())


def test_buckets_and_listings_are_json_in_utf8(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path) as running:
            await fill(running, ["a"], random.Random(7))
            answers = [
                await running.request("GET", "/v1/buckets", {"action": "list"}),
                await running.request("GET", "/v1/buckets/demo", {"action": "list", "value": {}}),
                await running.request("GET", "/v1/daemon?what=smap"),
                await running.request("GET", "/v1/cluster?what=bmd"),
            ]
            types = [answer.headers["content-type"] for answer in answers]
            assert types == ["application/json; charset=utf-8"] * len(answers)

    asyncio.run(check())


def test_a_field_that_is_unknown_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"found unknown field: page_size\Z"):
        parse_list_message({"prefix": "a", "page_size": 5})
    known = {"UUID": "u", "Target": "", "hdr": {}, "start_after": "b", "time_format": "", "PageSize": 7}
    message = parse_list_message(known)
    assert (message.uuid, message.after, message.limit) == ("u", "b", 7)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"pagesize": "2"}, InvalidRequest),
        ({"pagesize": -1}, InvalidRequest),
        ({"flags": "x"}, InvalidRequest),
        ({"flags": "9" * 5000}, InvalidRequest),
        ({"nonesuch": None}, InvalidRequest),
        ({"flags": "4096"}, Unsupported),
        ({"flags": "32768"}, Unsupported),
        ({"prefix": 5}, InvalidRequest),
        ([], InvalidRequest),
    ],
)
def test_messages_that_are_none(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse_list_message(value)
