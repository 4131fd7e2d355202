"""A stand-in for a cluster: one proxy and one target as real HTTP servers, just enough of the dialect for the client.

It redirects objects from the proxy to the target as the real ones do, and plays back job statuses that a test has set.
"""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import xxhash

EPOCH = "1970-01-01T00:00:00Z"


class Cluster:
    """State, and what has been asked for."""

    def __init__(self) -> None:
        self.buckets: dict[str, dict[str, bytes]] = {}
        self.posted: list[dict[str, Any]] = []
        self.aborted: list[str] = []
        self.removed: list[str] = []
        self.asked: list[tuple[str, str, dict[str, str], dict[str, Any]]] = []
        """Method, bucket, query and body of what was asked about buckets elsewhere, and of changed properties."""
        self.outside: dict[str, list[dict[str, Any]]] = {}
        """What is listed of buckets elsewhere."""
        self.puts: list[tuple[str, int]] = []
        self.statuses: dict[str, list[dict[str, Any]]] = {}
        self.cluster_jobs: dict[str, list[dict[str, Any]]] = {}
        """Statuses of jobs that are no downloads, like `statuses`."""
        self.stopped: list[str] = []
        self.refuse_download: tuple[int, str] | None = None
        self.corrupt_reads = False
        self.cut_reads = False
        self.failing_statuses = 0
        self.page_limit = 2
        self.proxy = _serve(self, "proxy")
        self.target = _serve(self, "target")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.proxy.server_address[1]}"

    @property
    def target_url(self) -> str:
        return f"http://127.0.0.1:{self.target.server_address[1]}"

    def close(self) -> None:
        for server in (self.proxy, self.target):
            server.shutdown()
            server.server_close()


def job(job_id: str, **fields: Any) -> dict[str, Any]:
    """A finished job of one object, with other fields where given."""
    return {
        "id": job_id,
        "xaction_id": "x",
        "description": "a job",
        "started_time": "2026-11-23T01:38:15.5Z",
        "finished_time": "2026-11-23T01:38:17.5Z",
        "finished_cnt": 1,
        "scheduled_cnt": 1,
        "skipped_cnt": 0,
        "error_cnt": 0,
        "total": 1,
        "all_dispatched": True,
        "aborted": False,
    } | fields


class _Error(Exception):
    def __init__(self, status: int, message: str, tcode: str = "") -> None:
        self.status = status
        self.message = message
        self.tcode = tcode


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    cluster: Cluster
    role: str

    def log_message(self, *args: object) -> None:
        pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        body = self._body()
        try:
            route = re.match(r"/v1/(\w+)/?(.*)", parts.path, re.DOTALL)
            if not route:
                raise _Error(400, f"invalid request URI {parts.path}")
            getattr(self, f"_{route[1]}")(route[2], parse_qs(parts.query), body)
        except _Error as error:
            text = json.dumps({"tcode": error.tcode, "message": error.message, "status": error.status}).encode()
            self._answer(error.status, text, {"Content-Type": "application/json"})

    def __getattr__(self, name: str) -> Any:
        """http.server calls do_GET and so on."""
        if name.startswith("do_"):
            return self._handle
        raise AttributeError(name)

    def _health(self, rest: str, query: object, body: bytes) -> None:
        self._answer(200)

    def _daemon(self, rest: str, query: dict[str, list[str]], body: bytes) -> None:
        if query["what"] == ["mountpaths"]:
            self._answer(200, json.dumps({"available": ["/data/mp1", "/data/mp2"]}).encode())
            return
        cluster = self.cluster
        proxy = {"daemon_id": "p1", "public_net": {"direct_url": cluster.url}}
        target = {"daemon_id": "t1", "public_net": {"direct_url": cluster.target_url}}
        gone = {"daemon_id": "t2", "public_net": {"direct_url": "http://127.0.0.1:9"}}
        smap = {"pmap": {"p1": proxy}, "tmap": {"t1": target, "t2": gone}, "proxy_si": proxy}
        self._answer(200, json.dumps(smap | {"uuid": "c1", "version": "3"}).encode())

    def _cluster(self, rest: str, query: dict[str, list[str]], body: bytes) -> None:
        message, jobs = json.loads(body), self.cluster.cluster_jobs
        if self.command == "PUT":
            self.cluster.stopped.append(message["value"]["id"])
            self._answer(200)
        elif query["what"] == ["running_all"]:
            running = [(job_id, found[0]) for job_id, found in jobs.items() if not found[0]["end_time"]]
            self._answer(200, json.dumps([f"{found['kind']}[{job_id}]" for job_id, found in running]).encode())
        elif message["id"] not in jobs:
            raise _Error(404, f'"{message["id"]}" not found', "ErrXactNotFound")
        elif query["what"] == ["status"]:
            found = jobs[message["id"]]
            self._answer(200, json.dumps(found.pop(0) if len(found) > 1 else found[0]).encode())
        else:
            stats = {"loc-objs": "2", "loc-bytes": "2048"}
            self._answer(200, json.dumps({"t1": [{"id": message["id"], "kind": "copy-bck", "stats": stats}]}).encode())

    def _bucket(self, name: str) -> dict[str, bytes]:
        if name not in self.cluster.buckets:
            raise _Error(404, f'bucket "ais://{name}" does not exist', "ErrBckNotFound")
        return self.cluster.buckets[name]

    def _buckets(self, name: str, query: dict[str, list[str]], body: bytes) -> None:
        if self.command == "HEAD":
            self._bucket(name)
            none = {"name": "", "provider": "", "namespace": {"uuid": "", "name": ""}}
            props = {"backend_bck": none, "mirror": {"copies": 2, "enabled": False}, "bid": "7"}
            self._answer(200, headers={"Ais-Bucket-Props": json.dumps(props)})
            return
        message = json.loads(body)
        action = message["action"]
        if action in {"evict-remote-bck", "evict-listrange", "prefetch-listrange", "set-bprops", "reset-bprops"}:
            asked = {key: values[0] for key, values in query.items()}
            self.cluster.asked.append((self.command, name, asked, message))
            self._answer(200, b"dnl-9" if action.endswith("listrange") else b"")
        elif name in self.cluster.outside and action == "list":
            self.cluster.asked.append((self.command, name, {key: v[0] for key, v in query.items()}, message))
            entries = self.cluster.outside[name]
            self._answer(200, json.dumps({"uuid": "u", "continuation_token": "", "entries": entries}).encode())
        elif action == "create-bck":
            if name in self.cluster.buckets:
                raise _Error(409, f'bucket "ais://{name}" already exists', "ErrBucketAlreadyExists")
            self.cluster.buckets[name] = {}
            self._answer(200)
        elif action == "destroy-bck":
            self._bucket(name)
            del self.cluster.buckets[name]
            self._answer(200)
        elif not name:
            found = [
                {"name": b, "provider": "ais", "namespace": {"uuid": "", "name": ""}} for b in self.cluster.buckets
            ]
            self._answer(200, json.dumps(found).encode())
        else:
            self._answer(200, json.dumps(self._page(name, message["value"])).encode())

    def _page(self, name: str, value: dict[str, Any]) -> dict[str, Any]:
        objects = self._bucket(name)
        token = value.get("continuation_token", "")
        names = sorted(n for n in objects if n.startswith(value["prefix"]) and n > token)
        page = names[: min(value["pagesize"], self.cluster.page_limit)]
        entries = [
            {"name": n, "checksum": xxhash.xxh64_hexdigest(objects[n]), "version": "1", "flags": 64} for n in page
        ]
        for entry in entries:
            if objects[entry["name"]]:
                entry["size"] = str(len(objects[entry["name"]]))
        more = len(names) > len(page)
        return {"uuid": "u", "continuation_token": page[-1] if more else "", "entries": entries or None, "flags": 0}

    def _objects(self, rest: str, query: dict[str, list[str]], body: bytes) -> None:
        bucket, _, encoded = rest.partition("/")
        name = unquote(encoded)
        objects = self._bucket(bucket)
        if self.role == "proxy":
            status = 301 if self.command == "GET" else 307
            self._answer(status, headers={"Location": f"{self.cluster.target_url}{self.path}&pid=p1&utm=1"})
            return
        if self.command == "PUT":
            self._put(objects, name, body)
            return
        if name not in objects:
            raise _Error(404, f"t[t1]: ais://{bucket}/{name} does not exist", "ErrNotFound")
        if self.command == "DELETE":
            del objects[name]
            self._answer(200)
            return
        self._get(objects[name])

    def _put(self, objects: dict[str, bytes], name: str, body: bytes) -> None:
        digest = xxhash.xxh64_hexdigest(body)
        if self.headers.get("Ais-Checksum-Value", digest) != digest:
            raise _Error(400, "BAD DATA CHECKSUM", "ErrBadCksum")
        self.cluster.puts.append((name, len(body)))
        objects[name] = body
        self._answer(200, headers={"Ais-Checksum-Type": "xxhash2", "Ais-Checksum-Value": digest})

    def _get(self, content: bytes) -> None:
        headers = {
            "Ais-Checksum-Type": "xxhash2",
            "Ais-Checksum-Value": xxhash.xxh64_hexdigest(content),
            "Ais-Version": "1",
            "Ais-Location": "t[t1]:mp[/data/mp1]",
            "Ais-Custom-Md": "source=web",
        }
        status = 200
        if match := re.match(r"bytes=(\d+)-(\d*)\Z", self.headers.get("Range", "")):
            status = 206
            content = content[int(match[1]) : int(match[2]) + 1 if match[2] else None]
        if self.cluster.corrupt_reads:
            content = content[:-1] + b"!"
        if self.command == "HEAD" or self.cluster.cut_reads:
            headers["Content-Length"] = str(len(content))
        if self.cluster.cut_reads:
            self.close_connection = True
            content = content[:-1]
        self._answer(status, content, headers)

    def _download(self, rest: str, query: object, body: bytes) -> None:
        message = json.loads(body)
        cluster = self.cluster
        if self.command == "POST":
            if cluster.refuse_download:
                raise _Error(*cluster.refuse_download)
            cluster.posted.append(message)
            self._answer(200, b'{"id":"dnl-new"}')
        elif self.command == "DELETE":
            if message["id"] not in cluster.statuses:
                raise _Error(404, f"download job {message['id']} does not exist")
            (cluster.aborted if rest == "abort" else cluster.removed).append(message["id"])
            self._answer(200)
        elif message.get("id"):
            self._answer(200, json.dumps(self._status(message["id"])).encode())
        else:
            found = [statuses[0] for statuses in cluster.statuses.values()]
            found = [j for j in found if re.search(message["regex"], j["description"])]
            if message["only_active_tasks"]:
                found = [j for j in found if j["finished_time"] == EPOCH]
            self._answer(200, json.dumps(found).encode())

    def _status(self, job_id: str) -> dict[str, Any]:
        """The next status of the job; the last one stays."""
        if self.cluster.failing_statuses:
            self.cluster.failing_statuses -= 1
            raise _Error(503, "the meta store does not answer")
        statuses = self.cluster.statuses.get(job_id)
        if not statuses:
            raise _Error(404, f"download job {job_id} does not exist", "ErrNotFound")
        return statuses.pop(0) if len(statuses) > 1 else statuses[0]


def _serve(cluster: Cluster, role: str) -> ThreadingHTTPServer:
    handler = type("Handler", (_Handler,), {"cluster": cluster, "role": role})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server
