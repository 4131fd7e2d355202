"""One easy handle of libcurl and the fetch that it is doing: callbacks in, result out.

Handles are made once and used for fetch after fetch. When they run is left to `reactor`, who gets one to `engine`,
what their failures mean to `outcomes`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import pycurl

from common.clock import monotonic, unix_ns
from common.errors import HaulError
from common.links import origin_of
from target.transfer import files, outcomes, redirects
from target.transfer.egress import EgressGuard
from target.transfer.heads import parse_head
from target.transfer.request import (
    FetchError,
    FetchRequest,
    Part,
    Progress,
    Receipt,
    ResponseHead,
    Sink,
    SinkFactory,
    TransferSettings,
)

MIN_BUFFER_BYTES = 1024
_PAUSE: int = pycurl.WRITEFUNC_PAUSE
_SOCKET_OK: int = pycurl.SOCKOPT_OK
_MAX_UNSHARED = 10_000
_OUR_HEADERS = ("Accept-Encoding: identity",)


class Transfer:
    """Reusable: `prepare`, let libcurl run, `conclude`; a redirect makes `conclude` return None for another round."""

    def __init__(
        self,
        settings: TransferSettings,
        guard: EgressGuard,
        ca_file: str,
        unshared: set[str],
        on_pause: Callable[[Transfer], None],
    ) -> None:
        """`unshared` are the TLS origins that are known not to let transfers share a connection."""
        self._settings = settings
        self._unshared = unshared
        self._waits = self._asks_head = self._is_file = self._connects_anew = False
        self._range = ""
        self._guard = guard
        self._on_pause = on_pause
        self._lines: list[bytes] = []
        self._header_lines: tuple[str, ...] = ()
        self._buffer_bytes = settings.buffer_bytes
        self._dialling: socket.socket | None = None
        self._sink_factory: SinkFactory
        self._sink: Sink | None = None
        self._head: ResponseHead | None = None
        self._failure: HaulError | None = None
        self._refused_address: tuple[str, str] | None = None
        self.token: object = None
        self.request: FetchRequest
        self.progress: Progress
        self.curl = self._new_handle(ca_file)

    def prepare(self, token: object, request: FetchRequest, sink_factory: SinkFactory) -> None:
        """Set up for the first request; raises FetchError for what cannot be asked."""
        self.token = token
        self.request = request
        self._sink_factory = sink_factory
        self._trusted = True
        self._hold_seconds: float | None = None
        self._redirects = 0
        self.progress = Progress(started_at=monotonic())
        self._own_lines = request.conditional if request.part is None else _range_lines(request.part)
        if request.headers or self._own_lines:
            _check_lines(request)
        self._set_buffer()
        self._begin_hop(request.url)

    def conclude(self, code: int, message: str) -> Receipt | HaulError | None:
        """The result after libcurl is done with the handle; None when a redirect is to be followed now."""
        try:
            return self._conclude(code, message)
        except HaulError as error:
            return error

    def sent_at(self) -> float | None:
        """When this hop's request went out, None before that."""
        seconds = self.curl.getinfo(pycurl.PRETRANSFER_TIME)
        return self.progress.hop_started_at + seconds if seconds else None

    def update_head(self) -> None:
        """Let the deadlines know that the head is complete although no body has come yet."""
        if self._lines and self._lines[-1] == b"\r\n" and not self._lines[0].startswith(b"HTTP/1.1 1"):
            self.progress.head_complete = True

    def expected_bytes(self) -> int:
        return (self._head.content_length or 0) if self._head and self._head.status in outcomes.COMPLETE_STATUSES else 0

    def release(self) -> None:
        """Let go of everything that belongs to the fetch; the handle stays for the next one."""
        self.token = None
        self._sink = self._head = self._failure = None
        del self._sink_factory, self.request

    def _new_handle(self, ca_file: str) -> pycurl.Curl:
        settings = self._settings
        curl = pycurl.Curl()
        for option, value in (
            (pycurl.NOSIGNAL, 1),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS | files.PROTOCOLS),
            (pycurl.PROXY, ""),
            (pycurl.NOPROXY, "*"),
            (pycurl.NETRC, pycurl.NETRC_IGNORED),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS),
            (pycurl.HTTPAUTH, pycurl.HTTPAUTH_BASIC),
            (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
            (pycurl.SSL_VERIFYPEER, 1),
            (pycurl.SSL_VERIFYHOST, 2),
            (pycurl.CAINFO, ca_file),
            (pycurl.TCP_NODELAY, 1),
            (pycurl.TCP_KEEPALIVE, 1),
            (pycurl.FTP_FILEMETHOD, pycurl.FTPMETHOD_NOCWD),
            (pycurl.SSH_AUTH_TYPES, pycurl.SSH_AUTH_PASSWORD | pycurl.SSH_AUTH_KEYBOARD),
            (pycurl.SSH_KNOWNHOSTS, settings.known_hosts_file),
            (pycurl.CONNECTTIMEOUT_MS, round(settings.connect_timeout_seconds * 1000)),
            (pycurl.BUFFERSIZE, self._buffer_bytes),
            (pycurl.USERAGENT, settings.user_agent),
            (pycurl.HTTPHEADER, list(_OUR_HEADERS)),
            (pycurl.HEADERFUNCTION, self._lines.append),
            (pycurl.WRITEFUNCTION, self._on_body),
            (pycurl.OPENSOCKETFUNCTION, self._on_open_socket),
            (pycurl.SOCKOPTFUNCTION, self._on_socket_opened),
        ):
            curl.setopt(option, value)
        return curl

    def _set_buffer(self) -> None:
        wanted = self._settings.buffer_bytes
        if self.request.budget:
            second = int(min(self.request.budget.bytes_per_second, wanted))
            # a power of two, so that a slowly changing rate does not reallocate
            wanted = min(wanted, max(MIN_BUFFER_BYTES, 1 << max(0, second.bit_length() - 1)))
        if wanted != self._buffer_bytes:
            self.curl.setopt(pycurl.BUFFERSIZE, wanted)
            self._buffer_bytes = wanted

    def _begin_hop(self, url: str) -> None:
        self._url = url
        self._lines.clear()
        self._sink = None
        self._head = None
        self._failure = None
        self._discarded_bytes = 0
        self._refused_address = None
        self._dialled = False
        self.progress.begin_hop(monotonic())
        lines = self._own_lines
        if self._trusted and self.request.headers:
            lines = tuple(map(_curl_line, self.request.headers)) + lines
        if lines != self._header_lines:
            self.curl.setopt(pycurl.HTTPHEADER, [*_OUR_HEADERS, *lines])
            self._header_lines = lines
        self.curl.setopt(pycurl.URL, redirects.wire_url(url))
        is_file = files.is_file_link(url)
        if is_file != self._is_file:
            self._is_file = is_file
            self.curl.setopt(pycurl.OPT_FILETIME, is_file)
            # what an FTP server says is not needed, and libcurl puts no bound to it as it does to heads of HTTP
            self.curl.setopt(pycurl.HEADERFUNCTION, len if is_file else self._lines.append)
        self._connect_anew(False)
        if is_file:
            refusal = files.refusal(self.request.url, self._settings.known_hosts_file)
            if refusal:
                raise refusal
        self._ask(head_only=self.request.head_only or self._is_file)
        # the first connection to a TLS origin tells whether the others can share it, by HTTP/2; plain HTTP never waits
        waits = url[:8].lower() == "https://" and origin_of(url) not in self._unshared
        if waits != self._waits:
            self.curl.setopt(pycurl.PIPEWAIT, waits)
            self._waits = waits

    def _connect_anew(self, wanted: bool) -> None:
        if wanted != self._connects_anew:
            self._connects_anew = wanted
            self.curl.setopt(pycurl.FRESH_CONNECT, wanted)

    def _ask(self, *, head_only: bool, range_text: str = "") -> None:
        if head_only != self._asks_head:
            self._asks_head = head_only
            self.curl.setopt(pycurl.NOBODY if head_only else pycurl.HTTPGET, 1)
        if range_text != self._range:
            self._range = range_text
            if range_text:
                self.curl.setopt(pycurl.RANGE, range_text)
            else:
                self.curl.unsetopt(pycurl.RANGE)

    def _on_open_socket(self, _purpose: int, address: tuple[int, int, int, tuple[str, int]]) -> object:
        family, kind, protocol, (ip, port, *_) = address
        refusal = self._guard.refusal(ip, port)
        if refusal:
            self._refused_address = (ip, refusal)
            return pycurl.SOCKET_BAD
        self._dialled = True
        self._dialling = socket.socket(family, kind, protocol)
        return self._dialling

    def _on_socket_opened(self, _fd: int, _purpose: int) -> int:
        # pycurl has duplicated the descriptor by now; a second one would keep the connection alive after a close
        if self._dialling:
            self._dialling.close()
            self._dialling = None
        return _SOCKET_OK

    def _on_body(self, chunk: bytes) -> int | None:
        sink, budget, progress = self._sink, self.request.budget, self.progress
        if budget and budget.delay() > 0:
            progress.throttled = True
            self._on_pause(self)
            return _PAUSE
        try:
            if sink is None:
                sink = self._first_body()
                if sink is None:
                    return self._discard(chunk)
            size = len(chunk)
            progress.received_bytes += size
            if budget:
                budget.charge(size)
            limit = self._settings.max_object_bytes
            if limit is not None and progress.received_bytes > limit:
                raise outcomes.too_large(self.request.shown, limit)
            expected = self.request.expected_bytes
            if expected is not None and progress.received_bytes > expected:
                raise outcomes.more_than_expected(self.request.shown, expected)
            sink.write(chunk)
        except HaulError as error:
            self._failure = error
            return 0
        return None

    def _first_body(self) -> Sink | None:
        """The sink for the body that begins, None for a body that nobody wants."""
        head = self._read_head()
        self.progress.head_complete = True
        if head is None or head.status not in self._wanted_statuses():
            return None
        refusal = outcomes.body_refusal(self.request.shown, head, self._settings.max_object_bytes, self.request.part)
        if refusal:
            raise refusal
        self._sink = self._sink_factory(head)
        return self._sink

    def _discard(self, chunk: bytes) -> int | None:
        self._discarded_bytes += len(chunk)
        if self.request.budget:
            self.request.budget.charge(len(chunk))
        return 0 if self._discarded_bytes > self._settings.max_discarded_bytes else None

    def _read_head(self) -> ResponseHead | None:
        if self._head is None and not self._is_file:
            self._head = parse_head(self._lines, self._url)
            if self._waits and self._head is not None and self._lines[0].startswith(b"HTTP/1"):
                if len(self._unshared) >= _MAX_UNSHARED:
                    self._unshared.clear()
                self._unshared.add(origin_of(self._url))
        return self._head

    def _conclude(self, code: int, message: str) -> Receipt | HaulError | None:
        if self._failure:
            return self._failure
        if self._is_file and (code or self._asks_head):
            return self._conclude_file(code, message)
        head = self._read_head()
        if head is None or (code and head.status in self._wanted_statuses()):
            return self._curl_failure(code, message)
        if self._trusted:  # the address's own origin, not where it has redirected to
            self._hold_seconds = outcomes.hold_seconds(head) or self._hold_seconds
        if head.status in redirects.STATUSES and "location" in head.headers:
            self._follow(head.headers["location"])
            return None
        failure = outcomes.answer_failure(
            self.request.shown,
            head,
            conditional=bool(self.request.conditional),
            now_unix=unix_ns() / 1e9,
            part=self.request.part,
        )
        return failure or self._receipt(head)

    def _conclude_file(self, code: int, message: str) -> Receipt | HaulError | None:
        """A file's size and time have come, or nothing will."""
        curl, request = self.curl, self.request
        if code:
            if self._refused_address:
                return outcomes.egress_blocked(request.shown, *self._refused_address)
            return files.failure(
                request.shown, code, message, curl.getinfo(pycurl.OS_ERRNO), curl.getinfo(pycurl.RESPONSE_CODE)
            )
        size, self._modified = int(curl.getinfo(pycurl.CONTENT_LENGTH_DOWNLOAD_T)), curl.getinfo(pycurl.FILETIME_T)
        if (untold := files.untold(request.shown, self._modified)) is not None:
            if self._connects_anew:
                return untold
            # libcurl sees no error, and would take the connection that is gone for the next request, too
            self._connect_anew(True)
            self.progress.begin_hop(monotonic())
            return None
        head = files.head_of(request, self._url, size, self._modified, unix_ns() / 1e9)
        if head.status == 304 or request.head_only:
            return Receipt(head.status, 0, head)
        self._head = head
        self.progress.begin_hop(monotonic())
        self._ask(head_only=False, range_text=files.range_text(request.part))
        return None

    def _receipt(self, head: ResponseHead) -> Receipt | FetchError:
        if head.status == 304 or self.request.head_only:
            return Receipt(head.status, 0, head, self._hold_seconds)
        if self._sink is None:
            self._first_body()
        if self._is_file and (modified := self.curl.getinfo(pycurl.FILETIME_T)) != self._modified:
            return files.untold(self.request.shown, modified) or files.changed(self.request.url)
        received = self.progress.received_bytes
        if head.content_length not in {None, received}:
            return self._curl_failure(pycurl.E_PARTIAL_FILE, "")
        return Receipt(head.status, received, head, self._hold_seconds)

    def _wanted_statuses(self) -> frozenset[int]:
        return outcomes.COMPLETE_STATUSES if self.request.part is None else outcomes.PART_STATUSES

    def _curl_failure(self, code: int, message: str) -> FetchError:
        if self._refused_address and not self._dialled:
            return outcomes.egress_blocked(self.request.shown, *self._refused_address)
        os_errno = self.curl.getinfo(pycurl.OS_ERRNO)
        return outcomes.curl_failure(self.request.shown, code, message, os_errno)

    def _follow(self, location: str) -> None:
        if self._redirects >= self._settings.max_redirects:
            raise redirects.too_many(self.request.url, self._settings.max_redirects)
        self._redirects += 1
        hop = redirects.next_hop(self._url, location, trusted=self._trusted)
        self._trusted = hop.trusted
        self._begin_hop(hop.url)


def _range_lines(part: Part | None) -> tuple[str, ...]:
    if part is None:
        return ()
    return (f"Range: bytes={part.start}-{part.end - 1}", f"If-Range: {part.validator}")


def _check_lines(request: FetchRequest) -> None:
    for line in (*request.headers, *request.conditional, *_range_lines(request.part)):
        if not line.isascii() or any(character in line for character in "\r\n\0") or ":" not in line:
            raise outcomes.invalid_request(request.shown, "a header of the job is not valid")


def _curl_line(line: str) -> str:
    """libcurl takes `Name:` for the wish to send no such header, and `Name;` for one with an empty value."""
    name, _, value = line.partition(":")
    return line if value.strip() else f"{name};"
