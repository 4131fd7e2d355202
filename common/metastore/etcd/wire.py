"""Requests and answers of etcd's JSON gateway as values; sending them is left to `gateway`.

The gateway's JSON is that of protocol buffers: 64-bit numbers are texts, bytes are base64, and whatever is zero, empty
or false is left out.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from common.metastore.base import (
    ABSENT,
    Change,
    Compare,
    DeleteEvent,
    KeyValue,
    Listing,
    Operation,
    Put,
    PutEvent,
    TransactionResult,
)

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Header:
    """Who has answered, and how far it was; 0 is what an answer does not say."""

    cluster_id: int
    revision: int
    raft_term: int

    @classmethod
    def of(cls, message: Message) -> Self:
        header = message.get("header", {})
        return cls(_number(header, "cluster_id"), _number(header, "revision"), _number(header, "raft_term"))


@dataclass(frozen=True, slots=True)
class Keyspace:
    """Where the keys of one Haul cluster lie among everything that is in an etcd."""

    root: str

    def encode(self, key: str) -> str:
        return _base64((self.root + key).encode())

    def range_of(self, prefix: str) -> dict[str, str]:
        """The fields that name all keys under a prefix."""
        first = (self.root + prefix).encode()
        # UTF-8 has no byte 0xff, so that the last one can always be raised.
        return {"key": _base64(first), "range_end": _base64(first[:-1] + bytes((first[-1] + 1,)))}

    def decode(self, key: str) -> str:
        return base64.b64decode(key).decode(errors="surrogateescape").removeprefix(self.root)

    def item(self, plain: Message) -> KeyValue:
        return KeyValue(
            self.decode(plain["key"]),
            base64.b64decode(plain.get("value", "")),
            _number(plain, "create_revision"),
            _number(plain, "mod_revision"),
            _number(plain, "lease") or None,
        )


@dataclass(frozen=True, slots=True)
class Page:
    """One piece of a listing."""

    revision: int
    items: tuple[KeyValue, ...]
    has_more: bool


@dataclass(frozen=True, slots=True)
class Audit:
    """How many keys were under a prefix at `revision`, and when the one changed last was changed (0: there is none)."""

    revision: int
    count: int
    newest_revision: int


@dataclass(frozen=True, slots=True)
class WatchMessage:
    """One message of a watch; `compacted_revision`: the changes since then are all that there still is."""

    header: Header
    changes: tuple[Change, ...]
    is_canceled: bool
    compacted_revision: int
    reason: str


def get_request(keys: Keyspace, key: str) -> bytes:
    """Reads one key."""
    return _json({"key": keys.encode(key)})


def page_request(keys: Keyspace, prefix: str, after: str | None, revision: int, limit: int) -> bytes:
    """Keys under a prefix, those behind `after` only; revision 0 means now."""
    fields: dict[str, Any] = {**keys.range_of(prefix), "limit": limit, "revision": revision}
    if after is not None:
        fields["key"] = keys.encode(after + "\0")
    return _json(fields)


def audit_request(keys: Keyspace, prefix: str) -> bytes:
    """Counts the keys under a prefix, and finds the one changed last."""
    return _json(
        {**keys.range_of(prefix), "limit": 1, "keys_only": True, "sort_target": "MOD", "sort_order": "DESCEND"}
    )


def watch_request(keys: Keyspace, prefix: str, start_revision: int) -> bytes:
    """Follows a prefix from a revision on."""
    return _json({"create_request": {**keys.range_of(prefix), "start_revision": start_revision}})


def transaction_request(keys: Keyspace, compares: Sequence[Compare], operations: Sequence[Operation]) -> bytes:
    """When a compare fails, the compared keys are read in the same step."""
    return _json(
        {
            "compare": [_compare(keys, compare) for compare in compares],
            "success": [_operation(keys, operation) for operation in operations],
            "failure": [{"request_range": {"key": keys.encode(key)}} for key in _compared(compares)],
        }
    )


def grant_request(ttl_seconds: float) -> bytes:
    """A new lease; etcd counts in whole seconds, and the lease gets no less than it was asked for."""
    return _json({"TTL": math.ceil(ttl_seconds)})


def lease_request(lease_id: int) -> bytes:
    """What is wanted of one lease; the path says what."""
    return _json({"ID": lease_id})


def authenticate_request(user: str, password: str) -> bytes:
    """Asks for a token."""
    return _json({"name": user, "password": password})


def item_of(keys: Keyspace, answer: Message) -> KeyValue | None:
    """What `get_request` has found."""
    found = answer.get("kvs", ())
    return keys.item(found[0]) if found else None


def page_of(keys: Keyspace, answer: Message) -> Page:
    """What `page_request` has found."""
    return Page(
        Header.of(answer).revision,
        tuple(keys.item(plain) for plain in answer.get("kvs", ())),
        bool(answer.get("more")),
    )


def audit_of(answer: Message) -> Audit:
    """What `audit_request` has found."""
    newest = max((_number(plain, "mod_revision") for plain in answer.get("kvs", ())), default=0)
    return Audit(Header.of(answer).revision, _number(answer, "count"), newest)


def transaction_result(keys: Keyspace, compares: Sequence[Compare], answer: Message) -> TransactionResult:
    """What `transaction_request` has done; the compares must be those of the request."""
    revision = Header.of(answer).revision
    if answer.get("succeeded"):
        return TransactionResult(True, revision)
    current: dict[str, KeyValue | None] = {}
    for key, response in zip(_compared(compares), answer["responses"], strict=True):
        current[key] = item_of(keys, response["response_range"])
    return TransactionResult(False, revision, current)


def lease_id_of(answer: Message) -> int:
    """The number of a granted lease."""
    return _number(answer, "ID")


def ttl_of(answer: Message) -> int:
    """The seconds that a lease has; 0 when there is no such lease."""
    return max(_number(answer, "TTL"), 0)


def watch_message(keys: Keyspace, message: Message) -> WatchMessage:
    """One message of the stream that `watch_request` opens."""
    return WatchMessage(
        Header.of(message),
        tuple(_change(keys, event) for event in message.get("events", ())),
        bool(message.get("canceled")),
        _number(message, "compact_revision"),
        str(message.get("cancel_reason", "")),
    )


def joined(pages: Sequence[Page]) -> Listing:
    """The pages of one listing, all read at the revision of the first."""
    return Listing(pages[0].revision, tuple(item for page in pages for item in page.items))


def _change(keys: Keyspace, event: Message) -> Change:
    plain = event["kv"]
    if event.get("type", "PUT") == "DELETE":
        return DeleteEvent(keys.decode(plain["key"]), _number(plain, "mod_revision"))
    return PutEvent(keys.item(plain))


def _compared(compares: Sequence[Compare]) -> Sequence[str]:
    return list(dict.fromkeys(compare.key for compare in compares))


def _compare(keys: Keyspace, compare: Compare) -> Message:
    expected: dict[str, Any] = (
        {"target": "CREATE", "create_revision": 0}
        if compare.mod_revision == ABSENT
        else {"target": "MOD", "mod_revision": compare.mod_revision}
    )
    return {"key": keys.encode(compare.key), "result": "EQUAL", **expected}


def _operation(keys: Keyspace, operation: Operation) -> Message:
    if isinstance(operation, Put):
        put = {"key": keys.encode(operation.key), "value": _base64(operation.value), "lease": operation.lease_id or 0}
        return {"request_put": put}
    return {"request_delete_range": {"key": keys.encode(operation.key)}}


def _number(plain: Message, name: str) -> int:
    return int(plain.get(name, 0))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
