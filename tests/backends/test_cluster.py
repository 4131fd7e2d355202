"""Buckets of another cluster: the contract on a real second cluster, and what only a cluster does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import pytest
import xxhash

from common import web
from common.backends.base import Backend, OriginUnavailable, RemoteBucketNotFound
from common.backends.cluster import ClusterBackend
from common.backends.settings import ClusterSettings
from common.errors import AccessDenied, InvalidRequest, ObjectNotFound, OriginError
from common.names import Bucket
from target.transfer.request import FetchError
from tests.backends.contract import BackendContract, DenialContract, Service, fetch, names_of
from tests.backends.gateway import Gateway
from tests.cluster import Cluster
from tests.serving import serving

_NUMBERS = count()


class OtherCluster:
    """A real cluster as a service."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._opened: list[Backend] = []
        self.url = cluster.api.url
        self.target_url = cluster.urls["t1"]

    def make_bucket(self) -> str:
        name = f"b{next(_NUMBERS)}"
        self._cluster.api.create_bucket(name)
        return name

    def put(self, bucket: str, objects: Mapping[str, bytes]) -> None:
        for name, content in objects.items():
            self._cluster.api.put(bucket, name, content)

    def backend(self, bucket: str) -> Backend:
        return self.opened(bucket, self.url)

    def through(self, gateway: Gateway, bucket: str) -> Backend:
        return self.opened(bucket, gateway.url)

    def address(self) -> tuple[str, int]:
        return address_of(self.url)

    def opened(self, bucket: str, url: str, token: str = "") -> ClusterBackend:
        backend = ClusterBackend(Bucket(bucket, "ais", "other"), ClusterSettings(url=url), {"token": token})
        self._opened.append(backend)
        return backend

    def close(self) -> None:
        for backend in self._opened:
            backend.close()


def address_of(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("other"), targets=2) as cluster:
        yield cluster


@pytest.fixture
def service(cluster: Cluster) -> Iterator[OtherCluster]:
    other = OtherCluster(cluster)
    yield other
    other.close()


class TestContract(BackendContract):
    def test_a_body_that_is_cut_short_is_noticed(self, service: Service, bucket: str) -> None:
        """The bytes come from a target and not through what stands before the proxy: here it stands before targets."""
        assert isinstance(service, OtherCluster)
        service.put(bucket, {f"o{number}": bytes(200_000) for number in range(8)})
        noticed = 0
        with Gateway(*address_of(service.target_url)) as gateway:
            gateway.cuts_after_bytes = 100_000
            for number in range(8):
                try:
                    fetch(service.through(gateway, bucket).request(f"o{number}"))
                except FetchError as error:
                    noticed += "404" not in str(error)
        assert noticed


class TestDenial(DenialContract):
    @pytest.fixture
    def denied(self, service: OtherCluster) -> Iterator[Backend]:
        with serving(guarded(service.url, "right")) as url:
            yield service.opened("b", url, "SECRET")


def guarded(url: str, token: str) -> web.Application:
    """What stands before a cluster and lets only those in who have a token."""

    async def application(scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        if dict(scope["headers"]).get(b"authorization") != f"Bearer {token}".encode():
            await web.answer(send, 401, b"who is that?")
            return
        location = f"{url}{scope['raw_path'].decode()}?{scope['query_string'].decode()}"
        await web.answer(send, 307, b"", [(b"location", location.encode())])

    return application


def answering(body: object, status: int = 200, headers: Mapping[str, str] = {}) -> web.Application:
    """Something that answers the same to everything."""

    async def application(scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [(key.lower().encode(), value.encode()) for key, value in headers.items()]
        await web.answer(send, status, b"" if scope["method"] == "HEAD" else content, lines)

    return application


def test_a_token_opens_the_door_and_goes_along_when_redirected(service: OtherCluster) -> None:
    bucket = service.make_bucket()
    service.put(bucket, {"one": b"1"})
    with serving(guarded(service.url, "right")) as inner, serving(guarded(inner, "right")) as outer:
        backend = service.opened(bucket, outer, "right")
        assert names_of(backend) == ["one"]
        assert backend.head("one").size_bytes == 1
    assert backend.request("one").headers == (("Authorization", "Bearer right"),)
    with pytest.raises(InvalidRequest) as caught:
        service.opened(bucket, service.url, "SECRET\r\nX: y")
    assert "SECRET" not in str(caught.value)


def test_what_is_claimed_is_the_checksum_of_the_bytes(service: OtherCluster) -> None:
    bucket = service.make_bucket()
    service.put(bucket, {"one": b"0123456789"})
    backend = service.backend(bucket)
    expected = {"xxh64": xxhash.xxh64_hexdigest(b"0123456789")}
    (listed,) = backend.page().objects
    looked = backend.head("one")
    assert (listed.digests, looked.digests) == (expected, expected)
    assert listed.version == looked.version == "1"
    assert backend.head("one", "1") == looked
    with pytest.raises(ObjectNotFound, match="version 7"):
        backend.head("one", "7")


def test_a_star_is_a_character_like_others(service: OtherCluster) -> None:
    bucket = service.make_bucket()
    service.put(bucket, {"a*": b"1", "ab": b"2"})
    assert names_of(service.backend(bucket), "a*") == ["a*"]


def test_a_head_tells_a_missing_bucket_from_a_missing_object(service: OtherCluster) -> None:
    with pytest.raises(RemoteBucketNotFound, match="ais://@other#/none"):
        service.backend("none").head("x")


def test_the_name_of_the_cluster_is_ours_and_the_namespace_is_theirs() -> None:
    backend = ClusterBackend(Bucket("b", "ais", "other", "ns"), ClusterSettings(url="http://h:1"), {})
    assert backend.request("a b/?").url == "http://h:1/v1/objects/b/a%20b/%3F?provider=ais&namespace=%23ns"
    backend.close()


AISTORE = {
    "uuid": "u",
    "continuation_token": "",
    "entries": [
        {"name": "crc", "size": "3", "checksum": "0a1b2c3d", "flags": 64},
        {"name": "sha", "size": "3", "checksum": "ab" * 32, "flags": 64},
        {"name": "chunked", "size": "3", "checksum": "0" * 16, "flags": 64 | 8192},
        {"name": "elsewhere", "size": "3", "checksum": "0" * 32, "version": "v"},
        {"name": "odd", "size": "3", "checksum": f"{'0' * 30}-2", "flags": 64},
        {"name": "folder/", "flags": 256},
        {"name": "empty", "flags": 64},
    ],
    "flags": 0,
}


def test_only_checksums_whose_meaning_is_sure_are_claimed(service: OtherCluster) -> None:
    with serving(answering(AISTORE)) as url:
        page = service.opened("b", url).page()
    assert {found.name: dict(found.digests) for found in page.objects} == {
        "crc": {"crc32c": "0a1b2c3d"},
        "sha": {"sha256": "ab" * 32},
        "chunked": {},
        "elsewhere": {},
        "odd": {},
        "empty": {},
    }
    assert [found.size_bytes for found in page.objects] == [3, 3, 3, 3, 3, 0]


def test_an_etag_is_told_as_a_get_would(service: OtherCluster) -> None:
    headers = {"Ais-Checksum-Type": "md5", "Ais-Checksum-Value": "AB" * 16, "ETag": "unquoted", "Content-Length": "0"}
    with serving(answering(b"", 200, headers)) as url:
        looked = service.opened("b", url).head("x")
    assert (looked.etag, looked.digests, looked.modified_ns) == ("unquoted", {"md5": "ab" * 16}, 0)


@pytest.mark.parametrize("body", [b"<html>", [], {"entries": [{}]}, {"entries": 7}, {"uuid": "u"}])
def test_what_is_no_listing_is_said_to_be_none(service: OtherCluster, body: object) -> None:
    with serving(answering(body)) as url, pytest.raises(OriginError, match="is it a cluster"):
        service.opened("b", url).page()


def test_a_listing_that_stays_where_it_is_ends(service: OtherCluster) -> None:
    with serving(answering(AISTORE | {"continuation_token": "t"})) as url:
        backend = service.opened("b", url)
        token = backend.page().token
        with pytest.raises(OriginError, match="get on"):
            backend.page("", token)
    with pytest.raises(InvalidRequest, match="token"):
        backend.page("", "nonsense")


def test_what_is_no_cluster_has_no_objects(service: OtherCluster) -> None:
    with serving(answering(b"")) as url, pytest.raises(OriginError, match="is it one"):
        service.opened("b", url).head("x")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, AccessDenied), (403, AccessDenied), (429, OriginUnavailable), (502, OriginUnavailable), (418, OriginError)],
)
def test_refusals_keep_their_meaning(service: OtherCluster, status: int, kind: type[Exception]) -> None:
    error: Any
    with serving(answering({"message": "because"}, status, {"Retry-After": "7"})) as url:
        with pytest.raises(kind, match="because") as caught:
            service.opened("b", url).page()
        error = caught.value
        with pytest.raises(kind):
            service.opened("b", url).head("x")
    assert getattr(error, "retry_after_seconds", 7.0) == 7.0


@pytest.mark.parametrize("location", ["https://127.0.0.1:1/x", "ftp://h/x", "http://[", ""])
def test_redirects_lead_to_the_same_kind_of_server(service: OtherCluster, location: str) -> None:
    with serving(answering(b"", 307, {"Location": location})) as url, pytest.raises(OriginError):
        service.opened("b", url).head("x")
