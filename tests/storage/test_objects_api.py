"""The objects API of a target over real sockets; statuses, headers and texts are those of captures/objects.md."""

import hashlib
import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from xxhash import xxh64_hexdigest

from common import web
from target.api.objects import ObjectsApi
from target.storage.store import Store
from tests.serving import serving
from tests.storage.disks import BUCKET, get, put, running_store, work_files
from tests.waiting import wait_for

REDIRECTED = "?pid=p1&utm=abc&bid=1"


class Client:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.address = (parts.hostname, parts.port)

    def __call__(
        self, method: str, target: str, body: bytes | Iterator[bytes] | None = None, **headers: str
    ) -> http.client.HTTPResponse:
        with closing(http.client.HTTPConnection(*self.address, timeout=30)) as connection:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, target, body, named)
            answer = connection.getresponse()
            answer.content = answer.read()
            return answer


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with running_store(tmp_path) as running:
        yield running


class Current:
    """One server for all tests of this file, each with its own store behind it."""

    application: web.Application

    async def __call__(self, scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        await self.application(scope, receive, send)


@pytest.fixture(scope="module")
def current() -> Current:
    return Current()


@pytest.fixture(scope="module")
def client(current: Current) -> Iterator[Client]:
    with serving(current) as url:
        yield Client(url)


@pytest.fixture
def ask(store: Store, current: Current, client: Client) -> Client:
    current.application = web.guarded(ObjectsApi(store, "t[one]"), "t[one]")
    return client


def error_of(answer: http.client.HTTPResponse) -> dict[str, object]:
    return json.loads(answer.content or answer.headers["hdr-error"])


def test_put_get_head_delete(ask: Client) -> None:
    answer = ask("PUT", f"/v1/objects/demo/dir/h2.txt{REDIRECTED}", b"hello, ais\n")
    assert (answer.status, answer.content) == (200, b"")
    assert answer.headers["ais-checksum-type"] == "xxhash2"
    assert answer.headers["ais-checksum-value"] == "a88a52ebb52e0a94"
    assert answer.headers["ais-version"] == "1"
    stored_ns = answer.headers["ais-atime"]

    answer = ask("GET", "/v1/objects/demo/dir/h2.txt")
    assert (answer.status, answer.content) == (200, b"hello, ais\n")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-length"] == "11"
    assert answer.headers["ais-checksum-value"] == "a88a52ebb52e0a94"
    assert answer.headers["ais-atime"] == stored_ns

    answer = ask("PUT", f"/v1/objects/demo/dir/h2.txt{REDIRECTED}", b"second")
    assert answer.headers["ais-version"] == "2"
    assert ask("DELETE", f"/v1/objects/demo/dir/h2.txt{REDIRECTED}").status == 200
    answer = ask("DELETE", f"/v1/objects/demo/dir/h2.txt{REDIRECTED}")
    error = error_of(answer)
    assert answer.status == 404
    assert (error["message"], error["status"]) == ("ais://demo/dir/h2.txt doesn't exist", 404)
    assert "tcode" not in error


@pytest.mark.parametrize(
    ("more", "body", "status", "text"),
    [
        ("", b"no message", 400, "message"),
        ("", b"[]", 400, "message"),
        ("", b'{"action": "destroy-bck"}', 400, "destroy-bck"),
        ("", b'{"action": "rename-obj", "name": "b"}', 400, "rename-obj"),
        ("&archpath=x", b"", 501, "archpath"),
        ("&archregx=x&archmode=prefix", b"", 501, "archregx"),
        ("&append_handle=x", b"", 400, "append_handle"),
        ("&append_type=flush", b"", 400, "append_type"),
        ("&uploadID=x", b"", 400, "uploadId"),
        ("&upload_id=x", b"", 400, "uploadId"),
    ],
)
def test_only_what_is_meant_to_be_deleted_is(ask: Client, more: str, body: bytes, status: int, text: str) -> None:
    path = f"/v1/objects/demo/a{REDIRECTED}"
    ask("PUT", path, b"kept")
    answer = ask("DELETE", path + more, body)
    assert answer.status == status
    assert text in error_of(answer)["message"]
    assert ask("GET", "/v1/objects/demo/a").content == b"kept"
    assert ask("DELETE", path, b'{"action": "delete-listrange"}').status == 200
    assert ask("GET", "/v1/objects/demo/a").status == 404


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_nothing_is_changed_in_archives(ask: Client, method: str) -> None:
    path = f"/v1/objects/demo/a{REDIRECTED}"
    ask("PUT", path, b"kept")
    answer = ask(method, f"{path}&archpath=x", b'{"action": "", "value": {"a": "1"}}')
    assert (answer.status, error_of(answer)["tcode"]) == (501, "ErrUnsupp")
    assert "ais-custom-md" not in ask("GET", "/v1/objects/demo/a").headers


def test_an_empty_object(ask: Client) -> None:
    answer = ask("PUT", f"/v1/objects/demo/empty{REDIRECTED}", b"")
    assert answer.headers["ais-checksum-value"] == "ef46db3751d8e999"
    answer = ask("GET", "/v1/objects/demo/empty")
    assert (answer.status, answer.content, answer.headers["content-length"]) == (200, b"", "0")
    assert ask("GET", "/v1/objects/demo/empty", Range="bytes=0-").status == 416


@pytest.mark.parametrize("size", [0, 1, 70_000, (1 << 20) + 1, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_of_every_size_in_both_framings(ask: Client, tmp_path: Path, size: int, chunked: bool) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    data = data[:size]
    body = iter([data[start : start + 100_000] for start in range(0, size, 100_000)]) if chunked else data
    answer = ask("PUT", f"/v1/objects/demo/a{REDIRECTED}", body)
    assert answer.status == 200
    answer = ask("GET", "/v1/objects/demo/a")
    assert answer.content == data
    assert answer.headers["ais-checksum-value"] == xxh64_hexdigest(data)
    assert work_files(tmp_path) == []


def test_a_missing_object(ask: Client) -> None:
    answer = ask("GET", "/v1/objects/demo/nonesuch")
    error = error_of(answer)
    assert (answer.status, answer.headers["content-type"]) == (404, "application/json")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert error.pop("remote_addr").startswith("127.0.0.1:")
    assert error == {
        "tcode": "ErrNotFound",
        "message": "t[one]: ais://demo/nonesuch does not exist",
        "method": "GET",
        "url_path": "/v1/objects/demo/nonesuch",
        "caller": "",
        "node": "t[one]",
        "status": 404,
    }
    answer = ask("HEAD", "/v1/objects/demo/nonesuch")
    assert (answer.status, answer.content) == (404, b"")
    assert error_of(answer)["message"] == "t[one]: ais://demo/nonesuch does not exist"


@pytest.mark.parametrize(
    ("asked", "answered", "content"),
    [
        ("bytes=2-5", "bytes 2-5/11", b"llo,"),
        ("bytes=-4", "bytes 7-10/11", b"ais\n"),
        ("bytes=7-", "bytes 7-10/11", b"ais\n"),
        ("bytes=0-100", "bytes 0-10/11", b"hello, ais\n"),
        ("bytes=-100", "bytes 0-10/11", b"hello, ais\n"),
        ("bytes=10-10", "bytes 10-10/11", b"\n"),
    ],
)
def test_ranges(store: Store, ask: Client, asked: str, answered: str, content: bytes) -> None:
    put(store, "a", b"hello, ais\n")
    answer = ask("GET", "/v1/objects/demo/a", Range=asked)
    assert (answer.status, answer.content) == (206, content)
    assert answer.headers["content-range"] == answered
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["ais-checksum-value"] == "a88a52ebb52e0a94"


@pytest.mark.parametrize("spec", ["900-", "0-1,4-5", "5-2", "-0", "-", "x-", "11-", "99999999999999999999-"])
def test_ranges_that_cannot_be_given(store: Store, ask: Client, spec: str) -> None:
    put(store, "a", b"hello, ais\n")
    answer = ask("GET", "/v1/objects/demo/a", Range=f"bytes={spec}")
    error = error_of(answer)
    assert answer.status == 416
    assert answer.headers["content-range"] == "bytes */11"
    assert error["tcode"] == "ErrRangeNotSatisfiable"
    assert error["message"] == f"size=11: not satisfiable range [{spec}]"


def test_unknown_range_units_and_outdated_validators_get_everything(store: Store, ask: Client) -> None:
    put(store, "a", b"hello, ais\n", etag='"v2"')
    assert ask("GET", "/v1/objects/demo/a", Range="lines=1-2").status == 200
    assert ask("GET", "/v1/objects/demo/a", Range="bytes=1-2", If_Range='"v1"').status == 200
    assert ask("GET", "/v1/objects/demo/a", Range="bytes=1-2", If_Range='"v2"').status == 206


def test_a_copy_that_is_still_right_is_not_sent_again(store: Store, ask: Client) -> None:
    put(store, "a", b"x", etag='W/"v2"', last_modified="Mon, 23 Nov 2026 01:38:14 GMT")
    put(store, "b", b"x")
    tag = ask("GET", "/v1/objects/demo/b").headers["etag"]
    unchanged = [
        ("a", {"If_None_Match": 'W/"v2"'}),
        ("a", {"If_None_Match": '"v1", "v2"'}),
        ("a", {"If_None_Match": "*"}),
        ("a", {"If_Modified_Since": "Mon, 23 Nov 2026 01:38:14 GMT"}),
        ("b", {"If_None_Match": tag}),
    ]
    for name, headers in unchanged:
        answer = ask("GET", f"/v1/objects/demo/{name}", **headers)
        assert (answer.status, answer.content) == (304, b"")
    changed = [
        ("a", {"If_None_Match": '"v1"'}),
        ("a", {"If_None_Match": '"v1"', "If_Modified_Since": "Mon, 23 Nov 2026 01:38:14 GMT"}),
        ("a", {"If_Modified_Since": "Mon, 23 Nov 2026 01:38:13 GMT"}),
        ("a", {"If_Modified_Since": "yesterday"}),
    ]
    for name, headers in changed:
        assert ask("GET", f"/v1/objects/demo/{name}", **headers).status == 200


THEN, BEFORE = "Mon, 23 Nov 2026 01:38:14 GMT", "Mon, 23 Nov 2026 01:38:13 GMT"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If_Match": '"v2"'}, 200),
        ({"If_Match": '"v1", "v2"'}, 200),
        ({"If_Match": "*"}, 200),
        ({"If_Match": '"v1"'}, 412),
        ({"If_Match": 'W/"v2"'}, 412),
        ({"If_Match": '"v1"', "Range": "bytes=0-1"}, 412),
        ({"If_Match": '"v2"', "Range": "bytes=0-1"}, 206),
        ({"If_Match": '"v1"', "If_None_Match": '"v2"'}, 412),
        ({"If_Match": '"v2"', "If_None_Match": '"v2"'}, 304),
        ({"If_Unmodified_Since": THEN}, 200),
        ({"If_Unmodified_Since": BEFORE}, 412),
        ({"If_Unmodified_Since": "yesterday"}, 200),
        ({"If_Match": '"v2"', "If_Unmodified_Since": BEFORE}, 200),
    ],
)
def test_only_the_object_that_is_wanted_is_sent(
    store: Store, ask: Client, headers: dict[str, str], status: int
) -> None:
    put(store, "a", b"hello", etag='"v2"', last_modified=THEN)
    answer = ask("GET", "/v1/objects/demo/a", **headers)
    assert answer.status == status
    if status == 412:
        assert error_of(answer)["tcode"] == "ErrPreconditionFailed"
        assert "hello" not in answer.content.decode()


@pytest.mark.parametrize("key", ["etl_name", "etl_pipeline", "etl_args", "etl_fqn"])
def test_nothing_is_transformed(store: Store, ask: Client, key: str) -> None:
    put(store, "a", b"hello")
    for method in ("GET", "PUT"):
        answer = ask(method, f"/v1/objects/demo/a{REDIRECTED}&{key}=x", b"x"[: method == "PUT"])
        assert (answer.status, error_of(answer)["tcode"]) == (501, "ErrUnsupp")
    assert ask("GET", "/v1/objects/demo/a").content == b"hello"


def test_head_gives_everything_or_what_is_asked_for(store: Store, ask: Client) -> None:
    put(store, "hello.txt", b"hello, ais\n", custom={"k": "v", "other": "w"})
    [mountpath] = {mountpath for _, mountpath in [store.head(BUCKET, "hello.txt")]}
    everything = ask("HEAD", "/v1/objects/demo/hello.txt")
    expected = {
        "ais-atime": "1",
        "ais-bucket-name": "demo",
        "ais-bucket-provider": "ais",
        "ais-checksum-type": "xxhash2",
        "ais-checksum-value": "a88a52ebb52e0a94",
        "ais-location": f"t[one]:mp[{mountpath.id}]",
        "ais-mirror-copies": "1",
        "ais-mirror-paths": f"[{mountpath.id}]",
        "ais-name": "hello.txt",
        "ais-present": "true",
        "ais-version": "1",
        "content-length": "11",
    }
    assert everything.status == 200
    assert expected.items() <= {name.lower(): value for name, value in everything.headers.items()}.items()
    assert everything.headers.get_all("ais-custom-md") == ["k=v", "other=w"]

    some = ask("HEAD", "/v1/objects/demo/hello.txt?props=name,size,version,etag,last-modified,copies,ec,chunked")
    assert (some.status, some.headers["content-length"], some.headers["ais-present"]) == (200, "11", "true")
    assert some.headers["etag"] == '"a88a52ebb52e0a94"'
    assert some.headers["last-modified"] == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert some.headers["ais-mirror-paths"] == mountpath.id
    assert "ais-checksum-value" not in some.headers

    wrong = ask("HEAD", "/v1/objects/demo/hello.txt?props=name,cached")
    assert wrong.status == 400
    assert error_of(wrong)["message"] == 'invalid property "cached" in props list'


@pytest.mark.parametrize("kind", ["md5", "sha256", "sha512", "xxhash", "xxhash2", "XXHASH2", "none"])
def test_announced_checksums_are_compared(ask: Client, tmp_path: Path, kind: str) -> None:
    for data in (b"data", b"x" * (2 << 20)):
        value = hashlib.new(kind, data).hexdigest() if kind in ("md5", "sha256", "sha512") else xxh64_hexdigest(data)
        headers = {"Ais_Checksum_Type": kind, "Ais_Checksum_Value": value}
        assert ask("PUT", f"/v1/objects/demo/good{REDIRECTED}", data, **headers).status == 200
        if kind == "none":
            continue
        headers["Ais_Checksum_Value"] = "0" * len(value)
        answer = ask("PUT", f"/v1/objects/demo/bad{REDIRECTED}", data, **headers)
        error = error_of(answer)
        assert (answer.status, error["tcode"]) == (400, "ErrBadCksum")
        wanted = f"BAD DATA CHECKSUM: {kind.lower()}({'0' * len(value)} != {value}) (context: ais://demo/bad)"
        assert error["message"] == wanted
        assert ask("GET", "/v1/objects/demo/bad").status == 404
        assert work_files(tmp_path) == []


def test_custom_metadata_comes_back(store: Store, ask: Client) -> None:
    with closing(http.client.HTTPConnection(*ask.address, timeout=30)) as connection:
        connection.putrequest("PUT", f"/v1/objects/demo/a{REDIRECTED}")
        for line in ("source=web", "key=value=with=signs", "Content-Length=x"):
            connection.putheader("Ais-Custom-Md", line)
        connection.putheader("Content-Length", "1")
        connection.endheaders(b"x")
        answer = connection.getresponse()
        assert (answer.read(), answer.status) == (b"", 200)
    answer = ask("GET", "/v1/objects/demo/a")
    assert answer.headers.get_all("ais-custom-md") == ["source=web", "key=value=with=signs", "Content-Length=x"]
    assert store.head(BUCKET, "a")[0].custom["key"] == "value=with=signs"


@pytest.mark.parametrize(
    ("headers", "status", "text"),
    [
        ({"Ais_Checksum_Type": "crc32c", "Ais_Checksum_Value": "00"}, 400, "BAD DATA CHECKSUM: crc32c(00 != "),
        ({"Ais_Checksum_Type": "adler", "Ais_Checksum_Value": "00"}, 400, 'invalid checksum type "adler"'),
        ({"Ais_Checksum_Type": "md5"}, 400, "Ais-Checksum-Value"),
        ({"Ais_Custom_Md": "novalue"}, 400, "expecting key=value"),
        ({"Ais_Custom_Md": "k=" + "v" * 2048}, 400, "2048"),
    ],
)
def test_uploads_that_cannot_be_accepted(
    ask: Client, tmp_path: Path, headers: dict[str, str], status: int, text: str
) -> None:
    answer = ask("PUT", f"/v1/objects/demo/a{REDIRECTED}", b"x", **headers)
    assert answer.status == status
    assert text in error_of(answer)["message"]
    assert ask("GET", "/v1/objects/demo/a").status == 404


def test_what_was_not_redirected_is_refused(ask: Client) -> None:
    for method in ("PUT", "DELETE", "POST", "PATCH"):
        answer = ask(method, "/v1/objects/demo/a", b"x")
        assert answer.status == 400
        assert error_of(answer)["message"] == f"t[one]: {method}(obj) is expected to be redirected"


def test_incarnations(store: Store, ask: Client) -> None:
    assert ask("PUT", "/v1/objects/demo/a?pid=p&bid=5", b"x").status == 200
    assert ask("PUT", "/v1/objects/demo/b?pid=p", b"x").status == 200
    answer = ask("PUT", "/v1/objects/demo/b?pid=p&bid=4", b"x")
    assert (answer.status, error_of(answer)["message"]) == (404, 'bucket "ais://demo" does not exist')
    answer = ask("PUT", "/v1/objects/other/b?pid=p", b"x")
    assert (answer.status, error_of(answer)["tcode"]) == (404, "ErrBckNotFound")
    assert ask("GET", "/v1/objects/demo/a?bid=5").status == 200
    assert ask("GET", "/v1/objects/demo/a?bid=6").status == 404
    assert ask("GET", "/v1/objects/demo/a?bid=x").status == 400


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "100%",
        "a%2fb",
        "a+b",
        "q?x=1",
        "h#x",
        "é",
        "e\u0301",
        "/abs",
        "a//b",
        "x" * 300,
        '"quoted"',
        "t\tb",
        "n\nl",
    ],
)
def test_names_arrive_as_they_were_encoded(store: Store, ask: Client, name: str) -> None:
    target = f"/v1/objects/demo/{quote(name)}"
    assert ask("PUT", target + REDIRECTED, name.encode()).status == 200
    assert get(store, name) == name.encode()
    assert [entry.name for entry in store.list_objects(BUCKET)] == [name]
    assert ask("GET", target).content == name.encode()
    assert ask("HEAD", target).status == 200
    assert ask("DELETE", target + REDIRECTED).status == 200


@pytest.mark.parametrize(
    "path", ["a/../../b", "..", "a/%2e%2e/b", "./a", "~/a", "a%00b", "%ff", "%c0%af", "a/%2E/b", "%2e%2e%2fx"]
)
def test_refused_names_touch_nothing(store: Store, ask: Client, tmp_path: Path, path: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    for method in ("PUT", "GET", "DELETE", "HEAD"):
        answer = ask(method, f"/v1/objects/demo/{path}{REDIRECTED}", b"x" if method == "PUT" else None)
        assert answer.status == 400
        assert error_of(answer)["tcode"] == "errInvalidPath"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("method", "target", "status", "text"),
    [
        ("PUT", "/v1/objects/demo", 400, "URL 'v1/objects/demo' is too short: expected 4 items, got 3"),
        ("GET", "/v1/objects/demo/", 400, "too short"),
        ("GET", "/v1/objects/b%20d/a", 400, "bucket name is invalid"),
        ("GET", "/v1/objects/demo/a?provider=nope", 400, "invalid backend provider"),
        ("GET", "/v1/objects/demo/a?archpath=x&archregx=y", 400, "archpath"),
        ("GET", "/v1/objects/demo/a?archmode=prefix", 400, "archmode"),
    ],
)
def test_requests_that_cannot_be_served(ask: Client, method: str, target: str, status: int, text: str) -> None:
    answer = ask(method, target)
    assert answer.status == status
    assert text in error_of(answer)["message"]


def test_other_methods_are_told_which_ones_there_are(ask: Client) -> None:
    answer = ask("OPTIONS", "/v1/objects/demo/a")
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, GET, HEAD, PATCH, POST, PUT")


def test_providers_and_namespaces_are_buckets_of_their_own(ask: Client) -> None:
    for query in ("", "&provider=s3", "&provider=aws&namespace=%40uuid%23ns"):
        assert ask("PUT", f"/v1/objects/demo/a{REDIRECTED}{query}", query.encode()).status == 200
    assert ask("GET", "/v1/objects/demo/a").content == b""
    assert ask("GET", "/v1/objects/demo/a?provider=aws").content == b"&provider=s3"
    answer = ask("GET", "/v1/objects/demo/x?provider=aws&namespace=@uuid%23ns")
    assert error_of(answer)["message"] == "t[one]: s3://@uuid#ns/demo/x does not exist"


@pytest.mark.parametrize("sent", [0, 10, 3 << 20])
def test_an_upload_that_breaks_off_leaves_nothing(store: Store, ask: Client, tmp_path: Path, sent: int) -> None:
    put(store, "other", b"x")
    with socket.create_connection(ask.address) as connection:
        connection.sendall(
            f"PUT /v1/objects/demo/a{REDIRECTED} HTTP/1.1\r\nHost: x\r\nContent-Length: {4 << 20}\r\n\r\n".encode()
            + b"x" * sent
        )
        if sent > 1 << 20:
            wait_for(lambda: work_files(tmp_path), what="a work file")
    wait_for(lambda: not work_files(tmp_path), what="no work file")
    assert ask("GET", "/v1/objects/demo/a").status == 404
    assert ask("GET", "/v1/objects/demo/other").status == 200


def test_a_large_object_comes_back_whole_and_may_be_left_half_way(store: Store, ask: Client) -> None:
    data = bytes(range(256)) * (40 << 12)
    put(store, "large", data)
    assert ask("GET", "/v1/objects/demo/large").content == data
    assert ask("GET", "/v1/objects/demo/large", Range="bytes=1000000-").content == data[1_000_000:]
    for _ in range(3):
        with socket.create_connection(ask.address) as connection:
            connection.sendall(b"GET /v1/objects/demo/large HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(1000)
    assert ask("GET", "/v1/objects/demo/large").content == data


def test_damage_is_a_404_of_its_own(store: Store, ask: Client, tmp_path: Path) -> None:
    put(store, "a", b"whole")
    [path] = tmp_path.glob("*/@ais/demo/%ob/a")
    path.write_bytes(b"cut")
    answer = ask("GET", "/v1/objects/demo/a")
    assert (answer.status, error_of(answer)["tcode"]) == (404, "ErrObjectDamaged")
    assert "ais://demo/a is damaged" in error_of(answer)["message"]
