"""Azure without Azure: which account and credentials are meant, what is refused at once, when signatures are renewed.

What needs a server is in `tests/clouds/test_azure.py`.
"""

from __future__ import annotations

import base64
import sys
from datetime import UTC, datetime
from urllib.parse import parse_qs

import pytest

from common.backends.azure import AzureBackend
from common.backends.azureaccess import Access, access_of, account_in
from common.backends.azuresignatures import KeptSignature, signed_by_key
from common.backends.settings import AzureSettings, BackendSettings
from common.errors import InvalidRequest, Unsupported

KEY = base64.b64encode(b"SECRET" * 8).decode()
CORP = "https://corp.blob.core.windows.net"
STRING = f"DefaultEndpointsProtocol=https;AccountName=corp;AccountKey={KEY};EndpointSuffix=core.windows.net"
HOUR_NS = 3_600_000_000_000


def access(environment: dict[str, str] | None = None, **settings: object) -> Access:
    variables = {f"AZURE_STORAGE_{name}": value for name, value in (environment or {}).items()}
    return access_of(AzureSettings.model_validate(settings), variables)


@pytest.fixture
def nothing_around(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Neither an environment nor azure-identity."""
    for name in ("CONNECTION_STRING", "ACCOUNT", "KEY", "SAS_TOKEN"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    return monkeypatch


@pytest.mark.parametrize(
    ("settings", "endpoint", "account"),
    [
        ({"account": "corp"}, CORP, "corp"),
        ({"endpoint": f"{CORP}/"}, CORP, "corp"),
        ({"endpoint": "https://corp-secondary.blob.core.windows.net"}, None, "corp"),
        ({"endpoint": "http://127.0.0.1:10000/devstoreaccount1"}, None, "devstoreaccount1"),
        ({"endpoint": "https://blobs.example.com", "account": "corp"}, None, "corp"),
        # A job brings its own account, and the cluster's settings say which cloud it is in.
        ({"endpoint": "https://corp.blob.core.chinacloudapi.cn", "account": "partner"}, "partner", "partner"),
        (
            {"endpoint": "http://127.0.0.1:10000/corp", "account": "partner"},
            "http://127.0.0.1:10000/partner",
            "partner",
        ),
        ({"connection_string": STRING}, CORP, "corp"),
        ({"connection_string": f"AccountName=corp;AccountKey={KEY};"}, CORP, "corp"),
        (
            {"connection_string": f"AccountName=corp;AccountKey={KEY};BlobEndpoint=http://127.0.0.1:1/corp"},
            "http:",
            "corp",
        ),
        ({"connection_string": f"BlobEndpoint={CORP}/;SharedAccessSignature=sv=1&sig=SECRET="}, CORP, "corp"),
        ({"connection_string": STRING, "endpoint": "https://partner.blob.core.windows.net"}, CORP, "corp"),
        ({"connection_string": STRING, "anonymous": True}, CORP, "corp"),
    ],
)
def test_where_an_account_answers(settings: dict[str, str], endpoint: str | None, account: str) -> None:
    found = access(**({"sas_token": "sig=SECRET"} if "connection_string" not in settings else {}), **settings)
    assert (endpoint or settings["endpoint"]) in found.endpoint
    assert found.account == account
    assert "SECRET" not in repr(found)
    assert KEY not in repr(found)


@pytest.mark.parametrize(
    ("settings", "environment", "expected"),
    [
        ({}, {"CONNECTION_STRING": STRING, "ACCOUNT": "other", "KEY": "AAAA"}, (CORP, "", KEY)),
        ({}, {"ACCOUNT": "corp", "KEY": KEY}, (CORP, "", KEY)),
        ({}, {"ACCOUNT": "corp", "KEY": KEY, "SAS_TOKEN": "?sig=x"}, (CORP, "sig=x", KEY)),
        ({"account": "corp"}, {"SAS_TOKEN": "sig=x"}, (CORP, "sig=x", "")),
        ({"account": "corp"}, {"CONNECTION_STRING": STRING}, (CORP, "", KEY)),
        # What the settings say wins, and what the environment has for another account is not shown to this one.
        ({"account": "corp", "sas_token": "sig=x"}, {"CONNECTION_STRING": STRING, "KEY": KEY}, (CORP, "sig=x", "")),
        ({"account": "corp"}, {"ACCOUNT": "other", "SAS_TOKEN": "sig=x", "KEY": KEY}, (CORP, "", "")),
        ({"account": "corp"}, {"CONNECTION_STRING": STRING.replace("=corp", "=other")}, (CORP, "", "")),
        ({"endpoint": CORP}, {"ACCOUNT": "other", "KEY": KEY}, (CORP, "", "")),
        ({"anonymous": True}, {"ACCOUNT": "corp", "KEY": KEY, "SAS_TOKEN": "sig=x"}, (CORP, "", "")),
        ({"anonymous": True, "account": "corp", "account_key": KEY}, {}, (CORP, "", "")),
    ],
)
def test_credentials_of_the_environment(
    settings: dict[str, object], environment: dict[str, str], expected: tuple[str, str, str]
) -> None:
    found = access(environment, **settings)
    assert (found.endpoint, found.sas, found.key) == expected
    assert found.needs_identity == (not settings.get("anonymous") and expected[1:] == ("", ""))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({}, '"account", "endpoint" or "connection_string".*AZURE_STORAGE_ACCOUNT'),
        ({"account_key": KEY}, '"account", "endpoint" or "connection_string"'),
        ({"account": "evil.example.com/#"}, '"account" has to be'),
        ({"account": "corp", "account_key": "SECRET!"}, '"account_key" is not Base64'),
        (
            {"endpoint": "https://user:SECRET@blobs.example.com", "account_key": KEY},
            'needs "account".*blobs.example.com',
        ),
        ({"connection_string": "SECRET"}, '"connection_string" is not of the form'),
        ({"connection_string": "AccountName=corp"}, "neither an AccountKey nor"),
        ({"connection_string": f"AccountKey={KEY}"}, "neither an AccountName nor"),
        ({"connection_string": f"BlobEndpoint=file:///etc;AccountKey={KEY}"}, "BlobEndpoint is no address"),
        ({"connection_string": STRING.replace("=https", "=file")}, "neither http nor https"),
        ({"connection_string": STRING.replace("=corp", "=c/o")}, '"account" has to be'),
        ({"account": "corp"}, 'no credentials.*"sas_token".*anonymous = true.*pip install azure-identity'),
        ({"endpoint": "http://127.0.0.1:1/corp"}, "no credentials for 127.0.0.1:1.*https only"),
    ],
)
@pytest.mark.usefixtures("nothing_around")
def test_settings_that_cannot_work_are_named(settings: dict[str, str], complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint) as caught:
        AzureBackend("container", AzureSettings.model_validate(settings))
    assert "SECRET" not in str(caught.value)
    assert KEY not in str(caught.value)


def test_without_the_library_the_extra_is_named(nothing_around: pytest.MonkeyPatch) -> None:
    nothing_around.setitem(sys.modules, "azure.storage.blob", None)
    with pytest.raises(Unsupported, match=r"haul\[azure\]"):
        AzureBackend("container", AzureSettings(account="corp", anonymous=True))


@pytest.mark.usefixtures("nothing_around")
def test_a_version_is_requested_by_its_name() -> None:
    backend = AzureBackend("container", AzureSettings(account="corp", anonymous=True))
    request = backend.request("a/b c+d%", "2026-01-01T00:00:00.0000000Z")
    assert request.url == f"{CORP}/container/a/b%20c%2Bd%25?versionid=2026-01-01T00%3A00%3A00.0000000Z"
    assert "x-ms-version" in dict(request.headers)


def test_accounts_in_addresses() -> None:
    assert account_in("https://blobs.example.com") == ""
    assert account_in("https://corp.z1.blob.storage.azure.net") == "corp"


def test_a_signature_is_for_reading_and_over_https_only() -> None:
    until = datetime(2026, 1, 1, tzinfo=UTC)
    fields = parse_qs(signed_by_key(Access(CORP, "corp", key=KEY), "container", until), strict_parsing=True)
    assert fields.keys() == {"sv", "sr", "sp", "se", "spr", "sig"}
    assert (fields["sp"], fields["sr"], fields["spr"]) == (["r"], ["c"], ["https"])
    assert fields["se"] == ["2026-01-01T00:00:00Z"]


def test_a_signature_is_renewed_when_an_hour_is_left_of_it() -> None:
    now = [1_700_000_000 * 1_000_000_000]
    made: list[datetime] = []

    def make(until: datetime) -> str:
        made.append(until)
        return f"sig={len(made)}"

    kept = KeptSignature(make, lambda: now[0])
    assert [kept.query(), kept.query()] == ["sig=1", "sig=1"]
    left_ns = int(made[0].timestamp()) * 1_000_000_000 - now[0]
    assert left_ns > 2 * HOUR_NS
    now[0] += left_ns - HOUR_NS - 1_000_000_000
    assert kept.query() == "sig=1"
    now[0] += 1_000_000_000
    assert kept.query() == "sig=2"
    assert made[1] > made[0]


def test_a_signature_that_could_not_be_made_is_tried_again() -> None:
    attempts = iter([InvalidRequest("not now"), "sig=1"])

    def make(_: datetime) -> str:
        attempt = next(attempts)
        if isinstance(attempt, Exception):
            raise attempt
        return attempt

    kept = KeptSignature(make)
    with pytest.raises(InvalidRequest):
        kept.query()
    assert kept.query() == "sig=1"


@pytest.mark.parametrize(
    ("credentials", "endpoint", "account"),
    [
        ({"sas_token": "sig=JOBS"}, CORP, "corp"),
        ({"account": "other", "account_key": KEY}, "https://other.blob.core.windows.net", "other"),
    ],
)
def test_a_job_with_credentials_is_never_let_in_by_the_connection_string_of_the_nodes(
    credentials: dict[str, str], endpoint: str, account: str
) -> None:
    nodes_key = base64.b64encode(b"of the nodes").decode()
    string = f"DefaultEndpointsProtocol=https;AccountName=corp;AccountKey={nodes_key};EndpointSuffix=core.windows.net"
    nodes = BackendSettings.model_validate({"az": {"connection_string": string}})
    found = access_of(nodes.az_of("c", credentials), {})
    assert (found.endpoint, found.account) == (endpoint, account)
    assert (found.sas, found.key) == (credentials.get("sas_token", ""), credentials.get("account_key", ""))
