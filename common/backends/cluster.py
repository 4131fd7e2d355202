"""A bucket of another Haul or AIStore cluster, by its `/v1` API (wire.md §3.3, §3.5); which clusters there are is left
to `common.backends.settings`.

The cluster's proxy is asked; where it sends on to one of its targets, the token goes along, because a token is the
whole cluster's.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

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
from common.backends.settings import ClusterSettings
from common.errors import AccessDenied, HaulError, InvalidRequest, ObjectNotFound, OriginError
from common.expectation import HEX_LENGTHS
from common.names import Bucket, printable

_ALGORITHMS = {
    "xxhash": "xxh64",
    "xxhash2": "xxh64",
    "md5": "md5",
    "crc32c": "crc32c",
    "sha256": "sha256",
    "sha512": "sha512",
}
"""The dialect's checksum types, as `common.expectation` names them."""
_BY_LENGTH = {HEX_LENGTHS[algorithm]: algorithm for algorithm in _ALGORITHMS.values()}
"""A listing tells checksums without their types, of which no two are equally long."""
_HEX = re.compile(r"[0-9a-f]+\Z")
_TOKEN = re.compile(r"[!-~]*\Z")
_PROPS = "name,size,checksum,version"
_PRESENT, _DIRECTORY, _CHUNKED = 64, 256, 8192
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 3
_BUSY = frozenset({429, 502, 503, 504})
_NO_BUCKET = frozenset({"ErrBckNotFound", "ErrRemoteBckNotFound"})
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 60.0
_LOOK_SECONDS = 2.0
_MAX_SMAP_BYTES = 8 << 20


class ClusterBackend:
    """One bucket of another cluster; safe for several threads.

    The bucket's `namespace_uuid` is the name that the cluster has here, and is not told to it. `credentials` are a
    job's, and replace the token of the settings.
    """

    def __init__(self, bucket: Bucket, settings: ClusterSettings, credentials: Mapping[str, str]) -> None:
        self._bucket = bucket
        self._url = settings.url
        token = credentials.get("token", "") if credentials else settings.token.get_secret_value()
        self._headers = _authorization(bucket.cname, token)
        self._query = {"provider": "ais"}
        if bucket.namespace_name:
            self._query["namespace"] = f"#{bucket.namespace_name}"
        self._http = httpx.Client(
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            trust_env=False,
            follow_redirects=False,
            verify=_verification(settings.url),
        )

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(digests=frozenset(_ALGORITHMS.values()))

    def page(self, prefix: str = "", token: str = "", limit: int = MAX_PAGE) -> ObjectPage:
        """See `Backend`; the token is the listing's id in the cluster and the cluster's own token, as JSON."""
        message: dict[str, Any] = {"props": _PROPS, "prefix": prefix, "pagesize": min(limit, MAX_PAGE), "flags": "0"}
        message |= _continuation(token)
        body = json.dumps({"action": "list", "value": message}).encode()
        answer = self._ask("GET", f"/v1/buckets/{self._bucket.name}", body)
        try:
            fields = json.loads(answer.content)
            objects = [
                _listed(entry)
                for entry in fields["entries"] or ()
                # A star at a prefix's end is not taken literally by the cluster.
                if entry["name"].startswith(prefix) and not int(entry.get("flags", 0)) & _DIRECTORY
            ]
            uuid, cursor = str(fields.get("uuid", "")), str(fields.get("continuation_token", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise OriginError(f"{self._at()} answers with something that is no listing; is it a cluster?") from None
        if cursor and cursor == message.get("continuation_token"):
            raise OriginError(f"{self._at()} does not get on with its listing beyond {printable(cursor)}")
        return ObjectPage(objects, json.dumps([uuid, cursor]) if cursor else "")

    def head(self, name: str, version: str = "") -> SourceObject:
        """See `Backend`; without properties asked for, because only so AIStore tells the ETag that its GET has."""
        answer = self._ask("HEAD", self._path(name), name=name)
        headers = answer.headers
        if not any(key.startswith("ais-") for key in headers):
            raise OriginError(f"{self._at()} tells nothing of {printable(name)} that a cluster would; is it one?")
        found = SourceObject(
            name,
            int(headers.get("content-length") or 0),
            headers.get("etag", ""),
            headers.get("ais-version", ""),
            _unix_ns(headers.get("last-modified", "")),
            _digests(headers),
        )
        if version and found.version != version:
            raise ObjectNotFound(f"{self._bucket.cname}/{name} does not exist in version {printable(version)} any more")
        return found

    def request(self, name: str, version: str = "") -> SourceRequest:
        """See `Backend`; the newest version always, because clusters keep one."""
        query = "&".join(f"{key}={quote(value)}" for key, value in self._query.items())
        return SourceRequest(f"{self._url}{self._path(name)}?{query}", tuple(self._headers.items()))

    def close(self) -> None:
        self._http.close()

    def _path(self, name: str) -> str:
        return f"/v1/objects/{self._bucket.name}/{quote(name, safe='/')}"

    def _at(self) -> str:
        return f"{self._bucket.cname} at {self._url}"

    def _ask(self, method: str, path: str, body: bytes = b"", *, name: str = "") -> httpx.Response:
        """The answer, after redirects, if it is no error; `name` is the object that may be missing."""
        headers = self._headers | ({"Content-Type": "application/json"} if body else {})
        try:
            url = httpx.URL(self._url + path, params=self._query)
            for _ in range(_MAX_REDIRECTS + 1):
                answer = self._http.request(method, url, content=body or None, headers=headers)
                if answer.status_code not in _REDIRECTS:
                    break
                url = url.join(answer.headers.get("location", ""))
                if url.scheme != answer.url.scheme:
                    raise OriginError(f"{self._at()} redirects from {answer.url.scheme} to {printable(url.scheme)}")
        except httpx.InvalidURL:
            raise OriginError(f"{self._at()} redirects to nowhere; is it a cluster?") from None
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise OriginUnavailable(f"{self._at()} does not answer: {reason}") from None
        if not answer.is_success:
            raise self._error(answer, name)
        return answer

    def _error(self, answer: httpx.Response, name: str) -> HaulError:
        status, (message, code) = answer.status_code, _told(answer)
        if code in _NO_BUCKET or (status == 404 and not name):
            return RemoteBucketNotFound(f'remote bucket "{self._bucket.cname}" does not exist')
        if status == 404:
            return ObjectNotFound(f"{self._bucket.cname}/{name} does not exist")
        if status in (401, 403):
            return AccessDenied(f"{self._at()} refuses access with status {status}{message}")
        if status in _BUSY:
            return OriginUnavailable(f"{self._at()} is busy: status {status}{message}", _seconds(answer))
        return OriginError(f"{self._at()} answers with status {status}{message}")


def read_smap(alias: str, settings: ClusterSettings) -> dict[str, Any]:
    """The cluster's own Smap (wire.md §4.4); raises OriginUnavailable, OriginError, InvalidRequest for a bad token."""
    headers = _authorization(f"ais://@{alias}", settings.token.get_secret_value())
    url, at = f"{settings.url}/v1/daemon?what=smap", f"cluster {printable(alias)} at {settings.url}"
    try:
        answer = httpx.get(
            url, headers=headers, timeout=_LOOK_SECONDS, trust_env=False, verify=_verification(settings.url)
        )
        smap = answer.json() if answer.is_success and len(answer.content) <= _MAX_SMAP_BYTES else None
    except httpx.HTTPError as error:
        raise OriginUnavailable(f"{at} does not answer: {str(error) or type(error).__name__}") from None
    except ValueError:
        smap = None
    if not isinstance(smap, dict) or "tmap" not in smap:
        raise OriginError(f"{at} answers with status {answer.status_code} and no cluster map; is it a cluster?")
    return smap


def _authorization(whose: str, token: str) -> dict[str, str]:
    if not _TOKEN.match(token):
        raise InvalidRequest(f"{whose}: the token has characters that no header can have")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _verification(url: str) -> bool | ssl.SSLContext:
    """Loading the authorities takes long; what plain http redirects to https is refused then."""
    return url.startswith("https:") or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _continuation(token: str) -> dict[str, str]:
    if not token:
        return {}
    try:
        uuid, cursor = json.loads(token)
        return {"uuid": str(uuid), "continuation_token": str(cursor)}
    except (ValueError, TypeError):
        raise InvalidRequest("not a token of a listing of another cluster") from None


def _listed(entry: Mapping[str, Any]) -> SourceObject:
    """One entry; what a listing tells of an object that is not in the cluster itself is somebody else's checksum."""
    flags, checksum = int(entry.get("flags", 0)), str(entry.get("checksum", "")).lower()
    digests = {}
    if flags & _PRESENT and not flags & _CHUNKED and len(checksum) in _BY_LENGTH and _HEX.match(checksum):
        digests[_BY_LENGTH[len(checksum)]] = checksum
    return SourceObject(
        entry["name"], int(entry.get("size") or 0), version=str(entry.get("version", "")), digests=digests
    )


def _digests(headers: httpx.Headers) -> Mapping[str, str]:
    algorithm = _ALGORITHMS.get(headers.get("ais-checksum-type", ""), "")
    value = headers.get("ais-checksum-value", "").lower()
    if not algorithm or "ais-chunks-count" in headers or len(value) != HEX_LENGTHS[algorithm] or not _HEX.match(value):
        return {}
    return {algorithm: value}


def _told(answer: httpx.Response) -> tuple[str, str]:
    """The text of an error, `: …` or empty, and its code."""
    try:
        fields = json.loads(answer.headers.get("hdr-error") or answer.content)
        return f": {printable(str(fields['message']))}", str(fields.get("tcode", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", ""


def _seconds(answer: httpx.Response) -> float | None:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None


def _unix_ns(text: str) -> int:
    try:
        return int(parsedate_to_datetime(text).timestamp()) * 1_000_000_000
    except (ValueError, OverflowError):
        return 0
