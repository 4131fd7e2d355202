"""`haul://bucket/name` for fsspec, so that pandas, datasets and torch read from and write to a cluster.

A bucket is the first directory of a path; another provider's is written `haul://s3@bucket/name`. Directories are what
names have before their slashes: nothing needs to make them, and none is ever empty. Needs the extra `fsspec`. Looking
is left to `haul.filetree`, files that are open to `haul.openfiles`.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from glob import has_magic
from typing import Any

from fsspec.asyn import sync, sync_wrapper
from fsspec.callbacks import DEFAULT_CALLBACK

from haul import localfiles
from haul.asyncclient import Chunks
from haul.errors import Changed, Unsatisfiable
from haul.filepaths import (
    bucket_named,
    object_named,
    split,
    translated,
)
from haul.filetree import HaulTree
from haul.objects import ObjectInfo
from haul.openfiles import HaulFile


class HaulFileSystem(HaulTree):
    """A cluster as a file system; its proxies are `endpoints`, or those of HAUL_ENDPOINT or AIS_ENDPOINT.

    With `direct`, objects are read from their targets without asking a proxy where they are. Nothing of a listing is
    remembered. Errors are OSErrors, whose cause is what `haul` raises; an object that is replaced while it is read is
    an OSError with `errno.ESTALE`, and never a mixture.
    """

    # Reading.

    async def _cat_file(
        self,
        path: str,
        start: int | None = None,
        end: int | None = None,
        unchanged_since: ObjectInfo | None = None,
        **_: Any,
    ) -> bytes:
        """Bytes as a slice of the whole would be: negative positions count from the end, what is not there is empty."""
        path = self._strip_protocol(path)
        if (start or 0) < 0 or (end or 0) < 0:
            start, end, _step = slice(start, end).indices((await self._file_info(path))["size"])
        if end is not None and end <= (start or 0):
            return b""
        bucket, name = object_named(path)
        with translated(path):
            try:
                return await self.client.get(bucket, name, start=start or 0, end=end, unchanged_since=unchanged_since)
            except Unsatisfiable:
                return b""

    async def _get_file(self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, **_: Any) -> None:
        path = self._strip_protocol(rpath)
        try:
            await self._fetch(path, lpath, callback)
        except (FileNotFoundError, IsADirectoryError):
            if not await self._isdir(path):
                raise
            await asyncio.to_thread(os.makedirs, lpath, exist_ok=True)

    async def _fetch(self, path: str, lpath: Any, callback: Any) -> None:
        bucket, name = object_named(path)
        with translated(path):
            async with self.client.open(bucket, name) as stream:
                callback.set_size(stream.info.size_bytes)
                with _local(lpath) as local:
                    async for chunk in stream:
                        await asyncio.to_thread(local.write, chunk)
                        callback.relative_update(len(chunk))

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> HaulFile:
        path = self._strip_protocol(path)
        object_named(path)
        if mode == "xb" and self.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        return HaulFile(self, path, mode, block_size or "default", autocommit, cache_options=cache_options, **kwargs)

    # Writing.

    async def _pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        await self._refuse_existing(path, mode)
        await self._store(path, bytes(value), if_absent=mode == "create")

    async def _store(self, path: str, data: Chunks, *, if_absent: bool = False) -> ObjectInfo:
        path = self._strip_protocol(path)
        bucket, name = object_named(path)
        with translated(path):
            return await self.client.put(bucket, name, data, if_absent=if_absent)

    async def _put_file(
        self, lpath: Any, rpath: str, mode: str = "overwrite", callback: Any = DEFAULT_CALLBACK, **_: Any
    ) -> None:
        if await asyncio.to_thread(os.path.isdir, lpath):
            await self._makedirs(rpath, exist_ok=True)
            return
        await self._refuse_existing(rpath, mode)
        path = self._strip_protocol(rpath)
        bucket, name = object_named(path)
        callback.set_size(await asyncio.to_thread(os.path.getsize, lpath))
        with translated(path):
            stored = await self.client.put_file(bucket, name, lpath, if_absent=mode == "create")
        callback.relative_update(stored.size_bytes)

    async def _refuse_existing(self, path: str, mode: str) -> None:
        """Before anything is sent; also for directories, which the targets know nothing of."""
        if mode == "create" and await self._exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)

    async def _cp_file(self, path1: str, path2: str, **_: Any) -> None:
        """Have the targets copy an object; a directory is made."""
        path1, path2 = self._strip_protocol(path1), self._strip_protocol(path2)
        try:
            source, copied = object_named(path1), object_named(path2)
            with translated(path1):
                await self.client.copy(*source, *copied)
        except (FileNotFoundError, IsADirectoryError):
            if not await self._isdir(path1):
                raise
            await self._makedirs(path2, exist_ok=True)

    async def _mv_file(self, path1: str, path2: str) -> None:
        """Give an object another name, or another bucket; what is stored under the old one meanwhile stays."""
        path1, path2 = self._strip_protocol(path1), self._strip_protocol(path2)
        bucket, name = object_named(path1)
        new_bucket, new_name = object_named(path2)
        if bucket != new_bucket:
            await self._mv_across(path1, path2)
            return
        with translated(path1):
            await self.client.rename(bucket, name, new_name)

    async def _mv_across(self, path1: str, path2: str) -> None:
        """Copy to another bucket, and remove what was copied; raises OSError (ESTALE) when it has changed since."""
        source, moved = object_named(path1), object_named(path2)
        with translated(path1):
            known = await self.client.head(*source)
            await self.client.copy(*source, *moved)
            try:
                await self.client.delete(*source, unchanged_since=known)
            except Changed as error:
                raise Changed(f"it was changed while it was copied to {path2}, and stays: {error}") from error

    def mv(self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **kwargs: Any) -> None:
        """Move objects; a single one that stays in its bucket is renamed by the cluster.

        Raises ValueError for a `maxdepth`: fsspec would copy so deep, and remove everything.
        """
        if recursive and maxdepth is not None:
            raise ValueError("mv takes no maxdepth: what lies deeper would be removed without a copy")
        is_single = isinstance(path1, str) and isinstance(path2, str) and not (recursive or has_magic(path1))
        if is_single and not path2.endswith("/") and self.isfile(path1) and not self.isdir(path2):
            sync(self.loop, self._mv_file, path1, path2)
        else:
            super().mv(path1, path2, recursive=recursive, maxdepth=maxdepth, **kwargs)

    async def _rm_file(self, path: str, **_: Any) -> None:
        await self._remove(self._strip_protocol(path))

    async def _remove(self, path: str) -> None:
        bucket, name = object_named(path)
        with translated(path):
            await self.client.delete(bucket, name)

    async def _rm(
        self,
        path: Any,
        recursive: bool = False,
        batch_size: int | None = None,
        maxdepth: int | None = None,
        **_: Any,
    ) -> None:
        """Remove objects; with `recursive` what is below them, and whole buckets."""
        paths = [path] if isinstance(path, str) else path
        objects: dict[str, None] = {}
        buckets: list[str] = []
        for one in await self._expand_path(paths):
            if not recursive:
                objects[one] = None
                continue
            is_bucket = "/" not in one
            if is_bucket and maxdepth is None:
                buckets.append(one)
                continue
            found = await (self._names_below(one) if maxdepth is None else self._find(one, maxdepth=maxdepth))
            if not found and not is_bucket:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), one)
            objects |= dict.fromkeys(found)
        await self._each(self._remove, objects, batch_size)
        for one in buckets:
            with translated(one):
                await self.client.delete_bucket(bucket_named(one))

    async def _names_below(self, path: str) -> list[str]:
        """All objects below a path, those that S3's tools have made for folders, too, or the object that it is."""
        bucket, name = object_named(path)
        first = path.partition("/")[0]
        with translated(path):
            found = [f"{first}/{entry.name}" async for entry in self.client.objects(bucket, f"{name}/")]
        return found or ([path] if await self._isfile(path) else [])

    async def _each(self, act: Callable[[str], Awaitable[None]], paths: Iterable[str], batch_size: int | None) -> None:
        """Do it to every path, so many at a time."""
        left = iter(paths)

        async def work() -> None:
            for path in left:
                await act(path)

        await asyncio.gather(*(work() for _ in range(batch_size or self.batch_size)))

    # Buckets.

    async def _mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Make a bucket. What is below a bucket needs no making, but with `create_parents` the bucket itself."""
        bucket, name = split(self._strip_protocol(path))
        if bucket is not None and (create_parents or not name):
            with translated(path):
                await self.client.create_bucket(bucket, exist_ok=bool(name))

    async def _makedirs(self, path: str, exist_ok: bool = False) -> None:
        bucket, name = split(self._strip_protocol(path))
        if bucket is not None:
            with translated(path):
                await self.client.create_bucket(bucket, exist_ok=exist_ok or bool(name))

    async def _rmdir(self, path: str) -> None:
        """Remove an empty bucket; other directories go by themselves."""
        path = self._strip_protocol(path)
        bucket, name = split(path)
        if bucket is None or name:
            return
        with translated(path):
            if await self.client.has_objects(bucket):
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
            await self.client.delete_bucket(bucket)

    rmdir = sync_wrapper(_rmdir)


@contextmanager
def _local(destination: Any) -> Iterator[Any]:
    if hasattr(destination, "write"):
        yield destination
        return
    with localfiles.whole_file(destination) as opened:
        yield opened
