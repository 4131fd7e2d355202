"""What every backend must do, whatever service is behind it: a module of a service gives a `Service`, and subclasses.

The bytes are fetched as targets fetch them, by the transfer engine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import Protocol

import pytest

from common.backends.base import Backend, OriginUnavailable, RemoteBucketNotFound, SourceObject, SourceRequest
from common.errors import AccessDenied, HaulError, ObjectNotFound
from target.transfer.egress import EgressGuard
from target.transfer.engine import Engine
from target.transfer.request import FetchError, FetchRequest, Part, Receipt, ResponseHead, TransferSettings
from target.transfer.verification import strong_validator
from tests.backends.gateway import Gateway

AWKWARD_NAMES = [
    "plain.bin",
    "a b.txt",
    "a+b",
    "100%.txt",
    "what?.txt",
    "number#1",
    "ä/ö/ü.txt",
    "日本語.txt",
    "a&b=c;d,e",
    "'quoted'\"double\"",
    "tilde~dollar$at@colon:(paren)*",
    "deep/er/and/deep/er/leaf",
    "%41percent",
    "emoji-😀",
]
"""Names that clients and libraries get wrong; a service that cannot hold one leaves it out of its list."""


class Service(Protocol):
    """A running service as the suite uses it, by whatever client its vendor has."""

    def make_bucket(self) -> str:
        """A new and empty bucket; its name."""

    def put(self, bucket: str, objects: Mapping[str, bytes]) -> None: ...

    def backend(self, bucket: str) -> Backend:
        """The backend under test, with credentials that may read the bucket."""

    def through(self, gateway: Gateway, bucket: str) -> Backend:
        """The same backend, its service reached through a gateway."""

    def address(self) -> tuple[str, int]:
        """Where the service listens."""


def fetch(request: SourceRequest, *conditional: str, part: Part | None = None) -> tuple[bytes, ResponseHead]:
    """The bytes that a request gives and the head of the answer; raises what the engine gives as the result."""
    engine = Engine(TransferSettings(), EgressGuard([ip_network("127.0.0.0/8")]))
    body = bytearray()

    class Sink:
        def write(self, chunk: bytes) -> None:
            body.extend(chunk)

    headers = tuple(f"{name}: {value}" for name, value in request.headers)
    try:
        engine.start("one", FetchRequest(request.url, headers, conditional, part=part), lambda _: Sink())
        while not (completions := engine.poll(1.0)):
            pass
    finally:
        engine.close()
    result = completions[0].result
    if isinstance(result, HaulError):
        raise result
    assert isinstance(result, Receipt)
    return bytes(body), result.head


def all_pages(backend: Backend, prefix: str = "", limit: int = 1000) -> Iterator[Sequence[SourceObject]]:
    """Every page of a listing; one that never ends fails."""
    token = ""
    for _ in range(1000):
        page = backend.page(prefix, token, limit)
        yield page.objects
        token = page.token
        if not token:
            return
    raise AssertionError("the listing does not end")


def names_of(backend: Backend, prefix: str = "", limit: int = 1000) -> list[str]:
    return [found.name for page in all_pages(backend, prefix, limit) for found in page]


class BackendContract:
    """To be subclassed, with a fixture `service`."""

    awkward_names: Sequence[str] = AWKWARD_NAMES

    @pytest.fixture
    def bucket(self, service: Service) -> str:
        return service.make_bucket()

    def test_an_empty_bucket_lists_nothing(self, service: Service, bucket: str) -> None:
        assert names_of(service.backend(bucket)) == []

    def test_every_object_is_listed_once_and_in_order_page_by_page(self, service: Service, bucket: str) -> None:
        names = [f"{folder}/{number:02d}.bin" for folder in ("a", "b-", "b", "ü") for number in range(6)]
        service.put(bucket, {name: name.encode() for name in names})
        backend = service.backend(bucket)
        pages = list(all_pages(backend, limit=7))
        listed = [found.name for page in pages for found in page]
        assert len(pages) >= 4
        assert sorted(listed) == sorted(names)
        if backend.capabilities.is_ordered:
            assert listed == sorted(names, key=str.encode)

    def test_a_prefix_is_taken_as_it_is(self, service: Service, bucket: str) -> None:
        service.put(bucket, dict.fromkeys(["a/1", "a/2", "ab", "b/1", "a+b/1", "a b/1"], b"x"))
        backend = service.backend(bucket)
        assert sorted(names_of(backend, "a/")) == ["a/1", "a/2"]
        assert sorted(names_of(backend, "a")) == ["a b/1", "a+b/1", "a/1", "a/2", "ab"]
        assert names_of(backend, "a+b/") == ["a+b/1"]
        assert names_of(backend, "a b/") == ["a b/1"]
        assert names_of(backend, "nothing/") == []

    def test_a_listing_and_a_look_tell_the_same(self, service: Service, bucket: str) -> None:
        service.put(bucket, {"one": b"0123456789", "empty": b""})
        backend = service.backend(bucket)
        listed = {found.name: found for page in all_pages(backend) for found in page}
        for name, size in (("one", 10), ("empty", 0)):
            looked = backend.head(name)
            assert (looked.name, looked.size_bytes, listed[name].size_bytes) == (name, size, size)
            assert looked.modified_ns > 0
            if listed[name].etag:
                assert looked.etag == listed[name].etag
            for algorithm, digest in listed[name].digests.items():
                assert looked.digests.get(algorithm, digest) == digest
                assert algorithm in backend.capabilities.digests

    def test_what_is_told_is_what_comes(self, service: Service, bucket: str) -> None:
        content = bytes(range(256)) * 40
        service.put(bucket, {"folder/object.bin": content})
        backend = service.backend(bucket)
        looked = backend.head("folder/object.bin")
        body, head = fetch(backend.request("folder/object.bin"))
        assert body == content
        if looked.etag:
            assert head.etag == looked.etag
        if "md5" in looked.digests:
            assert looked.digests["md5"] == hashlib.md5(content).hexdigest()
        if backend.capabilities.has_versions and looked.version:
            assert fetch(backend.request("folder/object.bin", looked.version))[0] == content
            assert backend.head("folder/object.bin", looked.version).size_bytes == len(content)

    def test_a_changed_object_has_another_etag_or_digest(self, service: Service, bucket: str) -> None:
        def told() -> object:
            (found,) = next(all_pages(backend))
            return found.etag, found.version, dict(found.digests), found.size_bytes

        backend = service.backend(bucket)
        service.put(bucket, {"one": b"0123456789"})
        before = told()
        assert told() == before
        service.put(bucket, {"one": b"9876543210"})
        assert told() != before

    def test_a_part_of_an_object_can_be_fetched(self, service: Service, bucket: str) -> None:
        service.put(bucket, {"one": b"0123456789"})
        request = service.backend(bucket).request("one")
        validator = strong_validator(fetch(request)[1])
        body, head = fetch(request, part=Part(3, 6, 10, validator))
        assert (head.status, body) in ((206, b"345"), (200, b"0123456789"))

    def test_awkward_names_are_listed_looked_at_and_fetched(self, service: Service, bucket: str) -> None:
        service.put(bucket, {name: name.encode() for name in self.awkward_names})
        backend = service.backend(bucket)
        assert sorted(names_of(backend)) == sorted(self.awkward_names)
        for name in self.awkward_names:
            assert backend.head(name).size_bytes == len(name.encode()), name
            assert fetch(backend.request(name))[0] == name.encode(), name

    def test_a_missing_object_is_told_from_a_missing_bucket(self, service: Service, bucket: str) -> None:
        with pytest.raises(ObjectNotFound, match="nothing-here"):
            service.backend(bucket).head("nothing-here")
        missing = service.backend(f"{bucket}-missing")
        with pytest.raises(RemoteBucketNotFound, match=f"{bucket}-missing"):
            missing.page()

    def test_a_service_that_is_busy_is_to_be_asked_later(self, service: Service, bucket: str) -> None:
        service.put(bucket, {"one": b"1"})
        with Gateway(*service.address()) as gateway:
            backend = service.through(gateway, bucket)
            assert names_of(backend) == ["one"]
            gateway.answers_status = 503
            with pytest.raises(OriginUnavailable):
                service.through(gateway, bucket).page()
            with pytest.raises(OriginUnavailable):
                service.through(gateway, bucket).head("one")

    def test_a_service_that_does_not_answer_is_to_be_asked_later(self, service: Service, bucket: str) -> None:
        with Gateway(*service.address()) as gateway:
            backend = service.through(gateway, bucket)
        with pytest.raises(OriginUnavailable):
            backend.page()

    def test_a_body_that_is_cut_short_is_noticed(self, service: Service, bucket: str) -> None:
        service.put(bucket, {"one": bytes(200_000)})
        with Gateway(*service.address()) as gateway:
            request = service.through(gateway, bucket).request("one")
            gateway.cuts_after_bytes = 100_000
            with pytest.raises(FetchError):
                fetch(request)


class DenialContract:
    """Of services that can refuse: subclasses have a fixture `denied`, a backend of a bucket that may not be read."""

    def test_who_may_not_read_is_told_so(self, denied: Backend) -> None:
        with pytest.raises(AccessDenied):
            denied.page()

    def test_no_secret_is_shown(self, denied: Backend) -> None:
        with pytest.raises(AccessDenied) as caught:
            denied.page()
        assert "SECRET" not in str(caught.value)
        assert "SECRET" not in repr(denied)
