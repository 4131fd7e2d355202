"""What a user would otherwise run: curl and aria2c for downloads, wrk and a bare socket for reads; a call, a sample."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.errors import BenchError
from bench.processes import run_timed, tool

_TIMEOUT_SECONDS = 300
_READ_BUFFER_BYTES = 256 << 10
_WRK_RATE = re.compile(r"Requests/sec:\s+([0-9.]+)")
_WRK_ERRORS = re.compile(r"(Non-2xx.*|Socket errors.*)")


@dataclass(frozen=True, slots=True)
class Sample:
    """How long something took, and what makes that doubtful."""

    seconds: float
    problems: tuple[str, ...] = ()


def curl(links: Sequence[str], directory: Path, parallel: int) -> Sample:
    """`curl -Z --parallel-max N` with a configuration file of links, into a flat directory."""
    lines = (f'url = "{link}"\noutput = "{directory}/{link.rpartition("/")[2]}"\n' for link in links)
    listing = directory.with_name(f"{directory.name}.curl")
    listing.write_text("".join(lines), encoding="utf-8")
    command = [tool("curl"), "-q", "-s", "-S", "--no-progress-meter", "--fail"]
    command += ["-Z", "--parallel-max", str(parallel), "--config", str(listing)]
    return _download("curl", command, directory, len(links))


def aria2(links: Sequence[str], directory: Path, parallel: int) -> Sample:
    """`aria2c -jN -x1` with an input file of links; files are not preallocated."""
    listing = directory.with_name(f"{directory.name}.aria2")
    listing.write_text("".join(f"{link}\n" for link in links), encoding="utf-8")
    command = [tool("aria2c"), "--no-conf", "--quiet", f"-j{parallel}", "-x1", "-s1", "--file-allocation=none"]
    command += ["--summary-interval=0", "-d", str(directory), "-i", str(listing)]
    return _download("aria2c", command, directory, len(links))


def aria2_split(link: str, directory: Path, connections: int) -> Sample:
    """`aria2c -xN -sN` for one object, from its start."""
    command = [tool("aria2c"), "--no-conf", "--quiet", f"-x{connections}", f"-s{connections}", "-k1M"]
    command += ["--file-allocation=none", "--summary-interval=0", "-d", str(directory), link]
    return _download("aria2c", command, directory, 1)


def curl_heads(links: Sequence[str], directory: Path, parallel: int) -> Sample:
    """`curl -Z -I --parallel-max N`: the head of every link."""
    listing = directory / "links.curl"
    listing.write_text("".join(f'url = "{link}"\noutput = "/dev/null"\n' for link in links), encoding="utf-8")
    command = [tool("curl"), "-q", "-s", "-S", "-I", "--no-progress-meter", "--fail"]
    command += ["-Z", "--parallel-max", str(parallel), "--config", str(listing)]
    seconds, output, status = run_timed(command, _TIMEOUT_SECONDS)
    return Sample(seconds, () if status == 0 else (f"curl ended with status {status}: {output.strip()[-200:]}",))


def _download(name: str, command: Sequence[str], directory: Path, expected: int) -> Sample:
    seconds, output, status = run_timed(command, _TIMEOUT_SECONDS)
    problems = []
    if status != 0:
        problems.append(f"{name} ended with status {status}: {output.strip()[-200:]}")
    if (count := sum(1 for _ in directory.iterdir())) != expected:
        problems.append(f"{name} wrote {count} of {expected} files")
    return Sample(seconds, tuple(problems))


def curl_one(link: str, file: Path) -> Sample:
    """One curl process for one object, start to exit."""
    seconds, output, status = run_timed([tool("curl"), "-q", "-s", "-S", "--fail", "-o", str(file), link], 60)
    return Sample(seconds, () if status == 0 else (f"curl ended with status {status}: {output.strip()[-200:]}",))


def sync_seconds(directory: Path) -> float:
    """How long it takes to make everything on the directory's file system durable now."""
    start = time.perf_counter()
    run_timed([tool("sync"), "-f", str(directory)], _TIMEOUT_SECONDS)
    return time.perf_counter() - start


def wrk(link: str, connections: int, seconds: int) -> tuple[float, tuple[str, ...]]:
    """Requests per second over kept connections, and problems."""
    command = [tool("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", link]
    _, output, status = run_timed(command, seconds + 30)
    found = _WRK_RATE.search(output)
    if status != 0 or found is None:
        raise BenchError(f"wrk failed: {output.strip()[-300:]}")
    return float(found[1]), tuple(f"wrk: {error.strip()}" for error in _WRK_ERRORS.findall(output))


def read_rate(link: str, seconds: float, expected_bytes: int) -> float:
    """Bytes per second of reading one object again and again over one kept connection, into one buffer."""
    parts = urlsplit(link)
    request = f"GET {parts.path}{'?' + parts.query if parts.query else ''} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n"
    buffer = memoryview(bytearray(_READ_BUFFER_BYTES))
    total = 0
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=30) as connection:
        start = time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds or not total:
            connection.sendall(request.encode())
            total += _read_answer(connection, buffer, expected_bytes)
        elapsed = time.perf_counter() - start
    return total / elapsed


def _read_answer(connection: socket.socket, buffer: memoryview, expected_bytes: int) -> int:
    filled = 0
    while (end := bytes(buffer[:filled]).find(b"\r\n\r\n")) < 0:
        received = connection.recv_into(buffer[filled : filled + 8192])
        if not received:
            raise BenchError("the connection was closed inside an answer's head")
        filled += received
    if not buffer[:12].tobytes().endswith(b" 200"):
        raise BenchError(f"a read was answered {bytes(buffer[:filled])[:600]!r}")
    left = expected_bytes - (filled - end - 4)
    while left:
        received = connection.recv_into(buffer, min(left, len(buffer)))
        if not received:
            raise BenchError(f"a read ended {left} bytes early")
        left -= received
    return expected_bytes
