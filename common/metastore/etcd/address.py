"""How an etcd is named in a configuration, and what its files give; connecting is left to `gateway`."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from common.errors import InvalidRequest

_SCHEMES: Final = {"etcd": "http", "etcds": "https"}
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


def is_etcd(meta_store: str) -> bool:
    """Whether a meta store's name is that of an etcd."""
    return meta_store.partition("://")[0] in _SCHEMES


def member_urls(meta_store: str) -> list[str]:
    """The members of `etcd://HOST:PORT,HOST:PORT` or, by TLS, `etcds://…`; raises ValueError with the reason."""
    scheme, _, names = meta_store.partition("://")
    urls = [f"{_SCHEMES[scheme]}://{name}" for name in names.split(",")]
    for url, name in zip(urls, names.split(","), strict=True):
        parts = urlsplit(url)
        if parts.netloc != name or not parts.hostname or parts.username is not None:
            raise ValueError(f"expecting {scheme}://HOST:PORT,HOST:PORT,…")
        if not parts.port:
            raise ValueError(f"the port of {name} is missing (etcd's is 2379)")
    if len(set(urls)) < len(urls):
        raise ValueError("a member is named twice")
    return urls


def tls_context(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> ssl.SSLContext:
    """Checks members against the system's authorities or a file of others; shows a certificate if there is one.

    Raises InvalidRequest when a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidRequest(f"meta_store_ca_file {ca_file} cannot be used: {error}") from None
    if cert_file is not None:
        try:
            context.load_cert_chain(cert_file, key_file)
        except (OSError, ssl.SSLError) as error:
            raise InvalidRequest(
                f"meta_store_cert_file {cert_file} with meta_store_key_file {key_file} cannot be used: {error}"
            ) from None
    return context


def read_password(path: Path) -> str:
    """The first line of a file; raises InvalidRequest when it cannot be read, or others could have written it."""
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            password = file.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"meta_store_password_file {path} cannot be read: {error}") from None
    if mode & _WRITABLE_BY_OTHERS:
        raise InvalidRequest(f"meta_store_password_file {path} can be written by others: chmod 600 {path}")
    if not password:
        raise InvalidRequest(f"meta_store_password_file {path} is empty")
    return password
