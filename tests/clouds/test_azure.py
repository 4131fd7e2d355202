"""Azure containers, on a real Azurite: the contract of all backends, credentials of every kind, and what is refused."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, ContentSettings, generate_container_sas

from common.backends.azure import AzureBackend
from common.backends.base import Backend, OriginUnavailable, RemoteBucketNotFound, SourceRequest
from common.backends.settings import AzureSettings, load_backends
from common.errors import AccessDenied, ObjectNotFound, OriginError
from target.transfer.request import FetchError, Part
from target.transfer.verification import known_digests
from tests.backends.contract import BackendContract, DenialContract, all_pages, fetch, names_of
from tests.backends.gateway import Gateway
from tests.clouds.azurite import ACCOUNT, ACCOUNT_KEY, Azurite

SECRET_KEY = base64.b64encode(b"SECRET" * 8).decode()


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with Azurite(tmp_path_factory.mktemp("azurite")) as running:
        yield running


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONNECTION_STRING", "ACCOUNT", "KEY", "SAS_TOKEN"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)


def sas(container: str, permission: str = "rl", *, key: str = ACCOUNT_KEY, hours: float = 2) -> str:
    allowed = ContainerSasPermissions.from_string(permission)
    expiry = datetime.now(UTC) + timedelta(hours=hours)
    return generate_container_sas(ACCOUNT, container, key, permission=allowed, expiry=expiry)


def opened(container: str, **settings: Any) -> AzureBackend:
    return AzureBackend(container, AzureSettings.model_validate(settings))


class AzureService:
    """Azurite as the contract uses it, by the account's key."""

    def __init__(self, azurite: Azurite) -> None:
        self._azurite = azurite

    def make_bucket(self) -> str:
        return self._azurite.make_container()

    def put(self, bucket: str, objects: Mapping[str, bytes]) -> None:
        self._azurite.put(bucket, objects)

    def backend(self, bucket: str) -> Backend:
        return opened(bucket, endpoint=self._azurite.endpoint, account_key=ACCOUNT_KEY)

    def through(self, gateway: Gateway, bucket: str) -> Backend:
        return opened(bucket, endpoint=f"{gateway.url}/{ACCOUNT}", account_key=ACCOUNT_KEY)

    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._azurite.port


class TestContract(BackendContract):
    @pytest.fixture
    def service(self, azurite: Azurite) -> AzureService:
        return AzureService(azurite)


class TestDenialOfAWrongKey(DenialContract):
    @pytest.fixture
    def denied(self, azurite: Azurite) -> Backend:
        return opened(azurite.make_container(), endpoint=azurite.endpoint, account_key=SECRET_KEY)


class TestDenialOfAWrongSignature(DenialContract):
    @pytest.fixture
    def denied(self, azurite: Azurite) -> Backend:
        container = azurite.make_container()
        wrong = f"{sas(container).rpartition('sig=')[0]}sig=SECRETsecretSECRET"
        return opened(container, endpoint=azurite.endpoint, sas_token=wrong)


class TestDenialOfStrangers(DenialContract):
    @pytest.fixture
    def denied(self, azurite: Azurite) -> Backend:
        return opened(azurite.make_container(), endpoint=azurite.endpoint, anonymous=True)


def test_the_file_of_a_node_is_enough(azurite: Azurite, tmp_path: Path) -> None:
    container = azurite.make_container()
    azurite.put(container, {"one": b"1"})
    (tmp_path / "backends.toml").write_text(azurite.settings_toml())
    backend = AzureBackend(container, load_backends(tmp_path / "backends.toml").az_of(container, {}))
    assert names_of(backend) == ["one"]
    assert fetch(backend.request("one"))[0] == b"1"


def test_a_public_container_is_read_without_credentials_and_unsigned(azurite: Azurite) -> None:
    container = azurite.make_container("container")
    azurite.put(container, {"a b": b"content"})
    backend = opened(container, endpoint=azurite.endpoint, anonymous=True, account_key=SECRET_KEY)
    assert names_of(backend) == ["a b"]
    request = backend.request("a b")
    assert request.url == f"{azurite.endpoint}/{container}/a%20b"
    body, head = fetch(request)
    assert body == b"content"
    assert head.etag == backend.head("a b").etag
    assert head.etag.startswith('"')


def test_public_blobs_are_read_where_nobody_may_list(azurite: Azurite) -> None:
    container = azurite.make_container("blob")
    azurite.put(container, {"one": b"content"})
    backend = opened(container, endpoint=azurite.endpoint, anonymous=True)
    assert backend.head("one").size_bytes == 7
    assert fetch(backend.request("one"))[0] == b"content"
    with pytest.raises(AccessDenied, match="not public"):
        backend.page()


@pytest.mark.parametrize("mark", ["", "?"])
def test_a_given_signature_is_used_as_it_is(azurite: Azurite, mark: str) -> None:
    container = azurite.make_container()
    azurite.put(container, {"one": b"content"})
    signature = sas(container)
    backend = opened(container, account=ACCOUNT, endpoint=azurite.endpoint, sas_token=mark + signature)
    assert names_of(backend) == ["one"]
    assert backend.head("one").size_bytes == 7
    assert urlsplit(backend.request("one").url).query == signature
    assert fetch(backend.request("one"))[0] == b"content"


def test_a_signature_that_may_not_list_says_what_it_lacks(azurite: Azurite) -> None:
    container = azurite.make_container()
    azurite.put(container, {"one": b"content"})
    backend = opened(container, endpoint=azurite.endpoint, sas_token=sas(container, "r"))
    assert fetch(backend.request("one"))[0] == b"content"
    with pytest.raises(AccessDenied, match="sp=rl"):
        backend.page()


def test_a_signature_that_has_expired_is_refused(azurite: Azurite) -> None:
    container = azurite.make_container()
    with pytest.raises(AccessDenied, match="expired"):
        opened(container, endpoint=azurite.endpoint, sas_token=sas(container, hours=-1)).page()


def test_connection_strings_with_a_key_and_with_a_signature(azurite: Azurite) -> None:
    container = azurite.make_container()
    azurite.put(container, {"one": b"content"})
    signed = f"BlobEndpoint={azurite.endpoint}/;SharedAccessSignature={sas(container)}"
    for connection_string in (azurite.connection_string, signed):
        backend = opened(container, connection_string=connection_string)
        assert names_of(backend) == ["one"]
        assert fetch(backend.request("one"))[0] == b"content"


def test_the_environment_is_used_as_az_uses_it(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    container = azurite.make_container()
    azurite.put(container, {"one": b"content"})
    environments: list[dict[str, str]] = [
        {"CONNECTION_STRING": azurite.connection_string},
        {"ACCOUNT": ACCOUNT, "KEY": ACCOUNT_KEY},
        {"KEY": ACCOUNT_KEY},
        {"SAS_TOKEN": sas(container)},
        {"KEY": SECRET_KEY, "SAS_TOKEN": sas(container)},
    ]
    for environment in environments:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(f"AZURE_STORAGE_{name}", value)
            settings = {} if "CONNECTION_STRING" in environment else {"endpoint": azurite.endpoint}
            backend = opened(container, **settings)
            assert names_of(backend) == ["one"]
            assert fetch(backend.request("one"))[0] == b"content"


def test_a_key_signs_for_reading_once_and_is_never_shown(azurite: Azurite) -> None:
    container = azurite.make_container()
    azurite.put(container, {"one": b"1", "two": b"2"})
    backend = opened(container, endpoint=azurite.endpoint, account_key=ACCOUNT_KEY)
    one, two = (urlsplit(backend.request(name).url).query for name in ("one", "two"))
    assert one == two
    assert "sp=r&" in one
    assert "sr=c&" in one
    assert ACCOUNT_KEY not in one
    with pytest.raises(FetchError):  # it may read, and do nothing else
        fetch(backend.request("one")._replace(url=f"{azurite.endpoint}/{container}?restype=container&comp=list&{one}"))
    with pytest.raises(ObjectNotFound) as caught:
        backend.head("three")
    assert "sig=" not in str(caught.value) + repr(backend) + repr(vars(backend))
    assert ACCOUNT_KEY not in repr(vars(backend))


def test_a_service_that_is_gone_is_named_without_the_signature(azurite: Azurite) -> None:
    container = azurite.make_container()
    with Gateway("127.0.0.1", azurite.port) as gateway:
        backend = opened(container, endpoint=f"{gateway.url}/{ACCOUNT}", sas_token=sas(container))
        host = urlsplit(gateway.url).netloc
    with pytest.raises(OriginUnavailable, match=host) as caught:
        backend.page()
    assert "sig=" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_busy_service_is_asked_twice_and_says_how_long_to_wait(azurite: Azurite) -> None:
    container = azurite.make_container()
    with Gateway("127.0.0.1", azurite.port) as gateway:
        gateway.answers_status = 503
        with pytest.raises(OriginUnavailable, match=f"az://{container}/one") as caught:
            opened(container, endpoint=f"{gateway.url}/{ACCOUNT}", account_key=ACCOUNT_KEY).head("one")
        assert caught.value.retry_after_seconds == 1
        assert gateway.requests == 2


def test_an_answer_that_makes_no_sense_is_the_origins_fault(azurite: Azurite) -> None:
    with Gateway("127.0.0.1", azurite.port) as gateway:
        backend = opened("any", endpoint=f"{gateway.url}/{ACCOUNT}", account_key=ACCOUNT_KEY)
        for status in (200, 418):
            gateway.answers_status = status
            with pytest.raises(OriginError, match="az://any"):
                backend.page()


def test_errors_name_the_container_and_the_blob(azurite: Azurite) -> None:
    container = azurite.make_container()
    backend = opened(container, endpoint=azurite.endpoint, account_key=ACCOUNT_KEY)
    with pytest.raises(ObjectNotFound, match=f"az://{container}/deep/er"):
        backend.head("deep/er")
    missing = opened("not-there", endpoint=azurite.endpoint, account_key=ACCOUNT_KEY)
    for ask in (missing.page, lambda: missing.head("one")):
        with pytest.raises(RemoteBucketNotFound, match='"az://not-there"'):
            ask()
    with pytest.raises(RemoteBucketNotFound, match='"az://No_Container"'):
        opened("No_Container", endpoint=azurite.endpoint, account_key=ACCOUNT_KEY).page()


def test_the_digest_is_told_by_the_listing_and_by_the_bytes_and_by_a_part_of_them(azurite: Azurite) -> None:
    container = azurite.make_container()
    azurite.put(container, {"one": b"0123456789"})
    backend = opened(container, endpoint=azurite.endpoint, account_key=ACCOUNT_KEY)
    ((listed,),) = all_pages(backend)
    request = backend.request("one")
    md5 = {"md5": "781e5e245d69b566979b86e28d23f2c7"}
    assert listed.digests == backend.head("one").digests == known_digests(fetch(request)[1]) == md5
    body, head = fetch(request, part=Part(3, 6, 10, listed.etag))
    assert (body, head.status) == (b"345", 206)
    assert known_digests(head) == md5


def test_a_blob_of_blocks_without_a_digest_has_none(azurite: Azurite) -> None:
    container = azurite.make_container()
    client = azurite.service.get_blob_client(container, "blocks")
    client.stage_block("one", b"0123456789")
    client.commit_block_list(["one"], content_settings=ContentSettings(content_type="text/plain"))
    backend = opened(container, endpoint=azurite.endpoint, account_key=ACCOUNT_KEY)
    ((listed,),) = all_pages(backend)
    assert listed.digests == backend.head("blocks").digests == {}
    assert fetch(backend.request("blocks"))[0] == b"0123456789"


def test_folders_of_a_hierarchical_namespace_are_no_objects(azurite: Azurite) -> None:
    container = azurite.make_container()
    azurite.put(container, {"folder/one": b"1", "empty": b""})
    azurite.service.get_blob_client(container, "folder").upload_blob(b"", metadata={"hdi_isfolder": "true"})
    backend = opened(container, endpoint=azurite.endpoint, account_key=ACCOUNT_KEY)
    assert names_of(backend) == ["empty", "folder/one"]


def test_many_threads_ask_one_backend(azurite: Azurite) -> None:
    container = azurite.make_container()
    names = [f"{number:02d}" for number in range(40)]
    azurite.put(container, {name: name.encode() for name in names})
    backend = opened(container, endpoint=azurite.endpoint, account_key=ACCOUNT_KEY)
    with ThreadPoolExecutor(16) as threads:
        assert [found.name for found in threads.map(backend.head, names)] == names
        listings = list(threads.map(lambda limit: names_of(backend, limit=limit), range(5, 21)))
        assert listings == [names] * 16
        assert len({urlsplit(request.url).query for request in threads.map(backend.request, names)}) == 1
    backend.close()


def test_a_closed_backend_can_be_closed_again_and_still_answers_who_holds_it(azurite: Azurite) -> None:
    container = azurite.make_container()
    azurite.put(container, {"one": b"1"})
    backend = opened(container, endpoint=azurite.endpoint, account_key=ACCOUNT_KEY)
    assert names_of(backend) == ["one"]
    backend.close()
    backend.close()
    assert names_of(backend) == ["one"]


class Identity:
    """What azure-identity would find: a token that Azurite takes, as it looks only at what is in it."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        now = int(time.time())
        claims: dict[str, Any] = {"aud": "https://storage.azure.com", "iss": "https://sts.windows.net/SECRET-tenant/"}
        claims |= {"iat": now, "nbf": now - 60, "exp": now + 3600, "oid": "an-object", "tid": "a-tenant"}
        parts = ({"alg": "none", "typ": "JWT"}, claims, {})
        text = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
        return AccessToken(text, now + 3600)


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if azure-identity were installed."""
    module: Any = ModuleType("azure.identity")
    module.DefaultAzureCredential = Identity
    monkeypatch.setitem(sys.modules, "azure.identity", module)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that has signed itself, with `key.pem` beside it."""
    folder = tmp_path_factory.mktemp("trusted")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=haul-test", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", "key.pem", "-out", "cert.pem"], cwd=folder, check=True, capture_output=True)
    return folder / "cert.pem"


@pytest.fixture(scope="module")
def trusted(authority: Path) -> Iterator[Azurite]:
    """One that speaks TLS, which identities need."""
    options = ["--oauth", "basic", "--cert", str(authority), "--key", str(authority.with_name("key.pem"))]
    with Azurite(authority.parent, options=options, verify=str(authority)) as running:
        yield running


@pytest.fixture
def by_identity(trusted: Azurite, authority: Path, identity: None, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """A backend of a container with the object "one", as opened by a node that has an identity and nothing else."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    container = trusted.make_container()
    trusted.put(container, {"one": b"content"})
    return opened(container, endpoint=trusted.endpoint)


def fetch_trusting(authority: Path, request: SourceRequest) -> bytes:
    context = ssl.create_default_context(cafile=str(authority))
    return httpx.get(request.url, headers=dict(request.headers), verify=context).raise_for_status().content


def test_an_identity_lists_and_signs_by_a_key_of_the_service(by_identity: Backend, authority: Path) -> None:
    assert names_of(by_identity) == ["one"]
    request = by_identity.request("one")
    assert "skoid=an-object&" in request.url
    assert "Authorization" not in dict(request.headers)
    assert fetch_trusting(authority, request) == b"content"
    assert by_identity.request("one") == request


def test_an_identity_that_gets_no_such_key_shows_its_token_instead(
    by_identity: Backend, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(*_: object) -> None:
        asked.append(1)
        refusal = HttpResponseError("what Azure says to a role that is given for a container only")
        refusal.status_code = 403
        raise refusal

    monkeypatch.setattr(BlobServiceClient, "get_user_delegation_key", refuse)
    request = by_identity.request("one")
    assert "?" not in request.url
    assert fetch_trusting(authority, request) == b"content"
    assert "Authorization" in dict(by_identity.request("one").headers)
    assert len(asked) == 1


def test_an_identity_that_cannot_sign_in_is_refused(by_identity: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ClientAuthenticationError("SECRET")

    monkeypatch.setattr(Identity, "get_token", fail)
    for ask in (by_identity.page, lambda: by_identity.request("one")):
        with pytest.raises(AccessDenied, match="azure-identity has found no credentials") as caught:
            ask()
        assert "SECRET" not in str(caught.value)
