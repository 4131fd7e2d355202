"""The web servers that objects come from: nginx on loopback, and a server of ours that answers late on purpose."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Service, accepts, free_port, tool

SAME_PREFIX = "same"
"""Every name under `/same/` is answered with the file `same.bin`: an origin of any number of objects."""
CAPPED_PREFIX = "capped"
"""Files below `/capped/` come at CAPPED_RATE_BYTES a second over each connection."""
CAPPED_RATE_BYTES = 16 << 20
PASSED_PREFIX = "passed"
"""Below `/passed/` are all the files again, which the server asks itself for, over kept connections."""

_NGINX = """\
user {user} {group};
worker_processes 1;
daemon off;
pid {state}/nginx.pid;
error_log {state}/error.log error;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  aio off;
  tcp_nopush on;
  keepalive_requests 100000000;
  keepalive_timeout 300s;
  default_type application/octet-stream;
  client_body_temp_path {state}/body;
  proxy_temp_path {state}/proxy;
  fastcgi_temp_path {state}/fastcgi;
  uwsgi_temp_path {state}/uwsgi;
  scgi_temp_path {state}/scgi;
  upstream itself {{ server 127.0.0.1:{port}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    root {root};
    location /{same}/ {{ rewrite ^ /same.bin break; }}
    location /{capped}/ {{ limit_rate {capped_rate}; }}
    location /{passed}/ {{
      proxy_pass http://itself/;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_max_temp_file_size 0;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """A running web server."""

    url: str


@contextlib.contextmanager
def nginx(root: Path, state: Path) -> Iterator[Origin]:
    """Nginx with one worker that serves `root` as this user; `state` is an empty directory for its own files."""
    program, port = tool("nginx"), free_port()
    user = pwd.getpwuid(os.geteuid()).pw_name
    group = grp.getgrgid(os.getegid()).gr_name
    configuration = state / "nginx.conf"
    configuration.write_text(
        _NGINX.format(
            user=user,
            group=group,
            state=state,
            port=port,
            root=root,
            same=SAME_PREFIX,
            capped=CAPPED_PREFIX,
            passed=PASSED_PREFIX,
            capped_rate=CAPPED_RATE_BYTES,
        ),
        encoding="utf-8",
    )
    command = [program, "-p", str(state), "-c", str(configuration), "-e", str(state / "error.log")]
    with Service(command, lambda: accepts(port), state / "nginx.out"):
        yield Origin(f"http://127.0.0.1:{port}")


@contextlib.contextmanager
def delayed(body_bytes: int, delay_seconds: float, state: Path) -> Iterator[Origin]:
    """A server that answers every GET with the same body after a delay, in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "bench.delay_origin", str(port), str(body_bytes), str(delay_seconds)]
    with Service(command, lambda: accepts(port), state / "delay-origin.out"):
        yield Origin(f"http://127.0.0.1:{port}")
