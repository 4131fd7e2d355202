"""The objects of a bucket as the cluster lists them, page by page; how they look is left to `cli.listing`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cli.client import Client
from cli.uris import Location

PAGE_ENTRIES = 10_000
IS_CACHED = 64
"""The flag of an entry whose object is in the cluster."""
IS_DIRECTORY = 256
ONLY_CACHED, WITH_ARCHIVES, NOT_CACHED, NOT_RECURSIVE, NO_DIRECTORIES = 1, 8, 512, 2048, 8192
"""Flags of a question (wire.md §3.5)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which objects, and what of them; a `limit`, `page_size` or `max_pages` of 0 is none."""

    props: str = "name,size"
    limit: int = 0
    page_size: int = 0
    max_pages: int = 0
    start_after: str = ""
    flags: int = 0


def entries_of(client: Client, where: Location, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """The objects whose names begin as `where` says; raises ServerError, NoAnswer."""
    page_entries = wanted.page_size or PAGE_ENTRIES
    message: dict[str, Any] = {"props": wanted.props, "prefix": where.name.removesuffix("*")}
    message |= {"start_after": wanted.start_after} if wanted.start_after else {}
    message |= {"flags": str(wanted.flags)} if wanted.flags else {}
    left, pages = wanted.limit, 0
    while True:
        message["pagesize"] = min(page_entries, left) if wanted.limit else page_entries
        body = {"action": "list", "value": message}
        page = client.call("GET", where.bucket_path, query=where.query, body=body) or {}
        entries = page.get("entries") or []
        yield from entries[:left] if wanted.limit else entries
        left -= len(entries)
        pages += 1
        token = page.get("continuation_token", "")
        if not token or (wanted.limit and left <= 0) or pages == wanted.max_pages:
            return
        message |= {"uuid": page.get("uuid", ""), "continuation_token": token}


def is_cached(entry: dict[str, Any]) -> bool:
    """Whether the object is in the cluster, of a bucket that is filled from elsewhere."""
    return bool(int(entry.get("flags") or 0) & IS_CACHED)


def size_of(entry: dict[str, Any]) -> int:
    """The object's size in bytes."""
    return int(entry.get("size") or 0)
