from __future__ import annotations

from urllib.parse import unquote

import httpx
import pytest

from cli import uris
from cli.errors import UsageError


def test_bucket_and_name() -> None:
    location = uris.parse("ais://b/dir/o")
    assert (location.bucket.name, location.name, location.uri) == ("b", "dir/o", "ais://b/dir/o")
    assert location.query == {"provider": "ais"}


def test_leading_slashes_belong_to_the_name() -> None:
    location = uris.parse_object("ais://b//abs//x")
    assert location.name == "/abs//x"
    assert location.object_path == "/v1/objects/b//abs//x"


def test_namespace_and_provider() -> None:
    location = uris.parse("ais://@u1#ns/b/o")
    assert location.query == {"provider": "ais", "namespace": "@u1#ns"}
    assert uris.parse("gs://b").bucket.provider == "gcp"


@pytest.mark.parametrize("text", ["b/o", "ais://", "ais:///o", "zzz://b", "ais://bad name", "ais://b..c", "", "/tmp/x"])
def test_refused(text: str) -> None:
    with pytest.raises(UsageError):
        uris.parse(text)


@pytest.mark.parametrize("text", ["ais://b", "ais://b/", "ais://b/x/", "ais://b/a/../b", "ais://b/./x", "ais://b/~/x"])
def test_no_object(text: str) -> None:
    with pytest.raises(UsageError):
        uris.parse_object(text)


@pytest.mark.parametrize(
    "name", ["a b", "100%", "a%20b", "a?b#c", "'\"\\", "é日本", "\t\n\x7f", "a+b&c=d;e", "/abs", "~x", "a//b"]
)
def test_every_byte_of_a_name_survives_the_path(name: str) -> None:
    url = httpx.URL("http://127.0.0.1:1" + uris.parse_object(f"ais://b/{name}").object_path)
    raw = url.raw_path.decode()
    assert httpx.URL(str(url.copy_with(port=2))).raw_path == url.raw_path
    assert unquote(raw) == f"/v1/objects/b/{name}"
