"""A target that is killed while uploads come in pieces: what it has acknowledged is there, and nothing else."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from xxhash import xxh64_hexdigest

from tests.nodes import Nodes
from tests.storage.disks import files_below
from tests.waiting import wait_for

PATH = "/v1/objects/b/x"
PART, HALF_BYTES = b"p" * 3_000_000, 2_000_000


def half_a_body(location: str) -> socket.socket:
    """A PUT that has sent two thirds of its body, and then says nothing."""
    url = urlsplit(location)
    connection = socket.create_connection((url.hostname, url.port))
    head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(PART)}\r\n\r\n"
    connection.sendall(head.encode() + PART[:HALF_BYTES])
    return connection


@pytest.mark.parametrize("durability", ["process", "power-loss"])
def test_pieces_outlive_the_process(tmp_path: Path, durability: str) -> None:
    settings = {"durability": durability}
    patient = {"failover_grace_seconds": 60.0}
    with Nodes(tmp_path, targets=1, proxies=1, target_settings=settings, proxy_settings=patient) as nodes:
        nodes.api.create_bucket("b")
        with httpx.Client(base_url=nodes.urls["p1"], follow_redirects=True, timeout=30) as http:
            upload_id = http.post(PATH, json={"action": "mpt-upload"}).text
            part = {"uploadId": upload_id, "partNumber": 1}
            assert http.put(PATH, params=part, content=PART).status_code == 200
            handle = http.put(PATH, params={"append_type": "append"}, content=b"begin ").headers["ais-append-handle"]
            going = [
                {"uploadId": upload_id, "partNumber": 2},
                {"append_type": "append", "append_handle": handle},
            ]
            connections = []
            for params in going:
                answer = http.put(PATH, params=params, follow_redirects=False)
                connections.append(half_a_body(answer.headers["location"]))
            wait_for(lambda: [path for path in files_below(tmp_path) if "/%wk/" in path], what="half a part")
            wait_for(lambda: largest_tail(tmp_path) > 1 << 20, what="half an appended piece")
            nodes.kill("t1")
            for connection in connections:
                connection.close()
            nodes.start("t1")
            nodes.wait_until_ready()
            assert not [path for path in files_below(tmp_path) if "/%wk/" in path]
            parts = http.get(PATH, params={"uploadId": upload_id}).json()
            assert [(one["part-number"], one["size"]) for one in parts] == [(1, len(PART))]
            flush = {"append_type": "flush", "append_handle": handle}
            assert http.put(PATH, params=flush, content=b"end").status_code == 200
            assert http.get(PATH).content == b"begin end"
            value = [{"part-number": 1, "etag": parts[0]["etag"]}]
            done = http.post(PATH, params={"uploadId": upload_id}, json={"action": "mpt-complete", "value": value})
            assert done.status_code == 200, done.text
            answer = http.get(PATH)
            assert answer.content == PART
            assert answer.headers["ais-checksum-value"] == xxh64_hexdigest(PART)
            assert not [path for path in files_below(tmp_path) if "/%mp/" in path]


def largest_tail(directory: Path) -> int:
    sizes = [(directory / path).stat().st_size for path in files_below(directory) if path.endswith("/tail")]
    return max(sizes, default=0)
