"""How many small objects one lane's engine fetches and hashes per second, from an nginx on loopback.

python -m bench.engine_probe [objects] [object bytes] [connections] [lanes]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path

import xxhash

from target.transfer.egress import EgressGuard
from target.transfer.engine import Engine
from target.transfer.request import FetchRequest, Receipt, ResponseHead, TransferSettings

FILES_BYTES = 64 << 20
NGINX = """worker_processes 1; daemon off; pid {dir}/pid; error_log {dir}/error.log;
events {{ worker_connections 4096; }}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; open_file_cache max=10000;
client_body_temp_path {dir}/t; proxy_temp_path {dir}/t; fastcgi_temp_path {dir}/t; uwsgi_temp_path {dir}/t;
scgi_temp_path {dir}/t; server {{ listen 127.0.0.1:{port}; root {dir}/www; }} }}
"""


class HashingSink:
    """Stands for storage: hashes and forgets."""

    def __init__(self, _head: ResponseHead) -> None:
        self._hash = xxhash.xxh64()
        self.write = self._hash.update


def run_lane(urls: list[str], connections: int) -> None:
    """Fetch all `urls`, keeping `connections` of them going."""
    engine = Engine(TransferSettings(), EgressGuard([ip_network("127.0.0.0/8")]))
    queue = iter(urls)
    waiting = len(urls)
    for token, url in zip(range(connections), queue, strict=False):
        engine.start(token, FetchRequest(url), HashingSink)
    while waiting:
        for completion in engine.poll(1.0):
            assert isinstance(completion.result, Receipt), completion.result
            waiting -= 1
            url = next(queue, "")
            if url:
                engine.start(completion.token, FetchRequest(url), HashingSink)
    engine.close()


def main(objects: int = 40_000, object_bytes: int = 16_384, connections: int = 32, lanes: int = 1) -> None:
    """Start nginx over a few random files, fetch them from all lanes at once, print the rate."""
    sys.setswitchinterval(0.0005)
    with tempfile.TemporaryDirectory() as directory:
        port = 18_000 + os.getpid() % 10_000
        www = Path(directory, "www")
        www.mkdir()
        Path(directory).chmod(0o755)
        files = max(1, min(500, objects, FILES_BYTES // object_bytes))
        for number in range(files):
            (www / str(number)).write_bytes(os.urandom(object_bytes))
        Path(directory, "nginx.conf").write_text(NGINX.format(dir=directory, port=port))
        with subprocess.Popen(["/usr/sbin/nginx", "-c", f"{directory}/nginx.conf"]) as nginx:
            while not Path(directory, "pid").exists() or not Path(directory, "pid").read_text():
                time.sleep(0.01)
            urls = [f"http://127.0.0.1:{port}/{number % files}" for number in range(objects // lanes)]
            started, cpu = time.perf_counter(), time.process_time()
            try:
                with ThreadPoolExecutor(lanes) as executor:
                    list(executor.map(run_lane, [urls] * lanes, [connections] * lanes))
            finally:
                nginx.terminate()
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    done = len(urls) * lanes
    megabytes = done * object_bytes / 1e6
    print(
        f"{done} x {object_bytes} B, {lanes} lane(s) x {connections} connections: {done / seconds:,.0f} objects/s, "
        f"{megabytes / seconds:,.0f} MB/s, {cpu / done * 1e6:.1f} us of CPU per object"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
