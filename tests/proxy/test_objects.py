"""Object requests at a proxy: redirected to the owner with the path as it was encoded, or refused right here."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest

from common.names import Bucket
from proxy.api.easyurls import written_out
from tests.proxy.harness import Cluster, cluster

STATUS = {"GET": 301, "HEAD": 307, "PUT": 307, "DELETE": 307, "POST": 307, "PATCH": 307}
REFUSED = ["a/../b", "..", "a/%2e%2e/b", "%2E", "a/./b", "~/x", "a%00b", "%ff", "x" * 20_000]
FOLDERS = ["dir/", "dir%2F"]
"""What only S3's tools make."""
AWKWARD = [
    "plain",
    "with space",
    "per%cent",
    "100%25",
    "quote\"'`<>",
    "tab\there",
    "back\\slash",
    "question?mark#hash",
    "é",
    "e\u0301",
    "deep/" * 60 + "x",
    "c" * 300,
    "/abs",
    "a//b",
    "...",
    "a+b&c=d",
    "\U0001f600",
]


@contextlib.asynccontextmanager
async def with_bucket(directory: Path) -> AsyncIterator[Cluster]:
    async with cluster(directory) as running:
        assert (await running.request("POST", "/v1/buckets/demo", {"action": "create-bck"})).status_code == 200
        yield running


async def ask(running: Cluster, method: str, target: str) -> tuple[int, dict[str, str], str]:
    """A request whose target is sent exactly as it is here."""
    request = running.http.build_request(
        method, running.proxies[0].url + "/", extensions={"target": target.encode("ascii")}
    )
    answer = await running.http.send(request)
    return answer.status_code, dict(answer.headers), answer.text


def test_the_owner_is_found_and_the_path_is_kept(tmp_path: Path) -> None:
    async def check() -> None:
        async with with_bucket(tmp_path) as running:
            bucket = Bucket("demo")
            for name, (method, status) in product(AWKWARD, STATUS.items()):
                for encoded in {quote(name), quote(name, safe="")}:
                    code, headers, _ = await ask(running, method, f"/v1/objects/demo/{encoded}?provider=ais&x=%20y")
                    assert code == status
                    location = urlsplit(headers["location"])
                    assert location.path == f"/v1/objects/demo/{encoded}"
                    assert unquote(location.path).removeprefix("/v1/objects/demo/") == name
                    query = parse_qs(location.query)
                    assert location.query.startswith("provider=ais&x=%20y&pid=p1&utm=")
                    assert int(query["utm"][0], 36) > 10**18
                    (bid,) = query["bid"]
                    owner = next(target for target in running.targets.values() if target.owns(bucket, name))
                    assert headers["location"].startswith(owner.node.url + "/")
                    assert int(bid) == owner.buckets["buckets"][bucket.uname]

    asyncio.run(check())


def test_refused_names_never_reach_a_target(tmp_path: Path) -> None:
    async def check() -> None:
        async with with_bucket(tmp_path) as running:
            for encoded, method in (*product(REFUSED, STATUS), *product(FOLDERS, ("PUT", "POST"))):
                status, _, _ = await ask(running, method, f"/v1/objects/demo/{encoded}")
                assert status == 400, (method, encoded)
            assert not any("objects" in call for target in running.targets.values() for call in target.calls)

    asyncio.run(check())


def test_what_can_be_wrong_before_the_name(tmp_path: Path) -> None:
    async def check() -> None:
        async with with_bucket(tmp_path) as running:
            status, _, text = await ask(running, "GET", "/v1/objects/nonesuch/x")
            assert status == 404
            assert 'bucket \\"ais://nonesuch\\" does not exist' in text
            assert (await ask(running, "GET", "/v1/objects/demo/x?provider=zzz"))[0] == 400
            assert (await ask(running, "GET", "/v1/objects/demo/x?provider=oci"))[0] == 404
            assert (await ask(running, "GET", "/v1/objects/bad%20name/x"))[0] == 400
            assert "is too short: expected 4 items, got 3" in (await ask(running, "PUT", "/v1/objects/demo"))[2]
            assert "is too short: expected 4 items, got 2" in (await ask(running, "GET", "/v1/objects/"))[2]
            status, headers, _ = await ask(running, "OPTIONS", "/v1/objects/demo/x")
            assert (status, headers["allow"]) == (405, "DELETE, GET, HEAD, PATCH, POST, PUT")

    asyncio.run(check())


def test_the_easy_url(tmp_path: Path) -> None:
    async def check() -> None:
        async with with_bucket(tmp_path) as running:
            status, headers, _ = await ask(running, "GET", "/ais/demo/a/b%20c?x=1")
            assert status == 301
            assert urlsplit(headers["location"]).path == "/v1/objects/demo/a/b%20c"
            assert (await ask(running, "GET", "/ais"))[2].startswith('[{"name":"demo"')
            assert '"entries":[]' in (await ask(running, "GET", "/ais/demo"))[2]
            assert "<ListAllMyBucketsResult" in (await ask(running, "GET", "/s3"))[2]
            assert '"entries":[]' in (await ask(running, "GET", "/ais/demo/?provider=gcp"))[2]
            assert (await ask(running, "GET", "/gs"))[2] == "[]"
            assert (await ask(running, "GET", "/az/demo"))[0] == 404
            status, headers, _ = await ask(running, "POST", "/ais/demo/a")
            assert (status, headers["allow"]) == (405, "DELETE, GET, HEAD, PUT")
            status, _, text = await ask(running, "PUT", "/ais/demo")
            assert status == 400
            assert 'missing destination object name in the \\"easy URL\\"' in text

    asyncio.run(check())


def test_a_put_is_redirected_before_its_body_is_read(tmp_path: Path) -> None:
    async def check() -> None:
        async with with_bucket(tmp_path) as running:
            parts = urlsplit(running.proxies[0].url)
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            lines = ("PUT /v1/objects/demo/big HTTP/1.1", "Host: h", "Content-Length: 1000000", "Expect: 100-continue")
            writer.write("\r\n".join((*lines, "", "")).encode())
            async with asyncio.timeout(10):
                status_line = await reader.readline()
            assert status_line.startswith(b"HTTP/1.1 307")
            writer.close()
            await writer.wait_closed()

    asyncio.run(check())


def test_a_bucket_made_by_another_proxy_is_known_at_once(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, proxies=2) as running:
            for number in range(5):
                path = f"/v1/buckets/b{number}"
                await running.request("POST", path, {"action": "create-bck"}, proxy=0)
                assert (await running.request("GET", f"/v1/objects/b{number}/x", proxy=1)).status_code == 301

    asyncio.run(check())


@pytest.mark.parametrize(
    ("easy", "path", "query"),
    [
        ("/gs/far/a/b%20c", "/v1/objects/far/a/b%20c", "provider=gcp"),
        ("/az/far/a//b?provider=ais&x=1", "/v1/objects/far/a//b", "provider=ais&x=1&provider=azure"),
        ("/gs/far/", "/v1/buckets/far", "provider=gcp"),
        ("/gs", "/v1/buckets/", "provider=gcp"),
        ("/ais/", "/v1/buckets/", "provider=ais"),
        ("/aisle/b/o", "/aisle/b/o", ""),
        ("/v1/objects/ais/o", "/v1/objects/ais/o", ""),
    ],
)
def test_what_easy_urls_stand_for(easy: str, path: str, query: str) -> None:
    asked, _, asked_query = easy.partition("?")
    scope = {
        "method": "GET",
        "path": unquote(asked),
        "raw_path": asked.encode(),
        "query_string": asked_query.encode(),
    }
    written = written_out(scope)
    assert (written["raw_path"], written["path"]) == (path.encode(), unquote(path))
    assert written["query_string"] == query.encode()


def test_a_piece_of_an_upload_goes_to_where_the_upload_began(tmp_path: Path) -> None:
    async def check() -> None:
        async with with_bucket(tmp_path) as running:
            token = "0" * 24
            for target_id, target in running.targets.items():
                for query in (f"uploadId={token}~{target_id}&partNumber=1", f"append_handle={token}~{target_id}~12"):
                    status, headers, _ = await ask(running, "PUT", f"/v1/objects/demo/x?{query}")
                    assert status == 307
                    assert headers["location"].startswith(target.node.url + "/")
            for gone in ("t9", "p1"):
                status, _, text = await ask(running, "PUT", f"/v1/objects/demo/x?uploadId={token}~{gone}&partNumber=1")
                assert status == 404
                assert "the upload is gone with target" in text
            assert (await ask(running, "PUT", "/v1/objects/demo/x?append_handle="))[0] == 307

    asyncio.run(check())
