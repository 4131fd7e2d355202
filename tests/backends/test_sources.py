"""Links of objects elsewhere, and the backends that are made for them."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.backends.base import BackendMissing
from common.backends.s3 import S3Backend
from common.backends.settings import AzureSection, BackendSettings, GcsSection, S3Section, S3Settings
from common.backends.sources import Sources, is_outside, parse_source, source_link, source_prefix
from common.errors import AccessDenied, InvalidRequest
from common.links import redact
from common.names import Bucket
from tests.backends.contract import AWKWARD_NAMES

BUCKETS = [
    Bucket("with.dots-and_more", "aws"),
    Bucket("bucket", "gcp"),
    Bucket("container", "azure"),
    Bucket("bucket", "ais", "east"),
    Bucket("bucket", "ais", "east", "space"),
]
KEYS = {"access_key_id": "AKIAOFJOB", "secret_access_key": "canarySECRETcanary"}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def sources() -> Sources:
    section = S3Section(endpoint="http://minio.test:9000", buckets={"public": S3Settings(anonymous=True)})
    return Sources(BackendSettings(s3=section))


@pytest.mark.parametrize("bucket", BUCKETS, ids=lambda bucket: bucket.cname)
@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_a_link_leads_back_to_its_object(bucket: Bucket, name: str) -> None:
    link = source_link(bucket, name)
    assert is_outside(bucket)
    assert link.startswith(source_prefix(bucket))
    assert link.isascii()
    assert parse_source(link) == (bucket, name)
    assert urlsplit(link)[3:] == ("", ""), "neither a query nor a fragment, which would be taken for secrets"
    assert redact(link) == link


@given(st.sampled_from(BUCKETS), st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_no_name_is_too_strange_for_a_link(bucket: Bucket, name: str) -> None:
    assert parse_source(source_link(bucket, name)) == (bucket, name)


@pytest.mark.parametrize(
    ("link", "bucket", "name"),
    [
        ("S3://bucket/a%20b", Bucket("bucket", "aws"), "a b"),
        ("s3://bucket/a+b", Bucket("bucket", "aws"), "a+b"),
        ("s3://bucket", Bucket("bucket", "aws"), ""),
        ("gs://bucket/", Bucket("bucket", "gcp"), ""),
        ("az://container/a/", Bucket("container", "azure"), "a/"),
        ("ais://east/bucket/a", Bucket("bucket", "ais", "east"), "a"),
        ("ais://@east/bucket/a", Bucket("bucket", "ais", "east"), "a"),
        ("ais://@east#space/bucket/a", Bucket("bucket", "ais", "east", "space"), "a"),
        ("ais://east/%23space/bucket/a", Bucket("bucket", "ais", "east", "space"), "a"),
    ],
)
def test_links_as_people_write_them(link: str, bucket: Bucket, name: str) -> None:
    assert parse_source(link) == (bucket, name)


@pytest.mark.parametrize("link", ["s3://", "s3:///name", "s3://a b/name", "ais://east", "ais://east//name"])
def test_links_without_a_bucket_are_refused(link: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_source(link)


def test_own_buckets_are_not_outside() -> None:
    assert not is_outside(Bucket("bucket"))
    assert not is_outside(Bucket("bucket", "ais", "", "space"))


def test_a_backend_is_made_once_for_a_bucket_and_its_credentials(sources: Sources) -> None:
    one = sources.backend(Bucket("one", "aws"))
    assert isinstance(one, S3Backend)
    assert sources.backend(Bucket("one", "s3")) is one
    assert sources.backend(Bucket("two", "aws")) is not one
    for_job = sources.backend(Bucket("one", "aws"), KEYS)
    assert for_job is not one
    assert sources.backend(Bucket("one", "aws"), dict(reversed(KEYS.items()))) is for_job
    assert sources.backend(Bucket("one", "aws"), KEYS | {"access_key_id": "AKIAOTHER"}) is not for_job
    sources.close()
    assert sources.backend(Bucket("one", "aws")) is not one
    sources.close()


def test_of_very_many_backends_the_oldest_are_let_go(sources: Sources) -> None:
    first = sources.backend(Bucket("bucket-0", "aws"))
    for number in range(1, 257):
        latest = sources.backend(Bucket(f"bucket-{number}", "aws"))
    assert sources.backend(Bucket("bucket-256", "aws")) is latest
    assert sources.backend(Bucket("bucket-0", "aws")) is not first
    sources.close()


def test_a_backend_in_use_is_not_let_go_for_those_of_single_jobs(sources: Sources) -> None:
    used = sources.backend(Bucket("used", "aws"))
    for number in range(300):
        sources.backend(Bucket("used", "aws"), KEYS | {"session_token": f"of-job-{number}"})
        assert sources.backend(Bucket("used", "aws")) is used
    sources.close()


def test_a_link_becomes_a_request_with_the_credentials_of_the_job(sources: Sources) -> None:
    request = sources.request("s3://one/a%20b%2Bc", KEYS)
    assert request.url.startswith("http://minio.test:9000/one/a%20b%2Bc?")
    assert "X-Amz-Credential=AKIAOFJOB" in request.url
    with pytest.raises(AccessDenied):
        sources.request("s3://one/a")
    assert sources.request("s3://public/a").url == "http://minio.test:9000/public/a"
    assert "X-Amz-Credential=AKIAOFJOB" in sources.request("s3://public/a", KEYS).url
    sources.close()


@pytest.mark.parametrize(
    ("bucket", "says"),
    [
        (Bucket("bucket", "ais", "west"), 'lookup bucket ais://@west#/bucket, err: no cluster "west" is configured'),
        (Bucket("bucket"), "lookup bucket ais://bucket, err: there is no backend for ais"),
        (Bucket("bucket", "oci"), "lookup bucket oc://bucket, err: there is no backend for oci"),
    ],
)
def test_buckets_that_nobody_keeps_are_refused(sources: Sources, bucket: Bucket, says: str) -> None:
    with pytest.raises(BackendMissing) as refused:
        sources.backend(bucket)
    assert str(refused.value) == f"failed to {says}"


def test_services_that_are_not_for_this_cluster_are_refused_even_with_credentials() -> None:
    settings = BackendSettings(
        s3=S3Section(enabled=False), gs=GcsSection(enabled=False), az=AzureSection(enabled=False)
    )
    sources = Sources(settings)
    for provider in ("aws", "gcp", "azure"):
        with pytest.raises(BackendMissing, match=f"{provider.upper()} backend is missing"):
            sources.backend(Bucket("bucket", provider), KEYS)


def test_what_cannot_be_made_is_not_kept(sources: Sources) -> None:
    for _ in range(2):
        with pytest.raises(InvalidRequest, match="need each other"):
            sources.backend(Bucket("one", "aws"), {"access_key_id": "AKIA"})
    assert sources.backend(Bucket("one", "aws")) is sources.backend(Bucket("one", "aws"))
    sources.close()
