"""Links of a job as users write them: completed, checked, and shown without their secrets; pure.

Whether an address may be dialled is decided by `target.transfer.egress` at the moment of connecting.
"""

from __future__ import annotations

import re

from common.errors import InvalidRequest
from common.names import printable

_LINK = re.compile(r"(?:(?P<scheme>[^/?#@:]*)://)?(?:(?P<userinfo>[^/?#]*)@)?(?P<host>[^/?#]*)(?P<path>[^?#]*)")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\\]")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s%\"<>^`|\[\]:]+)(?::(?P<port>[0-9]{1,5}|[0-9]*\{[0-9.{}]*))?\Z")
"""A range of a template, which is completed before it is expanded, may stand in the host or be the port."""
HTTP_SCHEMES = ("http", "https")
FILE_SCHEMES = ("ftp", "sftp")
SOURCE_SCHEMES = ("s3", "gs", "az", "ais")
"""Of links that name an object of a service or of another cluster, and are no addresses."""
SCHEMES = HTTP_SCHEMES + FILE_SCHEMES + SOURCE_SCHEMES
_PORTS = {"http": 80, "https": 443, "ftp": 21, "sftp": 22}
_CONTROLLED_HEADERS = frozenset(
    {"accept-encoding", "connection", "content-length", "expect", "host", "if-match", "if-modified-since"}
    | {"if-none-match", "if-range", "if-unmodified-since", "keep-alive", "proxy-authorization", "proxy-connection"}
    | {"range", "te", "trailer", "transfer-encoding", "upgrade"}
)
_NOTHING_TO_HIDE = re.compile(r"https?://[A-Za-z0-9.\-]+(?::[0-9]+)?/[A-Za-z0-9_.\-/~%+,=!]{0,1000}\Z")
_PORT = re.compile(r":0*([0-9]+)\Z")
_MAX_PORT = 65_535
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")


def complete_link(link: str) -> str:
    """Return `link` ready to fetch: `http://` is put before a link without a scheme, spaces are percent-encoded.

    Raises InvalidRequest for a scheme that is not fetched, a missing or impossible host or port, control characters,
    backslashes or lone surrogates.
    """
    parts = _parts(link)
    if parts["scheme"] is None:
        link = f"http://{link}"
    elif parts["scheme"].lower() not in SCHEMES:
        scheme = printable(parts["scheme"], limit=32)
        raise InvalidRequest(f'link "{redact(link)}": scheme "{scheme}" is not supported ({", ".join(SCHEMES)})')
    if _FORBIDDEN.search(link):
        raise InvalidRequest(f'link "{redact(link)}": control characters and backslashes are not allowed')
    host = parts["host"]
    if not host or host.startswith(":"):
        raise InvalidRequest(f'link "{redact(link)}": no host')
    valid = _HOST.match(host)
    if not valid or not host.replace(" ", "x").isprintable():
        raise InvalidRequest(f'link "{redact(link)}": not a valid host and port')
    if (valid["port"] or "0").isdigit() and int(valid["port"] or "0") > _MAX_PORT:
        raise InvalidRequest(f'link "{redact(link)}": not a valid host and port')
    scheme = (parts["scheme"] or "").lower()
    if scheme in FILE_SCHEMES:
        _check_file(link, parts["path"])
    if scheme in SOURCE_SCHEMES:
        link = _completed_source(link, scheme, host, parts["path"])
    return link.replace(" ", "%20")


def redact(link: str, limit: int = 2048) -> str:
    """The link as it may be shown and logged: without userinfo, query and fragment.

    Where the host is none, an `@` further on may end a password with a `/` or `?` in it: then nothing is shown.
    """
    if _NOTHING_TO_HIDE.match(link):
        return link
    parts = _parts(link)
    scheme = "" if parts["scheme"] is None else f"{parts['scheme']}://"
    if not _HOST.match(parts["host"]) and "@" in link:
        return printable(f"{scheme}…", limit)
    return printable(f"{scheme}{parts['host']}{parts['path']}", limit)


def without_secrets(link: str) -> str:
    """The link, or template of links, without userinfo, query and fragment, whole and unescaped."""
    parts = _parts(link)
    scheme = "" if parts["scheme"] is None else f"{parts['scheme']}://"
    return f"{scheme}{parts['host']}{parts['path']}"


def shown_link(link: str) -> str:
    """`without_secrets`, with a question mark at the end where something is missing: it cannot be fetched so."""
    if _NOTHING_TO_HIDE.match(link):
        return link
    shown = without_secrets(link)
    return shown if shown == link else f"{shown}?"


def origin_of(link: str) -> str:
    """`scheme://host:port` in lower case without userinfo: what limits and secrets are kept by."""
    parts = _parts(link)
    scheme, host = (parts["scheme"] or "http").lower(), parts["host"].lower()
    if scheme in SOURCE_SCHEMES:
        return f"{scheme}://{host}"
    port = _PORT.search(host)
    if port:
        return f"{scheme}://{host[: port.start()]}:{port[1]}"
    return f"{scheme}://{host.removesuffix(':')}:{_PORTS.get(scheme, 80)}"


def is_source(link: str) -> bool:
    """Whether a link names an object of a service or of another cluster, and is no address itself."""
    return link.partition("://")[0].lower() in SOURCE_SCHEMES


def _completed_source(link: str, scheme: str, host: str, path: str) -> str:
    """Bucket and name must be there; `ais://@CLUSTER/…` is spelled without the `@`, which may stand before a host."""
    name = path.strip("/") if scheme != "ais" else path.strip("/").partition("/")[2]
    if not name or path.endswith("/"):
        raise InvalidRequest(f'link "{redact(link)}" names no object')
    if "?" in link or "#" in link:
        raise InvalidRequest(f'link "{redact(link)}": "?" and "#" in a name must be percent-encoded')
    return f"{scheme}://{host}{path}"


def _check_file(link: str, path: str) -> None:
    """What libcurl would take for the wish to list a directory, or to translate the bytes, is refused."""
    if not path.strip("/") or path.endswith("/"):
        raise InvalidRequest(f'link "{redact(link)}": a directory cannot be fetched, only a file')
    if ";type=" in path.lower():
        raise InvalidRequest(f'link "{redact(link)}": ";type=" is not supported, bytes are fetched as they are')


def host_of(origin: str) -> str:
    """The host of what `origin_of` returns; of an object of a service its bucket."""
    scheme, _, host = origin.partition("://")
    return host if scheme in SOURCE_SCHEMES else host.rpartition(":")[0]


def _parts(link: str) -> re.Match[str]:
    match = _LINK.match(link)
    assert match, "the pattern matches every text"
    return match


def check_header(name: str, value: str) -> None:
    """Raise InvalidRequest unless a client may set this header on the requests to the origin."""
    if not _TOKEN.match(name):
        raise InvalidRequest(f'header name "{printable(name)}" is not valid')
    if name.lower() in _CONTROLLED_HEADERS or name.lower().startswith("ais-"):
        raise InvalidRequest(f'header "{name}" is set by the downloader and cannot be given in a job')
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value) or not value.isascii():
        raise InvalidRequest(f'header "{name}": its value has characters that are not allowed')
