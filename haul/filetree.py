"""What there is, as a file system shows it: buckets and what names have before their slashes are its directories.

`HaulTree` has the connection, too. Reading, writing and removing is left to `haul.filesystem`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import weakref
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

from fsspec.asyn import AsyncFileSystem, get_loop, sync, sync_wrapper

from haul.asyncclient import AsyncClient
from haul.errors import NotFound
from haul.filepaths import (
    Info,
    bucket_named,
    directory,
    file,
    is_below,
    listed,
    path_of_bucket,
    split,
    translated,
)

_AT_ONCE = 32
_MOST_AT_ONCE = 100
"""How many objects of one call are on their way at the same time."""


class HaulTree(AsyncFileSystem):  # type: ignore[misc]
    """The part of `HaulFileSystem` that looks; nothing of a listing is remembered."""

    protocol = "haul"
    root_marker = ""

    def __init__(
        self,
        endpoints: str | Sequence[str] | None = None,
        *,
        direct: bool = True,
        batch_size: int = _AT_ONCE,
        **kwargs: Any,
    ) -> None:
        self._pid: int
        super().__init__(batch_size=min(batch_size, _MOST_AT_ONCE), **kwargs)
        self._client_arguments: dict[str, Any] = {"endpoints": endpoints, "direct": direct}
        self._client: AsyncClient | None = None
        self._parents: list[AsyncClient | None] = []
        """Connections of the process that this one was forked from: kept, because closing them is that one's affair."""

    @property
    def loop(self) -> Any:
        """fsspec's event loop; after a fork, as data loaders make their workers, that of the new process."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._loop = get_loop()
            self._parents.append(self._client)
            self._client = None
        return self._loop

    @property
    def client(self) -> AsyncClient:
        """The connection; made when it is needed first, because it belongs to one event loop."""
        if self._client is None:
            self._client = AsyncClient(**self._client_arguments)
            if not self.asynchronous:
                weakref.finalize(self, _close, self.loop, self._client).atexit = False
        return self._client

    def close(self) -> None:
        """Close the connections; they are opened again when they are needed."""
        client, self._client = self._client, None
        if client is not None:
            sync(self.loop, client.close)

    # Names.

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """The path without `haul://`, and without slashes at its end, which no object has."""
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        text = os.fspath(path)
        return text.removeprefix("haul://").removeprefix("haul::").rstrip("/").lstrip("/")

    @classmethod
    def _parent(cls, path: str) -> str:
        return str(cls._strip_protocol(path)).rpartition("/")[0]

    # Looking.

    async def _info(self, path: str, **_: Any) -> Info:
        path = self._strip_protocol(path)
        bucket, name = split(path)
        if bucket is None:
            return directory("")
        with translated(path):
            if not name:
                await self.client.bucket_properties(bucket)
                return directory(path)
            try:
                return file(path, await self.client.head(bucket, name))
            except NotFound:
                if await self.client.has_objects(bucket, f"{name}/"):
                    return directory(path)
                raise

    async def _ls(self, path: str, detail: bool = True, prefix: str = "", **_: Any) -> list[Any]:
        path = self._strip_protocol(path)
        bucket, name = split(path)
        if bucket is None:
            with translated(path):
                found = [directory(shown) for one in await self.client.buckets() if (shown := path_of_bucket(one))]
        else:
            with translated(path):
                found = [info async for info in self._level(path, prefix)]
            if not found and not prefix and (name or not await self._exists(path)):
                info = await self._info(path)
                found = [info] if info["type"] == "file" else []
        return found if detail else [info["name"] for info in found]

    async def _file_info(self, path: str) -> Info:
        info = await self._info(path)
        if info["type"] == "file":
            return info
        raise FileNotFoundError(errno.ENOENT, "no such directory", path)

    async def _level(self, path: str, prefix: str) -> AsyncIterator[Info]:
        first, _, name = path.partition("/")
        below = f"{name}/" if name else ""
        async for entry in self.client.objects(bucket_named(first), below + prefix, recursive=False, details=True):
            if entry.name != below:
                yield listed(first, entry)

    async def _find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **kwargs: Any
    ) -> Any:
        """All below a path, in one listing; of a limited depth, level by level."""
        path = self._strip_protocol(path)
        bucket, name = split(path)
        prefix = kwargs.pop("prefix", "")
        if bucket is None or maxdepth is not None:
            only = {"prefix": prefix} if maxdepth == 1 and bucket is not None else {}
            return await super()._find(path, maxdepth=maxdepth, withdirs=withdirs, detail=detail, **only, **kwargs)
        below = f"{name}/" if name else ""
        found: dict[str, Info] = {}
        directories: dict[str, Info] = {}
        with translated(path):
            async for entry in self.client.objects(bucket, below + prefix, details=True):
                info = listed(path.partition("/")[0], entry)
                is_folder = info["type"] == "directory"
                if not is_folder:
                    found[info["name"]] = info
                parent = info["name"] if is_folder else self._parent(info["name"])
                while withdirs and len(parent) > len(path) and parent not in directories:
                    directories[parent] = directory(parent)
                    parent = self._parent(parent)
        if not found and not prefix and name and await self._isfile(path):
            found[path] = await self._info(path)
        if withdirs and (is_below(next(iter(found), ""), path) or await self._isdir(path)):
            directories[path] = directory(path)
        everything = dict(sorted((directories | found).items()))
        return everything if detail else list(everything)

    async def _created(self, path: str) -> datetime | None:
        """When the object came into the cluster."""
        created: datetime | None = (await self._file_info(self._strip_protocol(path)))["created"]
        return created

    async def _modified(self, path: str) -> datetime | None:
        """The origin's time, or when the object came into the cluster."""
        modified: datetime | None = (await self._file_info(self._strip_protocol(path)))["mtime"]
        return modified

    async def _checksum(self, path: str) -> int:
        """The cluster's checksum as a number: the same bytes have the same one."""
        return int((await self._file_info(self._strip_protocol(path)))["checksum"], 16)

    created = sync_wrapper(_created)
    modified = sync_wrapper(_modified)
    checksum = sync_wrapper(_checksum)

    def ukey(self, path: str) -> str:
        """What caches of fsspec compare."""
        return f"{self.checksum(path):x}"


def _close(loop: asyncio.AbstractEventLoop, client: AsyncClient) -> None:
    if loop.is_running():
        asyncio.run_coroutine_threadsafe(client.close(), loop)
