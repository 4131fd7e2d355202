"""Google Cloud Storage on this machine: gcp-storage-emulator in a thread, with what it leaves out added.

    with GcsServer() as server:
        server.make_bucket("bucket")
        server.put("bucket", {"a/b.bin": b"…"})
        server.endpoint, server.settings_toml()

Uploads, buckets and what is told of objects are the emulator's. It does not divide listings into pages, knows no
versions, answers bytes without `ETag`, `Last-Modified` and `Accept-Ranges`, has no route for names that end in a slash,
says nothing in its 404s, and refuses nobody. So listings and bytes are answered here, by the documentation
(https://cloud.google.com/storage/docs/json_api/v1/objects/list, …/xml-api/get-object-download, …/hashes-etags), from
the emulator's storage. Names with `..` or empty segments it cannot hold at all.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import partial
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import google.cloud.storage
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects
from gcp_storage_emulator.server import Request, RequestHandler, Response
from gcp_storage_emulator.storage import Storage
from google.auth.credentials import AnonymousCredentials

_PAGE_OBJECTS = 1000
_LISTING = re.compile(r"/storage/v1/b/(?P<bucket_name>[^/]+)/o")
_LOOK = re.compile(r"/storage/v1/b/(?P<bucket_name>[^/]+)/o/(?P<object_id>[^/]+)")
_BYTES = re.compile(r"/(?!storage/|upload/|download/|batch/|b/)(?P<bucket_name>[^/]+)/(?P<object_id>.+)")


@dataclass(frozen=True)
class Asked:
    """One GET as it arrived; names of headers in lower case."""

    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]

    @property
    def is_for_bytes(self) -> bool:
        return _BYTES.fullmatch(self.path) is not None


class GcsServer:
    """The service; `endpoint` is where it listens once started."""

    def __init__(self) -> None:
        self._storage = Storage(use_memory_fs=True)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self._storage, self))
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._client = google.cloud.storage.Client(
            project="test", credentials=AnonymousCredentials(), client_options={"api_endpoint": self.endpoint}
        )
        # Its questions about buckets for traces would be among those that are `asked`.
        self._client._bucket_metadata_cache = None
        self.tokens: set[str] | None = None
        """Who may read; None: everybody."""
        self.powerless_tokens: set[str] = set()
        """Who is known and may read nothing."""
        self.answer: Callable[[Asked], tuple[int, Mapping[str, str], bytes] | None] = lambda _: None
        """What to answer to a GET instead of the truth: status, headers, body."""
        self.asked: list[Asked] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._client.close()
        self._server.shutdown()
        self._server.server_close()

    def make_bucket(self, name: str) -> None:
        self._client.create_bucket(name)

    def put(self, bucket: str, contents: Mapping[str, bytes], *, content_encoding: str = "") -> None:
        """Upload objects by Google's client library; may be called while the server is asked by others."""
        for name, content in contents.items():
            blob = self._client.bucket(bucket).blob(name)
            blob.content_encoding = content_encoding or None
            blob.upload_from_string(content, content_type="application/octet-stream")

    def remove(self, bucket: str, name: str) -> None:
        self._client.bucket(bucket).blob(name).delete()

    def settings_toml(self) -> str:
        """The section of a node's `backends_file` that reads from here."""
        return f'[gs]\nendpoint = "{self.endpoint}"\nanonymous = true\n'


class _Handler(RequestHandler):
    """The emulator's, but for what the module's docstring says."""

    def __init__(self, storage: Storage, service: GcsServer, *args: Any) -> None:
        self._service = service
        super().__init__(storage, *args)

    def do_GET(self) -> None:  # noqa: N802
        split = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(split.path, parse_qs(split.query), headers)
        self._service.asked.append(asked)
        if instead := self._service.answer(asked):
            self._send(*instead)
        elif refusal := self._refusal(headers.get("authorization", "")):
            self._refuse(*refusal)
        else:
            for pattern, answered in ((_LISTING, self._list), (_LOOK, self._look), (_BYTES, self._bytes)):
                if match := pattern.fullmatch(split.path):
                    request = Request(self, "GET")
                    request.set_match(match)
                    try:
                        answered(request)
                    except NotFound:
                        self._refuse(404, "The specified bucket does not exist.")
                    return
            super().do_GET()

    def _list(self, request: Request) -> None:
        prefix = request.query.get("prefix", [None])[0]
        found, _ = self.storage.get_file_list(request.params["bucket_name"], prefix)
        after = base64.b64decode(request.query.get("pageToken", [""])[0]).decode()
        most = min(int(request.query.get("maxResults", [_PAGE_OBJECTS])[0]), _PAGE_OBJECTS)
        left = [item for item in found if item["name"] > after]
        page: dict[str, Any] = {"kind": "storage#objects"}
        if left:
            # The real one leaves `items` out where there are none.
            page["items"] = left[:most]
        if left[most:]:
            page["nextPageToken"] = base64.b64encode(left[most - 1]["name"].encode()).decode()
        self._send(200, {"Content-Type": "application/json"}, json.dumps(page).encode())

    def _look(self, request: Request) -> None:
        if found := self._found(request):
            self._send(200, {"Content-Type": "application/json"}, json.dumps(found).encode())

    def _bytes(self, request: Request) -> None:
        if found := self._found(request):
            response = Response(self)
            objects.download(request, response, self.storage)
            response["ETag"] = f'"{base64.b64decode(found["md5Hash"]).hex()}"'
            response["Last-Modified"] = format_datetime(datetime.fromisoformat(found["updated"]), usegmt=True)
            response["Accept-Ranges"] = "bytes"
            response["x-goog-generation"] = found["generation"]
            response["x-goog-stored-content-encoding"] = found.get("contentEncoding") or "identity"
            response.close()

    def _found(self, request: Request) -> dict[str, Any] | None:
        bucket, name = request.params["bucket_name"], request.params["object_id"]
        if bucket not in self.storage.buckets:
            raise NotFound
        found: dict[str, Any] | None = self.storage.objects.get(bucket, {}).get(name)
        wanted = request.query.get("generation")
        if found is None or (wanted and wanted[0] != found["generation"]):
            self._refuse(404, f"No such object: {bucket}/{name}")
            return None
        return found

    def _refusal(self, authorization: str) -> tuple[int, str] | None:
        if self._service.tokens is None:
            return None
        token = authorization.removeprefix("Bearer ")
        lacks = (
            "does not have storage.objects.list access to the Google Cloud Storage bucket. Permission "
            "'storage.objects.list' denied on resource (or it may not exist)."
        )
        if not authorization:
            return 401, f"Anonymous caller {lacks}"
        if token in self._service.powerless_tokens:
            return 403, f"reader@project.iam.gserviceaccount.com {lacks}"
        return None if token in self._service.tokens else (401, "Invalid Credentials")

    def _refuse(self, status: int, message: str) -> None:
        error = {"code": status, "message": message, "errors": [{"message": message, "domain": "global"}]}
        self._send(status, {"Content-Type": "application/json"}, json.dumps({"error": error}).encode())

    def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(HTTPStatus(status))
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
