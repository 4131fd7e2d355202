"""A Hub that limits, fails, or answers nonsense or nothing, while a proxy lists its repositories."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from common.backends.base import OriginUnavailable
from proxy.sources.holds import HubHolds
from proxy.sources.huggingface import Hub as Client
from proxy.sources.repository import MODEL, Repository
from tests.cluster import Api, Cluster
from tests.hub import Hub
from tests.waiting import wait_for

FILES = {f"{n:02}.json": b"%d" % n for n in range(50)}
REQUESTS = 4
"""Of the API for a listing of these: one for the commit, three pages."""
JOB = {"type": "hf", "bucket": {"name": "b"}, "model": "org/model"}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        hub.add("models", "org/model", FILES)
        yield hub


@pytest.fixture
def api(hub: Hub, tmp_path: Path) -> Iterator[Api]:
    with Cluster(tmp_path, targets=1, mountpaths=1, hf_endpoint=hub.url) as cluster:
        yield cluster.api


def start(api: Api) -> httpx.Response:
    return api.call("POST", "/v1/download", JOB)


def test_listings_keep_to_the_limit_of_the_api(api: Api, hub: Hub) -> None:
    hub.limit("api", REQUESTS, 1)
    assert [start(api).status_code for _ in range(3)] == [200, 200, 200]
    assert hub.unlimit() == 0, "what is used up by its own word is not asked for"


def test_a_long_wait_is_told_and_kept_to(api: Api, hub: Hub) -> None:
    hub.limit("api", 1, 300)
    refused = start(api)
    assert refused.status_code == 503
    assert 290 <= int(refused.headers["retry-after"]) <= 300
    assert "hf://org/model: the Hub allows no more requests for now; try again in " in refused.json()["message"]
    asked = hub.asked.total()
    assert start(api).status_code == 503
    assert (hub.asked.total(), hub.unlimit()) == (asked, 0), "nobody asks meanwhile"


def test_all_proxies_keep_to_what_one_is_told(hub: Hub, tmp_path: Path) -> None:
    with (
        Cluster(tmp_path, targets=1, mountpaths=1, proxies=2, hf_endpoint=hub.url) as cluster,
        closing(Api(cluster.urls["p2"])) as second,
    ):
        hub.fail(429, {"Retry-After": "300"})
        assert start(cluster.api).status_code == 503

        def asked_by_proxies() -> int:
            """Before it is told, the other proxy may start a job, whose files a target then fetches."""
            return sum(count for (_, path), count in hub.asked.items() if path.startswith("/api/models/"))

        def refused() -> bool:
            answer = start(second)
            return answer.status_code == 503 and "allows no more requests for now" in answer.json()["message"]

        wait_for(refused, what="the other proxy told")
        asked = asked_by_proxies()
        assert refused()
        assert asked_by_proxies() == asked
        authorized = {**JOB, "headers": {"Authorization": ["Bearer another"]}}
        assert second.call("POST", "/v1/download", authorized).status_code == 200, "another token has another limit"


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (429, {"Retry-After": "1"}),
        (429, {"RateLimit": '"api";r=0;t=1'}),
        (503, {"Retry-After": "1"}),
        (500, {}),
        (502, {}),
    ],
)
def test_a_short_trouble_is_waited_for(status: int, headers: dict[str, str], api: Api, hub: Hub) -> None:
    hub.fail(status, headers)
    assert api.finished(start(api).json()["id"])["finished_cnt"] == len(FILES)


def test_a_trouble_that_stays_is_an_error(api: Api, hub: Hub) -> None:
    hub.fail(500)
    hub.fail(500)
    refused = start(api)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "the Hub answers 500; try again in 1 s" in refused.json()["message"]


@pytest.mark.parametrize("body", [b"not JSON", b"[]", b'{"id": "org/model"}', b'{"id": "org/model", "sha": 5}'])
def test_nonsense_is_said_to_be(body: bytes, api: Api, hub: Hub) -> None:
    hub.fail(200, {"Content-Type": "application/json"}, body)
    refused = start(api)
    assert refused.status_code == 502, refused.text
    assert "hf://org/model: the Hub's answer makes no sense" in refused.json()["message"]


def test_other_errors_are_the_hubs(api: Api, hub: Hub) -> None:
    hub.fail(418)
    refused = start(api)
    assert (refused.status_code, refused.json()["message"]) == (502, "hf://org/model: the Hub answers 418")


def test_a_hub_that_is_silent_holds_up_nothing_else(api: Api, hub: Hub) -> None:
    hub.answers.clear()
    with ThreadPoolExecutor(40) as clients:
        answers = [clients.submit(start, api) for _ in range(40)]
        wait_for(lambda: sum(answer.done() for answer in answers) == 8, what="those that are too many")
        for refused in (answer.result() for answer in answers if answer.done()):
            assert refused.status_code == 503
            assert "too many HuggingFace repositories are being listed" in refused.json()["message"]
        large = {f"o{n}": f"http://127.0.0.1:1/{n}" for n in range(20_000)}
        body = json.dumps({"type": "multi", "bucket": {"name": "b"}, "objects": large, "dry_run": True})
        assert api.call("POST", "/v1/download", body).status_code == 200, "its list is read in a thread, too"
        hub.answers.set()
        assert sorted(answer.result().status_code for answer in answers) == [200] * 32 + [503] * 8


def test_a_listing_that_takes_too_long_is_given_up(hub: Hub) -> None:
    async def ask() -> None:
        client = Client(hub.url, HubHolds(), listing_seconds=0.2)
        try:
            await client.list(Repository(MODEL, "org/model"))
        finally:
            client.close()

    hub.answers.clear()
    try:
        with pytest.raises(OriginUnavailable, match=r"too slow|does not answer"):
            asyncio.run(ask())
    finally:
        hub.answers.set()
