"""Names of buckets and objects: what is allowed, how it is normalised, and that nothing else is changed."""

import re
import string
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidName, InvalidRequest, RequestError
from common.names import (
    MAX_OBJECT_NAME_BYTES,
    PROVIDERS,
    Bucket,
    InvalidProvider,
    basename_of_link,
    decode_component,
    join_subdir,
    normalize_object_name,
    normalize_provider,
    printable,
    validate_object_name,
)

LETTERS = string.ascii_letters + string.digits + "_-"
BUCKET_NAMES = st.text(LETTERS + ".", min_size=1, max_size=64).filter(lambda n: ".." not in n and n[0] != ".")
NAMESPACE_PARTS = st.text(LETTERS, max_size=32)
BUCKETS = st.builds(Bucket, BUCKET_NAMES, st.sampled_from(PROVIDERS), NAMESPACE_PARTS, NAMESPACE_PARTS)
ANY_TEXT = st.text(st.characters(), max_size=80)  # lone surrogates too

# --- providers and buckets ---


@pytest.mark.parametrize(
    ("given_name", "canonical"),
    [("", "ais"), ("s3", "aws"), ("gs", "gcp"), ("az", "azure"), ("oc", "oci"), *((name, name) for name in PROVIDERS)],
)
def test_provider_aliases(given_name: str, canonical: str) -> None:
    assert normalize_provider(given_name) == canonical


@pytest.mark.parametrize("name", ["AIS", "ht", "http", "hdfs", " ais", "ais\n"])
def test_unknown_providers_are_refused(name: str) -> None:
    with pytest.raises(InvalidProvider, match="invalid backend provider") as refused:
        normalize_provider(name)
    assert refused.value.status == 400
    with pytest.raises(InvalidProvider):
        Bucket("b", name)


@pytest.mark.parametrize("name", ["a", "A-b_c.d", "0", "-", "_x", "x.", "x" * 64, "a.b.c"])
def test_bucket_names_that_are_allowed(name: str) -> None:
    assert Bucket(name).name == name


@pytest.mark.parametrize("name", ["x" * 65, "a b", "a/b", "é", "a..b", ".", ".hidden", "a\n", "a\0", "a#b", "a@b"])
def test_bucket_names_that_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"bucket name .*invalid"):
        Bucket(name)


def test_a_bucket_without_a_name() -> None:
    with pytest.raises(InvalidRequest, match=r"^bucket name is missing$"):
        Bucket("")


@pytest.mark.parametrize("part", ["a/b", "a b", "#", "@", "x" * 33, "a\n", "é"])
def test_namespaces_that_are_refused(part: str) -> None:
    for uuid, name in ((part, ""), ("", part)):
        with pytest.raises(InvalidRequest, match="namespace"):
            Bucket("b", "ais", uuid, name)


@pytest.mark.parametrize(
    ("bucket", "uname", "cname", "namespace"),
    [
        (Bucket("b"), "ais/@#/b/", "ais://b", ""),
        (Bucket("b", "aws"), "aws/@#/b/", "s3://b", ""),
        (Bucket("b", "gcp"), "gcp/@#/b/", "gs://b", ""),
        (Bucket("b", "azure"), "azure/@#/b/", "az://b", ""),
        (Bucket("b", "oci"), "oci/@#/b/", "oc://b", ""),
        (Bucket("b", "ais", "uuid", "ns"), "ais/@uuid#ns/b/", "ais://@uuid#ns/b", "@uuid#ns"),
        (Bucket("b", "ais", "", "ns"), "ais/@#ns/b/", "ais://@#ns/b", "@#ns"),
    ],
)
def test_spellings_of_a_bucket(bucket: Bucket, uname: str, cname: str, namespace: str) -> None:
    assert (bucket.uname, bucket.cname, bucket.namespace) == (uname, cname, namespace)


@given(BUCKETS)
def test_a_bucket_is_read_back_from_each_of_its_spellings(bucket: Bucket) -> None:
    assert Bucket.from_uname(bucket.uname) == bucket
    assert Bucket.parse_namespace(bucket.name, bucket.provider, bucket.namespace) == bucket
    wire = bucket.to_wire()
    namespace = wire["namespace"]
    assert isinstance(namespace, dict)
    assert Bucket(str(wire["name"]), str(wire["provider"]), namespace["uuid"], namespace["name"]) == bucket
    scheme, namespace_text, name = re.fullmatch(r"(\w+)://(?:(@[^/]*)/)?([^/]+)", bucket.cname).groups("")  # type: ignore[union-attr]
    assert Bucket.parse_namespace(name, scheme, namespace_text) == bucket


@given(st.lists(BUCKETS, min_size=2, max_size=2, unique=True))
def test_different_buckets_have_different_spellings(buckets: list[Bucket]) -> None:
    one, other = buckets
    assert one.uname != other.uname
    assert one.cname != other.cname


@pytest.mark.parametrize(
    "uname",
    [
        "",
        "ais",
        "b",
        "ais/b/",
        "ais/@#/b",
        "ais/@#/b/x",
        "ais/@#/b//x",
        "ais/@#/b//",
        "/@#/b/",
        "s3/@#/b/",
        "ais/#/b/",
        "ais/@/b/",
        "ais/@u/b/",
        "xyz/@#/b/",
        "ais/@#//",
        "ais/@#/../",
    ],
)
def test_other_texts_are_no_unames(uname: str) -> None:
    with pytest.raises(RequestError):
        Bucket.from_uname(uname)


@given(ANY_TEXT)
def test_what_is_accepted_as_a_uname_is_one(text: str) -> None:
    try:
        bucket = Bucket.from_uname(text)
    except RequestError:
        return
    assert bucket.uname == text


@pytest.mark.parametrize("alias", ["", "s3", "gs", "az", "oc"])
def test_a_bucket_keeps_the_canonical_provider(alias: str) -> None:
    assert Bucket("b", alias) == Bucket("b", normalize_provider(alias))
    assert Bucket("b", alias).uname.startswith(f"{normalize_provider(alias)}/")


# --- object names ---

ALLOWED = [
    "o",
    "a/b/c.txt",
    "/abs",
    "with space",
    " leading",
    "100%",
    "%41",
    "quo\"te's",
    "tab\there",
    "new\nline",
    "back\\slash",
    "bell\x07",
    "\x7f",
    "...",
    ".hidden",
    "a.b",
    "..a/b..",
    "~",
    "~x/y",
    "a/~/b",
    "a//b",
    "ÅÅ",  # the same letter composed, and with a combining ring: both are kept
    "日本語/データ.bin",
    "😀",
    "A",
    "c" * 300,
    "/".join("d" * 60),
    "x" * MAX_OBJECT_NAME_BYTES,
]
REFUSED = ["", "/", "a/", "a//", "~/", "~/x", ".", "..", "./a", "a/.", "a/./b", "../a", "a/..", "a/../b", "a\0b", "\0"]


@pytest.mark.parametrize("name", ALLOWED, ids=ascii)
def test_object_names_that_are_allowed_are_kept_as_they_are(name: str) -> None:
    assert validate_object_name(name) == name


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_object_names_that_are_refused(name: str) -> None:
    with pytest.raises(InvalidName, match=r'^invalid object name "') as refused:
        validate_object_name(name)
    assert str(refused.value).isprintable()
    assert refused.value.status == 400
    assert refused.value.code == "errInvalidPath"


@pytest.mark.parametrize("name", ["\ud800", "a/\udfff/b", "\udc80x"], ids=ascii)
def test_lone_surrogates_are_refused_and_shown_escaped(name: str) -> None:
    with pytest.raises(InvalidName, match="not valid UTF-8") as refused:
        validate_object_name(name)
    assert str(refused.value).isascii()


@pytest.mark.parametrize("name", ["x" * (MAX_OBJECT_NAME_BYTES + 1), "é" * (MAX_OBJECT_NAME_BYTES // 2 + 1)], ids=len)
def test_names_that_are_too_long(name: str) -> None:
    with pytest.raises(InvalidName, match=f"at most {MAX_OBJECT_NAME_BYTES} are allowed"):
        validate_object_name(name)


@given(ANY_TEXT)
def test_a_valid_name_obeys_every_rule(name: str) -> None:
    try:
        validate_object_name(name)
    except InvalidName:
        return
    assert name
    assert not name.endswith("/")
    assert not name.startswith("~/")
    assert {".", ".."}.isdisjoint(name.split("/"))
    assert "\0" not in name
    assert name.encode().decode() == name


@pytest.mark.parametrize(
    ("name", "normalized"),
    [
        ("LICENSE?x=1", "LICENSE"),
        ("a?", "a"),
        ("a#b", "a"),
        ("a#b?c", "a"),
        ("a?b#c", "a"),
        ("a b?c", "a b"),
        ("a%20b", "a b"),
        ("a%2Fb", "a/b"),
        ("a%25", "a%"),
        ("%2541", "%41"),
        ("é%C3%A9", "éé"),
        ("100%", "100%"),
        ("100%?x=1", "100%"),
        ("a%zz%20", "a%zz%20"),
        ("%4", "%4"),
        ("a?b%zz", "a"),
        ("http://host/a", "/a"),
        ("http://host/a%20b?x#y", "/a b"),
        ("HTTP://user:secret@host:80/x/y", "/x/y"),
        ("http://host", "http://host"),
        ("http://host?x", "http://host?x"),
        ("http:///a", "/a"),
        ("http:/a/b", "/a/b"),
        ("//host/a", "/a"),
        ("//a", "//a"),
        ("///a", "///a"),
        ("?x", "?x"),
        ("#x", "#x"),
        ("a:b", "a:b"),
        ("a:b%20c", "a:b%20c"),
        ("a:?b", "a:?b"),
        ("mailto:x", "mailto:x"),
        ("1:2", "1:2"),
        (":x", ":x"),
        ("x:y/z", "x:y/z"),
        ("host:80/x", "host:80/x"),
        ("dir/a:b?c", "dir/a:b"),
        ("a//b", "a//b"),
        ("a\tb", "a\tb"),
    ],
)
def test_names_are_normalised_as_a_url_parser_reads_a_path(name: str, normalized: str) -> None:
    assert normalize_object_name(name) == normalized


@pytest.mark.parametrize(
    "name", ["%2e%2e/x", "a%2F", "a/%2e", "a%00", "a%ff", "%ed%a0%80", "~%2Fx", "a/?x", "http://h/"]
)
def test_names_that_are_refused_once_they_are_normalised(name: str) -> None:
    with pytest.raises(InvalidName, match="invalid object name"):
        normalize_object_name(name)


def test_a_name_that_is_not_utf8_is_shown_without_python_spelling() -> None:
    with pytest.raises(InvalidName, match=r'^invalid object name "a%ff": not valid UTF-8$'):
        normalize_object_name("a%ff")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="%?#:\0/."), min_size=1))
def test_names_without_marks_are_not_changed(name: str) -> None:
    assert normalize_object_name(name) == name
    assert normalize_object_name(unicodedata.normalize("NFD", name)) == unicodedata.normalize("NFD", name)


@given(ANY_TEXT)
def test_normalising_gives_a_valid_name_or_invalid_name(name: str) -> None:
    try:
        normalized = normalize_object_name(name)
    except InvalidName:
        return
    assert validate_object_name(normalized) == normalized


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_components_are_decoded_once(text: str) -> None:
    escaped = "".join(f"%{byte:02X}" for byte in text.encode())
    assert decode_component(escaped.encode()) == text
    assert decode_component(text.replace("%", "%25").encode()) == text


@pytest.mark.parametrize("raw", [b"%ff", b"\xff", b"%ed%a0%80", b"%c0%ae"])
def test_components_that_are_not_utf8(raw: bytes) -> None:
    with pytest.raises(InvalidName, match="not valid UTF-8"):
        decode_component(raw)


@pytest.mark.parametrize(
    ("link", "basename"),
    [
        ("http://h/a/b.bin", "b.bin"),
        ("http://h/a/b/", "b"),
        ("http://h/a/b///", "b"),
        ("http://h/a?x=/y", "a"),
        ("http://h/a#/y", "a"),
        ("http://h/a/?x", "a"),
        ("http://h", "h"),
        ("a", "a"),
        ("", "."),
        ("?x", "."),
        ("/", "/"),
        ("//", "/"),
    ],
)
def test_last_component_of_a_link(link: str, basename: str) -> None:
    assert basename_of_link(link) == basename


@pytest.mark.parametrize(
    ("subdir", "basename", "joined"),
    [
        ("", "x", "x"),
        ("", "a/../x", "a/../x"),
        ("s", "x", "s/x"),
        ("some/subdir/", "x", "some/subdir/x"),
        ("a//b", "x", "a/b/x"),
        ("/s", "x", "/s/x"),
        ("//s", "x", "/s/x"),
        ("///s", "x", "/s/x"),
        ("a/..", "x", "x"),
        (".", "x", "x"),
        ("..", "x", "../x"),
        ("../..", "x", "../../x"),
    ],
)
def test_subdirectory_is_joined_lexically(subdir: str, basename: str, joined: str) -> None:
    assert join_subdir(subdir, basename) == joined


# --- showing ---


@given(st.text(st.characters(), max_size=400), st.integers(1, 300))
def test_printable_never_lets_a_control_character_through(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert all(unicodedata.category(c)[0] != "C" for c in shown)
    assert len(shown.splitlines()) <= 1
    assert len(shown) <= limit + 1
    shown.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本", "plain é 日本"),
        ("a\nb\r\t\0", r"a\nb\r\t\x00"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\u202egnp", r"\u202egnp"),
        ("\ud800", r"\ud800"),
        ("\u2028", r"\u2028"),
        ("x" * 256, "x" * 256),
        ("x" * 257, "x" * 256 + "…"),
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_printable_by_example(text: str, shown: str) -> None:
    assert printable(text) == shown
