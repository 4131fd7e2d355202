"""Changes the metadata of an object that is stored; its bytes and version stay. What changes is left to callers.

Where metadata stands in an attribute it is replaced there, which is done at once or not at all. Where it does not fit,
or while objects move between mountpaths, the object is written anew, under the condition that nobody has replaced it.
In place the time grows by a nanosecond: a copy of it that is on its way to another target must not count as the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from common import clock, placement
from common.errors import HaulError, ObjectNotFound, Retry
from common.names import Bucket, printable
from target.storage import metadata, reader
from target.storage.committer import Committer
from target.storage.faults import ObjectDamaged
from target.storage.metadata import Damaged, ObjectMetadata
from target.storage.mountpath import Durability
from target.storage.store import Store
from target.storage.writer import Staged

Change = Callable[[ObjectMetadata], ObjectMetadata]
_READ_BYTES = 1 << 20


class Replaced(HaulError):
    """Somebody has stored another object under the name meanwhile."""

    status = 503
    retry = Retry.LATER


class Rewritten(NamedTuple):
    """An object with its new metadata, to be committed."""

    staged: Staged
    committer: Committer


def change_in_place(store: Store, bucket: Bucket, bucket_id: int, name: str, change: Change) -> bool:
    """Change metadata durably; False where only `rewrite` can. Raises ObjectNotFound, DiskError, as `change` does."""
    view = store.mountpaths.view
    if not view.is_settled or not view.placed:
        return False
    slot = view.placed[placement.choose(placement.digest(bucket.uname + name), view.digests)]
    shown = f"{bucket.cname}/{printable(name)}"
    directory = slot.mountpath.bucket(bucket)
    if directory is None or directory.bucket_id != bucket_id:
        raise ObjectNotFound(f"{shown} does not exist")
    try:
        with store.holding(bucket, name), slot.committer.held():
            found = reader.find(directory, name)
            if found is None:
                raise ObjectNotFound(f"{shown} does not exist")
            with found:
                changed = change(found.metadata)._replace(stored_ns=found.metadata.stored_ns + 1)
                is_changed = metadata.replace_inline(found.fd, changed)
                if is_changed and slot.mountpath.durability is Durability.POWER_LOSS:
                    os.fsync(found.fd)
                return is_changed
    except Damaged as error:
        raise ObjectDamaged(f"{shown} is damaged: {error}") from None
    except OSError as error:
        raise slot.mountpath.error(error) from None


def rewrite(store: Store, bucket: Bucket, bucket_id: int, name: str, change: Change) -> Rewritten:
    """Write an object anew with changed metadata; the commit raises Replaced if it is another one by then.

    Raises ObjectNotFound, DiskError, and what `change` does.
    """
    found, mountpath = store.open(bucket, name, bucket_id)
    with found:
        changed = change(found.metadata)._replace(name="", stored_ns=clock.unix_ns())
        writer, committer = store.writer(bucket, bucket_id, name, found.size)
        with writer:
            while writer.size < found.size:
                try:
                    data = found.read(writer.size, _READ_BYTES)
                except OSError as error:
                    raise mountpath.error(error) from None
                writer.write(data)
            if writer.checksum != changed.checksum:
                raise ObjectDamaged(f"{bucket.cname}/{printable(name)} is damaged: its bytes have another checksum")
            staged = writer.finish(changed)
    before = found.metadata

    def is_the_same(stored: ObjectMetadata) -> None:
        if stored.version and (stored.stored_ns, stored.checksum) != (before.stored_ns, before.checksum):
            raise Replaced(f"{bucket.cname}/{printable(name)} was replaced at this moment; try again")

    staged.condition = is_the_same
    return Rewritten(staged, committer)
