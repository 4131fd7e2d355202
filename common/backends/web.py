"""What a web server's index pages link to, as if it were a bucket: nginx, Apache, Caddy, lighttpd, http.server.

For the command line only: a node asks no address for a listing that a client names. Fetching files is left to targets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit

import httpx

from common.backends.base import (
    MAX_PAGE,
    Capabilities,
    ObjectPage,
    OriginUnavailable,
    RemoteBucketNotFound,
    SourceObject,
    SourceRequest,
)
from common.errors import AccessDenied, HaulError, InvalidName, InvalidRequest, ObjectNotFound, OriginError
from common.links import complete_link, origin_of, redact
from common.names import printable, validate_object_name

MAX_DEPTH = 32
"""Of folders; deeper ones are taken for a loop of links."""
_MAX_INDEX_BYTES = 64 * 1024 * 1024
_INDEXES_A_CALL = 200
"""More than are read again to go on from where a page ended, which are MAX_DEPTH."""
_MAX_INDEXES = 100_000
_BUSY = frozenset({429, 502, 503, 504})
_SIZE = re.compile(r"\s*(?:\d{2}-[A-Z][a-z]{2}-\d{4}|\d{4}-\d{2}-\d{2}) \d{2}:\d{2}\s+(\d{1,18})\s*\Z")
"""What nginx and Apache write behind a link: a size without a unit is in bytes, and exact."""
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 60.0
NO_HEADERS: Mapping[str, Sequence[str]] = {}


class _Entry(NamedTuple):
    """A file, or a folder with a slash at its end; names begin at the start."""

    name: str
    size_bytes: int | None


class _EnoughRead(Exception):
    """So many index pages have been read that the caller should hear of it."""


class WebBackend:
    """All files below a URL that its index pages, and those below, link to; `headers` go along with every request.

    Never above the URL, never to another host; links with a query, such as those that sort, are not followed. A token
    is the name at which to go on.
    """

    def __init__(self, url: str, headers: Mapping[str, Sequence[str]] = NO_HEADERS) -> None:
        start = complete_link(url)
        parts = urlsplit(start)
        if parts.scheme.lower() not in ("http", "https") or parts.query or parts.fragment:
            raise InvalidRequest(f'"{redact(start)}": index pages are read from http(s) addresses without a query')
        self._start = start if start.endswith("/") else f"{start}/"
        self._shown = redact(self._start)
        self._path = _segments(urlsplit(self._start).path)
        self._headers = tuple((name, value) for name, values in headers.items() for value in values)
        self._indexes = 0
        self._kept: dict[str, list[_Entry]] = {}
        self.left_out: list[str] = []
        """Links that name nothing that could be an object here, as far as they have been seen."""
        self._http = httpx.Client(
            headers=[("Accept-Encoding", "identity"), *self._headers],
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            follow_redirects=False,
        )

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    def page(self, prefix: str = "", token: str = "", limit: int = MAX_PAGE) -> ObjectPage:
        """See `Backend`; what an index page says once is asked again for the first page only."""
        kept, read = (self._kept if token else {}), _Reading()
        objects: list[SourceObject] = []
        try:
            for found in self._walk("", prefix, token, kept, read):
                objects.append(SourceObject(found.name, found.size_bytes))
                read.position = found.name
                if len(objects) >= limit:
                    break
            else:
                read.position = ""
        except _EnoughRead:
            pass
        self._kept = {name: entries for name, entries in read.folders.items() if read.position.startswith(name)}
        return ObjectPage(objects, read.position)

    def head(self, name: str, version: str = "") -> SourceObject:
        """See `Backend`; what is sent on elsewhere has no size that is known."""
        url = self._url(name)
        answer = self._ask("HEAD", url)
        if answer.has_redirect_location:
            if urljoin(url, answer.headers["location"]).endswith("/"):
                raise ObjectNotFound(f'"{redact(url)}" is a folder')
            return SourceObject(name, None)
        if answer.status_code in (404, 410):
            raise ObjectNotFound(f'"{redact(url)}" does not exist')
        self._check(answer)
        headers = answer.headers
        length = headers.get("content-length", "") if "content-encoding" not in headers else ""
        return SourceObject(
            name,
            int(length) if length.isdecimal() else None,
            headers.get("etag", ""),
            modified_ns=_unix_ns(headers.get("last-modified", "")),
        )

    def request(self, name: str, version: str = "") -> SourceRequest:
        """See `Backend`: the link, and the headers that were given."""
        return SourceRequest(self._url(name), self._headers)

    def close(self) -> None:
        self._http.close()

    def _url(self, name: str) -> str:
        return self._start + quote(name, safe="/~!$&()*+,;=@")

    def _walk(
        self, folder: str, prefix: str, after: str, kept: Mapping[str, list[_Entry]], read: _Reading
    ) -> Iterator[_Entry]:
        """All files of a folder and below that come after a name, in the order of all names' bytes."""
        read.position = max(folder, read.position)
        if folder.count("/") > MAX_DEPTH:
            raise OriginError(f'"{redact(self._url(folder))}" is {MAX_DEPTH} folders deep: its links lead in circles')
        if folder not in kept:
            read.indexes += 1
            if read.indexes > _INDEXES_A_CALL:
                raise _EnoughRead
        entries = read.folders[folder] = kept[folder] if folder in kept else self._index(folder)
        for entry in entries:
            name = entry.name
            if not name.endswith("/"):
                if name > after and name.startswith(prefix):
                    yield entry
            elif (name > after or after.startswith(name)) and (name.startswith(prefix) or prefix.startswith(name)):
                yield from self._walk(name, prefix, after, kept, read)

    def _index(self, folder: str) -> list[_Entry]:
        """What an index page links to; a folder that has gone since it was listed is empty."""
        self._indexes += 1
        if self._indexes > _MAX_INDEXES:
            raise OriginError(f'"{self._shown}" has more than {_MAX_INDEXES} index pages')
        url = self._url(folder)
        answer = self._ask("GET", url)
        if answer.has_redirect_location:
            elsewhere = redact(urljoin(url, answer.headers["location"]))
            raise OriginError(f'"{redact(url)}" sends on to "{elsewhere}", which is not followed: list that one')
        if answer.status_code in (404, 410):
            if folder:
                return []
            raise RemoteBucketNotFound(f'"{self._shown}" does not exist')
        self._check(answer)
        if not answer.headers.get("content-type", "").lower().startswith(("text/html", "application/xhtml")):
            raise OriginError(f'"{redact(url)}" is no page with links')
        links = _Links()
        links.feed(answer.text)
        links.close()
        sizes: dict[str, int | None] = {}
        for link, text in links.found:
            name = self._child(folder, _resolved(url, link))
            if name:
                exact = _SIZE.match(text)
                sizes[name] = int(exact[1]) if exact and not name.endswith("/") else None
        return [_Entry(name, size_bytes) for name, size_bytes in sorted(sizes.items())]

    def _child(self, folder: str, link: str) -> str:
        """The name of what lies directly in a folder; empty for all other links, and for what cannot be an object."""
        try:
            parts = urlsplit(link)
        except ValueError:
            return ""
        if parts.query or parts.fragment or origin_of(link) != origin_of(self._start):
            return ""
        try:
            path = _segments(parts.path)
        except UnicodeDecodeError:
            self.left_out.append(printable(link))
            return ""
        above = self._path[:-1] + folder.split("/")[:-1]
        own = path[len(above) :]
        if path[: len(above)] != above or not own or not own[0] or own[1:] not in ([], [""]):
            return ""
        try:
            if "/" in own[0]:
                raise InvalidName("a slash in a name")
            return folder + validate_object_name(own[0]) + ("/" if own[1:] else "")
        except InvalidName:
            self.left_out.append(printable(link))
            return ""

    def _ask(self, method: str, url: str) -> httpx.Response:
        try:
            with self._http.stream(method, url) as answer:
                body = bytearray()
                for chunk in answer.iter_bytes():
                    body += chunk
                    if len(body) > _MAX_INDEX_BYTES:
                        raise OriginError(f'"{redact(url)}" is larger than an index page may be')
        except httpx.InvalidURL as error:
            raise InvalidRequest(f'"{redact(url)}" cannot be asked for: {error}') from None
        except httpx.HTTPError as error:
            raise OriginUnavailable(f'"{redact(url)}" does not answer: {error or type(error).__name__}') from None
        if method == "HEAD":
            return answer
        plain = [(key, value) for key, value in answer.headers.items() if key != "content-encoding"]
        return httpx.Response(answer.status_code, headers=plain, content=bytes(body))

    def _check(self, answer: httpx.Response) -> None:
        """Raise what an error status means."""
        if answer.is_success:
            return
        error: HaulError = OriginError(f'"{self._shown}" answers with status {answer.status_code}')
        if answer.status_code in (401, 403):
            error = AccessDenied(f'"{self._shown}" refuses access with status {answer.status_code}')
        elif answer.status_code in _BUSY:
            seconds = answer.headers.get("retry-after", "")
            busy = f'"{self._shown}" is busy: status {answer.status_code}'
            error = OriginUnavailable(busy, float(seconds) if seconds.isdecimal() else None)
        raise error


class _Reading:
    """How far one call has come."""

    def __init__(self) -> None:
        self.indexes = 0
        self.position = ""
        self.folders: dict[str, list[_Entry]] = {}


class _Links(HTMLParser):
    """Collects where the anchors of a page lead to, each with the text behind it."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, str]] = []
        self._link = ""
        self._is_behind = False
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._finish()
        if tag == "a":
            self._link = (dict(attrs).get("href") or "").strip()

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._link:
            self._is_behind = True
        else:
            self._finish()

    def handle_data(self, data: str) -> None:
        if self._is_behind:
            self._text += data

    def close(self) -> None:
        super().close()
        self._finish()

    def _finish(self) -> None:
        if self._link:
            self.found.append((self._link, self._text))
        self._link, self._text, self._is_behind = "", "", False


def _resolved(url: str, link: str) -> str:
    """Where a link on a page leads; empty for what cannot be read."""
    try:
        return urljoin(url, link)
    except ValueError:
        return ""


def _segments(path: str) -> list[str]:
    """The parts of a path between its slashes, decoded one by one; raises UnicodeDecodeError."""
    return [unquote_to_bytes(segment).decode() for segment in path.split("/")]


def _unix_ns(text: str) -> int:
    try:
        return int(parsedate_to_datetime(text).timestamp()) * 1_000_000_000
    except (ValueError, OverflowError):
        return 0
