"""A hub that answers as HuggingFace's does: commits, trees in pages, redirects, tokens, limits.

    with Hub() as hub:
        hub.add("models", "org/name", {"config.json": b"{}", "big.bin": b"…"})
        hub.limit("resolvers", 10, 2)    # every two seconds

What is here is what `huggingface_hub` and the downloads ask for; that library is the judge of whether it is right.
A file's address (`…/resolve/…`) redirects: a large file's to another host, a small one's to `/api/resolve-cache/…`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import math
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, quote, unquote

from common import web
from tests.origin import Origin
from tests.serving import serving

LARGE_BYTES = 100
"""What is larger is kept apart (LFS) and has a known SHA-256; the real hub's limit is 10 MB."""
PAGE_FILES = 20
TOKEN = "hf_canaryTOKENcanary"
_CACHE = "/api/resolve-cache/"


@dataclass
class _Repository:
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    is_gated: bool = False
    is_private: bool = False


class _Quota:
    """A fixed window, as the Hub has one for each kind of requests."""

    def __init__(self, kind: str, requests: int, seconds: int) -> None:
        self._kind, self._requests, self._seconds = kind, requests, seconds
        self._used = 0
        self._ends_at = 0.0
        self.refused = 0

    def take(self) -> tuple[bool, list[tuple[str, str]]]:
        """Whether one more request is allowed, and the headers that tell what is left."""
        now = time.monotonic()
        if now >= self._ends_at:
            self._used, self._ends_at = 0, now + self._seconds
        is_allowed = self._used < self._requests
        self._used += is_allowed
        self.refused += not is_allowed
        left, seconds = self._requests - self._used, math.ceil(self._ends_at - now)
        return is_allowed, [
            ("RateLimit", f'"{self._kind}";r={left};t={seconds}'),
            ("RateLimit-Policy", f'"fixed window";"{self._kind}";q={self._requests};w={self._seconds}'),
        ]


class Hub:
    """`url` is the hub, `storage` the host where large files are; `asked` counts requests by (method, path)."""

    def __init__(self) -> None:
        self._repositories: dict[tuple[str, str], _Repository] = {}
        self._stack = contextlib.ExitStack()
        self.storage = Origin()
        self.asked: Counter[tuple[str, str]] = Counter()
        self.tokens: set[str] = set()
        self.url = ""
        self._quotas: dict[str, _Quota] = {}
        self._lies: dict[bytes, bytes] = {}
        self._failures: list[tuple[int, list[tuple[str, str]], bytes]] = []
        self.answers = threading.Event()
        """Cleared, it lets requests of the API wait."""
        self.answers.set()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.storage)
        self.url = self._stack.enter_context(serving(web.guarded(self._serve, "hub")))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(
        self,
        kind: str,
        name: str,
        files: dict[str, bytes],
        *,
        branch: str = "main",
        gated: bool = False,
        private: bool = False,
    ) -> str:
        """Commit a repository's files to a branch; `kind` is models or datasets. Returns the commit."""
        repository = self._repositories.setdefault((kind, name), _Repository())
        repository.is_gated, repository.is_private = gated, private
        listed = "".join(f"{path} {hashlib.sha256(data).hexdigest()}\n" for path, data in sorted(files.items()))
        commit = hashlib.sha1(f"{branch}\n{listed}".encode()).hexdigest()
        repository.branches[branch], repository.commits[commit] = commit, files
        for data in files.values():
            if len(data) > LARGE_BYTES:
                self.storage.put(place_of(data), data)
        return commit

    def lie(self, data: bytes, answered: bytes) -> None:
        """Answer something else where a small file has this content."""
        self._lies[data] = answered

    def files_asked(self) -> int:
        """How many requests for files there were."""
        return sum(count for (_, path), count in self.asked.items() if "/resolve/" in path or path.startswith(_CACHE))

    def limit(self, kind: str, requests: int, seconds: int) -> None:
        """From now on, answer so many requests of a kind (`api`, `resolvers`) in each window of so many seconds."""
        self._quotas[kind] = _Quota(kind, requests, seconds)

    def fail(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        """Answer the next request of the API so."""
        self._failures.append((status, list((headers or {}).items()), body))

    def unlimit(self) -> int:
        """No limits any more; returns how many requests they have refused."""
        refused = sum(quota.refused for quota in self._quotas.values())
        self._quotas.clear()
        return refused

    def _limited(self, path: str) -> tuple[bool, list[tuple[str, str]]]:
        quota = self._quotas.get("api" if path.startswith("/api/") else "resolvers")
        return quota.take() if quota is not None and not path.startswith(_CACHE) else (True, [])

    async def _serve(self, scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        path = unquote(scope["raw_path"].decode("ascii"))
        self.asked[scope["method"], path] += 1
        headers = dict(scope["headers"])
        self.tokens.add(headers.get(b"authorization", b"").decode("latin-1"))
        if path.startswith("/api/") and not self.answers.is_set():
            await asyncio.to_thread(self.answers.wait)
        if path.startswith("/api/") and self._failures:
            await _send(send, *self._failures.pop(0))
            return
        is_allowed, told = self._limited(path)
        answer = self._answer(scope, path, headers) if is_allowed else _error(429, "", "slow down")
        status, answer_headers, body = answer
        await _send(send, status, [*answer_headers, *told], body)

    def _answer(
        self, scope: web.Scope, path: str, headers: dict[bytes, bytes]
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        has_token = headers.get(b"authorization", b"") == f"Bearer {TOKEN}".encode()
        is_api, is_cached = path.startswith("/api/"), path.startswith(_CACHE)
        for (kind, name), repository in self._repositories.items():
            prefix = f"/api/{kind}/{name}" if is_api else f"/{'datasets/' if kind == 'datasets' else ''}{name}"
            prefix = f"{_CACHE}{kind}/{name}" if is_cached else prefix
            if path != prefix and not path.startswith(f"{prefix}/"):
                continue
            if repository.is_private and not has_token:
                break
            rest = path[len(prefix) :].strip("/")
            if repository.is_gated and not has_token and (not is_api or is_cached or rest == "auth-check"):
                return _error(401, "GatedRepo", f"Access to {name} is restricted.")
            if is_cached:
                commit, _, file = rest.partition("/")
                data = repository.commits[commit][file]
                return _small(self._lies.get(data, data), commit, headers.get(b"if-none-match", b"").decode())
            return self._of(repository, f"{kind}/{name}", rest, scope)
        return _error(401 if not has_token else 404, "RepoNotFound", "Invalid username or password.")

    def _of(self, repository: _Repository, name: str, rest: str, scope: web.Scope) -> Any:
        what, _, behind = rest.partition("/")
        if what == "auth-check":
            return _json({})
        if what in ("", "revision"):
            commit = _commit(repository, behind or "main")
            if commit is None:
                return _error(404, "RevisionNotFound", f"Invalid rev id: {behind}")
            siblings = [{"rfilename": path} for path in repository.commits[commit]]
            gated = "auto" if repository.is_gated else False
            fields = {
                "id": name.partition("/")[2],
                "sha": commit,
                "private": repository.is_private,
                "gated": gated,
                "tags": [],
            }
            return _json(fields | {"downloads": 0, "likes": 0, "siblings": siblings})
        if what == "tree":
            return self._tree(repository.commits[behind], scope)
        revision, _, path = behind.partition("/")
        commit = _commit(repository, revision)
        if what != "resolve" or commit is None or path not in repository.commits[commit]:
            return _error(404, "EntryNotFound", "Entry not found")
        data = repository.commits[commit][path]
        about = [("ETag", f'"{_git_id(data)}"'), ("X-Repo-Commit", commit)]
        if len(data) <= LARGE_BYTES:
            return 307, [("Location", quote(f"{_CACHE}{name}/{commit}/{path}")), *about], b""
        location = self.storage.url(place_of(data)) + "?X-Amz-Signature=canarySIGNATURE"
        linked = [("X-Linked-Size", str(len(data))), ("X-Linked-Etag", f'"{hashlib.sha256(data).hexdigest()}"')]
        return 302, [("Location", location), *linked, *about], b""

    def _tree(self, files: dict[str, bytes], scope: web.Scope) -> Any:
        query = parse_qs(scope["query_string"].decode())
        paths = sorted(files)
        folders = sorted({path.rpartition("/")[0] for path in paths if "/" in path})
        entries: list[dict[str, Any]] = [
            {"type": "directory", "oid": "0" * 40, "size": 0, "path": one} for one in folders
        ]
        for path in paths:
            data = files[path]
            entry = {"type": "file", "oid": _git_id(data), "size": len(data), "path": path}
            if len(data) > LARGE_BYTES:
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            entries.append(entry)
        begin = int(query.get("cursor", ["0"])[0])
        status, headers, body = _json(entries[begin : begin + PAGE_FILES])
        if begin + PAGE_FILES < len(entries):
            next_page = f"{self.url}{scope['path']}?recursive=true&cursor={begin + PAGE_FILES}"
            headers.append(("Link", f'<{next_page}>; rel="next"'))
        return status, headers, body


def _small(data: bytes, commit: str, if_none_match: str) -> tuple[int, list[tuple[str, str]], bytes]:
    headers = [("ETag", f'"{_git_id(data)}"'), ("X-Repo-Commit", commit), ("Accept-Ranges", "bytes")]
    return (304, headers, b"") if if_none_match == f'"{_git_id(data)}"' else (200, headers, data)


async def _send(send: web.Send, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    await web.answer(send, status, body, [(name.lower().encode(), value.encode()) for name, value in headers])


def place_of(data: bytes) -> str:
    """Where the storage has a large file."""
    return f"/lfs/{hashlib.sha256(data).hexdigest()}"


def _commit(repository: _Repository, revision: str) -> str | None:
    return revision if revision in repository.commits else repository.branches.get(revision)


def _git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _json(value: object) -> tuple[int, list[tuple[str, str]], bytes]:
    return 200, [("Content-Type", "application/json")], json.dumps(value).encode()


def _error(status: int, code: str, message: str) -> tuple[int, list[tuple[str, str]], bytes]:
    headers = [("X-Error-Code", code), ("X-Error-Message", message), ("Content-Type", "application/json")]
    return status, headers, json.dumps({"error": message}).encode()
