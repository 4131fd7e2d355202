"""The S3 API of a proxy, plain ASGI: who asks and for what; the operations are left to their modules.

Everything is answered here, nothing redirected: S3's clients do not follow, and would have to sign anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from common import clock, web
from common.access import check_access
from common.buckets import BucketRecord
from common.errors import HaulError
from common.names import Bucket, printable
from common.patience import while_taken
from proxy.s3 import settings, signature
from proxy.s3.answers import Responder
from proxy.s3.bodies import Payload
from proxy.s3.buckets import S3Buckets
from proxy.s3.copying import SOURCE, Copying
from proxy.s3.deleting import Deleting
from proxy.s3.errors import S3Error, not_implemented
from proxy.s3.listpages import ListPages
from proxy.s3.multipart import Multipart
from proxy.s3.objects import S3Objects
from proxy.s3.permissions import needed
from proxy.s3.request import MOUNT, S3Request, parse
from proxy.s3.uploads import UploadList

_PARAMETERS = frozenset({"delete", "partNumber", "uploadId", "uploads", "versionId", "x-id"})
"""What the query of a change may have without a value."""
_log = structlog.get_logger("proxy.s3")


@dataclass(frozen=True, slots=True)
class Operations:
    """All that can be done."""

    buckets: S3Buckets
    pages: ListPages
    objects: S3Objects
    copying: Copying
    deleting: Deleting
    multipart: Multipart
    uploads: UploadList


@dataclass(frozen=True, slots=True)
class _Call:
    """One request on its way."""

    request: S3Request
    payload: Payload
    receive: web.Receive
    responder: Responder


class S3Api:
    """The ASGI application."""

    def __init__(
        self,
        operations: Operations,
        check_staying: Callable[[Bucket], None],
        secrets: Mapping[str, str] | None = None,
        domains: Sequence[str] = (),
    ) -> None:
        """`check_staying` raises while nothing in a bucket may be deleted or changed.

        `secrets` by access key let in those who sign with them, None everybody; `domains` may follow a bucket's name
        in a host, at the port of S3's own.
        """
        self._do = operations
        self._check_staying = check_staying
        self._secrets = secrets
        self._domains = domains

    @staticmethod
    def is_at(raw_path: bytes) -> bool:
        """Whether a path of the proxy's port is S3's."""
        return raw_path == MOUNT or raw_path.startswith(MOUNT + b"/")

    async def __call__(
        self, scope: web.Scope, receive: web.Receive, send: web.Send, *, is_mounted: bool = True
    ) -> None:
        """Answer one request, an error in S3's form; `is_mounted` when its path begins with `/s3`."""
        responder = Responder(while_taken(send), is_head=scope["method"] == "HEAD")
        resource = scope["path"]
        try:
            request = parse(scope, is_mounted=is_mounted, domains=() if is_mounted else self._domains)
            resource = request.resource
            if _is_form(request):
                raise not_implemented("uploading by a form")
            signed = signature.Signed()
            if self._secrets is not None:
                now = datetime.fromtimestamp(clock.unix_ns() / 1e9, UTC)
                signed = signature.verify(request, self._secrets, now)
            call = _Call(request, Payload(request, signed, receive), receive, responder)
            await self._answer(call)
        except HaulError as error:
            if responder.is_started:
                raise
            await responder.error(error, resource)
        except web.ClientGone:
            raise
        except Exception as error:  # the last line of defence: nothing may leak into an answer
            _log.exception("s3.failed", method=scope["method"], path=scope["path"])
            if responder.is_started:
                raise
            await responder.error(HaulError(f"internal error ({type(error).__name__})"), resource)

    async def _answer(self, call: _Call) -> None:
        request = call.request
        _check_known(request)
        if not request.bucket:
            if request.method not in ("GET", "HEAD") or request.key:
                raise _not_allowed(request)
            await self._do.buckets.list_all(request, call.responder)
        elif not request.key and request.method == "PUT" and not _setting_of(request):
            await self._do.buckets.create(request, call.payload, call.responder)
        else:
            record = await self._do.buckets.find(request.bucket)
            check_access(record, needed(request))
            if request.method == "POST" or (request.method == "DELETE" and request.key):
                self._check_staying(record.bucket)
            await (self._of_object if request.key else self._of_bucket)(call, record)

    async def _of_bucket(self, call: _Call, record: BucketRecord) -> None:
        request, responder = call.request, call.responder
        if setting := _setting_of(request):
            acl = request.header("x-amz-acl")
            await settings.answer(setting, request.method, acl, responder, of_object=False)
            return
        match request.method:
            case "HEAD":
                await responder.answer(200, headers=[(b"x-amz-bucket-region", b"us-east-1")])
            case "GET":
                await self._list_bucket(request, record, responder)
            case "POST" if "delete" in request.query:
                asked = await self._do.deleting.read(call.payload)
                await responder.slow_document("DeleteResult", self._do.deleting.delete(record, asked))
            case "POST":
                raise not_implemented("what is posted to a bucket")
            case "DELETE":
                await self._do.buckets.delete(record, responder)
            case _:
                raise _not_allowed(request)

    async def _list_bucket(self, request: S3Request, record: BucketRecord, responder: Responder) -> None:
        query = request.query
        if "uploads" in query:
            await self._do.uploads.answer(request, record, responder)
        elif "versions" in query:
            await self._do.pages.versions(request, record, responder)
        elif query.get("list-type", "1") == "1":
            await self._do.pages.version_1(request, record, responder)
        elif query["list-type"] == "2":
            await self._do.pages.version_2(request, record, responder)
        else:
            raise S3Error("InvalidArgument", "Invalid List Type specified in Request")

    async def _of_object(self, call: _Call, record: BucketRecord) -> None:
        request, responder, do = call.request, call.responder, self._do
        if setting := _setting_of(request):
            if request.method in ("GET", "HEAD"):
                await do.objects.check_there(record, request.key)
            await settings.answer(setting, request.method, request.header("x-amz-acl"), responder, of_object=True)
            return
        has_upload = "uploadId" in request.query
        answers: dict[str, Callable[[], Awaitable[None]]] = {
            "GET": lambda: self._read(call, record, has_upload=has_upload),
            "HEAD": lambda: do.objects.head(request, record, responder),
            "PUT": lambda: self._write(call, record, has_upload=has_upload),
            "POST": lambda: self._post(call, record, has_upload=has_upload),
            "DELETE": lambda: (do.multipart.abort if has_upload else do.objects.delete)(request, record, responder),
        }
        if request.method not in answers:
            raise _not_allowed(request)
        await answers[request.method]()

    async def _read(self, call: _Call, record: BucketRecord, *, has_upload: bool) -> None:
        if has_upload:
            await self._do.multipart.list_parts(call.request, record, call.responder)
        elif "attributes" in call.request.query:
            await self._do.objects.attributes(call.request, record, call.responder)
        else:
            await self._do.objects.get(call.request, record, call.receive, call.responder)

    async def _write(self, call: _Call, record: BucketRecord, *, has_upload: bool) -> None:
        request, do = call.request, self._do
        is_copy = SOURCE in request.headers
        if has_upload and is_copy:
            making = do.copying.copy_part(request, record, do.multipart.target_of(request))
            await call.responder.slow_document("CopyPartResult", making)
        elif has_upload:
            await do.multipart.put_part(request, record, call.payload, call.responder)
        elif is_copy:
            await call.responder.slow_document("CopyObjectResult", do.copying.copy(request, record))
        else:
            await do.objects.put(request, record, call.payload, call.responder)

    async def _post(self, call: _Call, record: BucketRecord, *, has_upload: bool) -> None:
        request, multipart = call.request, self._do.multipart
        if has_upload:
            parts = await multipart.read_completion(call.payload)
            making = multipart.complete(request, record, parts)
            await call.responder.slow_document("CompleteMultipartUploadResult", making)
        elif "uploads" in request.query:
            await multipart.create(request, record, call.responder)
        else:
            raise not_implemented("what is posted to an object")


def _check_known(request: S3Request) -> None:
    """Raise S3Error for a subresource that is not known, where the plain operation would change something.

    S3 goes on inventing them: what clients mean by one must not be taken for storing or deleting the object itself.
    """
    if request.method in ("GET", "HEAD"):
        return
    for name, value in request.query.items():
        if not value and name not in _PARAMETERS and name not in settings.BUCKET_SETTINGS:
            raise not_implemented(f'the subresource "{printable(name, 64)}"')


def _is_form(request: S3Request) -> bool:
    """Whether a browser's form is posted: it is signed inside, so that its headers look like nobody's."""
    is_to_bucket = request.method == "POST" and not request.key and not request.query
    return is_to_bucket and request.header("content-type").lower().startswith("multipart/form-data")


def _setting_of(request: S3Request) -> str:
    return next((name for name in request.query if name in settings.BUCKET_SETTINGS), "")


def _not_allowed(request: S3Request) -> S3Error:
    return S3Error("MethodNotAllowed", f"The specified method is not allowed against this resource: {request.method}")
