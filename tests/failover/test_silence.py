"""What a target makes of proxies that are silent, that come back, and that cannot reach the store themselves."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from common import web
from common.clustermap import TARGET, ClusterMap, Node
from common.errors import HaulError, Unavailable
from common.lifecycle import TaskScope
from common.names import Bucket
from common.nodeclient import NodeClient
from target.addresses import Address, OwnAddresses
from target.downloads.copies import Copies
from target.downloads.service import Downloads
from target.gates import Gates
from target.membership import Membership
from target.proxies import Proxies
from target.rebalance.neighbours import Neighbours
from target.storage.store import Store
from tests.serving import serving
from tests.waiting import wait_for

STILL_AFTER_SECONDS = 10.0
NODE = Node("t1", TARGET, "http://127.0.0.1:1")


class Proxy:
    """Answers a target: well, or that the store is away, after whatever a test wants to happen first."""

    def __init__(self) -> None:
        self.is_store_away = False
        self.before: Callable[[], object] = lambda: None
        self.answer: dict[str, Any] | None = None
        self.asked: list[tuple[str, Any]] = []
        self.lost: list[str] = []
        self.application = web.guarded(self._serve, "p[p1]")

    async def _serve(self, scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        body = web.decode_msgpack(await web.read_body(receive, 1 << 20))
        self.asked.append((scope["path"], body))
        self.before()
        if self.is_store_away:
            raise Unavailable("the meta store does not answer")
        if scope["path"].endswith("/check"):
            await web.answer_msgpack(
                send, {"shares": [one for one in body["shares"] if one in self.lost], "copies": []}
            )
            return
        cluster_map = ClusterMap(1, 1, (NODE,)).to_wire()
        buckets = {"version": 1, "buckets": {}, "last_id": 0}
        well = {"clustermap": cluster_map, "buckets": buckets, "still_after_seconds": STILL_AFTER_SECONDS}
        await web.answer_msgpack(send, well if self.answer is None else self.answer)


class Clock:
    """Shows what a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


class Held:
    """What a target holds, as far as its membership asks about it."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.over: dict[int, str] = {}
        self.given_up: list[str] = []

    def running(self) -> list[str]:
        return self.begun

    def ended(self) -> dict[int, str]:
        return self.over

    def undecided(self) -> list[str]:
        return []

    def wake(self) -> None:
        pass

    async def kept(self) -> list[tuple[str, str]]:
        return []

    async def forget(self, copies: object) -> None:
        pass

    async def give_up(self, shares: list[str]) -> None:
        self.given_up += shares


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("target.membership.boottime", clock)
    return clock


@pytest.fixture
def proxies() -> Iterator[list[tuple[Proxy, str]]]:
    with contextlib.ExitStack() as stack:
        made = [Proxy() for _ in range(2)]
        yield [(proxy, stack.enter_context(serving(proxy.application))) for proxy in made]


def nobodys_url() -> str:
    """Where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def member(client: NodeClient, *urls: str) -> Membership:
    disks = SimpleNamespace(view=SimpleNamespace(placed=(1,)), describe=list)
    store = SimpleNamespace(mountpaths=disks, note_buckets=lambda *_: None, retain_buckets=lambda *_: None)
    proxies = Proxies(urls, client, TaskScope(), patience_seconds=0.2)
    return Membership(
        NODE, proxies, client, cast(Store, store), OwnAddresses(lambda _: None), Gates(), interval_seconds=0.01
    )


@contextlib.asynccontextmanager
async def running(membership: Membership, held: Held) -> Any:
    """The target reports, and looks after what it holds."""
    scope = TaskScope()
    scope.start("membership", membership.run())
    scope.start("shares", membership.look_after(cast(Downloads, held), cast(Copies, held)))
    try:
        yield
    finally:
        await scope.close()


async def until(condition: Callable[[], object]) -> None:
    await asyncio.to_thread(wait_for, condition)


async def joined(membership: Membership) -> None:
    """Until it may work, and reports no more."""
    async with running(membership, Held()):
        await until(lambda: membership.may_work)


async def report(membership: Membership) -> None:
    with contextlib.suppress(HaulError):
        await membership.report_once()


@pytest.mark.parametrize("other", ["silent", "dead", "away", "well"])
def test_that_the_store_is_away_counts_only_when_every_proxy_that_runs_says_so(
    other: str, proxies: list[tuple[Proxy, str]], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, url), (second, second_url) = proxies
    monkeypatch.setattr("target.proxies._CALL_SECONDS", 0.5)

    async def scenario() -> None:
        client = NodeClient()
        with socket.create_server(("127.0.0.1", 0)) as mute:
            urls = {"silent": f"http://127.0.0.1:{mute.getsockname()[1]}", "dead": nobodys_url()}
            membership = member(client, url, urls.get(other, second_url))
            await joined(membership)
            first.is_store_away, second.is_store_away = True, other == "away"
            for _ in range(2):
                clock.pass_by(0.6 * STILL_AFTER_SECONDS)
                await report(membership)
            assert membership.may_work == (other != "silent")
        await client.close()

    asyncio.run(scenario())


def test_a_silence_that_ends_within_a_report_is_one(proxies: list[tuple[Proxy, str]], clock: Clock) -> None:
    """Others may have been given its part: it asks before it goes on, whoever has reported."""
    proxy, url = proxies[0]

    async def scenario() -> None:
        client = NodeClient()
        membership = member(client, url)
        await joined(membership)
        proxy.before = lambda: clock.pass_by(2 * STILL_AFTER_SECONDS)
        await membership.refresh()
        proxy.before = lambda: None
        await membership.refresh()
        assert not membership.may_work
        await joined(membership)
        await client.close()

    asyncio.run(scenario())


def test_calls_at_the_same_time_do_not_lead_each_other_past_the_proxy_that_lives(
    proxies: list[tuple[Proxy, str]],
) -> None:
    proxy, url = proxies[0]

    async def scenario() -> None:
        client = NodeClient()
        membership = member(client, nobodys_url(), url)
        await asyncio.gather(*(membership.announce_end(f"dnl-{number}") for number in range(5)))
        assert sorted(path for path, _ in proxy.asked) == [f"/intra/v1/shares/dnl-{n}/finished" for n in range(5)]
        await client.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("which", ["report", "hint"])
def test_hung_proxies_are_not_waited_for_and_not_asked_first_again(
    which: str, proxies: list[tuple[Proxy, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many hang: a lease is shorter than the time that it takes to give up two of them."""
    proxy, url = proxies[0]
    monkeypatch.setattr("target.proxies._CALL_SECONDS", 3600.0)

    async def scenario() -> None:
        client = NodeClient(timeout_seconds=3600.0)
        with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
            mute = [f"http://127.0.0.1:{hung.getsockname()[1]}" for hung in (first, second)]
            membership = member(client, *mute, url)
            ask = membership.report_once if which == "report" else lambda: membership.announce_end("dnl-1")
            async with asyncio.timeout(60):
                await ask()
            assert len(proxy.asked) == 1
            for hung in (first, second):
                hung.accept()[0].close()
                hung.settimeout(0)
            async with asyncio.timeout(60):
                await ask()
            assert len(proxy.asked) == 2
            for hung in (first, second):
                with pytest.raises(BlockingIOError):
                    hung.accept()
        await client.close()

    asyncio.run(scenario())


def test_a_proxy_that_is_only_slow_is_heard(proxies: list[tuple[Proxy, str]]) -> None:
    """Though the next ones, which do not know better, have been asked meanwhile."""
    (slow, url), (away, away_url) = proxies
    away.is_store_away = True
    slow.before = lambda: wait_for(lambda: away.asked)

    async def scenario() -> None:
        client = NodeClient()
        membership = member(client, url, away_url)
        await membership.report_once()
        assert membership.is_ready
        await client.close()

    asyncio.run(scenario())


def test_an_answer_that_makes_no_sense_does_not_end_the_reports(proxies: list[tuple[Proxy, str]]) -> None:
    proxy, url = proxies[0]
    proxy.answer = {"clustermap": 5}

    async def scenario() -> None:
        client = NodeClient()
        membership = member(client, url)
        async with running(membership, Held()):
            await until(lambda: len(proxy.asked) > 1)
            proxy.answer = None
            await until(lambda: membership.may_work)
        await client.close()

    asyncio.run(scenario())


def test_shares_that_have_ended_are_asked_about_in_pieces_and_after_every_silence(
    proxies: list[tuple[Proxy, str]], clock: Clock
) -> None:
    proxy, url = proxies[0]

    def ended_asked() -> list[str]:
        return [share for path, body in proxy.asked if path.endswith("/check") for share in body["shares"]]

    async def scenario() -> None:
        client = NodeClient()
        membership, held = member(client, url), Held()
        held.over = {number: f"dnl-{number}" for number in range(500)}
        proxy.lost = ["dnl-7", "dnl-450"]
        async with running(membership, held):
            await until(lambda: len(held.given_up) == 2)
            await until(lambda: len(proxy.asked) > 50)
            assert held.given_up == proxy.lost
            ended = list(held.over.values())
            assert ended_asked() == ended, "once, though it has reported many times"
            assert max(len(body["shares"]) for path, body in proxy.asked if path.endswith("/check")) <= 200
            clock.pass_by(2 * STILL_AFTER_SECONDS)
            # A report that was on its way meanwhile is too old to end the silence: they are asked about again after it.
            await until(lambda: ended_asked()[len(ended) : 2 * len(ended)] == ended)
        await client.close()

    asyncio.run(scenario())


def test_a_share_is_asked_about_when_it_has_ended_and_so_is_a_second_one_of_its_name(
    proxies: list[tuple[Proxy, str]], clock: Clock
) -> None:
    """Orders of a job that was removed may come late: one brings its share back, the next one ends it again."""
    proxy, url = proxies[0]

    async def scenario() -> None:
        client = NodeClient()
        membership, held = member(client, url), Held()
        held.over = {1: "dnl-1"}
        async with running(membership, held):
            await until(lambda: [body for path, body in proxy.asked if path.endswith("/check")])
            proxy.lost = ["dnl-1"]
            held.over = {2: "dnl-1"}
            await until(lambda: held.given_up == ["dnl-1"])
        await client.close()

    asyncio.run(scenario())


def test_who_is_asked_to_store_something_before_it_knows_the_map_learns_it_first(
    proxies: list[tuple[Proxy, str]],
) -> None:
    """Proxies send clients to a target as soon as it is in the map, which may be before it has heard that it is."""

    async def scenario() -> None:
        client = NodeClient()
        membership = member(client, proxies[0][1])
        unused: Any = None
        neighbours = Neighbours(unused, membership, client, unused, unused, unused, unused, unused)
        await neighbours.check_owned(Bucket("b"), "o")
        proxies[0][0].is_store_away = True
        with pytest.raises(Unavailable, match="no storage targets"):
            await Neighbours(
                unused, member(client, proxies[0][1]), client, unused, unused, unused, unused, unused
            ).check_owned(Bucket("b"), "o")
        await client.close()

    asyncio.run(scenario())


class TestOwnAddresses:
    def test_names_are_resolved_by_and_by_and_hold_when_they_cannot_be_resolved_any_more(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        denied: list[frozenset[Address]] = []
        nodes = [NODE, Node("t2", TARGET, "http://localhost:8081", public_url="https://127.0.0.9")]
        numbers = {("127.0.0.1", 1), ("127.0.0.9", 443)}

        async def scenario() -> None:
            addresses, scope, broken = OwnAddresses(lambda told: denied.append(frozenset(told))), TaskScope(), []
            addresses.take(nodes)
            assert denied == [numbers]
            scope.start("addresses", addresses.run())
            await until(lambda: ("127.0.0.1", 8081) in denied[-1])

            async def fail(*_: object, **__: object) -> None:
                broken.append(True)
                raise socket.gaierror(socket.EAI_AGAIN, "no resolver")

            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
            addresses.take([*nodes, Node("t3", TARGET, "http://nowhere.invalid:8082")])
            await until(lambda: len(broken) == 2)
            assert denied[-1] >= {*numbers, ("127.0.0.1", 8081)}
            addresses.take([NODE])
            assert denied[-1] == {("127.0.0.1", 1)}
            assert await scope.close() == [], "though it has just been told of a change"

        asyncio.run(scenario())
