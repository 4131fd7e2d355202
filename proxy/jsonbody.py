"""JSON bodies as the dialect reads them: keys in any case, unknown fields ignored, repeated keys noticed; pure.

Which fields there are, and whether others are refused, is left to the callers.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

from common.errors import InvalidRequest
from common.names import printable


class RepeatedKeys(dict[str, Any]):
    """An object in which a key occurs more than once: the last value of each, and all `pairs`."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    return value if len(value) == len(pairs) else RepeatedKeys(pairs)


def decode(body: bytes, what: str) -> Any:
    """The value of a JSON body; raises InvalidRequest, naming `what` was to be read and where it went wrong."""
    if not body.strip():
        raise InvalidRequest(f"failed to unmarshal {what}, err: EOF (the body is empty)")
    try:
        return json.loads(body, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"failed to unmarshal {what}, err: {error.msg} at byte {error.pos}") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"failed to unmarshal {what}, err: the body is not valid UTF-8") from None
    except RecursionError:
        raise InvalidRequest(f"failed to unmarshal {what}, err: the body is nested too deeply") from None
    except ValueError:  # Python refuses to convert thousands of digits, which takes quadratic time
        raise InvalidRequest(f"failed to unmarshal {what}, err: a number has too many digits") from None


def decode_object(body: bytes, what: str) -> dict[str, Any]:
    """The fields of a JSON object by lower-case key; no body at all is an object without fields."""
    value = decode(body, what) if body.strip() else {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"failed to unmarshal {what}, err: expect an object, found: {type_name(value)}")
    return lower_keys(value)


def lower_keys(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields by lower-case key; null counts as absent."""
    return {key.lower(): value for key, value in fields.items() if value is not None}


def check_known(fields: Iterable[str], known: Collection[str], what: str) -> None:
    """Raise InvalidRequest naming a field that is not among the known ones: what it asks for would not be done."""
    unknown = min((name for name in fields if name not in known), default=None)
    if unknown is not None:
        raise InvalidRequest(f"{what}: found unknown field: {printable(unknown, 64)}")


def string(fields: dict[str, Any], key: str, what: str) -> str:
    """A string field, empty when absent; raises InvalidRequest for another type or unpaired surrogates."""
    value = fields.get(key, "")
    if not isinstance(value, str):
        raise InvalidRequest(f"{what}: '{key}' must be a string, found: {type_name(value)}")
    if not is_unicode(value):
        raise InvalidRequest(f"{what}: '{key}' is not valid unicode")
    return value


def boolean(fields: dict[str, Any], key: str, what: str) -> bool:
    """A boolean field, false when absent."""
    value = fields.get(key, False)
    if not isinstance(value, bool):
        raise InvalidRequest(f"{what}: '{key}' must be a boolean, found: {type_name(value)}")
    return value


def integer(fields: dict[str, Any], key: str, what: str, default: int = 0) -> int:
    """An integer field of at most 64 bits."""
    value = fields.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"{what}: '{key}' must be an integer, found: {type_name(value)}")
    if abs(value) >= 1 << 63:
        raise InvalidRequest(f"{what}: '{key}' does not fit into 64 bits")
    return value


def is_unicode(text: str) -> bool:
    """Whether the text has a UTF-8 form: JSON can spell unpaired surrogates, which have none."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def type_name(value: object) -> str:
    """What the dialect's texts call a JSON value's type."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "float64"
    names = {str: "string", list: "[]interface {}", type(None): "<nil>"}
    return names.get(type(value), "map[string]interface {}")
