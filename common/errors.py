"""The tree of errors that users and peers see: who is to blame, the status, and whether trying again helps.

    HaulError
    ├── RequestError          the request is at fault; sending it again unchanged cannot help
    │   ├── InvalidRequest    400
    │   ├── InvalidName       400
    │   ├── BadChecksum       400
    │   ├── AccessDenied      403
    │   ├── BucketNotFound    404
    │   ├── ObjectNotFound    404
    │   ├── UploadNotFound    404
    │   ├── JobNotFound       404
    │   ├── NodeNotFound      404
    │   ├── MethodNotAllowed  405
    │   ├── RequestTimeout    408
    │   ├── NotOwner          409
    │   ├── BucketExists      409
    │   ├── PreconditionFailed 412
    │   ├── RequestTooLarge   413
    │   ├── RangeNotSatisfiable 416
    │   └── Unsupported       501
    ├── OriginError           the server that an object comes from (`target.transfer.outcomes` builds them)
    ├── DiskError             a disk of a target
    │   ├── NoSpace           507
    │   └── DiskFailure       500
    └── PeerError             another part of the cluster
        ├── Unavailable       503
        └── Fenced            409

Turning an error into an HTTP answer is left to `common.web`. `code` is the wire's `tcode` (wire.md §0.5); a code once
given is never reused for something else.
"""

from __future__ import annotations

from enum import Enum


class Retry(Enum):
    """Whether trying again helps."""

    NEVER = "never"
    LATER = "later"


class HaulError(Exception):
    """Root of everything that Haul reports; `str(error)` is the text that a user reads."""

    code: str = ""
    status: int = 500
    retry: Retry = Retry.NEVER

    @property
    def message(self) -> str:
        return str(self)


class RequestError(HaulError):
    """The request is at fault."""

    status = 400


class InvalidRequest(RequestError):
    """A field or the body as a whole cannot be accepted; the text names the field."""


class InvalidName(RequestError):
    """A bucket's or an object's name breaks the rules of `common.names`."""

    code = "errInvalidPath"


class BadChecksum(RequestError):
    """The received bytes do not have the checksum that the client announced."""

    code = "ErrBadCksum"


class AccessDenied(RequestError):
    """The request is understood and refused."""

    status = 403


class BucketNotFound(RequestError):
    """No such bucket."""

    code = "ErrBckNotFound"
    status = 404

    def __init__(self, cname: str) -> None:
        super().__init__(f'bucket "{cname}" does not exist')


class ObjectNotFound(RequestError):
    """No such object; clients find bucket and object in the text (wire.md §0.5)."""

    code = "ErrNotFound"
    status = 404


class UploadNotFound(RequestError):
    """No such upload in progress: it was completed, aborted, given up, or was never there."""

    code = "ErrNotFound"
    status = 404


class JobNotFound(RequestError):
    """No such download job."""

    code = "ErrNotFound"
    status = 404

    def __init__(self, job_id: str) -> None:
        super().__init__(f"download job {job_id} does not exist")


class NodeNotFound(RequestError):
    """No such member of the cluster."""

    code = "ErrNotFound"
    status = 404

    def __init__(self, node_id: str) -> None:
        super().__init__(f'node "{node_id[:64]}" does not exist')


class MethodNotAllowed(RequestError):
    """The path exists, the method does not; `allow` goes into the `Allow` header."""

    status = 405

    def __init__(self, *allow: str) -> None:
        super().__init__("Method Not Allowed")
        self.allow = ", ".join(sorted(allow))


class NotOwner(RequestError):
    """The object is another target's; the sender has an old cluster map or none, and should ask a proxy."""

    code = "ErrNotOwner"
    status = 409


class BucketExists(RequestError):
    """A bucket of that name exists already."""

    code = "ErrBucketAlreadyExists"
    status = 409

    def __init__(self, cname: str) -> None:
        super().__init__(f'bucket "{cname}" already exists')


class PreconditionFailed(RequestError):
    """What is stored is not what the request's `If-Match` or `If-None-Match` wants; nothing was changed."""

    code = "ErrPreconditionFailed"
    status = 412


class RequestTimeout(RequestError):
    """The client has stopped sending its request's body; nothing was done of it."""

    status = 408
    retry = Retry.LATER


class RequestTooLarge(RequestError):
    """The body is larger than this route accepts."""

    status = 413


class RangeNotSatisfiable(RequestError):
    """The requested bytes do not exist in the object; `size_bytes` goes into `Content-Range`."""

    code = "ErrRangeNotSatisfiable"
    status = 416

    def __init__(self, range_text: str, size_bytes: int) -> None:
        super().__init__(f"size={size_bytes}: not satisfiable range [{range_text}]")
        self.size_bytes = size_bytes


class Unsupported(RequestError):
    """Understood, and not offered here; the text says what would be needed."""

    code = "ErrUnsupp"
    status = 501


class OriginError(HaulError):
    """The origin, or the way to it, is at fault."""

    status = 502


class DiskError(HaulError):
    """A disk of a target is at fault."""

    status = 500


class NoSpace(DiskError):
    """No bytes or no inodes left."""

    code = "ErrCapacityExceeded"
    status = 507
    retry = Retry.LATER


class DiskFailure(DiskError):
    """A disk answered with an I/O error, became read-only or vanished."""

    code = "ErrDiskFailure"
    retry = Retry.LATER


class PeerError(HaulError):
    """Another node or the meta store is at fault."""

    status = 503
    retry = Retry.LATER


class Unavailable(PeerError):
    """A node or the meta store does not answer; `maybe_applied` when a write may have happened all the same."""

    def __init__(self, message: str, *, maybe_applied: bool = False) -> None:
        super().__init__(message)
        self.maybe_applied = maybe_applied


class Fenced(PeerError):
    """The caller speaks with an authority that has passed to another; it must stop, not repeat."""

    code = "ErrFenced"
    status = 409
    retry = Retry.NEVER
