"""Python imports this by itself at the start of a node of `test_versions`: it is of the next version from then on.

That version has one field more in every message and in every record, and one element more where these are arrays.
"""

import os
import sys
from typing import Any

import msgpack

FIELD = "of_the_next_version"
_DATA = {"buckets"}
"""Names of fields whose keys are not those of a message: buckets by name."""
_ARRAYS = {"tasks", "current_tasks", "finished_tasks", "error_tasks"}
"""Names of fields that hold arrays of arrays."""
_ARRAY_MODULES = {"proxy.buckets", "target.rebalance.messages", "target.storage.metadata"}
"""What these pack is an array."""
_ARRAYS_MODULE = "target.downloads.journal"
_packb = msgpack.packb
_added = {"by": os.environ["NEXT_VERSION"], "because": ["it", "can"]}


def _longer(array: Any) -> list[Any]:
    return [*array, _added]


def _newer(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        if name in _DATA:
            return value
        return {key: _newer(each, key) for key, each in value.items()} | {FIELD: _added}
    if isinstance(value, list | tuple):
        return [_longer(each) for each in value] if name in _ARRAYS else [_newer(each) for each in value]
    return value


def _pack_newer(value: Any) -> Any:
    module = sys._getframe(1).f_globals["__name__"]
    if module in _ARRAY_MODULES:
        return _packb(_longer(value))
    if module == _ARRAYS_MODULE:
        return _packb([_longer(each) for each in value])
    return _packb(_newer(value) if isinstance(value, dict) else value)


msgpack.packb = _pack_newer
