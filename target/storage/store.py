"""All mountpaths of a target as one place for objects: which disk, and what to do when one fails.

An object belongs to the mountpath with the largest weight among those in use. Reads and deletions look on the others as
well, because objects stay where they are when a disk comes or goes; moving them is left to rebalancing. What a
request of a client means is left to `target.api`.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path

import structlog

from common import failpoints, placement
from common.errors import DiskError, DiskFailure, ObjectNotFound
from common.names import Bucket, printable
from target.storage import reader
from target.storage.committer import Committer
from target.storage.faults import ObjectDamaged
from target.storage.listing import ListEntry, Listings
from target.storage.metadata import Damaged, ObjectMetadata
from target.storage.mountpath import Durability, Mountpath, Space
from target.storage.reader import OpenObject
from target.storage.writer import ObjectWriter

_log = structlog.get_logger("target.store")


class Store:
    """The mountpaths of a target; `start` first, `stop` last. Everything between may be called from any thread."""

    def __init__(
        self,
        paths: Sequence[str | Path],
        cluster_id: str,
        target_id: str,
        *,
        registry: Path,
        durability: Durability | str = Durability.POWER_LOSS,
    ) -> None:
        """`registry` is a file outside of the mountpaths that remembers which disk was at which path."""
        self._durability = Durability(durability)
        self._owner = (cluster_id, target_id)
        self._registry = registry
        self.mountpaths = tuple(Mountpath(os.path.normpath(path), self._durability) for path in paths)
        self.committers = tuple(Committer(mountpath) for mountpath in self.mountpaths)
        self.failed: dict[Mountpath, str] = {}
        self._used: tuple[tuple[Mountpath, ...], tuple[int, ...]] = ((), ())
        self._ids_at_start: dict[Bucket, int] = {}
        self._listings = Listings()
        self._stopping = threading.Event()
        self._trash_wanted = threading.Event()
        self._cleaner = threading.Thread(target=self._clean, name="trash", daemon=True)

    def __repr__(self) -> str:
        return f"<Store {len(self.mountpaths)} mountpaths, {len(self.failed)} failed>"

    def start(self) -> None:
        """Open the mountpaths, clean up after a crash, start the committers.

        A mountpath that cannot be used is left out and named in `failed`; what is written to it fails. Raises
        DiskFailure when none is left.
        """
        known = self._read_registry()
        for mountpath in self.mountpaths:
            try:
                mountpath.open(*self._owner, known.get(mountpath.path, ""))
            except DiskError as error:
                _log.error("mountpath.refused", path=mountpath.path, error=error.message)
                self.failed[mountpath] = error.message
            else:
                known[mountpath.path] = mountpath.id
        self._use_all_but_failed()
        if not self.usable:
            raise DiskFailure(f"no mountpath can be used: {'; '.join(self.failed.values()) or 'none is configured'}")
        self._write_registry(known)
        self._ids_at_start = self.bucket_ids()
        for committer in self.committers:
            committer.start()
        self._trash_wanted.set()
        self._cleaner.start()

    def stop(self) -> None:
        """Commit what was submitted and end all threads; nothing may be called afterwards."""
        self._stopping.set()
        self._trash_wanted.set()
        if self._cleaner.is_alive():
            self._cleaner.join()
        for committer in self.committers:
            committer.stop()
        self._used = ((), ())
        self._listings.forget()
        for mountpath in self.mountpaths:
            mountpath.close()

    @property
    def usable(self) -> tuple[Mountpath, ...]:
        """The mountpaths in use; `mountpaths` has the failed ones too, and keeps its order."""
        return self._used[0]

    def disable(self, mountpath: Mountpath, reason: str) -> None:
        """Take a mountpath out of use; what is being written to it may still end. Doing it twice is harmless."""
        if mountpath not in self.failed:
            _log.error("mountpath.disabled", mountpath=mountpath.id, reason=reason)
            self.failed[mountpath] = reason
            self._use_all_but_failed()

    def describe(self) -> list[dict[str, object]]:
        """Every mountpath with its state and space, for operators and proxies."""
        described: list[dict[str, object]] = []
        for mountpath in self.mountpaths:
            error = self.failed.get(mountpath, "")
            space = Space(0, 0)
            if mountpath.is_open:
                try:
                    space = mountpath.space()
                except DiskError as failure:
                    error = error or failure.message
            described.append(
                {
                    "id": mountpath.id,
                    "path": mountpath.path,
                    "error": error,
                    "total_bytes": space.total_bytes,
                    "free_bytes": space.free_bytes,
                }
            )
        return described

    def choose(self, object_digest: int) -> Mountpath:
        """The mountpath that an object belongs to, by the digest of its uname; raises DiskFailure when none is left."""
        usable, digests = self._used
        if not digests:
            raise DiskFailure("no mountpath can be used")
        return usable[placement.choose(object_digest, digests)]

    def committer(self, mountpath: Mountpath) -> Committer:
        """The committer of a mountpath of this store."""
        return self.committers[self.mountpaths.index(mountpath)]

    def writer(
        self,
        bucket: Bucket,
        bucket_id: int,
        name: str,
        expected_size: int | None = None,
        digests: Sequence[str] = (),
    ) -> tuple[ObjectWriter, Committer]:
        """A writer on the mountpath that the object belongs to, and the committer that its work file goes to."""
        mountpath = self.choose(placement.digest(bucket.uname + name))
        return mountpath.writer(bucket, bucket_id, name, expected_size, digests), self.committer(mountpath)

    def open(
        self, bucket: Bucket, name: str, bucket_id: int | None = None, *, cached: bool = False
    ) -> tuple[OpenObject, Mountpath]:
        """Open an object for reading; without `bucket_id` in whatever incarnation of the bucket is here.

        Raises ObjectNotFound (ObjectDamaged where a file lies that is no whole object), DiskError, and with `cached`
        BlockingIOError where a disk would have to be waited for.
        """
        for mountpath in self._candidates(bucket, name):
            directory = mountpath.bucket(bucket)
            if directory is None or bucket_id not in (None, directory.bucket_id):
                continue
            try:
                found = reader.find(directory, name, cached=cached)
            except Damaged as error:
                raise ObjectDamaged(f"{bucket.cname}/{printable(name)} is damaged: {error}") from None
            except BlockingIOError:
                raise
            except OSError as error:
                raise mountpath.error(error) from None
            if found is not None:
                found.in_memory = mountpath.in_memory
                return found, mountpath
        raise ObjectNotFound(f"{bucket.cname}/{printable(name)} does not exist")

    def head(self, bucket: Bucket, name: str, bucket_id: int | None = None) -> tuple[ObjectMetadata, Mountpath]:
        """An object's metadata and where it is; raises as `open` does."""
        found, mountpath = self.open(bucket, name, bucket_id)
        found.close()
        return found.metadata, mountpath

    def delete(self, bucket: Bucket, name: str, bucket_id: int | None = None) -> None:
        """Remove an object, durably, from wherever it is; raises ObjectNotFound, DiskError."""
        removed = False
        for mountpath in self._candidates(bucket, name):
            directory = mountpath.bucket(bucket)
            if directory is None or bucket_id not in (None, directory.bucket_id):
                continue
            try:
                failpoints.hit("delete.before_unlink")
                durable = self._durability is Durability.POWER_LOSS
                removed = reader.remove(directory, name, durable=durable) or removed
                failpoints.hit("delete.after_unlink")
            except OSError as error:
                raise mountpath.error(error) from None
        if not removed:
            raise ObjectNotFound(f"{bucket.cname}/{printable(name)} doesn't exist")

    def list_objects(
        self,
        bucket: Bucket,
        bucket_id: int | None = None,
        *,
        uuid: str = "",
        prefix: str = "",
        after: str = "",
        limit: int = 10_000,
    ) -> list[ListEntry]:
        """A page of a bucket's objects in byte order; see `Listings.page`. Raises DiskError.

        `uuid` lets the next page go on where this one ended; it is only a hint.
        """
        mountpaths = []
        for mountpath in self.usable:
            directory = mountpath.bucket(bucket)
            if directory is not None and bucket_id in (None, directory.bucket_id):
                mountpath.check()
                mountpaths.append(mountpath)
        try:
            return self._listings.page(mountpaths, bucket, uuid, prefix, after, limit)
        except OSError as error:
            raise DiskFailure(f"listing {bucket.cname}: {os.strerror(error.errno or 0)}") from None

    def is_empty(self) -> bool:
        """Whether no bucket has an object here, for sure and at this moment."""
        return all(
            mountpath.is_empty(directory.bucket, directory.bucket_id)
            for mountpath in self.usable
            for directory in mountpath.buckets()
        )

    def bucket_ids(self) -> dict[Bucket, int]:
        """The buckets that have a directory on some mountpath, with their newest incarnation."""
        newest: dict[Bucket, int] = {}
        for mountpath in self.usable:
            for directory in mountpath.buckets():
                newest[directory.bucket] = max(directory.bucket_id, newest.get(directory.bucket, 0))
        return newest

    def destroy_bucket(self, bucket: Bucket, bucket_id: int) -> None:
        """Make an incarnation of a bucket, and older ones, vanish durably; freeing the space follows by itself."""
        for mountpath in self.usable:
            mountpath.destroy_bucket(bucket, bucket_id)
        self._listings.forget(bucket)
        self._trash_wanted.set()

    def retain_buckets(self, known: Mapping[Bucket, int], last_id: int) -> None:
        """Destroy what was here at the start and is not among the `known` incarnations, nor newer than `last_id`."""
        for bucket, bucket_id in self._ids_at_start.items():
            if bucket in known and bucket_id < known[bucket]:
                self.destroy_bucket(bucket, known[bucket] - 1)
            elif bucket not in known and bucket_id <= last_id:
                self.destroy_bucket(bucket, bucket_id)

    def sweep_parts(self, jobs: Container[str]) -> None:
        """Remove what was half fetched for other jobs than these, before anything is fetched; a failure is logged."""
        for mountpath in self.usable:
            try:
                mountpath.sweep_parts(jobs)
            except DiskError as error:
                _log.error("parts.not_swept", mountpath=mountpath.id, error=error.message)

    def _candidates(self, bucket: Bucket, name: str) -> Iterator[Mountpath]:
        first = self.choose(placement.digest(bucket.uname + name))
        yield first
        for mountpath in self.usable:
            if mountpath is not first:
                yield mountpath

    def _use_all_but_failed(self) -> None:
        usable = tuple(mountpath for mountpath in self.mountpaths if mountpath not in self.failed)
        self._used = (usable, tuple(mountpath.digest for mountpath in usable))

    def _clean(self) -> None:
        while not self._stopping.is_set():
            self._trash_wanted.wait()
            self._trash_wanted.clear()
            for mountpath in self.usable:
                try:
                    mountpath.empty_trash(self._stopping.is_set)
                except OSError as error:
                    _log.warning("trash.failed", mountpath=mountpath.id, error=os.strerror(error.errno or 0))

    def _read_registry(self) -> dict[str, str]:
        try:
            known = json.loads(self._registry.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise DiskFailure(f"the record of mountpaths cannot be read ({type(error).__name__})") from None
        return {str(path): str(mountpath_id) for path, mountpath_id in known.items()}

    def _write_registry(self, known: dict[str, str]) -> None:
        temporary = self._registry.with_name(f"{self._registry.name}.new")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(known, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._registry)
