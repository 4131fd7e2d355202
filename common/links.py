"""Links of a job as users write them: completed, checked, and shown without their secrets; pure.

Whether an address may be dialled is decided by `target.transfer.egress` at the moment of connecting.
"""

from __future__ import annotations

import re

from common.errors import InvalidRequest
from common.names import printable

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_USERINFO = re.compile(r"(?<=://)[^/?#@]*@")
SCHEMES = ("http", "https")
_CONTROLLED_HEADERS = frozenset(
    {"accept-encoding", "connection", "content-length", "expect", "host", "if-match", "if-modified-since"}
    | {"if-none-match", "if-range", "if-unmodified-since", "keep-alive", "proxy-authorization", "proxy-connection"}
    | {"range", "te", "trailer", "transfer-encoding", "upgrade"}
)
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")


def complete_link(link: str) -> str:
    """Return `link` ready to fetch: `http://` is put before a link without a scheme, spaces are percent-encoded.

    Raises InvalidRequest for a scheme that is not fetched, a missing host, control characters or backslashes.
    """
    scheme = _SCHEME.match(link)
    if not scheme:
        link, name = f"http://{link}", "http"
    else:
        name = scheme[1].lower()
    link = link.replace(" ", "%20")
    if name not in SCHEMES:
        raise InvalidRequest(f'link "{redact(link)}": scheme "{name}" is not supported (http, https)')
    if _FORBIDDEN.search(link):
        raise InvalidRequest(f'link "{redact(link)}": control characters and backslashes are not allowed')
    host = re.split(r"[/?#]", link.split("://", 1)[1], maxsplit=1)[0].rpartition("@")[2]
    if not host or host.startswith(":"):
        raise InvalidRequest(f'link "{redact(link)}": no host')
    return link


def redact(link: str) -> str:
    """The link as it may be shown and logged: without userinfo, query and fragment."""
    shown = re.split(r"[?#]", link, maxsplit=1)[0]
    return printable(_USERINFO.sub("", shown), limit=2048)


def origin_of(link: str) -> str:
    """`scheme://host:port` in lower case without userinfo: what limits and secrets are kept by."""
    scheme, _, rest = link.partition("://")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2].lower()
    if not re.search(r":\d+\Z", host):
        host += ":443" if scheme.lower() == "https" else ":80"
    return f"{scheme.lower()}://{host}"


def check_header(name: str, value: str) -> None:
    """Raise InvalidRequest unless a client may set this header on the requests to the origin."""
    if not _TOKEN.match(name):
        raise InvalidRequest(f'header name "{printable(name)}" is not valid')
    if name.lower() in _CONTROLLED_HEADERS or name.lower().startswith("ais-"):
        raise InvalidRequest(f'header "{name}" is set by the downloader and cannot be given in a job')
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value) or not value.isascii():
        raise InvalidRequest(f'header "{name}": its value has characters that are not allowed')
