"""What every TransferEngine does, whatever it fetches from; `test_contract.py` runs it on the engine and its twin."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from common.errors import DiskError, Retry
from target.transfer.request import FetchError, FetchRequest, Receipt, ResponseHead, Sink, TransferEngine
from tests.transfer.driving import Collector, failure, fetch, fetch_all, receipt, run


class World(Protocol):
    """An engine and the origin that it reaches."""

    engine: TransferEngine

    def put(self, path: str, body: bytes, **headers: str) -> str: ...

    def status(self, path: str, status: int, headers: dict[str, str]) -> str: ...

    def hold(self, path: str) -> None: ...

    def release(self, path: str) -> None: ...

    def requests(self, path: str) -> int: ...


class EngineContract:
    """Subclasses provide the fixture `world`."""

    def test_fetches_an_object_with_its_head(self, world: World) -> None:
        url = world.put("/a", b"some bytes" * 5000, etag='"v1"', last_modified="Wed, 01 Jan 2025 00:00:00 GMT")
        got, body = receipt(world.engine, url)
        assert body == b"some bytes" * 5000
        assert (got.status, got.size_bytes) == (200, 50000)
        assert (got.head.status, got.head.content_length, got.head.url) == (200, 50000, url)
        assert (got.head.etag, got.head.last_modified) == ('"v1"', "Wed, 01 Jan 2025 00:00:00 GMT")

    def test_a_head_has_a_length_and_no_body_and_leaves_the_next_fetch_alone(self, world: World) -> None:
        url = world.put("/head", b"h" * 1000, etag='"v1"')
        for _ in range(2):
            result, sink = fetch(world.engine, FetchRequest(url, head_only=True))
            assert isinstance(result, Receipt)
            assert (result.status, result.size_bytes, sink.heads) == (200, 0, [])
            assert (result.head.content_length, result.head.etag) == (1000, '"v1"')
            assert receipt(world.engine, url)[1] == b"h" * 1000
        missing = fetch(world.engine, FetchRequest(world.status("/no-head", 404, {}), head_only=True))[0]
        assert isinstance(missing, FetchError)
        assert missing.http_status == 404

    def test_an_empty_object_is_an_object(self, world: World) -> None:
        result, sink = fetch(world.engine, world.put("/empty", b""))
        assert isinstance(result, Receipt)
        assert (result.status, result.size_bytes, len(sink.heads)) == (200, 0, 1)

    def test_fetches_many_at_once_each_once(self, world: World) -> None:
        requests = [FetchRequest(world.put(f"/many/{n}", b"%d" % n * 100)) for n in range(200)]
        sinks = [Collector() for _ in requests]
        for number, request in enumerate(requests):
            world.engine.start(number, request, sinks[number])
        assert world.engine.active == 200
        completions = run(world.engine)
        assert sorted(str(each.token) for each in completions) == sorted(map(str, range(200)))
        assert [bytes(sink.data) for sink in sinks] == [b"%d" % n * 100 for n in range(200)]
        assert world.engine.active == 0

    def test_a_missing_object_makes_no_sink(self, world: World) -> None:
        result, sink = fetch(world.engine, world.status("/gone", 404, {}) + "?secret=1")
        assert isinstance(result, FetchError)
        assert (result.kind, result.http_status, result.retry, sink.heads) == ("status", 404, Retry.NEVER, [])
        assert str(result).endswith("/gone does not exist")

    def test_an_overloaded_origin_slows_the_host(self, world: World) -> None:
        error = failure(world.engine, world.status("/busy", 503, {"retry-after": "7"}))
        assert (error.kind, error.http_status, error.retry) == ("status", 503, Retry.LATER)
        assert (error.retry_after_seconds, error.slows_host) == (7.0, True)
        assert "status 503" in str(error)

    def test_an_origin_without_requests_left_is_to_be_left_alone(self, world: World) -> None:
        used_up = {"ratelimit": '"resolvers";r=0;t=55'}
        error = failure(world.engine, world.status("/busy-too", 429, used_up))
        assert (error.http_status, error.retry_after_seconds, error.slows_host) == (429, 55.0, True)
        other = failure(world.engine, world.status("/busier", 429, {**used_up, "retry-after": "7"}))
        assert other.retry_after_seconds == 7.0
        assert receipt(world.engine, world.put("/last-but-one", b"x", ratelimit='"r";r=1;t=55'))[0].hold_seconds is None
        last = world.put("/last", b"x", ratelimit='"r";r=0;t=55')
        assert receipt(world.engine, last)[0].hold_seconds == 55.0
        moved = world.status("/moved-last", 302, {"location": world.put("/plain", b"x"), "ratelimit": '"r";r=0;t=5'})
        assert receipt(world.engine, moved)[0].hold_seconds == 5.0

    def test_an_unchanged_object_makes_no_sink(self, world: World) -> None:
        url = world.put("/same", b"x", etag='"v1"')
        result, sink = fetch(world.engine, FetchRequest(url, conditional=('If-None-Match: "v1"',)))
        assert isinstance(result, Receipt)
        assert (result.status, result.size_bytes, sink.heads) == (304, 0, [])

    def test_a_changed_object_is_fetched(self, world: World) -> None:
        url = world.put("/changed", b"new", etag='"v2"')
        got, body = receipt(world.engine, FetchRequest(url, conditional=('If-None-Match: "v1"',)))
        assert (got.status, body) == (200, b"new")

    def test_an_unasked_304_is_an_error(self, world: World) -> None:
        error = failure(world.engine, world.status("/odd", 304, {}))
        assert (error.kind, error.retry) == ("protocol", Retry.NEVER)

    def test_follows_redirects(self, world: World) -> None:
        target = world.put("/target", b"here")
        got, body = receipt(world.engine, world.status("/moved", 302, {"location": "target"}))
        assert (body, got.head.url) == (b"here", target)

    def test_ends_a_redirect_loop(self, world: World) -> None:
        url = world.put("/loop", b"")
        for _ in range(30):
            world.status("/loop", 302, {"location": "/loop"})
        error = failure(world.engine, url)
        assert (error.kind, error.retry, world.requests("/loop")) == ("redirect", Retry.NEVER, 11)

    def test_an_error_of_the_sink_is_the_result(self, world: World) -> None:
        url = world.put("/a", bytes(200_000))
        sink = Collector(fail_after=100)
        result = fetch_all(world.engine, [FetchRequest(url)], sink)[0]
        assert isinstance(result, DiskError)
        assert str(result) == "disk is full"
        assert receipt(world.engine, url)[0].size_bytes == 200_000

    def test_an_error_of_the_factory_is_the_result(self, world: World) -> None:
        error = DiskError("no such disk")

        def refuse(_head: ResponseHead) -> Sink:
            raise error

        requests = [FetchRequest(world.put("/a", b"body")), FetchRequest(world.put("/empty", b""))]
        assert fetch_all(world.engine, requests, refuse) == [error, error]

    def test_cancel_is_final(self, world: World) -> None:
        held, other = world.put("/held", b"x"), world.put("/other", b"y")
        world.hold("/held")
        sink = Collector()
        world.engine.start("held", FetchRequest(held), sink)
        world.engine.start("other", FetchRequest(other), Collector())
        first = run(world.engine, lambda: world.engine.active == 1)
        world.engine.cancel("held")
        world.engine.cancel("held")
        world.engine.cancel("never started")
        world.release("/held")
        assert world.engine.active == 0
        assert [completion.token for completion in first + run(world.engine)] == ["other"]
        assert sink.heads == []

    def test_a_token_can_be_used_again(self, world: World) -> None:
        url = world.put("/a", b"x")
        assert [receipt(world.engine, url)[1] for _ in range(3)] == [b"x"] * 3

    def test_the_jobs_own_timeout_is_final(self, world: World) -> None:
        url = world.put("/held", b"x")
        world.hold("/held")
        error = failure(world.engine, FetchRequest(url + "?token=abc", timeout_seconds=0.05))
        assert (error.kind, error.retry) == ("timeout", Retry.NEVER)
        assert "timeout" in str(error)
        assert "deadline exceeded" in str(error)
        assert "abc" not in str(error)

    def test_knows_no_progress_of_what_is_not_there(self, world: World) -> None:
        assert world.engine.progress("nobody") == (0, 0)

    def test_wake_ends_a_poll(self, world: World) -> None:
        ended = threading.Event()

        def wake_until_ended() -> None:
            while not ended.wait(0.01):
                world.engine.wake()

        waker = threading.Thread(target=wake_until_ended)
        waker.start()
        started = time.monotonic()
        world.engine.poll(60)
        ended.set()
        waker.join()
        assert time.monotonic() - started < 30

    def test_a_wake_before_the_poll_counts(self, world: World) -> None:
        world.engine.wake()
        world.engine.wake()
        assert world.engine.poll(60) == []

    def test_close_drops_what_is_going_on(self, world: World) -> None:
        url = world.put("/held", b"x")
        world.hold("/held")
        sink = Collector()
        world.engine.start("held", FetchRequest(url), sink)
        world.engine.poll(0.01)
        world.engine.close()
        world.engine.wake()
        assert (world.engine.active, sink.heads) == (0, [])
