"""Keeps secrets of jobs unreadable where they are written down: sealed with the cluster's key, opened where needed.

The key is in a file that all nodes of a cluster have the same of; without one nothing can be sealed. Which secrets
there are is left to who seals them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack
from cryptography.fernet import Fernet, InvalidToken

from common.errors import HaulError, InvalidRequest


class Sealed(HaulError):
    """What is sealed cannot be opened here: it was sealed with another key."""


class Vault:
    """Seals with one key; any thread."""

    def __init__(self, key_file: Path | None) -> None:
        """Raises InvalidRequest when the file cannot be read or has no key in it."""
        self._cipher = _cipher_of(key_file) if key_file is not None else None

    def __repr__(self) -> str:
        return f"<Vault {'with a key' if self._cipher else 'without a key'}>"

    @property
    def has_key(self) -> bool:
        return self._cipher is not None

    def seal(self, secrets: Mapping[str, Any]) -> bytes:
        """Plain values, encrypted and authenticated; raises InvalidRequest without a key."""
        if self._cipher is None:
            raise InvalidRequest(
                "a job can carry credentials only where the nodes have a 'secret_key_file' to keep them with"
            )
        return self._cipher.encrypt(msgpack.packb(dict(secrets)))

    def open(self, sealed: bytes) -> Mapping[str, Any]:
        """What `seal` was given; raises Sealed when it was sealed with another key, or none is here."""
        try:
            if self._cipher is not None:
                opened: Mapping[str, Any] = msgpack.unpackb(self._cipher.decrypt(sealed))
                return opened
        except InvalidToken:
            pass
        raise Sealed("the job's secrets cannot be read: 'secret_key_file' of this node is not that of the others")


def new_key() -> str:
    """The content of a new key file."""
    return Fernet.generate_key().decode() + "\n"


def _cipher_of(path: Path) -> Fernet:
    try:
        return Fernet(path.read_bytes().strip())
    except OSError as error:
        raise InvalidRequest(f"secret_key_file {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise InvalidRequest(f"secret_key_file {path} must have 32 bytes in URL-safe base64") from None
