"""Where a redirect leads and what may be sent there; pure.

Whether the address may be dialled is left to `egress`, which sees it when the connection is made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from common.errors import Retry
from common.links import HTTP_SCHEMES, origin_of, redact
from target.transfer.request import FetchError

STATUSES = frozenset({301, 302, 303, 307, 308})
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")
_AUTHORITY = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*://)(?P<userinfo>[^/?#]*@)?(?P<host>[^/?#]*)(?P<rest>.*)", re.DOTALL
)
_URL_CHARACTERS = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"<>^`{|}')


@dataclass(frozen=True, slots=True)
class Hop:
    """The request that follows a redirect; `trusted` while the chain has never left the first origin."""

    url: str
    trusted: bool


def next_hop(current: str, location: str, *, trusted: bool) -> Hop:
    """Resolve `location` against the URL that answered; raises FetchError for what must not be followed.

    Userinfo of the location is never used; that of the current URL is kept as long as the chain stays at its origin.
    """
    if _FORBIDDEN.search(location.strip(" \t")):
        raise _refused(current, "the redirect's location has control characters or backslashes")
    try:
        target = urljoin(_without_userinfo(current), location.strip(" \t").replace(" ", "%20"))
        parts = urlsplit(target)
        host = parts.hostname
    except ValueError:
        raise _refused(current, "the redirect's location is not a URL") from None
    if parts.scheme not in HTTP_SCHEMES:
        raise _refused(current, f'redirect to scheme "{parts.scheme[:16]}" (only http and https are followed)')
    if not host:
        raise _refused(current, "the redirect's location has no host")
    if parts.scheme == "http" and current[:6].lower() == "https:":
        raise _refused(current, "redirect from https to http")
    target = _without_userinfo(target.partition("#")[0])
    if not (trusted and origin_of(target) == origin_of(current)):
        return Hop(target, trusted=False)
    return Hop(_with_userinfo_of(current, target), trusted=True)


def too_many(url: str, limit: int) -> FetchError:
    """The chain is longer than the settings allow."""
    return _refused(url, f"more than {limit} redirects")


def wire_url(url: str) -> str:
    """`url` in ASCII: the host in IDNA, the rest percent-encoded; raises FetchError for a host without such a form."""
    if url.isascii():
        return url
    match = _AUTHORITY.match(url)
    if not match:
        raise _refused(url, "not a URL")
    host, rest = match["host"], match["rest"]
    try:
        ascii_host = host.encode("idna").decode("ascii")
    except UnicodeError:
        raise _refused(url, "the host's name is not valid") from None
    userinfo = quote(match["userinfo"] or "", safe=_URL_CHARACTERS)
    return f"{match['scheme']}{userinfo}{ascii_host}{quote(rest, safe=_URL_CHARACTERS, errors='surrogateescape')}"


def _without_userinfo(url: str) -> str:
    match = _AUTHORITY.match(url)
    return f"{match['scheme']}{match['host']}{match['rest']}" if match else url


def _with_userinfo_of(source: str, url: str) -> str:
    match = _AUTHORITY.match(source)
    userinfo = (match["userinfo"] if match else None) or ""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{userinfo}{rest}"


def _refused(url: str, reason: str) -> FetchError:
    return FetchError("redirect", f'failed to download "{redact(url)}": {reason}', retry=Retry.NEVER)
