"""Speaks to a cluster as Go's `api` package of AIStore 5.0 and its `net/http` do, for want of the `ais` program itself.

Source: wire.md §0.2, §0.3, §0.4, §0.5, §9.2: bodies with GETs, uploads in chunks that are sent again behind a 307,
redirects that keep headers, msgpack asked for and JSON taken, errors from the body or from `Hdr-Error`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import msgpack

MAX_REDIRECTS = 10
JSON = "application/json"
MSGPACK = "application/msgpack"
_CHUNK_BYTES = 32 * 1024


@dataclass(frozen=True)
class Answer:
    """The last answer, after redirects; `hops` are the statuses of those."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    hops: tuple[int, ...] = ()

    def header(self, name: str) -> str:
        return str(self.headers.get(name, ""))


class GoError(Exception):
    """What `api` makes of a status that is none of 200, 202, 204 and 206."""

    def __init__(self, answer: Answer) -> None:
        text = answer.header("Hdr-Error") or answer.body.decode()
        try:
            fields = json.loads(text)
        except ValueError:
            fields = {"message": text}
        self.status, self.code, self.message = answer.status, fields.get("tcode", ""), fields["message"]
        super().__init__(f"{self.status} {self.code}: {self.message}")


class GoApi:
    """One client; `endpoint` changes to the primary's URL with the first map, as the `ais` program's does."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def call(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        *,
        message: object = None,
        headers: dict[str, str] | None = None,
        upload: bytes | None = None,
    ) -> Answer:
        """One request; raises GoError. `message` goes as JSON, `upload` in chunks unless headers tell its length."""
        sent = {"User-Agent": "ais/cli", **(headers or {})}
        body = None if message is None else json.dumps(message).encode()
        if body is not None:
            sent["Content-Type"] = JSON
        url = f"{self.endpoint}{path}" + (f"?{urlencode(query)}" if query else "")
        hops: list[int] = []
        while True:
            answer = _exchange(method, url, sent, body, upload)
            if answer.status not in (301, 302, 303, 307, 308):
                break
            assert len(hops) < MAX_REDIRECTS
            hops.append(answer.status)
            if answer.status in (301, 302, 303):
                body = upload = None
                method = method if method == "HEAD" else "GET"
            location = answer.header("Location")
            assert location, "a redirect to nowhere"
            url, sent = urljoin(url, location), {**sent, "Referer": url}
        answer = Answer(answer.status, answer.headers, answer.body, tuple(hops))
        if answer.status not in (200, 202, 204, 206):
            raise GoError(answer)
        return answer

    def read(self, method: str, path: str, query: dict[str, str] | None = None, **more: Any) -> Any:
        """The value in an answer's body."""
        answer = self.call(method, path, query, **more)
        if answer.header("Content-Type") == MSGPACK:
            return msgpack.unpackb(answer.body, strict_map_key=False)
        return json.loads(answer.body)

    def smap(self) -> dict[str, Any]:
        """`GetClusterMap`; the program goes on with the primary."""
        found: dict[str, Any] = self.read("GET", "/v1/daemon", {"what": "smap"})
        self.endpoint = found["proxy_si"]["public_net"]["direct_url"]
        return found

    def node(self, node_id: str, what: str, **query: str) -> Any:
        """What one node says of itself."""
        headers = {"Ais-Node-Id": node_id, "Accept": MSGPACK}
        return self.read("GET", "/v1/reverse/daemon", {"what": what, **query}, headers=headers)

    def cluster(self, what: str, message: object = None) -> Any:
        return self.read("GET", "/v1/cluster", {"what": what}, message=message)

    def head_bucket(self, name: str, provider: str = "ais", *, adds: bool = False) -> dict[str, Any]:
        """`HeadBucket`: Bprops; most commands do not want a remote bucket to be recorded by looking."""
        query = {"provider": provider} | ({} if adds else {"dont_add_remote_bck_md": "true"})
        properties: dict[str, Any] = json.loads(
            self.call("HEAD", f"/v1/buckets/{name}", query).header("Ais-Bucket-Props")
        )
        return properties

    def create_bucket(self, name: str, properties: object = None) -> None:
        message = {"action": "create-bck", "value": properties}
        self.call("POST", f"/v1/buckets/{name}", {"provider": "ais"}, message=message)

    def pages(self, name: str, provider: str = "ais", **wanted: Any) -> Iterator[dict[str, Any]]:
        """`ListObjects` until there is no token, as msgpack or JSON, whichever the answer has."""
        value = {"uuid": "", "props": "name,size,cached", "prefix": "", "continuation_token": "", "target": ""}
        value |= {"flags": "0", "pagesize": 0, **wanted}
        while True:
            page = self.read(
                *("GET", f"/v1/buckets/{name}", {"provider": provider}),
                message={"action": "list", "name": "", "value": value},
                headers={"Accept": MSGPACK},
            )
            page = {key.lower().replace("_", ""): content for key, content in page.items()}
            yield page
            value |= {"uuid": page["uuid"], "continuation_token": page["continuationtoken"]}
            if not page["continuationtoken"]:
                return

    def names(self, name: str, provider: str = "ais", **wanted: Any) -> list[str]:
        pages = self.pages(name, provider, **wanted)
        return [entry.get("n") or entry["name"] for page in pages for entry in page["entries"] or ()]

    def put_object(self, bucket: str, name: str, data: bytes, **headers: str) -> Answer:
        """`PutObject`: a file of which no length is told."""
        query = {"provider": "ais"}
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return self.call("PUT", f"/v1/objects/{bucket}/{name}", query, headers=named, upload=data)

    def get_object(self, bucket: str, name: str, provider: str = "ais", **headers: str) -> Answer:
        return self.call("GET", f"/v1/objects/{bucket}/{name}", {"provider": provider}, headers=dict(headers))

    def download(self, bucket: str, **job: Any) -> str:
        """`DownloadWithParam`; what the program always sends goes along."""
        base = {
            "bucket": {"name": bucket, "provider": "ais", "namespace": {"uuid": "", "name": ""}},
            "description": "",
            "timeout": "0s",
            "progress_interval": "10s",
            "limits": {"connections": 0, "bytes_per_hour": 0},
        }
        answer = self.read("POST", "/v1/download", message={**base, **job})
        assert list(answer) == ["id"]
        return str(answer["id"])

    def download_status(self, job_id: str, *, only_active: bool = False) -> dict[str, Any]:
        message = {"id": job_id, "regex": "", "only_active_tasks": only_active}
        found: dict[str, Any] = self.read("GET", "/v1/download", message=message)
        return found

    def downloads(self, regex: str = "", *, only_active: bool = False) -> list[dict[str, Any]]:
        message = {"id": "", "regex": regex, "only_active_tasks": only_active}
        found: list[dict[str, Any]] = self.read("GET", "/v1/download", message=message)
        return found

    def abort(self, job_id: str) -> None:
        self.call("DELETE", "/v1/download/abort", message={"id": job_id})

    def remove(self, job_id: str) -> None:
        self.call("DELETE", "/v1/download/remove", message={"id": job_id})


def status_of(ask: Callable[[], object]) -> int:
    """200, or the status of the error that a question is answered with."""
    try:
        ask()
    except GoError as error:
        return error.status
    return 200


def _exchange(method: str, url: str, headers: dict[str, str], body: bytes | None, upload: bytes | None) -> Answer:
    """One request on a connection of its own."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        if upload is None or "Content-Length" in headers:
            connection.request(method, target, body or upload, {"Accept-Encoding": "gzip", **headers})
        else:
            chunks = (upload[at : at + _CHUNK_BYTES] for at in range(0, len(upload), _CHUNK_BYTES))
            sent = {**headers, "Transfer-Encoding": "chunked"}
            with contextlib.suppress(ConnectionError):  # Go reads the answer that came before all was sent
                connection.request(method, target, chunks, sent, encode_chunked=True)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()
