"""What HEAD of an object tells in SDK 2: the chosen properties."""

import pytest
import requests
from aistore.sdk.errors import AISError


def test_head(bucket):
    bucket.object("a").get_writer().put_content(b"12345")
    attributes = bucket.object("a").head()
    assert (attributes.size, attributes.present) == (5, True)
    assert attributes.checksum_value == ""


def test_head_with_every_property(bucket):
    bucket.object("a").get_writer().put_content(b"12345")
    attributes = bucket.object("a").head(
        "name,size,version,checksum,atime,copies,ec,custom,location,chunked,last-modified,etag"
    )
    assert (attributes.size, attributes.obj_version, attributes.mirror_copies) == (5, "1", 1)
    assert attributes.checksum_value
    assert attributes.last_modified.endswith("GMT")
    assert attributes.etag
    assert attributes.location.startswith("t[")
    assert attributes.chunks is None
    assert attributes.ec is None


def test_head_with_an_unknown_property(bucket):
    bucket.object("a").get_writer().put_content(b"12345")
    with pytest.raises((AISError, requests.HTTPError)) as raised:
        bucket.object("a").head("colour")
    assert "400" in str(raised.value)


def test_props_are_kept(bucket):
    obj = bucket.object("a")
    obj.get_writer().put_content(b"12345")
    assert obj.props_cached is None
    obj.head("size")
    assert obj.props_cached.size == 5
