"""FTP and SFTP, which have files where HTTP has answers: what is asked, and what it means in terms of HTTP; pure.

A file is asked for its size and modification time first, and for its bytes then, on the same connection. So it has a
validator, can be continued, split and skipped like any other object. Asking is left to `transfer`.
"""

from __future__ import annotations

from email.utils import formatdate

import pycurl

from common.errors import Retry
from common.links import FILE_SCHEMES, redact
from target.transfer import outcomes
from target.transfer.outcomes import Row
from target.transfer.request import FetchError, FetchRequest, Part, ResponseHead

PROTOCOLS: int = pycurl.PROTO_FTP | pycurl.PROTO_SFTP
_ABSENT = Row("status", Retry.NEVER, "does not exist")
_DENIED = Row("status", Retry.NEVER, "access denied")
_CONVERSATION = Row("protocol", Retry.LATER, "the conversation with the server broke off")
# libcurl error codes that pycurl has no names for
_E_WEIRD_SERVER_REPLY = 8
_E_REMOTE_ACCESS_DENIED = 9
_E_REMOTE_FILE_NOT_FOUND = 78
_E_BAD_DOWNLOAD_RESUME = 36
_ROWS: dict[int, tuple[Row, int]] = {
    _E_REMOTE_FILE_NOT_FOUND: (_ABSENT, 404),
    pycurl.E_FTP_COULDNT_RETR_FILE: (_ABSENT, 404),
    _E_REMOTE_ACCESS_DENIED: (_DENIED, 403),
    _E_WEIRD_SERVER_REPLY: (Row("protocol", Retry.NEVER, "the server answers what FTP does not expect"), 0),
    pycurl.E_LOGIN_DENIED: (Row("status", Retry.NEVER, "login refused"), 401),
    pycurl.E_PEER_FAILED_VERIFICATION: (Row("tls", Retry.NEVER, "the host's key is not the one in known_hosts"), 0),
    pycurl.E_RANGE_ERROR: (Row("range", Retry.LATER, "it has no such bytes"), 0),
    _E_BAD_DOWNLOAD_RESUME: (Row("range", Retry.LATER, "it has no such bytes"), 0),
    pycurl.E_SSH: (_CONVERSATION, 0),
    pycurl.E_FTP_WEIRD_PASS_REPLY: (_CONVERSATION, 0),
    pycurl.E_FTP_WEIRD_PASV_REPLY: (_CONVERSATION, 0),
    pycurl.E_FTP_WEIRD_227_FORMAT: (_CONVERSATION, 0),
    pycurl.E_FTP_CANT_GET_HOST: (_CONVERSATION, 0),
    pycurl.E_FTP_COULDNT_SET_TYPE: (_CONVERSATION, 0),
    pycurl.E_FTP_COULDNT_USE_REST: (Row("protocol", Retry.NEVER, "the server cannot continue files"), 0),
}


def is_file_link(url: str) -> bool:
    """Whether a URL is one of those that this module is about."""
    return url.partition(":")[0].lower() in FILE_SCHEMES


def refusal(url: str, known_hosts_file: str) -> FetchError | None:
    """Why a file cannot be asked for at all: an SSH host must prove who it is, as a TLS host must."""
    if url[:5].lower() == "sftp:" and not known_hosts_file:
        text = "no known_hosts file is configured (known_hosts_file), so the host's key cannot be verified"
        return FetchError("tls", f'failed to download "{redact(url)}": {text}', retry=Retry.NEVER)
    return None


def head_of(request: FetchRequest, url: str, size: int, modified: int, now_unix: float) -> ResponseHead:
    """The head of the answer to `request`, by what the server has told of the file; -1 where it has not."""
    headers = {"accept-ranges": "bytes", "date": formatdate(now_unix, usegmt=True)}
    if modified >= 0:
        headers["last-modified"] = formatdate(modified, usegmt=True)
    length = size if size >= 0 else None
    part = request.part
    if _is_unchanged(request, headers):
        return ResponseHead(304, None, headers, url)
    if part is None or headers.get("last-modified") != part.validator:
        return ResponseHead(200, length, headers, url)
    if length is not None:
        headers["content-range"] = f"bytes {part.start}-{min(part.end, length) - 1}/{length}"
    return ResponseHead(206, part.end - part.start, headers, url)


def failure(url: str, code: int, message: str, os_errno: int, reply: int) -> FetchError:
    """What an error of libcurl means; `reply` is the server's last code, 0 when it has none (RFC 959, 4.2)."""
    busy = reply == 421 or (code in _ROWS and 400 <= reply < 500)
    if busy:
        text = f'failed to download "{redact(url)}": the server answers {reply}'
        return FetchError("status", text, retry=Retry.LATER, http_status=503, slows_host=True)
    row, status = _ROWS.get(code, (None, 0))
    if row is None:
        return outcomes.curl_failure(url, code, message, os_errno)
    text = f"{redact(url)} does not exist" if row is _ABSENT else f'failed to download "{redact(url)}": {row.text}'
    return FetchError(row.kind, text, retry=row.retry, http_status=status)


def untold(url: str, modified: int) -> FetchError | None:
    """What is wrong when an SFTP server has told nothing of a file; libcurl passes over what was not answered.

    A connection that breaks just then would make an empty file of any; one that is empty has a time.
    """
    if url[:5].lower() != "sftp:" or modified >= 0:
        return None
    return FetchError(
        _CONVERSATION.kind, f'failed to download "{redact(url)}": {_CONVERSATION.text}', retry=Retry.LATER
    )


def changed(url: str) -> FetchError:
    """The modification time is not the same after the bytes as before them."""
    return FetchError("changed", f'failed to download "{redact(url)}": it has changed meanwhile', retry=Retry.LATER)


def range_text(part: Part | None) -> str:
    """The wish for a part as libcurl takes it, empty for the whole file."""
    return "" if part is None else f"{part.start}-{part.end - 1}"


def _is_unchanged(request: FetchRequest, headers: dict[str, str]) -> bool:
    modified = headers.get("last-modified")
    return modified is not None and f"If-Modified-Since: {modified}" in request.conditional
