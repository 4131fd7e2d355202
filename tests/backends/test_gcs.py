"""Buckets of Google Cloud Storage, by Google's own client library, against the emulator of `gcsserver`."""

from __future__ import annotations

import base64
import http.server
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import google.auth.credentials
import google.auth.exceptions
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from common.backends.base import OriginUnavailable, RemoteBucketNotFound
from common.backends.gcs import GcsBackend
from common.backends.gcs_credentials import Authorization
from common.backends.settings import GcsSettings, load_backends
from common.errors import AccessDenied, InvalidRequest, ObjectNotFound, OriginError
from target.transfer.request import FetchError, Part
from target.transfer.verification import known_digests, strong_validator
from tests.backends.contract import BackendContract, DenialContract, fetch, names_of
from tests.backends.gateway import Gateway
from tests.backends.gcsserver import GcsServer

_NUMBERS = itertools.count(1)


class GcsService:
    """The emulator as the contract's `Service`."""

    def __init__(self, server: GcsServer) -> None:
        self.server = server

    def make_bucket(self) -> str:
        name = f"bucket-{next(_NUMBERS)}"
        self.server.make_bucket(name)
        return name

    def put(self, bucket: str, objects: Mapping[str, bytes]) -> None:
        self.server.put(bucket, objects)

    def backend(self, bucket: str) -> GcsBackend:
        return GcsBackend(bucket, GcsSettings(endpoint=self.server.endpoint, anonymous=True))

    def through(self, gateway: Gateway, bucket: str) -> GcsBackend:
        return GcsBackend(bucket, GcsSettings(endpoint=gateway.url, anonymous=True))

    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.server.port


class TokenServer:
    """Gives out tokens for keys of service accounts, as https://oauth2.googleapis.com/token does."""

    def __init__(self) -> None:
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                outer.asked.append({name: values[0] for name, values in form.items()})
                token = f"SECRET-{len(outer.asked)}{outer.suffix}"
                answer = outer.refusal or {"access_token": token, "expires_in": outer.lives_seconds}
                body = json.dumps(answer).encode()
                self.send_response(400 if outer.refusal else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.asked: list[dict[str, str]] = []
        self.lives_seconds = 3600
        self.suffix = ""
        self.refusal: dict[str, str] | None = None
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/token"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def shared_server() -> Iterator[GcsServer]:
    with GcsServer() as server:
        yield server


@pytest.fixture
def server(shared_server: GcsServer) -> Iterator[GcsServer]:
    yield shared_server
    shared_server.tokens = None
    shared_server.powerless_tokens = set()
    shared_server.answer = lambda _: None
    shared_server.asked.clear()


@pytest.fixture
def service(server: GcsServer) -> GcsService:
    return GcsService(server)


@pytest.fixture
def bucket(service: GcsService) -> str:
    return service.make_bucket()


@pytest.fixture
def token_server() -> Iterator[TokenServer]:
    server = TokenServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, layout = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, layout, serialization.NoEncryption()).decode()


@pytest.fixture
def key(private_key: str, token_server: TokenServer) -> dict[str, str]:
    """A service account's key file."""
    return {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "1",
        "private_key": private_key,
        "client_email": "reader@project.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_server.url,
    }


class Opened:
    """Makes backends, and closes them."""

    def __init__(self, stack: ExitStack, endpoint: str) -> None:
        self._stack = stack
        self._endpoint = endpoint

    def __call__(self, bucket: str, **settings: Any) -> GcsBackend:
        backend = GcsBackend(bucket, GcsSettings.model_validate({"endpoint": self._endpoint, **settings}))
        self._stack.callback(backend.close)
        return backend


@pytest.fixture
def opened(server: GcsServer) -> Iterator[Opened]:
    with ExitStack() as stack:
        yield Opened(stack, server.endpoint)


@pytest.fixture
def without_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that has no credentials of its own."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


class TestBackend(BackendContract):
    pass


class TestUnknownToken(DenialContract):
    @pytest.fixture
    def denied(self, server: GcsServer, bucket: str, opened: Opened) -> GcsBackend:
        server.tokens = {"another"}
        return opened(bucket, token="SECRET-token")


class TestPowerlessToken(DenialContract):
    @pytest.fixture
    def denied(self, server: GcsServer, bucket: str, opened: Opened) -> GcsBackend:
        server.tokens = server.powerless_tokens = {"SECRET-token"}
        return opened(bucket, token="SECRET-token")


class TestQuotedToken(DenialContract):
    """A proxy on the way that quotes what it does not like."""

    @pytest.fixture
    def denied(self, server: GcsServer, bucket: str, opened: Opened) -> GcsBackend:
        server.answer = lambda asked: (403, {}, f"forbidden: {asked.headers['authorization']}".encode())
        return opened(bucket, token="SECRET-token")


class TestNobody(DenialContract):
    @pytest.fixture
    def denied(self, server: GcsServer, bucket: str, opened: Opened) -> GcsBackend:
        server.tokens = {"SECRET-token"}
        return opened(bucket, anonymous=True)


class TestRevokedKey(DenialContract):
    @pytest.fixture
    def denied(self, bucket: str, opened: Opened, key: dict[str, str], token_server: TokenServer) -> GcsBackend:
        token_server.refusal = {"error": "invalid_grant", "error_description": "SECRET"}
        return opened(bucket, credentials_json=json.dumps(key))


class TestWhoAsks:
    def test_the_anonymous_send_no_authorization(self, server: GcsServer, bucket: str, opened: Opened) -> None:
        server.put(bucket, {"one": b"1"})
        backend = opened(bucket, anonymous=True)
        request = backend.request("one")
        server.asked.clear()
        assert names_of(backend) == ["one"]
        assert backend.head("one").size_bytes == 1
        assert fetch(request)[0] == b"1"
        assert request.headers == ()
        assert len(server.asked) == 3
        assert not any("authorization" in asked.headers for asked in server.asked)

    def test_a_token_is_sent_with_everything(self, server: GcsServer, bucket: str, opened: Opened) -> None:
        server.put(bucket, {"one": b"1"})
        server.tokens = {"T"}
        backend = opened(bucket, token="T")
        assert names_of(backend) == ["one"]
        assert backend.head("one").size_bytes == 1
        assert fetch(backend.request("one"))[0] == b"1"

    @pytest.mark.parametrize("as_file", [True, False])
    def test_a_service_account_has_a_token_made_and_keeps_it(
        self,
        server: GcsServer,
        bucket: str,
        opened: Opened,
        key: dict[str, str],
        token_server: TokenServer,
        tmp_path: Path,
        as_file: bool,
    ) -> None:
        server.put(bucket, {"one": b"1"})
        server.tokens = {"SECRET-1"}
        file = tmp_path / "key.json"
        file.write_text(json.dumps(key))
        settings = {"credentials_file": file} if as_file else {"credentials_json": file.read_text()}
        backend = opened(bucket, **settings)
        assert backend.request("one").headers == (("Authorization", "Bearer SECRET-1"),)
        assert names_of(backend) == ["one"]
        assert fetch(backend.request("one"))[0] == b"1"
        (asked,) = token_server.asked
        claims = json.loads(base64.urlsafe_b64decode(asked["assertion"].split(".")[1] + "=="))
        assert claims["iss"] == "reader@project.iam.gserviceaccount.com"
        assert claims["scope"] == "https://www.googleapis.com/auth/devstorage.read_only"

    def test_a_token_that_is_nearly_over_is_renewed(
        self, bucket: str, opened: Opened, key: dict[str, str], token_server: TokenServer
    ) -> None:
        token_server.lives_seconds = 30
        backend = opened(bucket, credentials_json=json.dumps(key))
        assert backend.request("one").headers == (("Authorization", "Bearer SECRET-1"),)
        token_server.lives_seconds = 3600
        assert backend.request("one").headers == (("Authorization", "Bearer SECRET-2"),)
        assert backend.request("one").headers == (("Authorization", "Bearer SECRET-2"),)

    def test_many_threads_ask_for_one_token(
        self, server: GcsServer, bucket: str, opened: Opened, key: dict[str, str], token_server: TokenServer
    ) -> None:
        server.put(bucket, {"one": b"1"})
        backend = opened(bucket, credentials_json=json.dumps(key))

        def ask(number: int) -> object:
            return backend.request("one").headers if number % 2 else backend.head("one").size_bytes

        with ThreadPoolExecutor(8) as threads:
            answers = set(threads.map(ask, range(32)))
        assert answers == {1, (("Authorization", "Bearer SECRET-1"),)}
        assert len(token_server.asked) == 1

    def test_an_unreachable_token_service_is_to_be_asked_later(
        self, bucket: str, opened: Opened, key: dict[str, str], token_server: TokenServer
    ) -> None:
        backend = opened(bucket, credentials_json=json.dumps(key | {"token_uri": "http://127.0.0.1:1/token"}))
        with pytest.raises(OriginUnavailable):
            backend.request("one")

    def test_a_token_that_would_be_two_headers_is_refused(
        self, bucket: str, opened: Opened, key: dict[str, str], token_server: TokenServer
    ) -> None:
        token_server.suffix = "\r\nX-Injected: 1"
        backend = opened(bucket, credentials_json=json.dumps(key))
        for _ in range(2):
            with pytest.raises(AccessDenied, match="malformed_token"):
                backend.request("one")

    def test_defaults_of_the_machine_are_used(
        self,
        without_defaults: None,
        monkeypatch: pytest.MonkeyPatch,
        bucket: str,
        opened: Opened,
        key: dict[str, str],
        tmp_path: Path,
    ) -> None:
        (tmp_path / "key.json").write_text(json.dumps(key))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        assert opened(bucket).request("one").headers == (("Authorization", "Bearer SECRET-1"),)

    def test_a_machine_without_defaults_says_what_to_configure(
        self, without_defaults: None, bucket: str, opened: Opened
    ) -> None:
        with pytest.raises(AccessDenied, match="anonymous = true"):
            opened(bucket).page()

    def test_the_emulator_of_the_environment_is_asked_as_nobody(
        self,
        without_defaults: None,
        monkeypatch: pytest.MonkeyPatch,
        server: GcsServer,
        bucket: str,
        opened: Opened,
    ) -> None:
        server.put(bucket, {"one": b"1"})
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.endpoint)
        backend = opened(bucket, endpoint="")
        assert names_of(backend) == ["one"]
        assert fetch(backend.request("one"))[0] == b"1"

    def test_the_charged_project_is_told_with_everything(self, server: GcsServer, bucket: str, opened: Opened) -> None:
        server.put(bucket, {"one": b"1"})
        backend = opened(bucket, token="T", user_project="payer")
        server.asked.clear()
        backend.page()
        backend.head("one")
        fetch(backend.request("one"))
        listing, look, body = server.asked
        assert listing.query["userProject"] == look.query["userProject"] == ["payer"]
        assert body.headers["x-goog-user-project"] == "payer"

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"credentials_json": "SECRET"}, "credentials_json is not a JSON object"),
            ({"credentials_json": '{"type": "service_account", "private_key": "SECRET"}'}, "not a complete"),
            ({"credentials_json": '{"type": "external_account", "SECRET": 1}'}, "GOOGLE_APPLICATION_CREDENTIALS"),
            ({"credentials_json": '{"type": "authorized_user", "SECRET": 1}'}, "a service account's key"),
            ({"token": "SECRET\r\nX-Injected: 1"}, "token has characters"),
            ({"credentials_file": "/nowhere/key.json"}, "/nowhere/key.json cannot be read"),
        ],
    )
    def test_malformed_credentials_are_refused_at_once(self, settings: dict[str, str], said: str) -> None:
        with pytest.raises(InvalidRequest, match=said) as caught:
            GcsBackend("bucket", GcsSettings.model_validate(settings))
        assert "SECRET" not in str(caught.value)


class Known(google.auth.credentials.Credentials):
    """Credentials whose tokens end when the test says."""

    def __init__(self, now: datetime, lives: timedelta) -> None:
        super().__init__()
        self.now = now
        self.lives = lives
        self.asked = 0
        self.fails = False

    def refresh(self, request: object) -> None:
        self.asked += 1
        if self.fails:
            raise google.auth.exceptions.TransportError("away")
        self.token = f"T{self.asked}"
        self.expiry = (self.now + self.lives).replace(tzinfo=None)


class TestTokens:
    @pytest.fixture
    def known(self) -> Known:
        return Known(datetime.now(UTC), timedelta(hours=1))

    @pytest.fixture
    def authorization(self, known: Known) -> Iterator[Authorization]:
        authorization = Authorization(known, lambda: known.now)
        assert authorization.headers() == {"Authorization": "Bearer T1"}
        yield authorization
        authorization.close()

    def test_ten_minutes_are_always_left(self, known: Known, authorization: Authorization) -> None:
        known.now += timedelta(minutes=49)
        assert authorization.headers() == {"Authorization": "Bearer T1"}
        known.now += timedelta(minutes=1)
        assert authorization.headers() == {"Authorization": "Bearer T2"}

    def test_short_tokens_are_not_asked_for_with_every_object(self, known: Known) -> None:
        known.lives = timedelta(minutes=8)
        authorization = Authorization(known, lambda: known.now)
        assert [authorization.headers() for _ in range(3)] == [{"Authorization": "Bearer T1"}] * 3
        known.now += timedelta(minutes=2)
        assert authorization.headers() == {"Authorization": "Bearer T2"}
        authorization.close()

    def test_a_token_is_used_to_its_end_when_there_is_no_other(
        self, known: Known, authorization: Authorization
    ) -> None:
        known.fails = True
        known.now += timedelta(minutes=55)
        assert authorization.headers() == {"Authorization": "Bearer T1"}
        assert known.asked == 2


class TestWhatIsTold:
    def test_the_answer_has_the_digests_that_were_told_and_a_strong_etag(
        self, server: GcsServer, bucket: str, opened: Opened
    ) -> None:
        server.put(bucket, {"one": b"0123456789"})
        backend = opened(bucket, anonymous=True)
        looked = backend.head("one")
        request = backend.request("one")
        _, head = fetch(request)
        assert known_digests(head) == dict(looked.digests)
        assert set(looked.digests) == {"md5", "crc32c"}
        assert looked.etag == ""
        body, part = fetch(request, part=Part(3, 6, 10, strong_validator(head)))
        assert (part.status, body) == (206, b"345")

    def test_a_version_is_asked_for_and_told_from_others(self, server: GcsServer, bucket: str, opened: Opened) -> None:
        server.put(bucket, {"one": b"old"})
        backend = opened(bucket, anonymous=True)
        old = backend.head("one").version
        assert fetch(backend.request("one", old))[1].headers["x-goog-generation"] == old
        server.put(bucket, {"one": b"new"})
        with pytest.raises(ObjectNotFound):
            backend.head("one", old)
        with pytest.raises(FetchError):
            fetch(backend.request("one", old))
        assert backend.head("one").version != old

    @pytest.mark.parametrize("version", ["1&alt=json", "abc", "²"])
    def test_a_version_is_a_number(self, version: str, bucket: str, opened: Opened) -> None:
        backend = opened(bucket, anonymous=True)
        with pytest.raises(InvalidRequest, match="a version is a number"):
            backend.request("one", version)
        with pytest.raises(InvalidRequest, match="a version is a number"):
            backend.head("one", version)

    def test_nothing_is_promised_of_bytes_that_are_unpacked_on_the_way(
        self, server: GcsServer, bucket: str, opened: Opened
    ) -> None:
        server.put(bucket, {"packed": b"0123456789"}, content_encoding="gzip")
        backend = opened(bucket, anonymous=True)
        (listed,) = backend.page().objects
        for told in (listed, backend.head("packed")):
            assert (told.size_bytes, dict(told.digests)) == (None, {})
            assert told.version

    def test_a_composite_object_has_no_md5(self, server: GcsServer, bucket: str, opened: Opened) -> None:
        item = {"name": "big", "size": "5", "crc32c": "AAAAAQ==", "generation": "7"}
        server.answer = lambda _: (200, {"Content-Type": "application/json"}, json.dumps({"items": [item]}).encode())
        (listed,) = opened(bucket, anonymous=True).page().objects
        assert listed == ("big", 5, "", "7", 0, {"crc32c": "00000001"})

    def test_a_folder_is_an_object_like_others(self, server: GcsServer, bucket: str, opened: Opened) -> None:
        server.put(bucket, {"folder/": b"folder"})
        backend = opened(bucket, anonymous=True)
        assert backend.head("folder/").size_bytes == 6
        assert fetch(backend.request("folder/"))[0] == b"folder"

    def test_a_name_that_looks_like_a_path_is_not_resolved(self, server: GcsServer, opened: Opened) -> None:
        server.answer = lambda _: (200, {}, b"x")
        fetch(opened("bucket", anonymous=True).request("a/../b/./c"))
        assert server.asked[-1].path == "/bucket/a%2F..%2Fb%2F.%2Fc"

    def test_only_what_is_needed_is_listed(self, server: GcsServer, bucket: str, opened: Opened) -> None:
        server.asked.clear()
        opened(bucket, anonymous=True).page("a b/", limit=5000)
        (asked,) = server.asked
        assert asked.query["maxResults"] == ["1000"]
        assert asked.query["prefix"] == ["a b/"]
        assert asked.query["fields"][0].endswith("nextPageToken")


class TestFailures:
    def test_a_missing_bucket_is_told_from_a_missing_object(self, bucket: str, opened: Opened) -> None:
        with pytest.raises(ObjectNotFound, match=f"gs://{bucket}/one"):
            opened(bucket, anonymous=True).head("one")
        with pytest.raises(RemoteBucketNotFound, match="gs://missing does"):
            opened("missing", anonymous=True).head("one")

    def test_a_service_that_says_when_is_not_asked_before(self, service: GcsService, bucket: str) -> None:
        with Gateway(*service.address()) as gateway:
            gateway.answers_status = 429
            with pytest.raises(OriginUnavailable) as caught:
                service.through(gateway, bucket).page()
            assert caught.value.retry_after_seconds == 1.0
            assert gateway.requests == 1

    def test_a_hiccup_is_not_noticed(self, server: GcsServer, bucket: str, opened: Opened) -> None:
        answers = [(503, {}, b""), (500, {}, b"")]
        server.answer = lambda _: answers.pop() if answers else None
        assert opened(bucket, anonymous=True).page().objects == []
        assert not answers

    @pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"items": [1]}', b'{"items": [{"name": "a", "size": "x"}]}'])
    def test_nonsense_is_the_origins_fault(self, server: GcsServer, bucket: str, opened: Opened, body: bytes) -> None:
        server.answer = lambda _: (200, {"Content-Type": "application/json"}, body)
        with pytest.raises(OriginError, match=f"gs://{bucket}: the answer is not that of Google Cloud Storage"):
            opened(bucket, anonymous=True).page()

    def test_what_is_refused_for_another_reason_is_shown(self, server: GcsServer, bucket: str, opened: Opened) -> None:
        error = {"error": {"code": 400, "message": "Bucket is a requester pays bucket but no user project provided."}}
        server.answer = lambda _: (400, {"Content-Type": "application/json"}, json.dumps(error).encode())
        with pytest.raises(OriginError, match=f"gs://{bucket}: the service answers 400: Bucket is a requester pays"):
            opened(bucket, anonymous=True).page()

    def test_a_denial_says_why_and_what_to_do(self, server: GcsServer, bucket: str, opened: Opened) -> None:
        server.tokens = {"T"}
        with pytest.raises(AccessDenied, match=r"storage\.objects\.list.*Storage Object Viewer"):
            opened(bucket, anonymous=True).page()

    def test_without_the_library_the_extra_is_named(self) -> None:
        program = """
import sys

sys.modules["google"] = None
from common.backends.sources import Sources
from common.backends.settings import BackendSettings
from common.errors import Unsupported
from common.names import Bucket

try:
    Sources(BackendSettings()).backend(Bucket("bucket", "gcp"))
except Unsupported as error:
    print(error)
"""
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert ended.stdout.startswith("Google Cloud Storage buckets need"), ended.stderr
        assert 'pip install "haul[gcs]"' in ended.stdout

    def test_closing_twice_is_safe(self, service: GcsService, bucket: str) -> None:
        backend = service.backend(bucket)
        backend.close()
        backend.page()
        backend.close()
        backend.close()


def test_the_servers_settings_are_those_of_a_node(server: GcsServer, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "backends.toml").write_text(server.settings_toml())
    backend = GcsBackend(bucket, load_backends(tmp_path / "backends.toml").gs_of(bucket, {}))
    assert names_of(backend) == []
    backend.close()
