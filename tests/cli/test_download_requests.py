from __future__ import annotations

import pytest

from cli.downloads import objectlist, requests
from cli.downloads.joboptions import Options, seconds_of
from cli.downloads.naming import ObjectList
from cli.downloads.repositories import RepositoryOptions, build_repository, with_token
from cli.downloads.sources import Selection
from cli.errors import UsageError
from cli.uris import parse
from common.names import normalize_object_name

BUCKET = {"name": "b", "provider": "ais", "namespace": {"uuid": "", "name": ""}}


def build(
    source: str,
    destination: str,
    objects: ObjectList | None = None,
    selection: Selection = Selection(),  # noqa: B008 - it is frozen
    **options: object,
) -> dict[str, object]:
    body = requests.build(source, parse(destination), objects, Options(**options), selection)  # type: ignore[arg-type]
    assert body.pop("bucket") == BUCKET
    return body


def test_single() -> None:
    assert build("http://h/x", "ais://b") == {"type": "single", "link": "http://h/x"}
    assert build("http://h/x", "ais://b/") == {"type": "single", "link": "http://h/x"}
    assert build("h/x", "ais://b/y") == {"type": "single", "link": "h/x", "object_name": "y"}


@pytest.mark.parametrize(
    ("link", "destination", "name"),
    [
        ("http://h/x.bin", "ais://b/dir/", "dir/x.bin"),
        ("http://h/a%20b.bin?sig=1/2#f", "ais://b/dir/", "dir/a b.bin"),
        ("http://h/d/", "ais://b/dir/", "dir/d"),
        ("http://h/x", "ais://b/100%", "100%"),
        ("http://h/x", "ais://b/a%20b", "a%20b"),
        ("http://h/x", "ais://b/what?", "what?"),
        ("http://h/x", "ais://b/a:b#c", "a:b#c"),
        ("http://h/x", "ais://b//abs", "/abs"),
    ],
)
def test_the_cluster_reads_exactly_the_name_that_was_typed(link: str, destination: str, name: str) -> None:
    sent = build(link, destination)["object_name"]
    assert isinstance(sent, str)
    assert normalize_object_name(sent) == name


def test_a_link_without_a_name_cannot_go_into_a_directory() -> None:
    with pytest.raises(UsageError, match="gives no object name"):
        build("http://h/", "ais://b/dir/")


def test_range() -> None:
    template = "http://h/{000..999}.bin"
    assert build(template, "ais://b") == {"type": "range", "template": template}
    assert build(template, "ais://b/sub/dir/") == {"type": "range", "template": template, "subdir": "sub/dir"}
    assert build(template, "ais://b/sub") == {"type": "range", "template": template, "subdir": "sub"}


def test_relative_names_stand_behind_the_source() -> None:
    assert build("http://h/base/", "ais://b/to/", ["x.bin", "d/y z.bin", "http://other/w.bin"]) == {
        "type": "multi",
        "objects": {
            "to/x.bin": "http://h/base/x.bin",
            "to/d/y z.bin": "http://h/base/d/y%20z.bin",
            "to/w.bin": "http://other/w.bin",
        },
    }


def test_a_list_of_links_is_passed_on_as_it_is() -> None:
    links = ["http://h/x", "http://h/y?z=1"]
    assert build("", "ais://b", links) == {"type": "multi", "objects": links}


def test_a_map_keeps_its_names() -> None:
    assert build("http://h", "ais://b", {"m/one": "http://o/1", "100%": "two"}) == {
        "type": "multi",
        "objects": {"m/one": "http://o/1", "100%25": "http://h/two"},
    }


def test_two_links_for_one_name_are_refused_and_both_named() -> None:
    with pytest.raises(UsageError, match=r'"x.bin".*"http://h/x.bin" and "http://o/d/x.bin"'):
        build("http://h", "ais://b", ["x.bin", "http://o/d/x.bin"])
    build("http://h", "ais://b/d", ["x.bin", "x.bin"])


def test_a_relative_name_needs_a_source() -> None:
    with pytest.raises(UsageError, match="relative link"):
        build("", "ais://b", ["x.bin"])


def test_common_fields() -> None:
    body = build(
        "http://h/x",
        "ais://b",
        description="why",
        timeout="10m",
        progress_interval="5s",
        max_connections=4,
        bytes_per_hour="10MiB",
        headers=["Authorization: Bearer a:b", "X-Two: 1", "X-Two: 2"],
    )
    assert body == {
        "type": "single",
        "link": "http://h/x",
        "description": "why",
        "timeout": "10m",
        "progress_interval": "5s",
        "limits": {"connections": 4, "bytes_per_hour": 10 * 1024 * 1024},
        "headers": {"Authorization": ["Bearer a:b"], "X-Two": ["1", "2"]},
    }


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"timeout": "soon"}, "--download-timeout"),
        ({"timeout": "-5s"}, "--download-timeout"),
        ({"progress_interval": "x"}, "--progress-interval"),
        ({"max_connections": -1}, "--max-conns"),
        ({"bytes_per_hour": "much"}, "--limit-bph"),
        ({"headers": ["no colon"]}, "--header"),
        ({"headers": ["Host: x"]}, "--header"),
        ({"headers": ["X: a\r\nY: b"]}, "--header"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        build("http://h/x", "ais://b", **options)


def test_a_header_without_a_name_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        build("http://h/x", "ais://b", headers=["hf_secret"])
    assert "hf_secret" not in str(caught.value)


def test_durations() -> None:
    assert seconds_of("90", "--x") == 90
    assert seconds_of("1h30m", "--x") == 5400


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ('["a", "b"]', ["a", "b"]),
        ('{"a": "http://h/1"}', {"a": "http://h/1"}),
        ("a\n\n  b c \r\n#d\n", ["a", "b c", "#d"]),
    ],
)
def test_object_lists(text: str, objects: object) -> None:
    assert objectlist.parse(text, "list") == objects


@pytest.mark.parametrize("text", ["", "\n \n", "[]", "{}", "[1]", '[""]', '{"a": null}', "[", '{"a":"1","a":"2"}'])
def test_object_lists_that_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="the object list list"):
        objectlist.parse(text, "list")


class TestTokenOfTheHub:
    def sent(self, source: str, objects: object = None, endpoint: str = "", **options: object) -> object:
        body = build(source, "ais://b", objects, **options)
        sent = with_token(body, "hf_x", endpoint)[0].get("headers", {})
        assert isinstance(sent, dict)
        return sent.get("Authorization")

    @pytest.mark.parametrize(
        ("source", "objects"),
        [
            ("https://huggingface.co/m/resolve/main/a", None),
            ("https://HuggingFace.co:443/m/resolve/main/a?download=true", None),
            ("https://huggingface.co/m/resolve/main/{0..9}.bin", None),
            ("https://huggingface.co/m/resolve/main/", ["a", "b"]),
            ("", {"x": "https://huggingface.co/a", "y": "https://huggingface.co/b"}),
        ],
    )
    def test_goes_with_links_to_the_hub(self, source: str, objects: object) -> None:
        assert self.sent(source, objects) == ["Bearer hf_x"]

    @pytest.mark.parametrize(
        ("source", "objects"),
        [
            ("http://huggingface.co/m/a", None),
            ("huggingface.co/m/a", None),
            ("https://huggingface.co@h/a", None),
            ("https://huggingface.co.evil.org/a", None),
            ("https://evil.org/huggingface.co/a", None),
            ("https://cdn.huggingface.co/a", None),
            ("https://huggingface.co:8443/a", None),
            ("https://{a..b}huggingface.co/a", None),
            ("https://hub.example/a", None),
            ("", ["https://huggingface.co/a", "https://other.org/b"]),
            ("", {"x": "https://huggingface.co/a", "y": "https://other.org/b"}),
        ],
    )
    def test_goes_nowhere_else(self, source: str, objects: object) -> None:
        assert self.sent(source, objects) is None

    def test_goes_to_the_mirror_that_the_user_names(self) -> None:
        assert self.sent("http://hub.example:80/m/a", endpoint="http://hub.example") == ["Bearer hf_x"]
        assert self.sent("http://hub.example:81/m/a", endpoint="http://hub.example") is None

    def test_a_typed_authorization_stays(self) -> None:
        assert self.sent("https://huggingface.co/a", headers=["Authorization: Basic x"]) == ["Basic x"]


class TestRepositories:
    def build(self, destination: str, **wanted: object) -> dict[str, object]:
        body = build_repository(parse(destination), RepositoryOptions(**wanted), Options())  # type: ignore[arg-type]
        assert body.pop("bucket") == BUCKET
        assert body.pop("type") == "hf"
        return body

    def test_where_it_goes(self) -> None:
        assert self.build("ais://b", model="m") == {"model": "m"}
        assert self.build("ais://b/squad/", dataset="squad") == {"dataset": "squad", "subdir": "squad"}
        assert self.build("ais://b/x/", model="m", file="a/b") == {"model": "m", "file": "a/b", "subdir": "x"}
        assert self.build("ais://b/x", model="m", file="a/b") == {"model": "m", "file": "a/b", "object_name": "x"}

    def test_what_is_wanted_of_it(self) -> None:
        body = self.build("ais://b", model="m", revision="v1", include=["*.a"], exclude=["b/"], token="t")
        assert body == {
            "model": "m",
            "revision": "v1",
            "include": ["*.a"],
            "exclude": ["b/"],
            "headers": {"Authorization": ["Bearer t"]},
        }

    @pytest.mark.parametrize(
        ("wanted", "message"),
        [
            ({"model": "m", "dataset": "d"}, "cannot be used together"),
            ({"model": "m", "file": "f", "include": ["*"]}, "not for --hf-file"),
            ({"model": "m", "blob_threshold": "lots"}, "--blob-threshold"),
            ({"model": "m", "token": "a\nb"}, "--header"),
        ],
    )
    def test_what_cannot_be_meant(self, wanted: dict[str, object], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            self.build("ais://b", **wanted)
