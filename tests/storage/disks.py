"""Stores on fresh directories, and the few things that every storage test does with them."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from common.errors import HaulError
from common.names import Bucket
from target.storage.metadata import ObjectMetadata
from target.storage.mountpath import Durability
from target.storage.mountpaths import Mountpaths
from target.storage.registry import Registry
from target.storage.store import Store
from target.storage.writer import Staged

BUCKET = Bucket("demo")
_FS_IOC_SHUTDOWN = 0x8004587D
_WITHOUT_FLUSHING = struct.pack("I", 2)


def make_store(
    paths: Sequence[Path],
    registry: Path,
    durability: Durability = Durability.PROCESS,
    *,
    cluster: str = "cluster",
    target: str = "target",
) -> Store:
    return Store(Mountpaths(paths, cluster, target, Registry(registry), durability), durability)


@contextmanager
def running_store(
    base: Path, count: int = 2, durability: Durability = Durability.PROCESS, names: Sequence[str] = ()
) -> Iterator[Store]:
    paths = [base / (name or f"mp{number}") for number, name in enumerate(names or [""] * count, start=1)]
    for path in paths:
        path.mkdir(parents=True, exist_ok=True)
    store = make_store(paths, base / "mountpaths.json", durability)
    store.start()
    try:
        yield store
    finally:
        store.stop()


def put(store: Store, name: str, data: bytes, *, bucket: Bucket = BUCKET, bucket_id: int = 1, **more: object) -> None:
    """Store one object and wait until it is committed; raises what the commit gives."""
    [error] = put_many(store, [(name, data)], bucket=bucket, bucket_id=bucket_id, **more)
    if error is not None:
        raise error


def put_many(
    store: Store,
    objects: Sequence[tuple[str, bytes]],
    *,
    bucket: Bucket = BUCKET,
    bucket_id: int = 1,
    **more: object,
) -> list[HaulError | None]:
    """Stage all, submit all, wait for all; the errors in order."""
    outcomes: dict[int, HaulError | None] = {}
    finished = threading.Event()

    def done(group: Sequence[tuple[Staged, HaulError | None]]) -> None:
        outcomes.update((staged.token, error) for staged, error in group)
        if len(outcomes) == len(objects):
            finished.set()

    staged = []
    for number, (name, data) in enumerate(objects):
        writer, committer = store.writer(bucket, bucket_id, name, len(data))
        for start in range(0, len(data), 65536):
            writer.write(data[start : start + 65536])
        metadata = ObjectMetadata(size=writer.size, checksum=writer.checksum, **{"stored_ns": 1, **more})
        staged.append((committer, writer.finish(metadata, number)))
    for committer, work in staged:
        committer.submit(work, done)
    assert finished.wait(30)
    return [outcomes[number] for number in range(len(objects))]


def get(store: Store, name: str, *, bucket: Bucket = BUCKET) -> bytes:
    found, _ = store.open(bucket, name)
    with found:
        data = b"".join(found.read(start, 1 << 20) for start in range(0, found.size, 1 << 20))
    assert len(data) == found.size
    return data


def files_below(base: Path) -> list[str]:
    """Every file below a directory, relative to it."""
    raw = os.fsencode(base)
    return sorted(
        os.fsdecode(os.path.relpath(os.path.join(directory, name), raw))
        for directory, _, names in os.walk(raw)
        for name in names
    )


def entries_of(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def work_files(base: Path) -> list[str]:
    return [path for path in files_below(base) if "/%wk/" in path]


@contextmanager
def mounted_tmpfs(path: Path, options: str) -> Iterator[Path]:
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "haul-test", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=False, stderr=subprocess.DEVNULL)


@contextmanager
def ext4(image: Path, path: Path, *, lazily: bool = False) -> Iterator[Path]:
    """A real file system in a file; `lazily`: nobody minds if it is still in use at the end."""
    make = ("mkfs.ext4", "-q", "-m", "0")
    with _mounted_image(image, path, make, 64 << 20, "errors=remount-ro", lazily=lazily):
        yield path


@contextmanager
def xfs(image: Path, path: Path, *, lazily: bool = False) -> Iterator[Path]:
    """The same, about as small as xfs can be."""
    with _mounted_image(image, path, ("mkfs.xfs", "-q"), 320 << 20, "defaults", lazily=lazily):
        yield path


@contextmanager
def _mounted_image(
    image: Path, path: Path, make: Sequence[str], size_bytes: int, options: str, *, lazily: bool
) -> Iterator[Path]:
    if not image.exists():
        with image.open("wb") as file:
            file.truncate(size_bytes)
        subprocess.run([*make, str(image)], check=True)
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", f"loop,{options}", str(image), str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", *(["-l"] if lazily else []), str(path)], check=not lazily, stderr=subprocess.DEVNULL)


def lose_power(path: Path) -> None:
    """What has not been made durable is gone, and the disk answers nothing but errors from now on."""
    directory = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(directory, _FS_IOC_SHUTDOWN, _WITHOUT_FLUSHING)
    finally:
        os.close(directory)
