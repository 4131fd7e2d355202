"""A process to be killed: `victim.py DIR` stores, overwrites, deletes, and prints what is acknowledged."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from common.errors import HaulError
from common.names import Bucket
from target.storage.metadata import ObjectMetadata
from target.storage.mountpath import Durability
from target.storage.store import Store
from target.storage.writer import Staged
from tests.storage.disks import make_store

BUCKET = Bucket("demo")
OTHER = Bucket("other")
NAMES = [*(f"dir{number % 3}/object-{number}" for number in range(8)), "dir0", "/absolute", "large"]


def content(name: str, version: int) -> bytes:
    """What version `version` of an object has; tells name and version."""
    repeat = 200_000 if name == "large" else 50
    return f"{name} {version}\n".encode() * repeat


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def stage(store: Store, bucket: Bucket, name: str, version: int, committed: threading.Semaphore) -> None:
    """Write and submit one object; `done` or `failed` is printed when the committer has answered."""

    def done(group: Sequence[tuple[Staged, HaulError | None]]) -> None:
        for staged, error in group:
            say("failed" if error else "done", bucket.name, version, staged.name)
            committed.release()

    data = content(name, version)
    writer, committer = store.writer(bucket, 1, name, len(data))
    for start in range(0, len(data), 100_000):
        writer.write(data[start : start + 100_000])
    metadata = ObjectMetadata(size=writer.size, checksum=writer.checksum, stored_ns=1)
    committer.submit(writer.finish(metadata), done)


def main(directory: str) -> None:
    base = Path(directory)
    store = make_store([base / "mp1"], base / "mountpaths.json", Durability.POWER_LOSS)
    store.start()
    committed = threading.Semaphore(0)
    for name in NAMES[:2]:
        stage(store, BUCKET, name, 1, committed)
        committed.acquire()
    for version in (2, 3):
        for name in NAMES:
            stage(store, BUCKET, name, version, committed)
        for _ in NAMES:
            committed.acquire()
    stage(store, OTHER, "x", 1, committed)
    committed.acquire()
    for name in NAMES[2:4]:
        say("deleting", BUCKET.name, 0, name)
        store.delete(BUCKET, name)
        say("deleted", BUCKET.name, 0, name)
    say("destroying", OTHER.name, 0, "x")
    store.destroy_bucket(OTHER, 1)
    say("destroyed", OTHER.name, 0, "x")
    store.stop()
    say("end", "-", 0, "-")


if __name__ == "__main__":
    main(sys.argv[1])
