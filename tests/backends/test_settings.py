"""The file that says how backends are reached: what it may hold, and who wins over whom."""

import json
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from common.backends.settings import (
    CREDENTIALS,
    AzureSettings,
    BackendSettings,
    ClusterSettings,
    GcsSettings,
    S3Settings,
    load_backends,
)
from common.errors import InvalidRequest
from common.settings import Settings

DOCUMENT = Path(__file__).parents[2] / "docs/sources.md"
FILE = """
[s3]
endpoint = "https://minio.test:9000"
region = "eu-west-1"
access_key_id = "of-section"
secret_access_key = "SECRETsection"
session_token = "SECRETtoken"
profile = "of-section"

[s3.buckets.public]
endpoint = ""
anonymous = true

[s3.buckets."with.dots"]
access_key_id = "of-bucket"
secret_access_key = "SECRETbucket"

[gs]
credentials_file = "/etc/haul/gcs.json"
user_project = "payer"

[gs.buckets.open]
anonymous = true

[az]
account = "section"
sas_token = "SECRETsas"

[az.buckets.other]
account = "other"
account_key = "SECRETkey"

[clusters.east]
url = "https://ais.test:8080"
token = "SECRETcluster"
"""


@pytest.fixture
def settings(tmp_path: Path) -> BackendSettings:
    path = tmp_path / "backends.toml"
    path.write_text(FILE)
    return load_backends(path)


def test_without_a_file_everything_is_left_to_the_libraries() -> None:
    settings = load_backends(None)
    assert settings.s3_of("any", {}) == S3Settings()
    assert settings.gs_of("any", {}) == GcsSettings()
    assert settings.az_of("any", {}) == AzureSettings()
    assert settings.clusters == {}


def test_a_section_holds_for_all_its_buckets(settings: BackendSettings) -> None:
    s3 = settings.s3_of("any", {})
    assert (s3.endpoint, s3.region, s3.access_key_id) == ("https://minio.test:9000", "eu-west-1", "of-section")
    assert s3.secret_access_key.get_secret_value() == "SECRETsection"
    assert settings.gs_of("any", {}).credentials_file == Path("/etc/haul/gcs.json")
    assert settings.az_of("any", {}).account == "section"
    assert settings.clusters["east"].url == "https://ais.test:8080"


def test_what_a_bucket_sets_wins_and_all_else_is_the_sections(settings: BackendSettings) -> None:
    public = settings.s3_of("public", {})
    assert (public.endpoint, public.anonymous, public.region) == ("", True, "eu-west-1")
    dotted = settings.s3_of("with.dots", {})
    assert (dotted.access_key_id, dotted.endpoint) == ("of-bucket", "https://minio.test:9000")
    assert dotted.secret_access_key == SecretStr("SECRETbucket")
    opened = settings.gs_of("open", {})
    assert (opened.anonymous, opened.user_project) == (True, "payer")
    other = settings.az_of("other", {})
    assert (other.account, other.account_key) == ("other", SecretStr("SECRETkey"))


def test_credentials_of_a_job_replace_all_others_and_nothing_else(settings: BackendSettings) -> None:
    own = {"access_key_id": "of-job", "secret_access_key": "SECRETjob"}
    for bucket in ("any", "public", "with.dots"):
        s3 = settings.s3_of(bucket, own)
        assert (s3.access_key_id, s3.secret_access_key) == ("of-job", SecretStr("SECRETjob"))
        assert (s3.session_token, s3.profile, s3.anonymous) == (SecretStr(""), "", False)
        assert (s3.endpoint, s3.region) == (settings.s3_of(bucket, {}).endpoint, "eu-west-1")
    gs = settings.gs_of("open", {"token": "SECRETjob"})
    assert (gs.token, gs.credentials_file, gs.anonymous) == (SecretStr("SECRETjob"), None, False)
    assert gs.user_project == "payer"
    az = settings.az_of("other", {"sas_token": "SECRETjob"})
    assert (az.account, az.sas_token, az.account_key) == ("other", SecretStr("SECRETjob"), SecretStr(""))
    assert settings.az_of("other", {"account": "mine", "sas_token": "SECRETjob"}).account == "mine"


def test_every_credential_is_a_setting_of_its_service() -> None:
    models = {"aws": S3Settings, "gcp": GcsSettings, "azure": AzureSettings}
    for provider, model in models.items():
        assert CREDENTIALS[provider] <= model.model_fields.keys()
        for name in CREDENTIALS[provider] - {"account", "access_key_id"}:
            assert model.model_fields[name].annotation is SecretStr, name


def test_credentials_of_another_service_are_refused_and_not_repeated(settings: BackendSettings) -> None:
    with pytest.raises(InvalidRequest, match="'sas_token'") as refused:
        settings.s3_of("any", {"sas_token": "SECRETjob"})
    assert "SECRET" not in str(refused.value)


def test_secrets_are_not_shown(settings: BackendSettings) -> None:
    assert "SECRET" in FILE
    for shown in (repr(settings), str(settings), repr(settings.s3_of("any", {"access_key_id": "a"}))):
        assert "SECRET" not in shown


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('[s3]\nendpoint = "minio:9000"', "field 's3.endpoint'"),
        ('[s3]\nendpoint = "http://minio?x"', "field 's3.endpoint'"),
        ('[s3]\nacess_key_id = "typo"', "field 's3.acess_key_id': Extra inputs are not permitted"),
        ("[s3.buckets.one]\nbuckets = {}", "field 's3.buckets.one.buckets': Extra inputs are not permitted"),
        ('[s3]\nsecret_access_key = ["SECRETcanary"]', "field 's3.secret_access_key'"),
        ('[gcs]\nproject = "x"', "field 'gcs': Extra inputs are not permitted"),
        ("[clusters.east]", "field 'clusters.east.url': Field required"),
        ('[clusters.east]\nurl = "https://ais.test/v1"', "field 'clusters.east.url'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_name(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "backends.toml"
    path.write_text(content)
    with pytest.raises(InvalidRequest) as refused:
        load_backends(path)
    assert reason in str(refused.value)
    assert str(path) in str(refused.value)
    assert "SECRET" not in str(refused.value)


def test_a_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="nothing-here"):
        load_backends(tmp_path / "nothing-here.toml")


def test_the_examples_in_the_documents_are_files_of_that_kind(tmp_path: Path) -> None:
    examples = re.findall(r"^```toml\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    path = tmp_path / "backends.toml"
    for example in examples:
        path.write_text(example, encoding="utf-8")
        load_backends(path)
    path.write_text(examples[0], encoding="utf-8")
    settings = load_backends(path)
    assert settings.model_fields_set == BackendSettings.model_fields.keys()
    assert settings.s3_of("open-data", {}).anonymous


@pytest.mark.parametrize(
    ("title", "model"),
    [
        ("S3", S3Settings),
        ("Google Cloud Storage", GcsSettings),
        ("Azure", AzureSettings),
        ("Another cluster", ClusterSettings),
    ],
)
def test_every_setting_is_documented(title: str, model: type[Settings]) -> None:
    section = DOCUMENT.read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == model.model_fields.keys()


def test_what_a_job_may_bring_is_documented() -> None:
    section = DOCUMENT.read_text(encoding="utf-8").split("\n## Credentials\n")[1].split("\n## ")[0]
    table = [line.split("|")[2] for line in section.splitlines() if line.startswith("| ")][1:]
    named = [set(re.findall(r"`(\w+)`", row)) - {"token_uri"} for row in table]
    assert named == [CREDENTIALS[provider] for provider in ("aws", "gcp", "azure", "ais")]


@pytest.mark.parametrize("universe", ["evil.example", "", None])
def test_a_key_of_a_job_leads_nowhere_but_to_google(universe: str | None) -> None:
    key = {"type": "service_account", "token_uri": "https://oauth2.googleapis.com/token", "universe_domain": universe}
    with pytest.raises(InvalidRequest, match="credentials_json"):
        BackendSettings().gs_of("b", {"credentials_json": json.dumps(key)})
    BackendSettings().gs_of("b", {"credentials_json": json.dumps(key | {"universe_domain": "googleapis.com"})})
