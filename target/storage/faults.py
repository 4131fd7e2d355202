"""From errno to the errors of `common.errors`: what a disk did, named by mountpath id and never by a local path.

Disabling a disk after errors is left to `store`.
"""

from __future__ import annotations

import errno
import os

from common.errors import DiskError, DiskFailure, NoSpace, ObjectNotFound


class ObjectDamaged(ObjectNotFound):
    """A file lies where the object should and is not a whole object of ours; clients are told apart from a miss."""

    code = "ErrObjectDamaged"


class NoMountpath(DiskFailure):
    """Nothing can be read or stored here: every mountpath has failed or was disabled."""

    status = 503


class Superseded(DiskError):
    """What was to be moved has a newer version where it was to go."""


def disk_error(error: OSError, mountpath_id: str, root: int) -> DiskError:
    """The error to report for an OSError on a mountpath; `root` is a descriptor on its file system."""
    number = error.errno or errno.EIO
    if number == errno.ENOSPC:
        return NoSpace(f"mountpath {mountpath_id}: no {_exhausted(root)} left")
    if number == errno.EDQUOT:
        return NoSpace(f"mountpath {mountpath_id}: disk quota exceeded")
    return DiskFailure(f"mountpath {mountpath_id}: {os.strerror(number)}")


def _exhausted(root: int) -> str:
    try:
        left = os.fstatvfs(root)
    except OSError:
        return "space"
    return "inodes" if left.f_files and not left.f_favail else "space"
