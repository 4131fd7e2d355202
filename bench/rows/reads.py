"""Reads of stored objects straight from their target, beside nginx that serves the same bytes."""

from __future__ import annotations

from bench.client import HaulClient, single_job
from bench.cluster import running_cluster
from bench.contest import Bench, warm_link
from bench.origins import nginx
from bench.peers import read_rate, wrk
from bench.results import Figure, RowResult, Series, ratio
from bench.workspace import write_objects

_SMALL_BYTES = 16 << 10
_CONNECTIONS = 16
_JOB_SECONDS = 120


def measure(bench: Bench) -> RowResult:
    """Compare with nginx; bars 0.15 x nginx for 16 KiB and 1.0 GB/s for a large one."""
    scale = bench.scale
    small: dict[str, list[float]] = {"Haul, 16 KiB": [], "nginx, 16 KiB": []}
    large_name = f"{scale.read_bytes >> 20} MiB"
    large: dict[str, list[float]] = {f"Haul, {large_name}": [], f"nginx, {large_name}": []}
    problems: list[str] = []
    with bench.workspace.temporary("origin") as state, bench.workspace.temporary("run") as directory:
        root = state / "root"
        root.mkdir()
        write_objects(root, "small.bin", 1, _SMALL_BYTES)
        write_objects(root, "large.bin", 1, scale.read_bytes)
        write_objects(root, "same.bin", 1, 1024)
        with (
            nginx(root, state) as origin,
            running_cluster(directory, warm_link=warm_link(origin.url)) as cluster,
        ):
            urls = _download(cluster.endpoint, origin.url)
            for run in range(scale.runs):
                for name, url in _turn(run, small, (urls[0], f"{origin.url}/small.bin")):
                    rate, found = wrk(url, _CONNECTIONS, scale.read_seconds)
                    small[name].append(rate)
                    problems += found
                    bench.say(f"  run {run + 1}, {name}: {rate:,.0f} requests/s")
                for name, url in _turn(run, large, (urls[1], f"{origin.url}/large.bin")):
                    rate = read_rate(url, scale.read_seconds, scale.read_bytes) / 1e9
                    large[name].append(rate)
                    bench.say(f"  run {run + 1}, {name}: {rate:.2f} GB/s")
    ours, theirs = (Series(name, "requests/s", tuple(samples)) for name, samples in small.items())
    our_bytes, their_bytes = (Series(name, "GB/s", tuple(samples)) for name, samples in large.items())
    return RowResult(
        "reads",
        f"reads straight from the target: 16 KiB by wrk over {_CONNECTIONS} kept connections, "
        f"{large_name} over one connection; tmpfs",
        (ours, theirs, our_bytes, their_bytes),
        (
            ratio(ours, theirs, 0.15, 0.4),
            Figure(our_bytes.name, our_bytes.median, "GB/s", "higher", 1.0, 2.5),
            ratio(our_bytes, their_bytes),
        ),
        ("the reader of the large object is a bare socket with a buffer of 256 KiB, the same one for both",),
        tuple(dict.fromkeys(problems)),
    )


def _turn(run: int, names: dict[str, list[float]], urls: tuple[str, str]) -> list[tuple[str, str]]:
    pairs = list(zip(names, urls, strict=True))
    return pairs[::-1] if run % 2 else pairs


def _download(endpoint: str, origin_url: str) -> tuple[str, str]:
    """Bring both objects into the cluster; returns their URLs at the target."""
    with HaulClient(endpoint) as client:
        for name in ("small.bin", "large.bin"):
            job = single_job("bench", name, f"{origin_url}/{name}")
            client.run_job(job, timeout_seconds=_JOB_SECONDS, poll_seconds=0.02)
        return client.locate("bench", "small.bin"), client.locate("bench", "large.bin")
