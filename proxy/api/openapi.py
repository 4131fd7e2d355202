"""The OpenAPI description of the whole API, and `/docs`: what the routes tell of themselves, and the objects.

Objects are served by plain ASGI in front of FastAPI (`proxy.api.objects`), so they are described by hand. Drawing the
page is left to `proxy.api.docspage`.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response

from proxy.api.answers import raw_response
from proxy.api.docspage import page

_PATH = "/v1/objects/{bucket}/{name}"
_BATCHES = "/v1/ml/moss/{bucket}"
_TEXT = {"type": "string"}
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_REDIRECT = "To the target that owns the object, in the header `Location`; follow it (`curl -L`)."
_SERVED = "Redirects to the target that owns the object; what is said below of other answers is the target's."
_CHECKSUMS = ("Ais-Checksum-Type", "Ais-Checksum-Value", "Ais-Version", "Ais-Atime", "Ais-Custom-Md")
_ERRORS = {
    "400": "A name or a parameter is wrong.",
    "404": "The bucket or the object does not exist.",
    "503": "There is no target; `Retry-After` says when to try again.",
}


class DocumentedApi(FastAPI):
    """FastAPI with our page at `/docs`, which needs neither scripts nor the internet, and a complete schema."""

    def setup(self) -> None:
        self.docs_url = self.redoc_url = None
        super().setup()
        self.add_route("/docs", self._show, include_in_schema=False)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            schema = super().openapi()
            schema["paths"][_PATH] = object_operations()
            schema["paths"][_BATCHES] = batch_operations()
            for operations in schema["paths"].values():
                for operation in operations.values():
                    _describe_answers(operation["responses"])
            schema.pop("components", None)
        return super().openapi()

    async def _show(self, _: Request) -> Response:
        return raw_response(page(self.openapi()).encode(), "text/html; charset=utf-8")


def object_operations() -> dict[str, Any]:
    """The methods of `/v1/objects`, as the proxy and the target answer them together."""
    ranges = _header("Range", "`bytes=first-last`, `bytes=first-` or `bytes=-count`; one range.")
    conditions = [_header(name, f"As in HTTP: {text}.") for name, text in _CONDITIONS.items()]
    announced = [_header(name, text) for name, text in _ANNOUNCED.items()]
    wanted = _query("props", "Only these, of `checksum,atime,version,custom,last-modified,etag,location,copies`.")
    content = {"application/octet-stream": _BYTES}
    return {
        "get": _operation(
            *("Read an object", "With a `Range` a part of it. Checksums are of the whole object."),
            {
                "200": _answer("The object.", content, _CHECKSUMS, "ETag"),
                "206": _answer("The part.", content, _CHECKSUMS, "ETag", "Content-Range", "Accept-Ranges"),
                "301": _answer(_REDIRECT, None, ("Location",)),
                "304": _answer("The client's copy is still right.", None, _CHECKSUMS, "ETag"),
                "416": _answer("The range is outside of the object, or there are several.", None, ("Content-Range",)),
            },
            [ranges, *conditions, *(_query(name, text) for name, text in _ARCHIVES.items())],
        ),
        "head": _operation(
            *("Show an object", "Its size is the `Content-Length`; an error is in the header `Hdr-Error`."),
            {
                "200": _answer("All properties, or the wanted ones.", None, _CHECKSUMS, "Ais-Present", "Ais-Location"),
                "307": _answer(_REDIRECT, None, ("Location",)),
            },
            [wanted],
        ),
        "put": _operation(
            *("Store an object", "Replaces it as a whole. The redirect is answered before the body is read."),
            {
                "200": _answer("Stored durably.", None, _CHECKSUMS),
                "307": _answer(_REDIRECT, None, ("Location",)),
                "412": _answer("What is stored is not what `If-Match` or `If-None-Match` wants."),
                "507": _answer("No space left on the target's disk."),
            },
            [*announced, *(_query(name, text) for name, text in _PUT_QUERIES.items())],
        )
        | {"requestBody": {"required": True, "content": content}},
        "post": _operation(
            *("Do something with an object", "The body names the action: " + ", ".join(_ACTIONS) + "."),
            {"200": _answer("Done."), "307": _answer(_REDIRECT, None, ("Location",))},
            [_query("uploadId", "The upload in parts that is to be completed.")],
        )
        | _messages({action: {"action": action} | more for action, more in _ACTIONS.items()}),
        "patch": _operation(
            *("Change custom metadata", "Adds the keys of `value`."),
            {"200": _answer("Changed durably."), "307": _answer(_REDIRECT, None, ("Location",))},
            [_query("set-new-custom", "`true`: the keys of `value` are all that is left.")],
        )
        | _messages({"custom metadata": {"action": "", "value": {"key": "value"}}}),
        "delete": _operation(
            *("Delete an object", "Or forget an upload in parts."),
            {"200": _answer("Deleted."), "307": _answer(_REDIRECT, None, ("Location",))},
            [_query("uploadId", 'The upload to forget; the body is `{"action": "mpt-abort"}` then.')],
        ),
    }


_ACTIONS: dict[str, dict[str, Any]] = {
    "mpt-upload": {},
    "mpt-complete": {"value": [{"part-number": 1, "etag": ""}]},
    "rename-obj": {"name": "new/name"},
    "check-lock": {},
}
_PUT_QUERIES = {
    "uploadId": "The upload in parts that the body is a part of.",
    "partNumber": "Which one, 1 to 10000; the answer has its MD5 as `ETag`.",
    "append_type": "`append`: the body is appended; `flush`: and then all is stored.",
    "append_handle": "What the last append has answered as `Ais-Append-Handle`.",
    "object_to": "Copy the object, without a body, to `PROVIDER/@UUID#NAMESPACE/BUCKET/NAME`.",
}


def _messages(examples: dict[str, object]) -> dict[str, Any]:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {"requestBody": {"required": True, "content": {"application/json": {"examples": shown}}}}


def batch_operations() -> dict[str, Any]:
    """Many objects in one answer, as the proxy and the target answer together."""
    example = {"in": [{"objname": "a.jpg"}, {"objname": "s.tar", "archpath": "b.jpg"}], "mime": ".tar", "strm": True}
    answers = {
        "200": _answer("The archive; without `strm` as `multipart/mixed` behind a description of its entries."),
        "307": _answer("To a target, in the header `Location`; send the body again there.", None, ("Location",)),
    }
    described = _operation("Read many objects", "Objects, members of archives or parts as one archive.", answers, [])
    described["parameters"] = [one for one in described["parameters"] if one["name"] != "name"]
    content = {"application/json": {"schema": {"type": "object"}, "example": example}}
    body = {"requestBody": {"required": True, "content": content}}
    return dict.fromkeys(("get", "post"), described | body)


_CONDITIONS = {
    "If-Range": "the range only of the object that has this `ETag`, else the whole of it",
    "If-None-Match": "304 when the object has one of these `ETag`s",
    "If-Modified-Since": "304 when the object has not changed since",
}
_ARCHIVES = {
    "archpath": "This member of the object, which is a tar, a compressed tar or a zip.",
    "archregx": "All its members whose names match, as a tar.",
    "archmode": "How they match: `regexp`, `prefix`, `suffix`, `substr` or `wdskey`.",
    "archmime": "What the archive is (`.tar`, `.tgz`, `.zip`), if its name does not tell.",
}
_ANNOUNCED = {
    "Ais-Checksum-Type": "What `Ais-Checksum-Value` is: `xxhash2`, `md5`, `crc32c`, `sha256` or `sha512`.",
    "Ais-Checksum-Value": "Checksum of the body in hexadecimal; 400 if the body has another one.",
    "Content-MD5": "MD5 of the body in base64; 400 if the body has another one.",
    "Haul-Digest": "`algorithm=hex` (md5, sha1, sha256, crc32c, xxh64), verified too; may be repeated.",
    "If-Match": "Replace only what has one of these `ETag`s, or (`*`) anything; else 412.",
    "If-None-Match": "`*`: store only where there is nothing; else 412.",
    "Ais-Custom-Md": "`key=value`, kept with the object; may be repeated, at most 2048 bytes together.",
}


def _operation(summary: str, detail: str, answers: dict[str, Any], parameters: list[dict[str, Any]]) -> dict[str, Any]:
    errors = {status: _answer(text) for status, text in _ERRORS.items()}
    path = [
        _parameter("path", "bucket", "Name of the bucket.", required=True),
        _parameter("path", "name", "Name of the object, percent-encoded; may contain slashes.", required=True),
        _query("provider", "`ais`, which is the default."),
        _query("namespace", "`@uuid#name`; without it the global namespace."),
    ]
    return {
        "tags": ["objects"],
        "summary": summary,
        "description": f"{detail} {_SERVED}".strip(),
        "parameters": path + parameters,
        "responses": dict(sorted((answers | errors).items())),
    }


def _parameter(place: str, name: str, text: str, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "description": text, "schema": _TEXT}


def _query(name: str, text: str) -> dict[str, Any]:
    return _parameter("query", name, text)


def _header(name: str, text: str) -> dict[str, Any]:
    return _parameter("header", name, text)


def _answer(
    text: str, content: dict[str, Any] | None = None, headers: tuple[str, ...] = (), *more_headers: str
) -> dict[str, Any]:
    described: dict[str, Any] = {"description": text}
    if headers:
        described["headers"] = {name: {"schema": _TEXT} for name in (*headers, *more_headers)}
    if content:
        described["content"] = content
    return described


def _describe_answers(answers: dict[str, Any]) -> None:
    """What FastAPI cannot know: parameters are checked by us, and every error has the same shape."""
    answers.pop("422", None)
    texts = ("tcode", "message", "method", "url_path", "remote_addr", "caller", "node")
    properties: dict[str, Any] = dict.fromkeys(texts, _TEXT) | {"status": {"type": "integer"}}
    shape = {"schema": {"type": "object", "properties": properties}}
    answers["default"] = {"description": "What is wrong, in words.", "content": {"application/json": shape}}
