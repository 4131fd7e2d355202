"""One disk of a target: its marker, the buckets on it, and whether it is still mounted.

The root directory is opened once and everything below is reached through that descriptor, so a disk that is unmounted
under us is never mistaken for the bare directory it was mounted on; `check` notices and says so. The target's process
owns a mountpath: it marks it, and makes and destroys its buckets. The carrier of its lane attaches to it and only
writes into what is there. Which mountpath an object belongs to is left to `store`, making files durable to `committer`.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from enum import Enum
from itertools import count
from typing import NamedTuple

from common import failpoints, placement
from common.clock import monotonic
from common.errors import BucketNotFound, DiskError, DiskFailure, NoSpace
from common.names import Bucket, printable
from target.storage import directories, layout, partial, reader
from target.storage.directories import BucketDirectory
from target.storage.faults import disk_error
from target.storage.kernel import DIRECTORY, READ, open_beneath, syncfs, try_open_beneath
from target.storage.metadata import Damaged, ObjectMetadata
from target.storage.partial import Identity, PartialFile, Place
from target.storage.writer import ObjectWriter

_MAX_MARKER_BYTES = 4096
_BUILDING = "new-"
_PROBE = f"{_BUILDING}probe"
_PROBE_BYTES = 4096
_CHECK_SECONDS = 0.1
_MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs")
_OWNER_PREFIX, _CARRIER_PREFIX = "o", "c"
"""Work files tell by their names whose they are, so that two processes never take the same one."""


class Durability(Enum):
    """What a finished object survives: a power loss, or only the end of the process."""

    POWER_LOSS = "power-loss"
    PROCESS = "process"


class Space(NamedTuple):
    """Bytes of a file system, as far as unprivileged users may have them.

    `used_percent`: of the bytes or inodes that they may have, whichever is more. `file_system_id`: statvfs(3)'s
    `f_fsid`; two mountpaths of one file system have the same.
    """

    total_bytes: int = 0
    free_bytes: int = 0
    used_percent: float = 0.0
    file_system_id: int = 0


class Mountpath:
    """A directory on one file system. `open` or `attach` before anything else; then safe to use from all threads."""

    def __init__(self, path: str, durability: Durability = Durability.POWER_LOSS) -> None:
        """`path` is hashed as it is given, so it must be clean and absolute."""
        self.path = path
        self.digest = placement.digest(path)
        self.durability = durability
        self.id = ""
        self.root = -1
        self.in_memory = False
        self._trash = -1
        self._claim_fd = -1
        self._is_owner = True
        self._work_prefix = _OWNER_PREFIX
        self.identity = (0, 0)
        """Device and inode of the root directory, once it is open."""
        self._checked_at = float("-inf")
        self._buckets: dict[Bucket, BucketDirectory] = {}
        self._destroyed: dict[Bucket, int] = {}
        self._lock = threading.Lock()
        self._work_numbers = count(1)
        self.refusal = ""
        """Why nothing new is to be stored here, as long as that is so."""
        self.on_failure: Callable[[], None] = lambda: None
        """Called whenever the disk has failed somehow, on any thread."""

    def __repr__(self) -> str:
        return f"<Mountpath {self.id or 'not open'}, {len(self._buckets)} buckets>"

    def __del__(self) -> None:
        # Here and not at once when it is taken out of use: whoever is late still has the numbers of its descriptors.
        self.close()

    def open(self, cluster_id: str, target_id: str, expected_id: str = "") -> None:
        """Check whose disk this is, or mark an empty one as ours, and clean up after a crash.

        `expected_id` is what this path was known by before: then a missing marker means that the disk is not mounted.
        Raises DiskError with the reason; the mountpath is then closed and nothing has been written to it.
        """
        if not self.path.startswith("/") or len(os.fsencode(self.path)) > layout.MAX_MOUNTPATH_BYTES:
            raise DiskFailure(f"mountpath: the path must be absolute and at most {layout.MAX_MOUNTPATH_BYTES} bytes")
        try:
            self.root = os.open(self.path, DIRECTORY)
        except OSError as error:
            raise DiskFailure(f"mountpath {expected_id}: cannot be opened: {os.strerror(error.errno or 0)}") from None
        try:
            self._open(cluster_id, target_id, expected_id)
        except BaseException:
            self.close()
            raise

    def attach(self, expected_id: str) -> None:
        """Use a mountpath that this target's process has opened, as the only carrier; waits until a former one ended.

        What the former one left half-written is removed. Raises DiskError as `open` does.
        """
        self._is_owner = False
        self._work_prefix = _CARRIER_PREFIX
        try:
            self.root = os.open(self.path, DIRECTORY)
            self._identify()
            self._claim_fd = open_beneath(self.root, layout.MARKER.encode(), READ)
            fcntl.flock(self._claim_fd, fcntl.LOCK_EX)
            self.id = _check_marker(os.pread(self._claim_fd, _MAX_MARKER_BYTES, 0), {}, expected_id)
            for bucket in directories.find_buckets(self.root):
                directory = directories.load(self.root, bucket)
                if directory is not None:
                    directory.sweep(lambda work: work.startswith(self._work_prefix))
                    self._buckets[bucket] = directory
        except OSError as error:
            raise self.error(error) from None

    def _identify(self) -> None:
        status = os.fstat(self.root)
        self.identity = (status.st_dev, status.st_ino)
        self.in_memory = _is_in_memory(status.st_dev)

    def _open(self, cluster_id: str, target_id: str, expected_id: str) -> None:
        try:
            self._identify()
            self.id = self._claim({"cluster": cluster_id, "target": target_id}, expected_id)
            self._trash = self._open_trash()
            for bucket in directories.find_buckets(self.root):
                directory = directories.load(self.root, bucket)
                if directory is None:
                    self._move_to_trash(bucket)
                    continue
                directory.sweep(lambda work: not work.startswith(partial.PREFIX))
                self._buckets[bucket] = directory
            # Directories that a crashed process made may not be durable; from here on only new ones need a sync.
            self.sync()
        except OSError as error:
            raise self.error(error) from None

    def _claim(self, owner: dict[str, str], expected_id: str) -> str:
        marker = try_open_beneath(self.root, layout.MARKER.encode(), READ)
        if marker >= 0:
            with open(marker, "rb") as file:
                return _check_marker(file.read(_MAX_MARKER_BYTES), owner, expected_id)
        if expected_id:
            raise DiskFailure(f"mountpath {expected_id}: its marker is missing; is the disk mounted?")
        with os.scandir(self.root) as entries:
            in_use = any(entry.name.startswith(("@", "%")) for entry in entries)
        if in_use:
            raise DiskFailure("mountpath: holds objects but no marker; restore the marker or empty the disk")
        mountpath_id = f"mp-{secrets.token_hex(4)}"
        temporary = f"{layout.MARKER}.{secrets.token_hex(4)}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self.root)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump({**owner, "mountpath": mountpath_id}, file)
            file.flush()
            os.fsync(descriptor)
        os.rename(temporary, layout.MARKER, src_dir_fd=self.root, dst_dir_fd=self.root)
        os.fsync(self.root)
        return mountpath_id

    def close(self) -> None:
        """Let go of the disk; nothing may use the mountpath any more."""
        for directory in self._buckets.values():
            directory.close()
        self._buckets.clear()
        for descriptor in (self.root, self._trash, self._claim_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self.root = self._trash = self._claim_fd = -1

    @property
    def is_open(self) -> bool:
        """Whether the disk has been found to be ours."""
        return self.root >= 0

    def check(self) -> None:
        """Raise DiskFailure unless the disk is still mounted where it was; costs one `lstat`, about a microsecond."""
        try:
            status = os.lstat(self.path)
        except OSError as error:
            raise DiskFailure(f"mountpath {self.id}: {os.strerror(error.errno or 0)}") from None
        if (status.st_dev, status.st_ino) != self.identity:
            raise DiskFailure(f"mountpath {self.id}: the disk is not mounted any more")

    def check_lately(self) -> None:
        """`check`, unless that was done within the last tenth of a second."""
        now = monotonic()
        if now >= self._checked_at + _CHECK_SECONDS:
            self.check()
            self._checked_at = now

    def error(self, error: OSError) -> DiskError:
        """What to report for an OSError met on this mountpath; `on_failure` hears of it if the disk is at fault."""
        known = disk_error(error, self.id, self.root)
        if isinstance(known, DiskFailure):
            self.on_failure()
        return known

    def probe(self) -> None:
        """Write, sync, read and remove a small file; raises DiskError."""
        self.check()
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        wanted = secrets.token_bytes(_PROBE_BYTES)
        try:
            fd = os.open(_PROBE, flags, 0o600, dir_fd=self._trash)
            try:
                os.write(fd, wanted)
                os.fsync(fd)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                found = os.pread(fd, _PROBE_BYTES, 0)
            finally:
                os.close(fd)
            os.unlink(_PROBE, dir_fd=self._trash)
        except OSError as error:
            raise disk_error(error, self.id, self.root) from None
        if found != wanted:
            raise DiskFailure(f"mountpath {self.id}: gives back other bytes than were written")

    def sync(self) -> None:
        """Make everything on this file system durable, if that is wanted; raises OSError."""
        if self.durability is Durability.POWER_LOSS:
            syncfs(self.root)

    @property
    def syncs(self) -> bool:
        """Whether a commit waits for a disk."""
        return self.durability is Durability.POWER_LOSS and not self.in_memory

    def space(self) -> Space:
        """How the file system is filled; raises DiskError."""
        try:
            status = os.fstatvfs(self.root)
        except OSError as error:
            raise self.error(error) from None
        used = []
        for total, free, available in (
            (status.f_blocks, status.f_bfree, status.f_bavail),
            (status.f_files, status.f_ffree, status.f_favail),
        ):
            usable = total - free + available
            used.append(100.0 * (total - free) / usable if total and usable else 0.0)
        return Space(status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize, max(used), status.f_fsid)

    def new_work_name(self) -> str:
        """A name for a work file that no other has while this process lives."""
        return f"{self._work_prefix}{next(self._work_numbers):x}"

    @contextlib.contextmanager
    def committing(self) -> Iterator[None]:
        """Keep the commits of other processes out; one thread of a process at a time. Raises OSError."""
        fcntl.flock(self.root, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.root, fcntl.LOCK_UN)

    def bucket(self, bucket: Bucket) -> BucketDirectory | None:
        """The bucket's directory here, or None when nothing was ever written to it."""
        return self._buckets.get(bucket)

    def buckets(self) -> list[BucketDirectory]:
        """All buckets that have a directory here."""
        return list(self._buckets.values())

    def bucket_for_writing(self, bucket: Bucket, bucket_id: int) -> BucketDirectory:
        """The directory of exactly this incarnation, made when it is new; an older one goes to the trash.

        Raises BucketNotFound when a newer incarnation is here or this one was destroyed, DiskError, and NoSpace while
        nothing new is to be stored here.
        """
        if self.refusal:
            raise NoSpace(f"mountpath {self.id}: {self.refusal}")
        directory = self._buckets.get(bucket)
        if directory is not None and directory.bucket_id == bucket_id:
            return directory
        if not self._is_owner:
            return self._load(bucket, bucket_id)
        with self._lock:
            self._forget_older(bucket, bucket_id)
            directory = self._buckets.get(bucket)
            if directory is None:
                self.check()
                try:
                    directory = self._create(bucket, bucket_id)
                except OSError as error:
                    raise self.error(error) from None
                self._buckets[bucket] = directory
            return directory

    def _load(self, bucket: Bucket, bucket_id: int) -> BucketDirectory:
        """The directory that the owner has made meanwhile."""
        try:
            directory = directories.load(self.root, bucket)
        except FileNotFoundError:
            directory = None
        except OSError as error:
            raise self.error(error) from None
        if directory is None or directory.bucket_id != bucket_id:
            raise BucketNotFound(bucket.cname)
        self._buckets[bucket] = directory
        return directory

    def destroy_bucket(self, bucket: Bucket, bucket_id: int) -> None:
        """Make this and all older incarnations invisible, durably; their bytes are freed by `empty_trash`.

        Nothing happens when a newer incarnation is here; doing it twice is harmless. Raises DiskError.
        """
        with self._lock:
            with contextlib.suppress(BucketNotFound):
                self._forget_older(bucket, bucket_id + 1)
            self._destroyed[bucket] = max(bucket_id, self._destroyed.get(bucket, bucket_id))

    def _forget_older(self, bucket: Bucket, bucket_id: int) -> None:
        directory = self._buckets.get(bucket)
        newest = max(directory.bucket_id if directory else bucket_id, self._destroyed.get(bucket, -1) + 1)
        if newest > bucket_id:
            raise BucketNotFound(bucket.cname)
        if directory is not None and directory.bucket_id < bucket_id:
            directory.destroyed = True
            del self._buckets[bucket]
            try:
                self._destroy(bucket)
            except OSError as error:
                raise self.error(error) from None

    def empty_trash(self, stopping: Callable[[], bool]) -> None:
        """Free what destroyed buckets occupied; stops early when told, goes on at the next call."""
        with os.scandir(self._trash) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            if stopping():
                return
            if not name.startswith(_BUILDING):
                shutil.rmtree(name, ignore_errors=True, dir_fd=self._trash)

    def is_empty(self, bucket: Bucket, bucket_id: int) -> bool:
        """Whether this incarnation has no object here, for sure and at this moment."""
        directory = self._buckets.get(bucket)
        return directory is None or directory.bucket_id != bucket_id or directory.is_empty()

    def stored_metadata(self, bucket: Bucket, bucket_id: int, name: str) -> ObjectMetadata | None:
        """What is known of a stored object, or None when it is not here whole in this incarnation."""
        directory = self._buckets.get(bucket)
        if directory is None or directory.bucket_id != bucket_id:
            return None
        try:
            found = reader.find(directory, name, thorough=False)
        except (OSError, Damaged):
            return None
        if found is None:
            return None
        os.close(found.fd)
        return found.metadata

    def writer(
        self,
        bucket: Bucket,
        bucket_id: int,
        name: str,
        expected_size: int | None = None,
        digests: Sequence[str] = (),
    ) -> ObjectWriter:
        """A writer for one object; raises BucketNotFound as `bucket_for_writing` does, DiskError."""
        return ObjectWriter(self, self.bucket_for_writing(bucket, bucket_id), name, expected_size, digests)

    def new_part(
        self, bucket: Bucket, bucket_id: int, name: str, work: str, identity: Identity, algorithms: Iterable[str]
    ) -> PartialFile:
        """An empty partial file for a large object; raises as `writer` does."""
        directory = self.bucket_for_writing(bucket, bucket_id)
        return PartialFile.create(self, Place(directory, name, work), identity, syncs=self.syncs, algorithms=algorithms)

    def left_part(
        self, bucket: Bucket, bucket_id: int, name: str, work: str, algorithms: Iterable[str]
    ) -> PartialFile | None:
        """The partial file that was left under this work name, if it can be used; raises as `writer` does."""
        directory = self.bucket_for_writing(bucket, bucket_id)
        return partial.find(self, Place(directory, name, work), syncs=self.syncs, algorithms=algorithms)

    def sweep_parts(self, jobs: Container[str]) -> None:
        """Remove the partial files of all other jobs; only before anything is fetched. Raises DiskError."""
        try:
            for directory in self.buckets():
                directory.sweep(functools.partial(_is_part_of_none, directory, jobs))
        except OSError as error:
            raise self.error(error) from None

    def _create(self, bucket: Bucket, bucket_id: int) -> BucketDirectory:
        """Build the bucket aside and rename it into place, so that a crash leaves all of it or nothing."""
        failpoints.hit("bucket.before_create")
        parent, name = layout.split(layout.bucket_path(bucket))
        parent_fd = self._make_parents(parent)
        try:
            building = f"{_BUILDING}{secrets.token_hex(8)}"
            directories.build(self._trash, building, bucket_id)
            os.rename(building, name, src_dir_fd=self._trash, dst_dir_fd=parent_fd)
        finally:
            os.close(parent_fd)
        self.sync()
        failpoints.hit("bucket.after_create")
        directory = directories.load(self.root, bucket)
        assert directory is not None
        return directory

    def _destroy(self, bucket: Bucket) -> None:
        failpoints.hit("bucket.before_destroy")
        self._move_to_trash(bucket)
        self.sync()
        failpoints.hit("bucket.after_destroy")

    def _move_to_trash(self, bucket: Bucket) -> None:
        parent, name = layout.split(layout.bucket_path(bucket))
        parent_fd = open_beneath(self.root, parent, DIRECTORY)
        try:
            os.rename(name, secrets.token_hex(8), src_dir_fd=parent_fd, dst_dir_fd=self._trash)
        finally:
            os.close(parent_fd)

    def _make_parents(self, path: bytes) -> int:
        """A descriptor of the provider's or the namespace's directory, made when it is missing."""
        current = os.dup(self.root)
        for component in path.split(b"/"):
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(component, 0o700, dir_fd=current)
                following = open_beneath(current, component, DIRECTORY)
            finally:
                os.close(current)
            current = following
        return current

    def _open_trash(self) -> int:
        with contextlib.suppress(FileExistsError):
            os.mkdir(layout.TRASH, 0o700, dir_fd=self.root)
        return open_beneath(self.root, layout.TRASH, DIRECTORY)


def _is_part_of_none(directory: BucketDirectory, jobs: Container[str], work: str) -> bool:
    return partial.job_of(directory, work) not in jobs


def _check_marker(content: bytes, owner: dict[str, str], expected_id: str) -> str:
    """The mountpath id in a marker file; raises DiskFailure when the disk is someone else's."""
    try:
        marker = json.loads(content)
        mountpath_id = str(marker["mountpath"])
    except (ValueError, KeyError, TypeError):
        raise DiskFailure(f"mountpath {expected_id}: its marker cannot be read") from None
    for key, value in owner.items():
        if marker.get(key) != value:
            raise DiskFailure(
                f"mountpath {mountpath_id}: belongs to {key} {printable(str(marker.get(key)))}, not to {value}"
            )
    if expected_id and mountpath_id != expected_id:
        raise DiskFailure(f"mountpath {expected_id}: another disk is mounted here ({printable(mountpath_id)})")
    return mountpath_id


def _is_in_memory(device: int) -> bool:
    """Whether this is a file system without a disk, whose reads never wait."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", "rb") as mounts:
        for line in mounts:
            fields, _, kind = line.decode("utf-8", "replace").partition(" - ")
            if fields.split(" ")[2] == wanted:
                return kind.split(" ")[0] in _MEMORY_FILE_SYSTEMS
    return False
