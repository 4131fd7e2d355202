"""All mountpaths of a target as one place for objects: which disk, and where else to look.

An object belongs to the mountpath with the largest weight among those that are enabled. Reads and deletions look on the
others as well, because objects lie where they were when a disk comes or goes; moving them is left to `resilver`, which
mountpaths there are to `mountpaths`. What a request of a client means is left to `target.api`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Container, Iterator, Mapping, Sequence

import structlog

from common import failpoints, placement
from common.errors import DiskError, DiskFailure, ObjectNotFound
from common.names import Bucket, printable
from target.storage import reader
from target.storage.committer import Committer
from target.storage.faults import NoMountpath, ObjectDamaged
from target.storage.listing import ListEntry, Listings, list_entry
from target.storage.metadata import Damaged, ObjectMetadata
from target.storage.mountpath import Durability, Mountpath
from target.storage.mountpaths import Mountpaths, Slot, View
from target.storage.reader import OpenObject
from target.storage.writer import ObjectWriter

_STRIPES = 64
_log = structlog.get_logger("target.store")


class Store:
    """The mountpaths of a target; `start` first, `stop` last. Everything between may be called from any thread."""

    def __init__(self, mountpaths: Mountpaths, durability: Durability = Durability.POWER_LOSS) -> None:
        self._durability = durability
        self.mountpaths = mountpaths
        self._moved = 0
        self._ids_at_start: dict[Bucket, int] = {}
        self._known_buckets: tuple[Mapping[Bucket, int], int] = ({}, -1)
        self._listings = Listings()
        self._removals = tuple(threading.Lock() for _ in range(_STRIPES))
        self._stopping = threading.Event()
        self._trash_wanted = threading.Event()
        self._cleaner = threading.Thread(target=self._clean, name="trash", daemon=True)

    def __repr__(self) -> str:
        return f"<Store on {self.mountpaths}>"

    def start(self) -> None:
        """Open the mountpaths and clean up after a crash; one that cannot be used is left out.

        Raises DiskFailure when what is recorded of them cannot be read.
        """
        self.mountpaths.start()
        self._ids_at_start = self.bucket_ids()
        self._trash_wanted.set()
        self._cleaner.start()

    def stop(self) -> None:
        """Commit what was submitted and end all threads; nothing may be called afterwards."""
        self._stopping.set()
        self._trash_wanted.set()
        if self._cleaner.is_alive():
            self._cleaner.join()
        self._listings.forget()
        self.mountpaths.stop()

    @property
    def moved(self) -> int:
        """Grows when objects have moved between mountpaths: who was looking at both meanwhile may have missed them."""
        return self._moved

    @property
    def usable(self) -> tuple[Mountpath, ...]:
        """The mountpaths that objects are read from."""
        return tuple(slot.mountpath for slot in self.mountpaths.view.readable)

    def choose(self, object_digest: int) -> Mountpath:
        """The mountpath that an object belongs to, by the digest of its uname; raises NoMountpath when none is left."""
        return self._slot(object_digest).mountpath

    def _slot(self, object_digest: int) -> Slot:
        view = self.mountpaths.view
        if not view.placed:
            raise self._nowhere()
        return view.placed[placement.choose(object_digest, view.digests)]

    def _nowhere(self) -> NoMountpath:
        reasons = "; ".join(reason for reason in self.mountpaths.reasons.values() if reason)
        return NoMountpath(f"no mountpath can be used: {reasons or 'all are disabled'}")

    def writer(
        self,
        bucket: Bucket,
        bucket_id: int,
        name: str,
        expected_size: int | None = None,
        digests: Sequence[str] = (),
    ) -> tuple[ObjectWriter, Committer]:
        """A writer on the mountpath that the object belongs to, and the committer that its work file goes to."""
        slot = self._slot(placement.digest(bucket.uname + name))
        return slot.mountpath.writer(bucket, bucket_id, name, expected_size, digests), slot.committer

    def open(
        self, bucket: Bucket, name: str, bucket_id: int | None = None, *, cached: bool = False
    ) -> tuple[OpenObject, Mountpath]:
        """Open an object for reading; without `bucket_id` in whatever incarnation of the bucket is here.

        Raises ObjectNotFound (ObjectDamaged where a file lies that is no whole object), DiskError, and with `cached`
        BlockingIOError where a disk would have to be waited for.
        """
        while True:
            moved = self._moved
            found = self._find(bucket, name, bucket_id, cached=cached)
            if found is not None:
                return found
            if moved == self._moved:  # else it may have moved from where we had not looked to where we had
                raise ObjectNotFound(f"{bucket.cname}/{printable(name)} does not exist")

    def _find(
        self, bucket: Bucket, name: str, bucket_id: int | None, *, cached: bool
    ) -> tuple[OpenObject, Mountpath] | None:
        """Where an object belongs, else anywhere; unless all is settled the newest of all."""
        view = self.mountpaths.view
        newest: tuple[OpenObject, Mountpath] | None = None
        try:
            for copy in self._copies(view, bucket, name, bucket_id, cached=cached):
                if view.is_settled:
                    return copy
                if newest is None or newest[0].metadata.stored_ns < copy[0].metadata.stored_ns:
                    newest, copy = copy, newest  # noqa: PLW2901 - what is left over is closed
                if copy is not None:
                    copy[0].close()
        except BaseException:
            if newest is not None:
                newest[0].close()
            raise
        return newest

    def _copies(
        self, view: View, bucket: Bucket, name: str, bucket_id: int | None, *, cached: bool
    ) -> Iterator[tuple[OpenObject, Mountpath]]:
        damage = ""
        whole = 0
        for mountpath in self._candidates(view, bucket, name):
            directory = mountpath.bucket(bucket)
            if directory is None or bucket_id not in (None, directory.bucket_id):
                continue
            try:
                found = reader.find(directory, name, cached=cached)
            except Damaged as error:
                damage = f"{bucket.cname}/{printable(name)} is damaged: {error}"
                if view.is_settled:
                    raise ObjectDamaged(damage) from None
                continue
            except BlockingIOError:
                raise
            except OSError as error:
                raise mountpath.error(error) from None
            if found is not None:
                whole += 1
                found.in_memory = mountpath.in_memory
                yield found, mountpath
        if damage and not whole:
            raise ObjectDamaged(damage)

    def head(self, bucket: Bucket, name: str, bucket_id: int | None = None) -> tuple[ObjectMetadata, Mountpath]:
        """An object's metadata and where it is; raises as `open` does."""
        found, mountpath = self.open(bucket, name, bucket_id)
        found.close()
        return found.metadata, mountpath

    def delete(self, bucket: Bucket, name: str, bucket_id: int | None = None) -> None:
        """Remove an object, durably, from wherever it is; raises ObjectNotFound, DiskError."""
        removed = False
        durable = self._durability is Durability.POWER_LOSS
        with self.holding(bucket, name):
            for mountpath in self._candidates(self.mountpaths.view, bucket, name):
                directory = mountpath.bucket(bucket)
                if directory is None or bucket_id not in (None, directory.bucket_id):
                    continue
                try:
                    failpoints.hit("delete.before_unlink")
                    removed = reader.remove(directory, name, durable=durable) or removed
                    failpoints.hit("delete.after_unlink")
                except OSError as error:
                    raise mountpath.error(error) from None
        if not removed:
            raise ObjectNotFound(f"{bucket.cname}/{printable(name)} doesn't exist")

    def delete_if(self, bucket: Bucket, bucket_id: int, name: str, link_digest: int, stored_ns: int) -> None:
        """Remove an object if it is still the one that came from this link at this time; raises DiskError.

        Nothing is committed meanwhile where it may lie, so that what replaces it is never what is removed.
        """

        def is_the_one() -> bool:
            try:
                stored, _ = self.head(bucket, name, bucket_id)
            except ObjectNotFound:
                return False
            return (stored.link_digest, stored.stored_ns) == (link_digest, stored_ns)

        if not is_the_one():
            return
        durable = self._durability is Durability.POWER_LOSS
        with contextlib.ExitStack() as held:
            held.enter_context(self.holding(bucket, name))
            found = []
            for slot in sorted(self.mountpaths.view.readable, key=lambda slot: slot.number):
                directory = slot.mountpath.bucket(bucket)
                if directory is not None and directory.bucket_id == bucket_id:
                    found.append((slot.mountpath, directory))
                    try:
                        held.enter_context(slot.committer.held())
                    except OSError as error:
                        raise slot.mountpath.error(error) from None
            if is_the_one():
                for mountpath, directory in found:
                    try:
                        reader.remove(directory, name, durable=durable)
                    except OSError as error:
                        raise mountpath.error(error) from None

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
        while True:
            view = self.mountpaths.view
            mountpaths = []
            if not view.readable:
                raise self._nowhere()
            for mountpath in self.usable:
                directory = mountpath.bucket(bucket)
                if directory is not None and bucket_id in (None, directory.bucket_id):
                    mountpath.check()
                    mountpaths.append(mountpath)
            try:
                page = self._listings.page(mountpaths, bucket, uuid, prefix, after, limit)
            except OSError as error:
                raise DiskFailure(f"listing {bucket.cname}: {os.strerror(error.errno or 0)}") from None
            if view is self.mountpaths.view:  # else objects may have moved to where it was not looked
                return page

    def look(self, bucket: Bucket, bucket_id: int, names: Sequence[str]) -> list[ListEntry]:
        """Those of these objects that are here, as a listing shows them; raises DiskError."""
        entries = []
        for name in names:
            with contextlib.suppress(ObjectNotFound):
                found, mountpath = self.head(bucket, name, bucket_id)
                entries.append(list_entry(name, found, mountpath.id))
        return entries

    def is_empty(self) -> bool:
        """Whether no bucket has an object here, for sure and now; a disk that is out of reach may have one."""
        if not self.usable or self.mountpaths.reasons:
            return False
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

    def note_buckets(self, known: Mapping[Bucket, int], last_id: int) -> None:
        """The buckets that there are in the cluster, for disks that come later."""
        self._known_buckets = (known, last_id)

    def forget_destroyed(self, mountpath: Mountpath) -> None:
        """Destroy what a disk that was away still has of buckets that were destroyed meanwhile; raises DiskError."""
        known, last_id = self._known_buckets
        for directory in mountpath.buckets():
            newest = known.get(directory.bucket, last_id + 1)
            if directory.bucket_id < newest:
                mountpath.destroy_bucket(directory.bucket, newest - 1)
        self._trash_wanted.set()

    def is_misplaced(self, bucket: Bucket, name: str, committer: Committer) -> bool:
        """Whether an object that has just been committed belongs to another mountpath by now."""
        view = self.mountpaths.view
        if not view.placed:
            return True
        place = placement.choose(placement.digest(bucket.uname + name), view.digests)
        return view.placed[place].committer is not committer

    def forget_walks(self) -> None:
        """Let go of what keeps the directories of mountpaths open that are not used any more."""
        self._listings.forget()

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

    @contextlib.contextmanager
    def holding(self, bucket: Bucket, *names: str) -> Iterator[None]:
        """Keep these objects from being deleted; for moments only."""
        stripes = sorted({placement.digest(bucket.uname + name) % _STRIPES for name in names})
        with contextlib.ExitStack() as held:
            for stripe in stripes:
                held.enter_context(self._removals[stripe])
            yield

    @contextlib.contextmanager
    def removing_moved(self) -> Iterator[None]:
        """Around the removal of copies whose objects are to be found at another mountpath by now."""
        with self._listings.changing_places():
            self._moved += 1
            yield

    def _candidates(self, view: View, bucket: Bucket, name: str) -> Iterator[Mountpath]:
        """Where an object belongs first; raises NoMountpath."""
        if not view.readable:
            raise self._nowhere()
        first = None
        if view.placed:
            first = view.placed[placement.choose(placement.digest(bucket.uname + name), view.digests)]
            yield first.mountpath
        for slot in view.readable:
            if slot is not first:
                yield slot.mountpath

    def _clean(self) -> None:
        while not self._stopping.is_set():
            self._trash_wanted.wait()
            self._trash_wanted.clear()
            self._empty_trash()

    def _empty_trash(self) -> None:
        for mountpath in self.usable:
            try:
                mountpath.empty_trash(self._stopping.is_set)
            except OSError as error:
                _log.warning("trash.failed", mountpath=mountpath.id, error=os.strerror(error.errno or 0))
