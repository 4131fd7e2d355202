"""What a bucket's property `access` lets clients do: AIStore's bits, and who is refused; pure.

The bits bind clients that come through a proxy, and what only targets read: the buckets of batches, and that an object
is to be renamed. Changing properties is never refused, so that nobody is shut out.
"""

from __future__ import annotations

from enum import IntFlag

from common.buckets import BucketRecord
from common.errors import AccessDenied
from common.names import Bucket


class Permission(IntFlag):
    """AIStore's access attributes, as far as something here asks for them."""

    GET = 1 << 0
    HEAD_OBJECT = 1 << 1
    PUT = 1 << 2
    APPEND = 1 << 3
    DELETE_OBJECT = 1 << 4
    MOVE_OBJECT = 1 << 5
    HEAD_BUCKET = 1 << 8
    LIST_OBJECTS = 1 << 9
    DESTROY_BUCKET = 1 << 15
    MOVE_BUCKET = 1 << 16


def check_access(record: BucketRecord, wanted: Permission) -> None:
    """Raise AccessDenied when the bucket's `access` has not all of these bits."""
    check_bits(record.bucket, record.access, wanted)


def check_bits(bucket: Bucket, access: int, wanted: Permission) -> None:
    """The same where not more is known of a bucket than its `access`."""
    missing = wanted & ~access
    if missing:
        names = ", ".join(str(one.name).replace("_", "-") for one in Permission if one & missing)
        raise AccessDenied(
            f"bucket \"{bucket.cname}\": access denied, {names} is not permitted (its property 'access' is {access:#x})"
        )
