"""What can become of a call to one member of an etcd, and what follows from a member's refusal; pure."""

from __future__ import annotations

from enum import Enum

from common.errors import HaulError, Unavailable
from common.metastore.base import TooLarge


class CallFailed(Exception):
    """A member has not done what it was asked for; `may_have_acted` when it can have happened all the same."""

    may_have_acted = False


class NotSent(CallFailed):
    """The request has not reached the member."""


class Unanswered(CallFailed):
    """The request may have reached the member; no whole answer came."""

    may_have_acted = True


_UNKNOWN = 2


class Meaning(Enum):
    """What a refusal is about."""

    STALE_TOKEN = "the token has expired"  # noqa: S105
    DENIED = "user, password or role"
    NO_SPACE = "the database is full"
    NO_LEASE = "there is no such lease"
    COMPACTED = "the revision is not kept any more"
    NO_LEADER = "the member has no leader"
    BUSY = "too many requests"
    INVALID = "the request cannot be accepted"
    OTHER = "anything else; the member may have acted"


_CERTAINLY_NOT_DONE = frozenset(Meaning) - {Meaning.OTHER, Meaning.NO_SPACE}


class Refused(CallFailed):
    """A member has answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.meaning = _meaning(code, message)
        # What fills the database up is applied and then answered with the error (etcd's quota applier).
        self.may_have_acted = self.meaning not in _CERTAINLY_NOT_DONE


def canceled(reason: str) -> Refused:
    """How a stream was ended by its member; what it says of the reason is the text of a refusal."""
    return Refused(_UNKNOWN, reason or "canceled")


def as_error(refused: Refused) -> HaulError:
    """What a refusal that no other member would change is to the store's users."""
    match refused.meaning:
        case Meaning.DENIED | Meaning.STALE_TOKEN:
            return Unavailable(f"the meta store refuses what its user wants ({refused}): see meta_store_user")
        case Meaning.NO_SPACE:
            return Unavailable(
                "the meta store's database is full (NOSPACE alarm of etcd), and takes no changes until it is "
                "compacted, defragmented or given a higher quota, and the alarm is disarmed",
                maybe_applied=refused.may_have_acted,
            )
        case Meaning.NO_LEADER:
            return Unavailable("the meta store has no leader: most of its members are away")
        case Meaning.INVALID if "too large" in str(refused) or "too many operations" in str(refused):
            return TooLarge(f"the meta store is configured to refuse what Haul needs: {refused}")
        case _:
            return Unavailable(f"the meta store refuses: {refused}", maybe_applied=refused.may_have_acted)


def _meaning(code: int, message: str) -> Meaning:
    """By gRPC's code and, where that is not enough, etcd's text (etcd: api/v3rpc/rpctypes/error.go)."""
    for texts, meaning in _BY_TEXT:
        if any(text in message for text in texts):
            return meaning
    return _BY_CODE.get(code, Meaning.OTHER)


_BY_TEXT = (
    (("invalid auth token", "revision of auth store is old", "auth token is not provided"), Meaning.STALE_TOKEN),
    (("authentication failed", "user name is empty", "permission denied", "authentication is not enabled"),
     Meaning.DENIED),
    (("database space exceeded",), Meaning.NO_SPACE),
    (("too many requests",), Meaning.BUSY),
    (("lease not found",), Meaning.NO_LEASE),
    (("has been compacted",), Meaning.COMPACTED),
    (("etcdserver: no leader",), Meaning.NO_LEADER),
    # A lease's keep-alive at a member that has just become the leader, or has just ceased to be it.
    (("not a primary lessor",), Meaning.OTHER),
)  # fmt: skip
_BY_CODE = {3: Meaning.INVALID, 7: Meaning.DENIED, 16: Meaning.STALE_TOKEN}
