"""Files of real FTP and SFTP servers: fetched, in parts, skipped when unchanged, and refused with a reason."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.errors import Retry
from target.transfer.egress import EgressGuard
from target.transfer.engine import Engine
from target.transfer.request import Enough, FetchError, FetchRequest, Part, Receipt, ResponseHead
from target.transfer.verification import strong_validator
from tests.faults import Status
from tests.fileservers import FtpServer, Server, SftpServer, known_hosts_of, serving
from tests.origin import Origin
from tests.transfer.driving import LOOPBACK, Collector, failure, fetch, fetch_all, make_engine, receipt

BODY = random.Random(3).randbytes(600_000)
MODIFIED = "Tue, 14 Nov 2023 22:13:20 GMT"


@pytest.fixture(params=["ftp", "sftp"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    files = {"a.bin": BODY, "empty": b"", "some folder/ü #1": b"odd name"}
    with serving(request.param, tmp_path / "files", files) as running:
        yield running


@pytest.fixture
def files(server: Server, tmp_path: Path) -> Iterator[Engine]:
    engine = make_engine(known_hosts_file=str(known_hosts_of(server, tmp_path)))
    yield engine
    engine.close()


def test_a_file_has_a_size_and_a_validator(files: Engine, server: Server) -> None:
    result, collector = fetch(files, server.url("/a.bin"))
    assert isinstance(result, Receipt), result
    assert bytes(collector.data) == BODY
    head = result.head
    assert (result.status, result.size_bytes, head.content_length) == (200, len(BODY), len(BODY))
    assert head.headers["accept-ranges"] == "bytes"
    assert strong_validator(head) == head.last_modified == MODIFIED


def test_empty_and_odd_names(files: Engine, server: Server) -> None:
    assert receipt(files, server.url("/empty"))[1] == b""
    assert receipt(files, server.url("/some%20folder/%C3%BC%20%231"))[1] == b"odd name"


def test_many_share_connections(files: Engine, server: Server) -> None:
    for _ in range(5):
        assert receipt(files, server.url("/a.bin"))[1] == BODY
    if isinstance(server, FtpServer):
        assert server.commands.count("PASS") == 1
    requests = [FetchRequest(server.url("/a.bin"))] * 8
    results = fetch_all(files, requests, Collector())
    assert all(isinstance(result, Receipt) for result in results), results


@pytest.mark.parametrize(("start", "end"), [(0, 10), (1000, 250_000), (599_999, 600_000), (0, 600_000)])
def test_a_part(files: Engine, server: Server, start: int, end: int) -> None:
    part = Part(start, end, len(BODY), MODIFIED)
    for _ in range(2):
        result, body = receipt(files, FetchRequest(server.url("/a.bin"), part=part))
        assert (result.status, body) == (206, BODY[start:end])
    assert receipt(files, server.url("/a.bin"))[1] == BODY, "the range must be gone"


def test_a_part_of_another_version_is_not_taken(files: Engine, server: Server) -> None:
    part = Part(10, 20, len(BODY), "Mon, 13 Nov 2023 00:00:00 GMT")
    heads: list[ResponseHead] = []

    def refuse(head: ResponseHead) -> Collector:
        heads.append(head)
        raise Enough("not that")

    fetch_all(files, [FetchRequest(server.url("/a.bin"), part=part)], refuse)
    assert [(head.status, head.last_modified) for head in heads] == [(200, MODIFIED)]
    assert failure(files, FetchRequest(server.url("/a.bin"), part=Part(10, 20, 12345, MODIFIED))).kind == "range"


def test_unchanged(files: Engine, server: Server) -> None:
    asked = FetchRequest(server.url("/a.bin"), conditional=(f"If-Modified-Since: {MODIFIED}",))
    result, collector = fetch(files, asked)
    assert isinstance(result, Receipt), result
    assert (result.status, collector.heads) == (304, [])
    if isinstance(server, FtpServer):
        assert server.data_connections == 0
    else:
        assert server.reads == 0
    changed = asked._replace(conditional=("If-Modified-Since: Mon, 13 Nov 2023 00:00:00 GMT",))
    assert receipt(files, changed)[1] == BODY


def test_a_head_only(files: Engine, server: Server) -> None:
    result, collector = fetch(files, FetchRequest(server.url("/a.bin"), head_only=True))
    assert isinstance(result, Receipt), result
    assert (result.head.content_length, result.head.last_modified, collector.heads) == (len(BODY), MODIFIED, [])


def test_what_is_not_there(files: Engine, server: Server) -> None:
    for path in ("/nope", "/none/such"):
        error = failure(files, server.url(path))
        assert (error.kind, error.retry, error.http_status) == ("status", Retry.NEVER, 404)
        assert str(error).endswith(f"{path} does not exist")
        assert "secret" not in str(error)


def test_a_wrong_password(files: Engine, server: Server) -> None:
    error = failure(files, server.url("/a.bin", user="user:canary"))
    assert (error.kind, error.retry, error.http_status) == ("status", Retry.NEVER, 401)
    assert "login refused" in str(error)
    assert "canary" not in str(error)


def test_a_break(files: Engine, server: Server) -> None:
    server.drop_after = 100_000
    error = failure(files, server.url("/a.bin"))
    assert error.retry is Retry.LATER, error
    assert receipt(files, server.url("/a.bin"))[1] == BODY


def test_a_break_before_anything_was_told_is_no_empty_file(tmp_path: Path) -> None:
    with serving("sftp", tmp_path / "files", {"a.bin": BODY}) as server:
        assert isinstance(server, SftpServer)
        engine = make_engine(known_hosts_file=str(known_hosts_of(server, tmp_path)))
        with contextlib.closing(engine):
            server.stats_to_drop = 1
            assert receipt(engine, server.url("/a.bin"))[1] == BODY
            server.stats_to_drop = 1000
            error = failure(engine, server.url("/a.bin"))
            assert error.retry is Retry.LATER, error
            server.stats_to_drop = 0
            assert receipt(engine, server.url("/a.bin"))[1] == BODY


def test_the_guard_is_asked(server: Server, tmp_path: Path) -> None:
    (tmp_path / "known").touch()
    engine = make_engine(guard=EgressGuard(), known_hosts_file=str(tmp_path / "known"))
    error = failure(engine, server.url("/a.bin"))
    engine.close()
    assert (error.kind, error.retry) == ("egress", Retry.NEVER)
    if isinstance(server, FtpServer):
        assert server.commands == []


def test_a_data_connection_into_the_cluster_is_refused(files: Engine, server: Server) -> None:
    """An FTP server chooses the port of the data connection: it must not become a way to the cluster's own."""
    if isinstance(server, SftpServer):
        return
    guard = EgressGuard(LOOPBACK, [("127.0.0.1", port) for port in range(1024, 65536) if port != server.port])
    engine = make_engine(guard=guard)
    error = failure(engine, server.url("/a.bin"))
    engine.close()
    assert (error.kind, error.retry) == ("egress", Retry.NEVER)
    assert server.data_connections == 0


@pytest.mark.parametrize("known", [None, "", "other"])
def test_an_ssh_host_must_be_known(tmp_path: Path, known: str | None) -> None:
    with SftpServer(tmp_path) as server:
        path = tmp_path / "known_hosts"
        path.write_text(server.known_hosts[:-12] + "AAAAAAAAAAAA" if known == "other" else "")
        engine = make_engine(known_hosts_file="" if known is None else str(path))
        error = failure(engine, server.url("/a.bin"))
        engine.close()
    assert (error.kind, error.retry) == ("tls", Retry.NEVER)
    assert "known_hosts" in str(error)


def test_no_redirect_leads_here(files: Engine, server: Server, origin: Origin) -> None:
    origin.misbehave("/r", Status(302, {"Location": server.url("/a.bin")}))
    assert failure(files, origin.url("/r")).kind == "redirect"


def test_a_server_of_http_is_none_of_files(origin: Origin) -> None:
    engine = make_engine(connect_timeout_seconds=1.0)
    error = failure(engine, f"ftp://127.0.0.1:{origin.port}/a")
    assert error.retry is Retry.LATER
    engine.close()


def test_a_server_that_is_busy_and_one_that_does_not_want() -> None:
    busy = _met_with(b"421 too many connections\r\n")
    assert (busy.kind, busy.retry, busy.slows_host) == ("status", Retry.LATER, True)
    unwilling = _met_with(b"500 no\r\n")
    assert (unwilling.kind, unwilling.retry) == ("protocol", Retry.NEVER)
    assert "FTP" in str(unwilling)


def test_a_server_that_never_ends_its_greeting_takes_no_memory() -> None:
    sizes = [_resident_bytes()]
    greeting = b"220-welcome to this server\r\n" * 1000
    assert _met_with(greeting, and_again=lambda: sizes.append(_resident_bytes())).retry is Retry.LATER
    assert len(sizes) > 100, "much of it has been sent"
    assert max(sizes) - sizes[0] < 32 << 20


def _met_with(greeting: bytes, and_again: Callable[[], object] | None = None) -> FetchError:
    """The error of a fetch from an FTP server that says this once, or for ever, and calls `and_again` each time."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            client, _ = listener.accept()
            with client, contextlib.suppress(OSError):
                client.sendall(greeting)
                while and_again is not None:
                    client.sendall(greeting)
                    and_again()

        thread = threading.Thread(target=greet)
        thread.start()
        engine = make_engine(connect_timeout_seconds=1.0)
        error = failure(engine, f"ftp://127.0.0.1:{listener.getsockname()[1]}/a")
        engine.close()
        thread.join()
    return error


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
