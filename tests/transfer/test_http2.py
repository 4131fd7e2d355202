"""HTTP/2 from a real server: many small objects share a few connections, and others still get their own."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from common.errors import Retry
from target.transfer.request import FetchError, FetchRequest, Receipt
from tests.origin import Origin
from tests.transfer.driving import Collector, fetch_all, make_engine, run
from tests.waiting import wait_for

COUNT = 300
_NGINX = """\
user {user} {group};
worker_processes 1;
daemon off;
pid {state}/nginx.pid;
error_log {state}/error.log error;
events {{ worker_connections 1024; }}
http {{
  log_format told '$connection $server_protocol $status';
  access_log {state}/access.log told;
  keepalive_requests {keepalive_requests};
  client_body_temp_path {state}/body;
  proxy_temp_path {state}/proxy;
  fastcgi_temp_path {state}/fastcgi;
  uwsgi_temp_path {state}/uwsgi;
  scgi_temp_path {state}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl http2;
    ssl_certificate {certificates}/cert.pem;
    ssl_certificate_key {certificates}/key.pem;
    root {state}/files;
  }}
}}
"""


@contextmanager
def nginx(state: Path, certificates: Path, keepalive_requests: int) -> Iterator[str]:
    """A server of COUNT files `/0`, `/1`, … of about 4 KiB; its URL."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "nginx is missing: make debian"
    (state / "files").mkdir()
    for number in range(COUNT):
        (state / "files" / str(number)).write_bytes(body(number))
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    state.chmod(0o755)
    text = _NGINX.format(
        user=user, group=group, state=state, port=port, certificates=certificates, keepalive_requests=keepalive_requests
    )
    (state / "nginx.conf").write_text(text)
    command = [program, "-p", str(state), "-c", str(state / "nginx.conf"), "-e", str(state / "error.log")]
    with subprocess.Popen(command) as process:
        try:
            wait_for(lambda: _accepts(port), what="nginx")
            yield f"https://127.0.0.1:{port}"
        finally:
            process.terminate()


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def body(number: int) -> bytes:
    return f"{number:04}".encode() * (1000 + number)


def told(state: Path) -> list[list[str]]:
    """Connection, protocol and status of each request that the server has seen."""
    return [line.split() for line in (state / "access.log").read_text().splitlines()]


def test_many_small_objects_share_a_few_connections(tmp_path: Path, certificates: Path) -> None:
    engine = make_engine(ca_file=str(certificates / "cert.pem"))
    with nginx(tmp_path, certificates, 100_000) as url:
        sinks = [Collector() for _ in range(COUNT)]
        for number, sink in enumerate(sinks):
            engine.start(number, FetchRequest(f"{url}/{number}"), sink)
        completions = run(engine)
        engine.close()
    assert all(isinstance(completion.result, Receipt) for completion in completions)
    assert [bytes(sink.data) for sink in sinks] == [body(number) for number in range(COUNT)]
    requests = told(tmp_path)
    assert {protocol for _, protocol, _ in requests} == {"HTTP/2.0"}
    assert len({connection for connection, *_ in requests}) <= COUNT // 20


def test_a_server_that_ends_its_connections_again_and_again_loses_nothing(tmp_path: Path, certificates: Path) -> None:
    """A GOAWAY after every 20 requests: what it cuts off may be asked for again."""
    engine = make_engine(ca_file=str(certificates / "cert.pem"))
    with nginx(tmp_path, certificates, 20) as url:
        left = set(range(COUNT))
        for _ in range(10):
            sinks = {number: Collector() for number in sorted(left)}
            for number, sink in sinks.items():
                engine.start(number, FetchRequest(f"{url}/{number}"), sink)
            for completion in run(engine):
                if isinstance(completion.result, Receipt):
                    assert isinstance(completion.token, int)
                    assert bytes(sinks[completion.token].data) == body(completion.token)
                    left.discard(completion.token)
                else:
                    assert isinstance(completion.result, FetchError)
                    assert completion.result.retry is Retry.LATER
            if not left:
                break
        engine.close()
    assert not left


@pytest.mark.parametrize("uses_tls", [True, False])
def test_servers_without_it_get_a_connection_for_each(
    server_context: ssl.SSLContext, certificates: Path, uses_tls: bool
) -> None:
    engine = make_engine(ca_file=str(certificates / "cert.pem"))
    with Origin(ssl_context=server_context if uses_tls else None) as origin:
        links = [origin.put(f"/{number}", b"x") for number in range(10)]
        first = fetch_all(engine, [FetchRequest(origin.put("/first", b"x"))], Collector())
        assert isinstance(first[0], Receipt)
        gates = [origin.gate(f"/{number}") for number in range(10)]
        for link in links:
            engine.start(link, FetchRequest(link), Collector())
        run(engine, until=lambda: sum(origin.counts().values()) == 11)
        for gate in gates:
            gate.release()
        assert all(isinstance(completion.result, Receipt) for completion in run(engine))
        assert origin.connections >= 10
    engine.close()
