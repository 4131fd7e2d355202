"""S3's XML: what is read, what is refused, and that what is written can be read."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.s3 import documents
from proxy.s3.errors import S3Error

BOMB = b"""<?xml version="1.0"?>
<!DOCTYPE Delete [<!ENTITY a "0123456789"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<Delete><Object><Key>&b;</Key></Object></Delete>"""
OUTSIDE = b'<!DOCTYPE Delete [<!ENTITY f SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&f;</Key></Object></Delete>'


def test_elements_are_read_with_and_without_namespace() -> None:
    for attribute in (b"", b' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'):
        body = b"<Delete" + attribute + b"><Object><Key>a &amp; b</Key></Object><Quiet>true</Quiet></Delete>"
        found = documents.read(body, "Delete")
        assert [one.first("Key") for one in found.all("Object")] == ["a & b"]
        assert found.first("Quiet") == "true"
        assert found.first("Nothing") == ""


@pytest.mark.parametrize(
    "body",
    [
        BOMB,
        OUTSIDE,
        b"<!DOCTYPE Delete><Delete/>",
        b'<!DOCTYPE Delete SYSTEM "http://127.0.0.1/x.dtd"><Delete/>',
        b"",
        b"<Delete>",
        b"<Delete></Other>",
        b"<Other/>",
        b"{}",
        b"<Delete>&nothing;</Delete>",
        b"<Delete>" + b"<a>" * 50 + b"</a>" * 50 + b"</Delete>",
        b'<?xml version="1.0" encoding="nonsense"?><Delete/>',
        b"<Delete>\xff</Delete>",
    ],
    ids=range(13),
)
def test_what_could_harm_or_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(S3Error) as refused:
        documents.read(body, "Delete")
    assert refused.value.code == "MalformedXML"


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])))
def test_texts_are_read_as_they_were_written(text: str) -> None:
    written = documents.write("Result", [("Key", text), ("IsTruncated", False), ("Rows", [("Row", 1), ("Row", 2)])])
    root = ET.fromstring(written)
    space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
    assert root.tag == f"{space}Result"
    assert (root.findtext(f"{space}Key") or "") == text
    assert root.findtext(f"{space}IsTruncated") == "false"
    assert [row.text for row in root.iter(f"{space}Row")] == ["1", "2"]


def test_a_document_has_only_so_many_elements() -> None:
    few, many = (b"<Delete>" + b"a<b/>" * number + b"</Delete>" for number in (90_000, 110_000))
    assert documents.read(few, "Delete").text == "a" * 90_000
    with pytest.raises(S3Error, match="more than 100000 elements"):
        documents.read(many, "Delete")


def test_an_error_names_its_resource_and_request() -> None:
    root = ET.fromstring(documents.write_error(S3Error("NoSuchKey", "<none>"), "/b/a&b", "1234"))
    assert {child.tag: child.text for child in root} == {
        "Code": "NoSuchKey",
        "Message": "<none>",
        "Resource": "/b/a&b",
        "RequestId": "1234",
    }
