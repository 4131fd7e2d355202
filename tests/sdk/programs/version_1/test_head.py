"""What HEAD of an object tells in SDK 1: all headers, or the chosen ones of `head_v2`."""

import pytest
import requests
from aistore.sdk.errors import AISError


def test_head_has_all_headers(bucket):
    bucket.object("a").get_writer().put_content(b"12345")
    headers = bucket.object("a").head()
    assert headers["Content-Length"] == "5"
    assert headers["Ais-Name"] == "a"
    assert headers["Ais-Bucket-Name"] == bucket.name
    assert headers["Ais-Bucket-Provider"] == "ais"
    assert headers["Ais-Present"] == "true"
    assert headers["Ais-Version"] == "1"
    assert headers["Ais-Checksum-Value"]
    assert headers["Ais-Location"].startswith("t[")


def test_head_with_chosen_properties(bucket):
    bucket.object("a").get_writer().put_content(b"12345")
    attributes = bucket.object("a").head_v2("checksum,version,last-modified,etag")
    assert (attributes.size, attributes.obj_version) == (5, "1")
    assert attributes.checksum_value
    assert attributes.last_modified.endswith("GMT")
    assert attributes.etag


def test_head_of_what_is_missing(bucket):
    with pytest.raises((AISError, requests.HTTPError)) as raised:
        bucket.object("missing").head()
    assert "404" in str(raised.value)
