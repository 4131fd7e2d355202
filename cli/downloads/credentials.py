"""Reads the file given with `--credentials`: what a backend needs to read a bucket, for one job; sent, never shown.

Which credentials there are for which service is left to `common.backends.settings`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cli.downloads.joboptions import Options
from cli.downloads.sources import Source, Web
from cli.errors import CommandError, UsageError
from common.names import printable


def read(path: str, found: Source | None = None) -> Mapping[str, str]:
    """The credentials in a file, or on standard input for `-`, for a source or what a list names.

    Raises CommandError, and repeats nothing of them.
    """
    if isinstance(found, Web):
        raise UsageError("--credentials are for buckets elsewhere; what the web wants is given with --header")
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        fields = json.loads(content)
    except OSError as error:
        raise CommandError(f"cannot read the credentials {printable(path)}: {error.strerror}") from None
    except ValueError:
        fields = None
    if not isinstance(fields, dict) or not fields or not all(isinstance(value, str) for value in fields.values()):
        raise UsageError(f"the credentials {printable(path)} must be a JSON object of strings, and not an empty one")
    if found is not None and found.url and fields.keys() != {"token"}:
        raise UsageError(f'for {found.bucket.cname} at {found.url} the credentials are {{"token": "…"}}')
    return fields


def as_header(credentials: Mapping[str, str], options: Options) -> Options:
    """The options of a job whose links are plain addresses, with the token as a header."""
    if not credentials:
        return options
    return replace(options, headers=[*options.headers, f"Authorization: Bearer {credentials['token']}"])
