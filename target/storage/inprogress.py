"""The uploads in progress of a target: begun, found again by their tokens, listed, and swept when nobody goes on.

What an upload consists of is left to `pieces`, what is said in HTTP to `target.api`. Everything may wait for a disk.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import NamedTuple

import structlog

from common import clock, placement
from common.errors import BucketNotFound, DiskError, InvalidRequest, UploadNotFound
from common.names import Bucket, printable
from target.storage import layout
from target.storage.directories import BucketDirectory
from target.storage.kernel import DIRECTORY, open_beneath, try_open_beneath
from target.storage.metadata import ObjectMetadata
from target.storage.mountpath import Durability, Mountpath
from target.storage.pieces import HEAD, Upload, gone, open_upload
from target.storage.store import Store
from target.storage.writer import ObjectWriter

MAX_UPLOADS = 10_000
"""In progress at once, of one bucket on one mountpath."""
_log = structlog.get_logger("target.pieces")


class Begun(NamedTuple):
    """An upload in progress, as a list of them shows it."""

    name: str
    token: str
    started_ns: int


class Pieces:
    """All uploads in progress of a target; any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def begin(self, bucket: Bucket, bucket_id: int, name: str, custom: Mapping[str, str]) -> str:
        """Begin an upload, durably; returns its token. Raises BucketNotFound, InvalidRequest, DiskError."""
        mountpath = self._store.choose(placement.digest(bucket.uname + name))
        directory = mountpath.bucket_for_writing(bucket, bucket_id)
        token = secrets.token_hex(12)
        try:
            parent = _open_pieces(directory, syncs=mountpath.durability is Durability.POWER_LOSS)
            try:
                _check_number(bucket, parent)
                os.mkdir(token, 0o700, dir_fd=parent)
                fd = open_beneath(parent, token.encode(), DIRECTORY)
                self._write_head(mountpath, directory, fd, name, custom)
                if mountpath.durability is Durability.POWER_LOSS:
                    os.fsync(parent)
            finally:
                os.close(parent)
        except OSError as error:
            if directory.destroyed:
                raise BucketNotFound(bucket.cname) from None
            raise mountpath.error(error) from None
        return token

    def _write_head(
        self, mountpath: Mountpath, directory: BucketDirectory, fd: int, name: str, custom: Mapping[str, str]
    ) -> None:
        try:
            writer = ObjectWriter(mountpath, directory, HEAD)
            head = ObjectMetadata(0, writer.checksum, stored_ns=clock.unix_ns(), custom=custom, name=name)
            staged = writer.finish(head)
            try:
                if mountpath.durability is Durability.POWER_LOSS:
                    staged.fsync()
                os.rename(staged.work, HEAD, src_dir_fd=directory.work_fd, dst_dir_fd=fd)
            except OSError:
                staged.discard()
                raise
            staged.close()
            if mountpath.durability is Durability.POWER_LOSS:
                os.fsync(fd)
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def opened(self, bucket: Bucket, bucket_id: int | None, name: str, token: str) -> Iterator[Upload]:
        """An upload of this object; raises UploadNotFound, DiskError."""
        for mountpath in self._store.usable:
            directory = mountpath.bucket(bucket)
            if directory is None or bucket_id not in (None, directory.bucket_id):
                continue
            upload = open_upload(mountpath, directory, token)
            if upload is None:
                continue
            try:
                if upload.head.name != name:
                    raise UploadNotFound(f"this upload is not one of {bucket.cname}/{printable(name)}")
                yield upload
            finally:
                upload.close()
            return
        raise gone()

    def begun(
        self, bucket: Bucket, bucket_id: int, is_wanted: Callable[[str, str], bool], limit: int
    ) -> tuple[list[Begun], bool]:
        """The first uploads in parts of a bucket here whose name and token are wanted, by these; raises DiskError.

        Says, too, whether there are more than `limit`.
        """
        found = heapq.nsmallest(limit + 1, self._begun(bucket, bucket_id, is_wanted), key=itemgetter(0, 1))
        return found[:limit], len(found) > limit

    def _begun(self, bucket: Bucket, bucket_id: int, is_wanted: Callable[[str, str], bool]) -> Iterator[Begun]:
        for mountpath in self._store.usable:
            directory = mountpath.bucket(bucket)
            if directory is None or directory.bucket_id != bucket_id:
                continue
            for token in _tokens(mountpath, directory):
                upload = open_upload(mountpath, directory, token)
                if upload is None:
                    continue
                try:
                    if is_wanted(upload.head.name, token) and not upload.has_tail():
                        yield Begun(upload.head.name, token, upload.head.stored_ns)
                finally:
                    upload.close()

    def sweep(self, unused_seconds: float, is_in_use: Callable[[str], bool]) -> int:
        """Forget the uploads that got no piece for so long; returns how many. A failure is logged."""
        swept = 0
        for mountpath in self._store.usable:
            for directory in mountpath.buckets():
                try:
                    swept += _sweep(mountpath, directory, unused_seconds, is_in_use)
                except (OSError, DiskError) as error:
                    text = os.strerror(error.errno or 0) if isinstance(error, OSError) else error.message
                    _log.error("pieces.not_swept", mountpath=mountpath.id, error=text)
        return swept


def _open_pieces(directory: BucketDirectory, *, syncs: bool) -> int:
    fd = try_open_beneath(directory.fd, layout.PIECES, DIRECTORY)
    if fd >= 0:
        return fd
    with contextlib.suppress(FileExistsError):
        os.mkdir(layout.PIECES, 0o700, dir_fd=directory.fd)
        if syncs:
            os.fsync(directory.fd)
    return open_beneath(directory.fd, layout.PIECES, DIRECTORY)


def _check_number(bucket: Bucket, parent: int) -> None:
    with os.scandir(parent) as entries:
        if sum(1 for _ in entries) >= MAX_UPLOADS:
            raise InvalidRequest(f"{bucket.cname}: {MAX_UPLOADS} uploads are in progress already: abort some of them")


def _tokens(mountpath: Mountpath, directory: BucketDirectory) -> list[str]:
    parent = try_open_beneath(directory.fd, layout.PIECES, DIRECTORY)
    if parent < 0:
        return []
    try:
        with os.scandir(parent) as entries:
            return [entry.name for entry in entries]
    except OSError as error:
        raise mountpath.error(error) from None
    finally:
        os.close(parent)


def _sweep(
    mountpath: Mountpath, directory: BucketDirectory, unused_seconds: float, is_in_use: Callable[[str], bool]
) -> int:
    """By the directory's time of change, which every piece sets anew."""
    swept = 0
    for token in _tokens(mountpath, directory):
        fd = try_open_beneath(directory.fd, layout.PIECES + b"/" + token.encode(), DIRECTORY)
        if fd < 0:
            continue
        unused_ns = clock.unix_ns() - os.fstat(fd).st_mtime_ns
        upload = Upload(mountpath, directory, fd, token, ObjectMetadata(0, ""))
        try:
            if unused_ns >= unused_seconds * 1e9 and not is_in_use(token):
                upload.remove()
                swept += 1
        finally:
            upload.close()
    return swept
