"""Listings of sources that go wrong: two proxies at once, settings that differ, pages that make no sense.

The meta store is real, the source is a script, and targets take everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from common import clock
from common.backends.asking import Asking
from common.backends.base import Capabilities, ObjectPage, SourceObject
from common.backends.settings import load_backends
from common.backends.sources import Sources, source_link
from common.buckets import BucketRecord
from common.errors import BucketNotFound, HaulError, OriginError, Unavailable
from common.lifecycle import TaskScope
from common.metastore.base import create
from common.metastore.memory import MemoryStore
from common.names import Bucket
from common.shares import JobSpec
from common.vault import Vault, new_key
from proxy.buckets import Buckets
from proxy.downloads.giving import Giver
from proxy.downloads.jobstore import JobStore
from proxy.downloads.listers import Listers, Walk
from proxy.downloads.records import Assignment, JobRecord
from proxy.downloads.sourcejobs import SourceJob, SourceListing
from proxy.downloads.tasks import TaskList
from proxy.leadership import Authority
from proxy.listing import Listing, Page, PageQuery

THERE, HERE = Bucket("there", "aws"), Bucket("here")
JOB = "dnl-a12345678"


@dataclass
class Source:
    """Pages by token, the first one by the empty token; `asked` are the tokens so far."""

    pages: dict[str, ObjectPage]
    capabilities: Capabilities = field(default_factory=lambda: Capabilities(is_ordered=False))
    asked: list[str] = field(default_factory=list)
    on_page: Callable[[str], object] = lambda token: None

    def page(self, prefix: str = "", token: str = "", limit: int = 1_000) -> ObjectPage:
        self.asked.append(token)
        self.on_page(token)
        return self.pages[token]

    @classmethod
    def of(cls, *pages: Sequence[str], **more: Any) -> Source:
        """A source that lists these names, in this order."""
        tokens = ["", *(f"p{number}" for number in range(1, len(pages))), ""]
        return cls(
            {
                token: ObjectPage([SourceObject(name, 1) for name in names], following)
                for token, following, names in zip(tokens, tokens[1:], pages, strict=False)
            },
            **more,
        )


@dataclass
class Places:
    """What a proxy would ask of the rest of the cluster: its bucket, what is in there, who takes tasks."""

    jobs: JobStore
    given: list[tuple[str, str, int]] = field(default_factory=list)
    present: list[list[Any]] = field(default_factory=list)
    failures: list[HaulError] = field(default_factory=list)
    has_bucket: bool = True

    def backend(self, bucket: Bucket, credentials: object) -> Source:
        raise NotImplementedError

    async def get(self, bucket: Bucket) -> BucketRecord:
        if not self.has_bucket:
            raise BucketNotFound(bucket.cname)
        return BucketRecord(bucket, 7, 0)

    async def page(self, record: BucketRecord, query: PageQuery) -> Page:
        return Page([one for one in self.present if one[0].startswith(query.prefix)], [], "")

    async def end(self, record: JobRecord, listing: SourceListing) -> None:
        await self._record(record, listing, None)

    async def give(self, record: JobRecord, listing: SourceListing, tasks: TaskList) -> None:
        await asyncio.sleep(0)
        assignment = Assignment(f"x{len(self.given)}", ("t1",)) if len(tasks) else None
        await self._record(record, listing, assignment)
        self.given += [(name, link, tasks.removes_ns.get(name, 0)) for name, link in zip(*tasks_of(tasks), strict=True)]

    async def _record(self, record: JobRecord, listing: SourceListing, assignment: Assignment | None) -> None:
        before = record.listing
        await self.jobs.update(record.id, lambda current: current.listed(listing, assignment, before))
        if self.failures:
            raise self.failures.pop()

    def names(self) -> list[str]:
        return [name for name, _, _ in self.given]


def tasks_of(tasks: TaskList) -> tuple[list[str], list[str]]:
    return tasks.names, tasks.links


@dataclass
class Found:
    """Gives out the backend that a proxy has."""

    source: Source | HaulError | Sources

    def backend(self, bucket: Bucket, credentials: Any) -> Any:
        if isinstance(self.source, HaulError):
            raise self.source
        return self.source.backend(bucket, credentials) if isinstance(self.source, Sources) else self.source


@asynccontextmanager
async def cluster() -> AsyncIterator[tuple[Places, TaskScope]]:
    store, scope = MemoryStore(), TaskScope()
    await store.start()
    jobs = JobStore(store)
    try:
        yield Places(jobs), scope
    finally:
        await scope.close()
        await store.close()


def proxy(
    places: Places, scope: TaskScope, source: Source | HaulError | Sources, vault: Vault | None = None
) -> Listers:
    listers = Listers(
        *(places.jobs, cast(Buckets, places), cast(Listing, places), Asking(cast(Sources, Found(source)))),
        *(cast(Giver, places), vault or Vault(None), scope),
    )
    listers.ended = asyncio.Event()  # type: ignore[attr-defined]
    listers.on_listed = lambda _: listers.ended.set()  # type: ignore[attr-defined]
    return listers


async def commit(places: Places, listing: SourceListing) -> None:
    record = JobRecord(JOB, "backend", bucket=HERE.uname, created_ns=clock.unix_ns(), listing=listing)
    await create(places.jobs._store, f"jobs/{JOB}", record.pack())


async def start(places: Places, listers: Listers, job: SourceJob, **spec: Any) -> Walk:
    walk, piece = await listers.first(job, {})
    listing = listers.started(walk, piece, JobSpec(JOB, "backend", "", HERE, 7, -1, (("t1", 1),), **spec))
    await commit(places, listing)
    places.given += [(name, link, 0) for name, link in zip(*tasks_of(piece.tasks), strict=True)]
    return walk


async def has_ended(listers: Listers) -> None:
    async with asyncio.timeout(30):
        await cast(Any, listers).ended.wait()


async def turns() -> None:
    """Let everything run that waits for nothing; the store in memory does not wait either."""
    for _ in range(20):
        await asyncio.sleep(0)


async def listing_of(places: Places) -> SourceListing:
    listing = (await places.jobs.get(JOB)).listing
    assert listing is not None
    return listing


def thousands(*numbers: int) -> list[list[str]]:
    """Pages as large as pieces are at first; a smaller one is followed in the same piece."""
    return [[f"{number}-{index:04d}" for index in range(5_000)] for number in numbers]


@pytest.mark.parametrize("is_sync", [False, True])
def test_two_proxies_at_once_give_every_object_once_and_one_of_them_leaves(is_sync: bool) -> None:
    async def scenario() -> None:
        async with cluster() as (places, scope):
            pages = thousands(5, 3, 9, 1)  # a service that does not list in the order of names
            first, second = (proxy(places, scope, Source.of(*pages)) for _ in range(2))
            walk = await start(places, first, SourceJob(THERE, is_sync=is_sync))
            first.go_on(JOB, walk)
            second.go_on(JOB)
            await has_ended(first)
            await has_ended(second)
            assert sorted(places.names()) == sorted(name for page in pages for name in page)
            assert (await listing_of(places)).is_complete
            assert not (await listing_of(places)).error

    asyncio.run(scenario())


@pytest.mark.parametrize("is_sync", [False, True])
@pytest.mark.parametrize("is_applied", [False, True])
def test_a_piece_whose_recording_had_no_answer_is_given_once(is_sync: bool, is_applied: bool) -> None:
    async def scenario() -> None:
        async with cluster() as (places, scope):
            pages = thousands(5, 3, 9)
            listers = proxy(places, scope, Source.of(*pages))
            walk = await start(places, listers, SourceJob(THERE, is_sync=is_sync))
            lost = list(pages[1])
            if is_applied:
                places.failures = [Unavailable("no answer", maybe_applied=True)]
            else:
                places._record = _refusing_once(places)  # type: ignore[method-assign]
            listers.go_on(JOB, walk)
            await has_ended(listers)
            given = places.names()
            missing = lost if is_applied else []  # the stand-in counts what had an answer
            assert sorted([*given, *missing]) == sorted(name for page in pages for name in page)
            listing = await listing_of(places)
            assert (listing.is_complete, listing.count, listing.error) == (True, 15_000, "")

    asyncio.run(scenario())


@pytest.mark.parametrize("is_sync", [False, True])
def test_a_listing_goes_on_where_another_proxy_has_left_it_though_names_are_in_no_order(is_sync: bool) -> None:
    async def scenario() -> None:
        async with cluster() as (places, scope):
            pages = thousands(5, 3, 9)
            places.present = [here(pages[0][0]), here(pages[1][0]), here("gone")]
            source = Source.of(*pages)
            listers = proxy(places, scope, source)
            await start(places, listers, SourceJob(THERE, is_sync=is_sync))
            listers.go_on(JOB)
            await has_ended(listers)
            removed = [name for name, _, removes_ns in places.given if removes_ns]
            assert removed == (["gone"] if is_sync else [])
            assert sorted(places.names()) == sorted([*(name for page in pages for name in page), *removed])
            assert source.asked == ["", "p1", "p2"] + (["", "p1", "p2"] if is_sync else [])

    asyncio.run(scenario())


def _refusing_once(places: Places) -> Callable[..., Any]:
    record, refused = places._record, list[bool]()

    async def recorded(*arguments: Any) -> None:
        if not refused:
            refused.append(True)
            raise Unavailable("the store is away")
        await record(*arguments)

    return recorded


def here(name: str, *, stored_ns: int = 5, link: str = "") -> list[Any]:
    return [name, 1, "", stored_ns, 1, "", None, "", link or source_link(THERE, name)]


def run_sync(source: Source, present: Iterable[list[Any]], **job: Any) -> tuple[list[tuple[str, str, int]], str]:
    """What is removed, and the error."""

    async def scenario() -> tuple[list[tuple[str, str, int]], str]:
        async with cluster() as (places, scope):
            places.present = list(present)
            listers = proxy(places, scope, source)
            walk = await start(places, listers, SourceJob(THERE, is_sync=True, **job))
            listers.go_on(JOB, walk)
            await has_ended(listers)
            return [one for one in places.given if one[2]], (await listing_of(places)).error

    return asyncio.run(scenario())


def test_only_what_came_from_this_part_of_this_source_and_is_old_is_removed() -> None:
    now_ns = clock.unix_ns()
    gone = here("d/a/gone", stored_ns=9, link="s3://there/a/gone")
    present = [
        gone,
        here("d/a/still", link="s3://there/a/still"),
        here("d/a/as-it-is-called-here", link="s3://there/d/a/as-it-is-called-here"),
        here("d/a/of-another", link="s3://elsewhere/a/of-another"),
        here("d/a/uploaded", link="")[:8],
        here("d/a/uploaded-too", link="http://there/a/uploaded-too"),
        here("d/a/QUOTED OTHERWISE", link="s3://there/a/QUOTED+OTHERWISE"),
        here("d/a/since", link="s3://there/a/since", stored_ns=now_ns + 3_600 * 10**9),
        here("d/b/of-another-prefix", link="s3://there/b/of-another-prefix"),
        here("d/a/of-another-suffix.txt", link="s3://there/a/of-another-suffix.txt"),
    ]
    source = Source.of(["a/still"])
    removed, error = run_sync(source, present, prefix="a/", subdir="d")
    assert [name for name, _, _ in removed] == ["d/a/gone", "d/a/of-another-suffix.txt"]
    removed, error = run_sync(source, [*present], prefix="a/", subdir="d", suffix="gone")
    assert (removed, error) == ([("d/a/gone", "s3://there/a/gone", 9)], "")


def test_what_was_stored_while_the_first_page_was_on_its_way_is_left_alone() -> None:
    present: list[list[Any]] = [here("old"), here("kept")]

    def store(_: str) -> None:
        present.append(here("fetched-meanwhile", stored_ns=clock.unix_ns()))

    source = Source.of(["kept"])

    async def scenario() -> list[str]:
        async with cluster() as (places, scope):
            places.present = present
            listers = proxy(places, scope, source)
            source.on_page = store
            walk = await start(places, listers, SourceJob(THERE, is_sync=True))
            listers.go_on(JOB, walk)
            await has_ended(listers)
            return [name for name, _, removes_ns in places.given if removes_ns]

    assert asyncio.run(scenario()) == ["old"]


def test_a_source_with_nothing_left_removes_nothing_unless_told_to() -> None:
    present = [here(f"n{number}") for number in range(10)]
    removed, error = run_sync(Source.of([]), present)
    assert (removed, error.partition(":")[0]) == (
        [],
        "10 of 10 objects are gone at the source, and 'max_delete' allows 0",
    )
    removed, error = run_sync(Source.of([]), present, max_delete=-1)
    assert (len(removed), error) == (10, "")


@pytest.mark.parametrize("circle", [("p1",), ("p1", "p2"), ("p1", "p2", "p3")])
@pytest.mark.parametrize("names", [[], ["a"]])
def test_a_listing_that_leads_in_a_circle_ends_with_an_error_and_removes_nothing(
    circle: tuple[str, ...], names: list[str]
) -> None:
    objects = [SourceObject(name, 1) for name in names]
    following = [*circle, circle[0]]
    pages = {token: ObjectPage(objects, to) for token, to in zip(["", *circle], following, strict=True)}
    if not names:
        pages[""] = ObjectPage([SourceObject("first", 1)], circle[0])
    try:
        removed, error = run_sync(Source(pages), [here("gone"), here("too")])
    except OriginError as refused:
        removed, error = [], str(refused)
    assert "leads in a circle" in error
    assert removed == []


def test_empty_pages_are_followed_to_what_is_behind_them() -> None:
    source = Source.of([], *([[]] * 450), ["last"])
    removed, error = run_sync(source, [here("gone"), here("last")])
    assert ([name for name, _, _ in removed], error) == (["gone"], "")


@pytest.mark.parametrize("kind", ["disabled", "other key", "bad key"])
def test_what_this_proxy_cannot_reach_ends_the_job_and_does_not_turn_for_ever(kind: str, tmp_path: Path) -> None:
    """Settings of nodes differ, or have changed since the job was begun by another proxy."""
    for name in ("own", "others"):
        (tmp_path / name).write_text(new_key())
    (tmp_path / "backends.toml").write_text("[s3]\nenabled = false\n")
    sealing = Vault(tmp_path / "others")
    sealed = sealing.seal({"headers": (), "credentials": {"access_key_id": "only half"}})

    async def scenario() -> SourceListing:
        async with cluster() as (places, scope):
            sources = Sources(load_backends(tmp_path / "backends.toml" if kind == "disabled" else None))
            vault = sealing if kind == "bad key" else Vault(tmp_path / "own")
            listers = proxy(places, scope, sources, vault)
            spec = JobSpec(JOB, "backend", "", HERE, 7, -1, (("t1", 1),))
            spec = spec if kind == "disabled" else replace(spec, sealed=sealed)
            await commit(places, SourceListing(SourceJob(THERE), spec.pack(), token="p1", count=1))
            listers.go_on(JOB)
            await has_ended(listers)
            return await listing_of(places)

    listing = asyncio.run(scenario())
    assert (listing.is_complete, listing.spec) == (True, b"")
    expected = {"disabled": "backend is missing", "other key": "secret_key_file", "bad key": "secret_access_key"}
    assert expected[kind] in listing.error


def test_a_bucket_that_is_gone_when_removals_are_due_ends_the_job() -> None:
    async def scenario() -> str:
        async with cluster() as (places, scope):
            places.has_bucket = False
            listers = proxy(places, scope, Source.of(["a"]))
            walk = await start(places, listers, SourceJob(THERE, is_sync=True))
            listers.go_on(JOB, walk)
            await has_ended(listers)
            return (await listing_of(places)).error

    assert asyncio.run(scenario()) == 'bucket "ais://here" does not exist'


def test_the_leader_leaves_a_listing_to_the_proxy_that_has_announced_it() -> None:
    async def scenario() -> None:
        async with cluster() as (places, scope):
            pages = thousands(1, 2)
            source, other = Source.of(*pages), Source.of(*pages)
            first, leader = proxy(places, scope, source), proxy(places, scope, other)
            walk, jobs = await start(places, first, SourceJob(THERE)), places.jobs
            jobs._seen[JOB] = await jobs.get(JOB)
            announced = scope.start("announce", jobs.announce(f"{JOB}.list"))
            # A second announcement, of whoever has come too late, takes nothing away from the first when it ends.
            await turns()
            late = scope.start("announce late", jobs.announce(f"{JOB}.list"))
            await turns()
            late.cancel()
            await asyncio.wait([late])
            await leader.look_after(cast(Authority, None))
            assert not leader._running
            announced.cancel()
            await asyncio.wait([announced])
            await leader.look_after(cast(Authority, None))
            await has_ended(leader)
            assert walk.token == "p1"
            assert sorted(places.names()) == sorted(name for page in pages for name in page)

    asyncio.run(scenario())
