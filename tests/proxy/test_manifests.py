"""Manifests: what each format says, and that nothing is too strange to be refused clearly."""

import base64
import contextlib
import hashlib
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidRequest
from proxy.downloads.manifests import FORMATS, MAX_LINE_CHARACTERS, format_of, read_manifest

MD5 = hashlib.md5(b"x")
SHA = hashlib.sha256(b"x").hexdigest()
TSV = f"TsvHttpData-1.0\nhttp://h/a\t1\t{base64.b64encode(MD5.digest()).decode()}\nhttp://h/d/b\t2\nhttp://h/c\n"
CSV = f'name,URL,size,sha256\n"x, y",http://h/a,1,{SHA}\n,http://h/d/b,,\n'
JSONL = (
    f'{{"link": "http://h/a", "name": "n", "size": 1, "sha256": "{SHA}", "grade": "size"}}\n\n{{"url": "http://h/b"}}\n'
)
SUMS = f"{SHA}  ./d/a b\n{SHA} *c\n"
METALINK = f"""<?xml version="1.0"?><metalink xmlns="urn:ietf:params:xml:ns:metalink">
<file name="n"><size>5</size><hash type="sha-256">{SHA}</hash>
<url priority="2">http://far/n</url><url priority="1">http://near/n</url></file>
<file name="m"><url>http://h/m</url></file></metalink>"""


def entries(kind: str, text: str, base_url: str = "http://h/sums/SHA256SUMS") -> list[tuple[str, object]]:
    return list(read_manifest(kind, [text.encode()], base_url))


def test_tsv() -> None:
    md5 = base64.b64encode(MD5.digest()).decode()
    assert entries("tsv", TSV) == [
        ("a", {"link": "http://h/a", "size": "1", "md5": md5}),
        ("b", {"link": "http://h/d/b", "size": "2"}),
        ("c", {"link": "http://h/c"}),
    ]


def test_csv() -> None:
    assert entries("csv", CSV) == [
        ("x, y", {"name": "x, y", "url": "http://h/a", "size": "1", "sha256": SHA}),
        ("b", {"url": "http://h/d/b"}),
    ]


def test_jsonl_ignores_what_else_a_ledger_has() -> None:
    assert entries("jsonl", JSONL) == [
        ("n", {"link": "http://h/a", "name": "n", "size": 1, "sha256": SHA}),
        ("b", {"url": "http://h/b"}),
    ]


def test_sums_stand_beside_their_manifest() -> None:
    assert entries("sha256sums", SUMS) == [
        ("d/a b", {"link": "http://h/sums/d/a%20b", "name": "d/a b", "sha256": SHA}),
        ("c", {"link": "http://h/sums/c", "name": "c", "sha256": SHA}),
    ]


def test_metalink_takes_the_url_with_the_best_priority() -> None:
    assert entries("metalink", METALINK) == [
        ("n", {"name": "n", "size": "5", "sha256": SHA, "link": "http://near/n"}),
        ("m", {"name": "m", "link": "http://h/m"}),
    ]


@pytest.mark.parametrize(
    ("kind", "text", "line"),
    [
        ("tsv", "http://h/a\n", 1),
        ("tsv", "TsvHttpData-1.0\na\tb\tc\td\n", 2),
        ("tsv", "TsvHttpData-1.0\n\t5\n", 2),
        ("csv", "name,size\na,1\n", 1),
        ("csv", "link,extra\nhttp://h/a,1\n", 1),
        ("csv", "link,link\nhttp://h/a,1\n", 1),
        ("csv", "link\nhttp://h/a,1\n", 2),
        ("csv", 'link\n"http://h/a\n', 2),
        ("jsonl", '{"link": "http://h/a"}\nnonsense\n', 2),
        ("jsonl", "[]\n", 1),
        ("jsonl", '{"size": 1}\n', 1),
        ("jsonl", '{"link": "http://h/a", "link_incomplete": true}\n', 1),
        ("sha256sums", f"{SHA[:-1]}  a\n", 1),
        ("sha256sums", f"\\{SHA}  a\\nb\n", 1),
        ("metalink", "<metalink>\n<file></metalink>", 2),
        ("metalink", '<!DOCTYPE x [\n<!ENTITY a "b">]><metalink/>', 1),
        ("jsonl", "x" * (MAX_LINE_CHARACTERS + 1), 1),
        ("tsv", "TsvHttpData-1.0\nhttp://h\n", 2),
        ("tsv", "TsvHttpData-1.0\nhttp://h/a\t-1\n", 2),
        ("csv", "link,md5\nhttp://h/a,5\n", 2),
        ("sha256sums", f"{SHA}  /etc/x\n", 1),
        ("sha256sums", f"{SHA}  //other/x\n", 1),
        ("sha256sums", f"{SHA}  ../x\n", 1),
        ("metalink", '<?xml version="1.0" encoding="foo"?><metalink/>', 1),
        ("metalink", '<?xml version="1.0" encoding="shift_jis"?><metalink/>', 1),
        ("metalink", f'<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="{"x" * 70_000}"/></metalink>', 1),
    ],
)
def test_errors_tell_the_line(kind: str, text: str, line: int) -> None:
    with pytest.raises(InvalidRequest, match=f"manifest, line {line}: "):
        entries(kind, text)


def test_sums_need_a_place() -> None:
    with pytest.raises(InvalidRequest, match="base"):
        entries("sha256sums", SUMS, "")


@pytest.mark.parametrize("base_url", ["ais://b/SUMS", "ftp://h/x", "file:///etc/x"])
def test_sums_are_not_beside_what_has_no_web_address(base_url: str) -> None:
    with pytest.raises(InvalidRequest, match="'base'"):
        entries("sha256sums", SUMS, base_url)


@pytest.mark.parametrize(
    ("kind", "text"),
    [("csv", ""), ("csv", "link\n"), ("jsonl", "\n"), ("tsv", "TsvHttpData-1.0\n"), ("metalink", "<html/>")],
)
def test_a_manifest_of_nothing_is_refused(kind: str, text: str) -> None:
    with pytest.raises(InvalidRequest, match="lists no objects"):
        entries(kind, text)


def test_a_hash_inside_of_a_url_does_no_harm() -> None:
    odd = '<file name="n"><url>http://h/a<hash type="md5"/></url></file>'
    with pytest.raises(InvalidRequest):
        entries("metalink", f'<metalink xmlns="urn:ietf:params:xml:ns:metalink">{odd}</metalink>')


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="line 2: not valid UTF-8"):
        list(read_manifest("jsonl", [b'{"link": "http://h/a"}\n\xff\xfe\n'], ""))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("http://h/list.TSV?x=1", "tsv"),
        ("ais://b/a.csv", "csv"),
        ("http://h/SHA256SUMS", "sha256sums"),
        ("x.jsonl", "jsonl"),
        ("x.meta4", "metalink"),
    ],
)
def test_the_name_tells_the_format(name: str, kind: str) -> None:
    assert format_of(name, "") == kind


@pytest.mark.parametrize(("name", "given"), [("http://h/list", ""), ("a.csv", "xml")])
def test_an_unknown_format_is_refused(name: str, given: str) -> None:
    with pytest.raises(InvalidRequest, match="format"):
        format_of(name, given)


@given(st.sampled_from([*FORMATS]), st.sampled_from([TSV, CSV, JSONL, SUMS, METALINK]), st.data())
def test_a_manifest_is_the_same_however_it_is_cut(kind: str, text: str, data: st.DataObject) -> None:
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    pieces = [raw[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]

    def outcome(chunks: list[bytes]) -> object:
        try:
            return list(read_manifest(kind, chunks, "http://h/"))
        except InvalidRequest as error:
            return error.message

    assert outcome(pieces) == outcome([raw])


@given(st.sampled_from([*FORMATS]), st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_nothing_is_too_strange(kind: str, raw: bytes) -> None:
    head = {"tsv": b"TsvHttpData-1.0\n", "csv": b"link,size,name\n"}.get(kind, b"")
    with contextlib.suppress(InvalidRequest):
        for name, entry in read_manifest(kind, [head + raw], "http://h/"):
            assert name
            assert isinstance(entry, dict)


def test_many_lines_are_not_kept() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"TsvHttpData-1.0\n"
        for number in range(2000):
            yield b"".join(b"http://h/%d/%d\t5\n" % (number, line) for line in range(100))

    tracemalloc.start()
    try:
        assert sum(1 for _ in read_manifest("tsv", chunks(), "")) == 200_000
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
