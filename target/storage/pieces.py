"""One upload that comes in pieces: parts in any order, or appended bytes; kept on disk until they make an object.

    %mp/<token>/head   nothing but metadata: the object's name, its custom metadata, when the upload began
    %mp/<token>/p<N>   part N, a file with metadata like an object's
    %mp/<token>/tail   appended bytes; an attribute says how many of them were acknowledged

They lie on the mountpath that the object belonged to when the upload began, survive the process (with `power-loss`
durability a loss of power, too), and go with their bucket. Which uploads there are is left to `inprogress`, making an
object of one to `assembling`. Everything here may wait for a disk.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from typing import NamedTuple

from common.errors import BucketNotFound, DiskFailure, NoSpace, UploadNotFound
from target.storage import layout, metadata
from target.storage.directories import BucketDirectory
from target.storage.kernel import DIRECTORY, READ, open_beneath, try_open_beneath
from target.storage.metadata import Damaged, ObjectMetadata
from target.storage.mountpath import Durability, Mountpath
from target.storage.reader import OpenObject
from target.storage.tails import Tail
from target.storage.writer import ObjectWriter, Staged

MAX_PART_NUMBER = 10_000
HEAD = "head"
_TAIL = "tail"
_PART = re.compile(r"p([1-9]\d{0,4})\Z")


class Part(NamedTuple):
    """A part that is here whole."""

    number: int
    metadata: ObjectMetadata

    @property
    def md5(self) -> str:
        return self.metadata.digests.get("md5", "")


class Upload:
    """One upload in progress, open; `head` has what was told at its beginning."""

    def __init__(self, mountpath: Mountpath, directory: BucketDirectory, fd: int, token: str, head: ObjectMetadata):
        self.mountpath = mountpath
        self.token = token
        self.head = head
        self._directory = directory
        self._fd = fd

    def __repr__(self) -> str:
        return f"<Upload {self.token} of {self._directory.bucket.cname}/{self.head.name}>"

    def part_writer(self, expected_size: int | None, digests: tuple[str, ...]) -> ObjectWriter:
        """A writer for the bytes of a part; raises DiskError, and NoSpace while nothing new is stored here."""
        if self.mountpath.refusal:
            raise NoSpace(f"mountpath {self.mountpath.id}: {self.mountpath.refusal}")
        return ObjectWriter(self.mountpath, self._directory, HEAD, expected_size, digests)

    def keep_part(self, number: int, staged: Staged) -> None:
        """Make a written part durable and one of the upload's, in the place of one that has its number.

        Raises UploadNotFound when the upload has ended meanwhile, DiskError; the part is then gone.
        """
        self._keep(staged, f"p{number}")

    def _keep(self, staged: Staged, name: str) -> None:
        try:
            self._check_alive()
            if self._is_durable:
                staged.fsync()
            os.rename(staged.work, name, src_dir_fd=self._directory.work_fd, dst_dir_fd=self._fd)
            staged.close()
            self._sync(self._fd)
        except FileNotFoundError:
            staged.discard()
            raise gone() from None
        except UploadNotFound:
            staged.discard()
            raise
        except OSError as error:
            staged.discard()
            raise self.mountpath.error(error) from None

    def parts(self) -> list[Part]:
        """All parts that are here, in order; raises DiskError."""
        found = []
        with self._errors():
            with os.scandir(self._fd) as entries:
                numbers = sorted(int(match[1]) for entry in entries if (match := _PART.match(entry.name)))
            for number in numbers:
                with self.open_part(number) as part:
                    found.append(Part(number, part.metadata))
        return found

    def open_part(self, number: int) -> OpenObject:
        """Open a part for reading; raises UploadNotFound when it is gone, DiskError."""
        with self._errors():
            fd = open_beneath(self._fd, f"p{number}".encode(), READ)
            try:
                return OpenObject(fd, metadata.read(fd, os.fstat(fd).st_size), b"")
            except Damaged as error:
                os.close(fd)
                raise DiskFailure(f"mountpath {self.mountpath.id}: part {number} is damaged: {error}") from None
            except BaseException:
                os.close(fd)
                raise

    def open_tail(self, *, makes: bool = False, adds: bool = False) -> Tail:
        """The appended bytes, empty ones are made if wanted; raises UploadNotFound, DiskError, and NoSpace to add."""
        if (makes or adds) and self.mountpath.refusal:
            raise NoSpace(f"mountpath {self.mountpath.id}: {self.mountpath.refusal}")
        with self._errors():
            self._check_alive()
            tail = Tail.open(self.mountpath, self._fd, _TAIL, syncs=self._is_durable, makes=makes)
            os.utime(self._fd)
            self._sync(self._fd)
        return tail

    def has_tail(self) -> bool:
        """Whether this is an append."""
        try:
            os.stat(_TAIL, dir_fd=self._fd, follow_symlinks=False)
        except OSError:
            return False
        return True

    def remove(self) -> None:
        """Forget the upload with all its pieces; harmless when that was done. Raises DiskError."""
        with contextlib.suppress(UploadNotFound), self._errors():
            os.unlink(HEAD, dir_fd=self._fd)
        with self._errors():
            parent = open_beneath(self._directory.fd, layout.PIECES, DIRECTORY)
            try:
                shutil.rmtree(self.token, ignore_errors=True, dir_fd=parent)
                self._sync(parent)
            finally:
                os.close(parent)

    def close(self) -> None:
        os.close(self._fd)

    @property
    def _is_durable(self) -> bool:
        return self.mountpath.durability is Durability.POWER_LOSS

    def _sync(self, fd: int) -> None:
        if self._is_durable:
            os.fsync(fd)

    def _check_alive(self) -> None:
        if self._directory.destroyed:
            raise BucketNotFound(self._directory.bucket.cname)
        os.stat(HEAD, dir_fd=self._fd, follow_symlinks=False)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise gone() from None
        except OSError as error:
            raise self.mountpath.error(error) from None


def gone() -> UploadNotFound:
    """What is said of an upload that is not there."""
    return UploadNotFound("no such upload: it was completed, aborted or given up, or this target never had it")


def open_upload(mountpath: Mountpath, directory: BucketDirectory, token: str) -> Upload | None:
    """The upload of that token, None if there is none."""
    fd = try_open_beneath(directory.fd, layout.PIECES + b"/" + token.encode(), DIRECTORY)
    if fd < 0:
        return None
    head = try_open_beneath(fd, HEAD.encode(), READ)
    try:
        if head >= 0:
            found = metadata.read(head, os.fstat(head).st_size)
            return Upload(mountpath, directory, fd, token, found)
    except (OSError, Damaged):
        pass
    finally:
        if head >= 0:
            os.close(head)
    os.close(fd)
    return None
