"""A small and a large object, stored in a cluster and served by nginx, read over HTTP from several places in turn.

Which places, and what is made of the figures, is left to the rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench.client import HaulClient, single_job
from bench.cluster import running_cluster
from bench.contest import Bench, warm_link
from bench.origins import PASSED_PREFIX, nginx
from bench.peers import read_rate, wrk
from bench.results import Series
from bench.workspace import write_objects

CONNECTIONS = 16
_SMALL_BYTES = 16 << 10
_JOB_SECONDS = 120
_NAMES = ("small.bin", "large.bin")
HOW_LARGE_IS_READ = "the reader of the large object is a bare socket with a buffer of 256 KiB, the same one for all"


Place = tuple[str, str]
"""The URLs of the small and of the large object."""


@dataclass(frozen=True, slots=True)
class Served:
    """Where the same two objects are read from.

    `target`: straight from it; `s3`: from a proxy, by the S3 API; `nginx`: from it; `passed`: passed on by nginx.
    """

    target: Place
    s3: Place
    nginx: Place
    passed: Place


@dataclass(frozen=True, slots=True)
class Readings:
    """Requests a second for the small object and GB/s of the large one, in the order of the places."""

    small: tuple[Series, ...]
    large: tuple[Series, ...]
    problems: tuple[str, ...]


@contextlib.contextmanager
def served(bench: Bench) -> Iterator[Served]:
    """A cluster of one target that has downloaded both from an nginx; both run until the end."""
    with bench.workspace.temporary("origin") as state, bench.workspace.temporary("run") as directory:
        root = state / "root"
        root.mkdir()
        for name, size_bytes in zip(_NAMES, (_SMALL_BYTES, bench.scale.read_bytes), strict=True):
            write_objects(root, name, 1, size_bytes)
        write_objects(root, "same.bin", 1, 1024)
        with (
            nginx(root, state) as origin,
            running_cluster(directory, warm_link=warm_link(origin.url)) as cluster,
            HaulClient(cluster.endpoint) as client,
        ):
            for name in _NAMES:
                job = single_job("bench", name, f"{origin.url}/{name}")
                client.run_job(job, timeout_seconds=_JOB_SECONDS, poll_seconds=0.02)
            small, large = (client.locate("bench", name) for name in _NAMES)
            yield Served(
                (small, large),
                _below(f"{cluster.endpoint}/s3/bench"),
                _below(origin.url),
                _below(f"{origin.url}/{PASSED_PREFIX}"),
            )


def _below(base: str) -> Place:
    small, large = (f"{base}/{name}" for name in _NAMES)
    return small, large


def large_name(bench: Bench) -> str:
    """How large the large object is, in words."""
    return f"{bench.scale.read_bytes >> 20} MiB"


def workload(bench: Bench) -> str:
    """What is read, in words."""
    return f"16 KiB by wrk over {CONNECTIONS} kept connections, {large_name(bench)} over one connection; tmpfs"


def read_in_turn(bench: Bench, places: Mapping[str, Place]) -> Readings:
    """Read from every place once per run; another one begins every time."""
    scale = bench.scale
    small: dict[str, list[float]] = {name: [] for name in places}
    large: dict[str, list[float]] = {name: [] for name in places}
    problems: list[str] = []
    for run in range(scale.runs):
        shift = run % len(places)
        turn = [*list(places.items())[shift:], *list(places.items())[:shift]]
        for name, (url, _) in turn:
            rate, found = wrk(url, CONNECTIONS, scale.read_seconds)
            small[name].append(rate)
            problems += found
            bench.say(f"  run {run + 1}, {name}, 16 KiB: {rate:,.0f} requests/s")
        for name, (_, url) in turn:
            rate = read_rate(url, scale.read_seconds, scale.read_bytes) / 1e9
            large[name].append(rate)
            bench.say(f"  run {run + 1}, {name}, {large_name(bench)}: {rate:.2f} GB/s")
    return Readings(
        tuple(Series(f"{name}, 16 KiB", "requests/s", tuple(samples)) for name, samples in small.items()),
        tuple(Series(f"{name}, {large_name(bench)}", "GB/s", tuple(samples)) for name, samples in large.items()),
        tuple(dict.fromkeys(problems)),
    )
