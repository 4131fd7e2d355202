"""How much is in buckets: `summary-bck` and `HEAD …?bsumm_remote`, both asked until it is known. Source: wire.md §2.4.

Counting is left to the targets, adding up to `proxy.actions.summaries`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Response

from common.buckets import BucketRecord
from common.errors import InvalidRequest
from common.web import is_true
from proxy.actions.summaries import Summaries, Summary
from proxy.api.answers import json_response
from proxy.jsonbody import boolean, lower_keys, string, type_name

_WHAT = "failed to unmarshal summary message"
_FIELDS = frozenset({"uuid", "prefix", "cached", "present", "dont_add_remote"})
_BEGUN, _DONE, _PARTLY = 202, 200, 206


class SummaryRoutes:
    """The handlers behind the routes, of buckets that have been found."""

    def __init__(self, summaries: Summaries) -> None:
        self._summaries = summaries

    async def get(self, records: Sequence[BucketRecord], value: object) -> Response:
        """Start a summary and answer its id, or tell how far one is; raises InvalidRequest, NoTargets."""
        fields = _fields(value)
        summary_id, prefix = string(fields, "uuid", _WHAT), string(fields, "prefix", _WHAT)
        is_here = boolean({"cached": True} | fields, "cached", _WHAT) or boolean(fields, "present", _WHAT)
        if not summary_id:
            started = await self._summaries.start(records, prefix, remote=not is_here)
            return Response(started, _BEGUN, headers={"content-type": "text/plain; charset=utf-8"})
        found = await self._summaries.ask(summary_id, records, prefix, remote=not is_here)
        answer = json_response([] if found.has_begun else found.results)
        answer.status_code = _status(found)
        return answer

    async def head(self, record: BucketRecord, query: Mapping[str, str], prefix: str) -> Response:
        """The same in headers, beside the bucket's properties; raises InvalidRequest, NoTargets."""
        headers = {"Ais-Bucket-Props": json.dumps(record.to_bprops(), separators=(",", ":"))}
        remote = is_true(query["bsumm_remote"])
        if not query.get("uuid"):
            started = await self._summaries.start([record], prefix, remote=remote)
            return Response(status_code=_BEGUN, headers=headers | {"Ais-Xaction-Id": started})
        found = await self._summaries.ask(query["uuid"], [record], prefix, remote=remote)
        if not found.has_begun:
            headers["Ais-Bucket-Summ"] = json.dumps(found.results[0], separators=(",", ":"))
        return Response(status_code=_status(found), headers=headers)


def _status(found: Summary) -> int:
    return _BEGUN if found.has_begun else _DONE if found.is_done else _PARTLY


def _fields(value: object) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise InvalidRequest(f"{_WHAT}: 'value' must be an object, found: {type_name(value)}")
    fields = lower_keys(value or {})
    unknown = sorted(set(fields) - _FIELDS)
    if unknown:
        raise InvalidRequest(f"{_WHAT}: found unknown field: {unknown[0][:64]}")
    return fields
