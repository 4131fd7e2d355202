"""Reads the file given with `--object-list`: JSON (an array of links, an object of name → link) or one link per line.

What becomes of the links is left to `cli.downloads.naming`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cli.downloads.naming import ObjectList
from cli.errors import CommandError, UsageError
from common.names import printable


def read(path: str) -> ObjectList:
    """The list in a file, or on standard input for `-`; raises CommandError when it cannot be read."""
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise CommandError(f"cannot read the object list {printable(path)}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandError(f"the object list {printable(path)} is not UTF-8 text") from None
    return parse(text, printable(path))


def parse(text: str, source: str) -> ObjectList:
    """The list in a text; `source` names it in errors. Raises UsageError."""
    if text.lstrip()[:1] in ("[", "{"):
        return _from_json(text, source)
    entries = [line.strip() for line in text.splitlines() if line.strip()]
    if not entries:
        raise UsageError(f"the object list {source} is empty")
    return entries


def _from_json(text: str, source: str) -> ObjectList:
    try:
        value = json.loads(text, object_pairs_hook=_without_duplicates)
    except _DuplicateName as error:
        raise UsageError(f'the object list {source} names "{printable(str(error))}" twice') from None
    except ValueError as error:
        raise UsageError(f"the object list {source} is not valid JSON: {error}") from None
    entries = list(value.values()) if isinstance(value, dict) else value
    if not entries:
        raise UsageError(f"the object list {source} is empty")
    if not all(isinstance(entry, str) and entry for entry in entries):
        raise UsageError(f"the object list {source}: every link must be a text, and not an empty one")
    result: ObjectList = value
    return result


class _DuplicateName(Exception):
    pass


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """JSON itself would keep the last of two equal names and drop the other without a word."""
    result: dict[str, object] = {}
    for name, value in pairs:
        if name in result and result[name] != value:
            raise _DuplicateName(name)
        result[name] = value
    return result
