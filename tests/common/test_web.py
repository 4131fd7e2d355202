"""Errors and bodies over a real uvicorn, with the server settings that nodes run with."""

import json
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import msgpack
import pytest
from structlog.testing import capture_logs

from common.errors import (
    BadChecksum,
    BucketExists,
    BucketNotFound,
    DiskFailure,
    Fenced,
    HaulError,
    InvalidRequest,
    JobNotFound,
    MethodNotAllowed,
    NoSpace,
    ObjectNotFound,
    RangeNotSatisfiable,
    Unavailable,
    Unsupported,
)
from common.web import (
    ClientGone,
    Receive,
    Scope,
    Send,
    answer,
    answer_json,
    answer_msgpack,
    decode_msgpack,
    guarded,
    query_of,
    read_body,
)
from tests.serving import serving

NODE = "p[p1]"
LIMIT_BYTES = 1000
LOCAL_PATH = "/var/secret/path"
ERRORS: dict[str, Exception] = {
    "invalid": InvalidRequest("bucket name is missing"),
    "bucket": BucketNotFound("ais://b"),
    "object": ObjectNotFound("t[t1]: ais://b/o does not exist"),
    "job": JobNotFound("dnl-1"),
    "exists": BucketExists("ais://b"),
    "checksum": BadChecksum("bad"),
    "range": RangeNotSatisfiable("bytes=9-", 5),
    "unsupported": Unsupported("no such thing here"),
    "space": NoSpace("no space left"),
    "disk": DiskFailure("disk failed"),
    "away": Unavailable("the meta store does not answer"),
    "fenced": Fenced("too late"),
    "method": MethodNotAllowed("POST", "GET", "DELETE"),
    "text": InvalidRequest('<b> & "q" é \r\nInjected: header \0 \ud800'),
    "bug": KeyError(LOCAL_PATH),
    "os": OSError(5, "Input/output error", LOCAL_PATH),
}


class Surface:
    """An application with one route per behaviour; `gone` is set when a client left before its body was read."""

    def __init__(self) -> None:
        self.gone = threading.Event()
        self.reading = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["path"].rpartition("/")[2]
        if name in ERRORS:
            raise ERRORS[name]
        if name == "echo":
            await answer(send, 200, await read_body(receive, LIMIT_BYTES))
        elif name == "json":
            await answer_json(send, {"é": [1, None]}, 201)
        elif name == "msgpack":
            await answer_msgpack(send, [1, decode_msgpack(await read_body(receive, LIMIT_BYTES))])
        elif name == "query":
            await answer_json(send, query_of(scope))
        elif name == "wait":
            await self._wait(receive)
        elif name == "late":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
            await send({"type": "http.response.body", "body": b"part", "more_body": True})
            raise KeyError(LOCAL_PATH)

    async def _wait(self, receive: Receive) -> None:
        self.reading.set()
        try:
            await read_body(receive, LIMIT_BYTES)
        except ClientGone:
            self.gone.set()
            raise


@pytest.fixture(scope="module")
def surface() -> Surface:
    return Surface()


@pytest.fixture(scope="module")
def url(surface: Surface) -> Iterator[str]:
    with serving(guarded(surface, NODE)) as base_url:
        yield base_url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, trust_env=False) as http:
        yield http


def test_an_error_has_exactly_the_fields_of_the_dialect_in_its_order(client: httpx.Client) -> None:
    response = client.post("/v1/download/bucket?secret=x")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-content-type-options"] == "nosniff"
    local = response.json()["remote_addr"]
    assert local.startswith("127.0.0.1:")
    assert response.text == (
        '{"tcode":"ErrBckNotFound","message":"bucket \\"ais://b\\" does not exist","method":"POST",'
        f'"url_path":"/v1/download/bucket","remote_addr":"{local}","caller":"","node":"p[p1]","status":404}}\n'
    )
    assert int(response.headers["content-length"]) == len(response.content)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("invalid", 400, None),
        ("bucket", 404, "ErrBckNotFound"),
        ("object", 404, "ErrNotFound"),
        ("job", 404, "ErrNotFound"),
        ("exists", 409, "ErrBucketAlreadyExists"),
        ("checksum", 400, "ErrBadCksum"),
        ("range", 416, "ErrRangeNotSatisfiable"),
        ("unsupported", 501, "ErrUnsupp"),
        ("space", 507, "ErrCapacityExceeded"),
        ("disk", 500, "ErrDiskFailure"),
        ("away", 503, None),
        ("fenced", 409, "ErrFenced"),
    ],
)
def test_status_code_and_text_of_every_error(client: httpx.Client, path: str, status: int, code: str | None) -> None:
    response = client.get(f"/{path}")
    fields = response.json()
    assert (response.status_code, fields["status"], fields.get("tcode")) == (status, status, code)
    assert fields["message"] == str(ERRORS[path])
    assert ("tcode" in fields) == (code is not None)
    assert ("retry-after" in response.headers) == (status == 503)


def test_a_503_says_when_to_come_back(client: httpx.Client) -> None:
    assert int(client.get("/away").headers["retry-after"]) > 0


def test_an_unsatisfiable_range_tells_the_size(client: httpx.Client) -> None:
    assert client.get("/range").headers["content-range"] == "bytes */5"


@pytest.mark.parametrize("path", ["bucket", "object", "invalid", "bug", "away"])
def test_head_has_the_error_in_a_header(client: httpx.Client, path: str) -> None:
    response = client.head(f"/{path}")
    from_body = client.get(f"/{path}").json()
    assert response.content == b""
    fields = json.loads(response.headers["hdr-error"])
    assert fields == from_body | {"method": "HEAD", "remote_addr": fields["remote_addr"]}
    assert response.status_code == fields["status"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_any_text_survives_in_an_error_and_adds_no_header(client: httpx.Client, method: str) -> None:
    response = client.request(method, "/text")
    text = response.text if method == "GET" else response.headers["hdr-error"]
    assert json.loads(text)["message"] == str(ERRORS["text"])
    assert "<b> &" in text
    assert "injected" not in response.headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_405_is_plain_text_with_the_methods_that_are_allowed(client: httpx.Client, method: str) -> None:
    response = client.request(method, "/method")
    assert response.status_code == 405
    assert response.headers["allow"] == "DELETE, GET, POST"
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.text == ("" if method == "HEAD" else "Method Not Allowed\n")


@pytest.mark.parametrize(("path", "kind"), [("bug", "KeyError"), ("os", "OSError")])
def test_what_nobody_foresaw_is_hidden_and_logged(client: httpx.Client, path: str, kind: str) -> None:
    with capture_logs() as logs:
        response = client.get(f"/{path}")
    assert response.status_code == 500
    assert response.json()["message"] == f"internal error ({kind})"
    assert LOCAL_PATH not in response.text
    assert "Traceback" not in response.text
    assert [(log["event"], log["path"]) for log in logs] == [("request.failed", f"/{path}")]


def test_an_error_in_the_middle_of_an_answer_breaks_it_off(client: httpx.Client) -> None:
    with capture_logs() as logs, pytest.raises(httpx.RemoteProtocolError):
        client.get("/late")
    assert [log["event"] for log in logs] == ["request.failed"]
    assert client.get("/json").status_code == 201


# --- bodies ---


@pytest.mark.parametrize("size_bytes", [0, 1, LIMIT_BYTES])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_up_to_the_limit_are_read(client: httpx.Client, size_bytes: int, chunked: bool) -> None:
    body = b"x" * size_bytes
    content = (body[at : at + 300] for at in range(0, size_bytes, 300)) if chunked else body
    response = client.post("/echo", content=content)
    assert (response.status_code, response.content) == (200, body)


@pytest.mark.parametrize("size_bytes", [LIMIT_BYTES + 1, 4_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_larger_bodies_are_refused(client: httpx.Client, size_bytes: int, chunked: bool) -> None:
    body = b"x" * size_bytes
    content = (body[at : at + 65_536] for at in range(0, size_bytes, 65_536)) if chunked else body
    response = client.post("/echo", content=content)
    assert response.status_code == 413
    assert response.json()["message"] == f"the request body is larger than {LIMIT_BYTES} bytes"


def _connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=10)


def test_a_body_that_never_ends_is_refused_while_it_arrives(url: str) -> None:
    chunk = b"258\r\n" + b"x" * 600 + b"\r\n"
    with _connect(url) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n" + chunk + chunk)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_leaves_before_its_body_is_complete_is_no_error(url: str, surface: Surface) -> None:
    with capture_logs() as logs:
        with _connect(url) as connection:
            connection.sendall(b"POST /wait HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\nhalf")
            assert surface.reading.wait(10)
        assert surface.gone.wait(10)
    assert logs == []


@pytest.mark.parametrize("body", [b"\xc1", b"\x92\x01", b"", b"\x01\x02", b"\x81\x90\x01"], ids=repr)
def test_what_is_not_msgpack_is_refused(client: httpx.Client, body: bytes) -> None:
    response = client.post("/msgpack", content=body)
    assert response.status_code == 400
    assert response.json()["message"].startswith("body is not msgpack: ")


def test_answers(client: httpx.Client) -> None:
    response = client.get("/json")
    assert (response.status_code, response.content) == (201, '{"é":[1,null]}'.encode())
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    response = client.post("/msgpack", content=msgpack.packb({1: "x"}))
    assert msgpack.unpackb(response.content, strict_map_key=False) == [1, {1: "x"}]
    assert response.headers["content-type"] == "application/msgpack"
    assert "server" not in response.headers


def test_query_strings(client: httpx.Client) -> None:
    response = client.get("/query?a=1&a=2&b=&c=x%20y%2Bz+w&d=%C3%A9")
    assert response.json() == {"a": "2", "b": "", "c": "x y+z w", "d": "é"}


def test_statuses_of_errors_are_numbers_that_http_knows() -> None:
    assert all(400 <= error.status < 600 for error in ERRORS.values() if isinstance(error, HaulError))
