"""The keys of S3's clients: read once from a TOML file, `access key = "secret"`; checking is left to `signature`."""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from common.errors import InvalidRequest

_ACCESS_KEY: Final = re.compile(r"[A-Za-z0-9_.\-]{3,128}\Z")
_FOR_OTHERS: Final = stat.S_IRWXO | stat.S_IWGRP


def load_credentials(path: Path | None) -> Mapping[str, str] | None:
    """Secrets by access key, None without a file: then nobody is asked who he is.

    Raises InvalidRequest when the file cannot be used, or others can read or change it.
    """
    if path is None:
        return None
    try:
        mode = path.stat().st_mode
        plain = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"s3_credentials_file {path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequest(f"s3_credentials_file {path}: {error}") from None
    if mode & _FOR_OTHERS:
        raise InvalidRequest(f"s3_credentials_file {path} can be read or changed by others: chmod 600 {path}")
    for access_key, secret in plain.items():
        if not _ACCESS_KEY.match(access_key):
            raise InvalidRequest(
                f"s3_credentials_file {path}: an access key has 3 to 128 letters, digits, dots, dashes or underscores"
            )
        if not isinstance(secret, str) or len(secret) < 8:
            raise InvalidRequest(f"s3_credentials_file {path}: the secret of {access_key} must be a text of 8 or more")
    if not plain:
        raise InvalidRequest(f"s3_credentials_file {path} has no keys, so that nobody could be let in")
    return plain
