"""Bodies of download requests: what is accepted, how names come about, and what every refusal says."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import HaulError, InvalidRequest, JobNotFound, Unsupported
from common.expectation import Expectation
from common.links import complete_link
from common.names import Bucket, normalize_object_name
from proxy.downloads import tasks as tasks_module
from proxy.downloads.filters import description_filter
from proxy.downloads.repositories import parse_repository
from proxy.downloads.requests import DownloadRequest, parse_job_id, parse_manifest, parse_request, parse_status_query
from proxy.downloads.sourcejobs import SourceJob
from proxy.downloads.tasks import RangeTasks, TaskList

LINK = "http://origin.example/dir/a.bin"
PREFIX = "Error starting download: "


def parse(**fields: Any) -> DownloadRequest:
    return parse_request(json.dumps({"bucket": {"name": "demo"}} | fields).encode())


def refusal(**fields: Any) -> str:
    with pytest.raises(HaulError) as refused:
        parse(**fields)
    assert 400 <= refused.value.status < 500
    return refused.value.message


def listed(request: DownloadRequest) -> dict[str, str]:
    assert isinstance(request.tasks, TaskList)
    return dict(zip(request.tasks.names, request.tasks.links, strict=True))


class TestNames:
    @pytest.mark.parametrize(
        ("link", "name", "fetched"),
        [
            ("http://h/a/b.bin", "b.bin", "http://h/a/b.bin"),
            ("http://h/a/b.bin?x=1&y=2", "b.bin", "http://h/a/b.bin?x=1&y=2"),
            ("http://h/a/b.bin?path=/x/y", "b.bin", "http://h/a/b.bin?path=/x/y"),
            ("http://h/a/b.bin#part/2", "b.bin", "http://h/a/b.bin#part/2"),
            ("h.example/a/b.bin", "b.bin", "http://h.example/a/b.bin"),
            ("10.0.0.1:8080/b.bin", "b.bin", "http://10.0.0.1:8080/b.bin"),
            ("http://h/a%20b.bin", "a b.bin", "http://h/a%20b.bin"),
            ("http://h/a b.bin", "a b.bin", "http://h/a%20b.bin"),
            ("http://h/dir/", "dir", "http://h/dir/"),
            ("https://h/ünï", "ünï", "https://h/ünï"),
        ],
    )
    def test_a_single_link_gives_the_name(self, link: str, name: str, fetched: str) -> None:
        assert listed(parse(type="single", link=link)) == {name: fetched}

    @pytest.mark.parametrize(
        ("given_name", "name"),
        [("LICENSE?x=1", "LICENSE"), ("http://host/a%20b", "/a b"), ("100% sure", "100% sure"), ("/abs", "/abs")],
    )
    def test_a_given_name_is_normalised_as_a_url_path(self, given_name: str, name: str) -> None:
        assert list(listed(parse(type="single", link=LINK, object_name=given_name))) == [name]

    @pytest.mark.parametrize("name", ["../x", "a/../b", "a/./b", "dir/", "~/x", "..", "a\0b"])
    @pytest.mark.parametrize("kind", ["single", "multi"])
    def test_a_forbidden_name_refuses_the_whole_job(self, kind: str, name: str) -> None:
        fields = {"object_name": name, "link": LINK} if kind == "single" else {"objects": {"ok": LINK, name: LINK}}
        assert refusal(type=kind, **fields).startswith(PREFIX + "errInvalidPath: invalid object name ")

    def test_a_range_checks_its_names_without_expanding(self) -> None:
        request = parse(type="range", template="http://h/{0000000..9999999}.bin", subdir="s/")
        assert isinstance(request.tasks, RangeTasks)
        assert len(request.tasks) == 10_000_000
        assert "invalid object name" in refusal(type="range", template="http://h/{0..9}", subdir="../up")

    def test_a_range_inside_of_an_escape_is_refused(self) -> None:
        assert "percent escape" in refusal(type="range", template="http://h/a%2{0..9}")
        assert "percent escape" in refusal(type="range", template="http://h/a%{20..30}")

    def test_the_template_is_completed(self) -> None:
        request = parse(type="range", template="h.example/my file {1..3}")
        assert isinstance(request.tasks, RangeTasks)
        assert request.tasks.template.text == "http://h.example/my%20file%20{1..3}"


class TestMulti:
    def test_maps_and_lists_are_sorted_by_name(self) -> None:
        links = {"b": "http://h/1", "a": "http://h/2", "B": "http://h/3", "é": "http://h/4", "Z/z": "http://h/5"}
        assert list(listed(parse(type="multi", objects=links))) == ["B", "Z/z", "a", "b", "é"]
        assert list(listed(parse(type="multi", objects=["h/z", "h/a?q"]))) == ["a", "z"]

    def test_nothing_to_download_is_a_job(self) -> None:
        assert len(parse(type="multi", objects={}).tasks) == len(parse(type="multi", objects=[]).tasks) == 0

    def test_the_same_link_twice_is_one_object(self) -> None:
        assert listed(parse(type="multi", objects=["http://h/a", "h/a"])) == {"a": "http://h/a"}
        assert listed(parse(type="multi", objects={"a": "h/a", "a?x": "http://h/a"})) == {"a": "http://h/a"}

    def test_two_links_with_one_name_are_refused_and_both_named(self) -> None:
        text = refusal(type="multi", objects=["http://h/x/a", "http://h/y/a"])
        assert '"a"' in text
        assert "http://h/x/a" in text
        assert "http://h/y/a" in text

    def test_a_collision_shows_no_secret_and_says_what_differs(self) -> None:
        text = refusal(type="multi", objects=["http://u:pw@h/a?sig=SECRET1", "http://h/a?sig=SECRET2"])
        assert "SECRET" not in text
        assert "pw" not in text
        assert "differ in what is not shown" in text

    def test_a_key_that_is_repeated_in_the_json_is_noticed(self) -> None:
        objects = '{"a": "http://h/1", "a": "http://h/2"}'
        body = f'{{"type": "multi", "bucket": {{"name": "demo"}}, "objects": {objects}}}'.encode()
        with pytest.raises(InvalidRequest, match="two different links"):
            parse_request(body)
        assert listed(parse_request(body.replace(b"/2", b"/1"))) == {"a": "http://h/1"}

    @pytest.mark.parametrize(
        ("objects", "text"),
        [
            (None, "body should not be empty"),
            ("x", "JSON body should be map (string -> string) or array of strings, found: string"),
            ([1], "expected download link to be a string, got: float64"),
            ({"a": 1}, "values in map should be strings, found: float64"),
            ({"a": None}, "values in map should be strings, found: <nil>"),
            (["/"], 'failed to extract object name from the download "/"'),
            (["http://h"], 'failed to extract object name from the download "http://h"'),
            ({"a": ""}, 'link "http://": no host'),
            ({"a": "\ud800"}, "not valid unicode"),
            ({"\ud800": "http://h/a"}, "not valid UTF-8"),
        ],
    )
    def test_what_is_no_list_of_links(self, objects: object, text: str) -> None:
        message = refusal(type="multi", objects=objects)
        assert message.startswith(PREFIX)
        assert text in message

    names = st.dictionaries(
        st.text(string.ascii_letters + "._-%/ é", min_size=1, max_size=12),
        st.sampled_from(["http://h/1", "http://h/2?x", "h/3", "https://u@h/4 5"]),
        max_size=8,
    )

    @given(names)
    def test_every_entry_is_there_under_its_normal_name_or_the_job_is_refused(self, objects: dict[str, str]) -> None:
        expected: dict[str, set[str]] = {}
        try:
            for name, link in objects.items():
                expected.setdefault(normalize_object_name(name), set()).add(complete_link(link))
        except HaulError:
            expected = {}
            refusal(type="multi", objects=objects)
            return
        if any(len(links) > 1 for links in expected.values()):
            assert "two different links" in refusal(type="multi", objects=objects)
        else:
            assert listed(parse(type="multi", objects=objects)) == {
                name: links.pop() for name, links in expected.items()
            }

    @given(st.text(string.ascii_letters + string.digits + "._-/~", min_size=1, max_size=20))
    def test_the_short_way_for_names_agrees_with_the_long_one(self, name: str) -> None:
        if tasks_module._ORDINARY_NAME.match(name):
            assert normalize_object_name(name) == name

    @given(st.text(string.printable + "é", max_size=30))
    def test_the_short_way_for_links_agrees_with_the_long_one(self, rest: str) -> None:
        link = "http://h.example:80/" + rest
        if tasks_module._ORDINARY_LINK.match(link):
            assert complete_link(link) == link


class TestRanges:
    def test_ranges_before_the_name_collide(self) -> None:
        text = refusal(type="range", template="http://h/{1..3}/x?token=SECRET")
        assert "http://h/1/x" in text
        assert "http://h/2/x" in text
        assert "SECRET" not in text

    @pytest.mark.parametrize(
        ("template", "text"),
        [
            ("", "missing 'template' in the request body"),
            ("http://h/plain", "not a 'bash' template"),
            ("http://h/o{1..2", "not a 'bash' template"),
            ("http://h/o{a..b}", 'strconv.ParseInt: parsing "a": invalid syntax'),
            ("http://h/o{9..1}", "'start' cannot be greater than 'end'"),
            ("http://h/o{1..3..0}", "'step' is non-positive"),
            ("http://h/o{1..100000000}", "too many values (more than 10000000 max)"),
            ("http://h{1..3}", "can not extract a valid 'object_name'"),
            ("gopher://h/{1..3}", 'scheme "gopher" is not supported'),
        ],
    )
    def test_templates_that_are_none(self, template: str, text: str) -> None:
        message = refusal(type="range", template=template)
        assert message.startswith(PREFIX)
        assert text in message


class TestCommonFields:
    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"type": "nonesuch"}, PREFIX + "input does not match any of the supported formats"),
            ({"type": 5}, PREFIX + "input does not match any of the supported formats"),
            ({"type": "single", "timeout": "5 parsecs"}, PREFIX + "failed to parse timeout field: time: unknown unit"),
            ({"type": "single", "timeout": "-5s"}, PREFIX + "failed to parse timeout field"),
            (
                {"type": "single", "progress_interval": "zz"},
                'invalid progress interval "zz": time: invalid duration "zz"',
            ),
            (
                {"type": "single", "limits": {"connections": -1}},
                PREFIX + "'limit.connections' must be non-negative (got: -1)",
            ),
            (
                {"type": "single", "limits": {"bytes_per_hour": -1}},
                PREFIX + "'limit.bytes_per_hour' must be non-negative (got: -1)",
            ),
            ({"type": "single", "limits": {"connections": "2"}}, PREFIX + "invalid 'limits': 'connections'"),
            ({"type": "single", "limits": {"bytes_per_hour": 1 << 64}}, PREFIX + "invalid 'limits'"),
            ({"type": "single", "headers": {"Host": "x"}}, PREFIX + 'header "Host" is set by the downloader'),
            ({"type": "single", "headers": {"X-A": ["a\r\nb"]}}, PREFIX + 'header "X-A"'),
            ({"type": "single", "headers": {"X-A": 5}}, PREFIX + "'headers' must map names to strings"),
            ({"type": "single", "bucket": {}}, "bucket name is missing"),
            ({"type": "single", "bucket": "demo"}, "failed to unmarshal download message: 'bucket'"),
            ({"type": "single", "bucket": {"name": "bad name!"}}, "bucket name is invalid"),
            ({"type": "single", "bucket": {"name": "a", "provider": "zzz"}}, 'invalid backend provider "zzz"'),
            ({"type": "backend"}, PREFIX + "bucket download requires a remote bucket"),
            ({"type": "single", "from_remote": True}, PREFIX + "bucket download requires a remote bucket"),
            ({"type": "single", "link": "gopher://h/x"}, PREFIX + 'link "gopher://h/x": scheme "gopher"'),
        ],
    )
    def test_refusals(self, fields: dict[str, Any], text: str) -> None:
        assert refusal(**{"link": LINK} | fields).startswith(text)

    def test_a_bucket_in_a_cloud_needs_a_backend(self) -> None:
        assert refusal(type="backend", source={"name": "b"}).startswith(
            PREFIX + "'source' must be a bucket of a service"
        )
        request = parse(type="backend", bucket={"name": "b", "provider": "s3"}, prefix="a/", sync=True)
        assert isinstance(request.tasks, SourceJob)
        assert (request.tasks.source, request.tasks.prefix, request.tasks.is_sync) == (Bucket("b", "aws"), "a/", True)

    def test_all_fields(self) -> None:
        request = parse(
            TYPE="single",
            LINK=LINK,
            Description="mine",
            timeout="1m30s",
            limits={"Connections": 3, "BYTES_PER_HOUR": 7},
            headers={"Authorization": ["Bearer x"], "X-One": "1"},
            progress_interval="1s",
            nonesuch=1,
            object_name=None,
        )
        assert (request.kind, request.description, request.timeout_seconds) == ("single", "mine", 90.0)
        assert (request.connections, request.bytes_per_hour) == (3, 7)
        assert request.headers == (("Authorization", "Bearer x"), ("X-One", "1"))
        assert "Bearer" not in repr(request)

    @pytest.mark.parametrize(
        ("key", "meant"),
        [
            ("dry-run", "dry_run"),
            ("dryrun", "dry_run"),
            ("dryRun", "dry_run"),
            ("max-delete", "max_delete"),
            ("max_deletes", "max_delete"),
            ("header", "headers"),
            ("sha-256", "sha256"),
        ],
    )
    def test_a_name_that_is_almost_known_is_refused_and_what_is_meant_is_said(self, key: str, meant: str) -> None:
        text = f'unknown field "{key.lower()}": {meant} is meant'
        assert refusal(**{"type": "single", "link": LINK, key: 0}) == text
        assert refusal(**{"type": "backend", "sync": True, key: 0}) == text

    def test_names_that_mean_nothing_here_are_passed_over(self) -> None:
        foreign = {"nonesuch": 1, "share": 2, "hashtag": "x", "mode": "y", "-": 0, "": 0, "s": 0}
        assert listed(parse(type="single", link=LINK, **foreign)) == {"a.bin": LINK}

    def test_unknown_limits_are_refused(self) -> None:
        assert refusal(type="single", link=LINK, limits={"bytes-per-hour": 1}) == (
            PREFIX + "'limits' has an unknown field 'bytes-per-hour' (known are connections, bytes_per_hour)"
        )

    @pytest.mark.parametrize("kind", ["single", "multi"])
    @pytest.mark.parametrize("key", ["crc32", "xxhash2", "checksum", "cksum_type", "sha256sum", "hash"])
    def test_digests_that_nobody_can_check_are_refused(self, kind: str, key: str) -> None:
        assert refusal(**{"type": kind, "link": LINK, "objects": [], key: "0"}).startswith(f'unknown field "{key}": ')

    @pytest.mark.parametrize("kind", ["multi", "range", "backend"])
    @pytest.mark.parametrize("field", [{"sha256": "0" * 64}, {"md5": "0" * 32}, {"size": 0}])
    def test_digests_of_one_object_are_for_jobs_of_one(self, kind: str, field: dict[str, Any]) -> None:
        (key,) = field
        assert f"'{key}' is for jobs of type 'single'" in refusal(type=kind, objects=[LINK], template=LINK, **field)
        body = {"bucket": {"name": "demo"}, "type": "multi", "manifest": LINK, "format": "tsv", **field}
        with pytest.raises(InvalidRequest, match="for jobs of type 'single'"):
            parse_manifest(json.dumps(body).encode())
        with pytest.raises(InvalidRequest, match="for jobs of type 'single'"):
            parse_repository(json.dumps(body | {"type": "hf", "model": "m"}).encode())

    def test_an_object_of_the_bucket_itself_is_checked_too(self) -> None:
        request = parse(
            type="single", from_remote=True, object_name="x", size=3, bucket={"name": "b", "provider": "s3"}
        )
        assert isinstance(request.tasks, TaskList)
        assert request.tasks.expected == {"x": Expectation(3)}

    @pytest.mark.parametrize(
        "job", [{"type": "single", "link": LINK}, {"type": "multi", "objects": [LINK]}], ids=["single", "multi"]
    )
    def test_a_subdir_is_for_jobs_whose_names_are_not_given(self, job: dict[str, Any]) -> None:
        assert refusal(**job, subdir="x").startswith("'subdir' is for jobs of type 'range', 'backend' and 'hf'")
        assert listed(parse(**job, subdir="", size="", etl_name="", etl_args={})) == {"a.bin": LINK}

    @pytest.mark.parametrize("field", [{"etl_name": "t"}, {"ETL_Args": "x"}, {"etl_pipeline": ["t"]}])
    def test_transformations_are_not_offered(self, field: dict[str, Any]) -> None:
        with pytest.raises(Unsupported, match="is not supported by this cluster"):
            parse(type="single", link=LINK, **field)

    @pytest.mark.parametrize(
        "namespace", ["#ns", "ns", {"name": "ns"}, {"uuid": "", "name": "ns"}, {"UUID": "", "Name": "#ns"}]
    )
    def test_a_namespace_is_a_string_or_an_object(self, namespace: object) -> None:
        bucket = {"name": "demo", "provider": "ais", "namespace": namespace}
        assert parse(type="single", link=LINK, bucket=bucket).bucket == Bucket("demo", "ais", "", "ns")

    def test_generated_descriptions_have_no_secrets(self) -> None:
        single = parse(type="single", link="u:pw@h.example/a.bin?sig=S", object_name="x/y")
        assert single.description == "h.example/a.bin -> ais://demo/x/y"
        ranged = parse(type="range", template="https://u:pw@h/{1..2}?sig=S")
        assert ranged.description == "https://h/{1..2} -> ais://demo"
        assert parse(type="multi", objects=[LINK]).description == "multi-download -> ais://demo"

    @pytest.mark.parametrize(
        "body", [b"", b"  ", b"{bad", b"[]", b'"x"', b"{}", b"[" * 100_000, b"\xff\xfe", b"1" * 5000]
    )
    def test_bodies_that_are_no_request(self, body: bytes) -> None:
        with pytest.raises(InvalidRequest, match="failed to unmarshal download request"):
            parse_request(body)


class TestQueries:
    @pytest.mark.parametrize(
        ("body", "text"),
        [
            (b'{"type":' + b"[" * 100_000, "the body is nested too deeply"),
            (b'{"type":' + b"9" * 5_000 + b"}", "a number has too many digits"),
            (b'{"type":"\xff"}', "the body is not valid UTF-8"),
        ],
    )
    def test_what_is_wrong_with_a_body_is_said_in_words(self, body: bytes, text: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse_request(body)
        assert refused.value.message == f"failed to unmarshal download request, err: {text}"
        with pytest.raises(InvalidRequest, match=text):
            parse_status_query(body, {})

    def test_no_body_asks_for_everything(self) -> None:
        assert parse_status_query(b"", {}) == parse_status_query(b"{}", {})
        assert parse_status_query(b"", {"id": "dnl-x"}).id == "dnl-x"

    def test_an_id_and_a_regex_exclude_each_other(self) -> None:
        with pytest.raises(InvalidRequest, match="cannot be defined together"):
            parse_status_query(b'{"id": "a", "regex": "b"}', {})

    @pytest.mark.parametrize(
        "body", [b"[]", b'{"id": 5}', b"{bad", b'{"tasks_limit": 0}', b'{"only_active_tasks": "x"}']
    )
    def test_bodies_that_are_no_query(self, body: bytes) -> None:
        with pytest.raises(InvalidRequest):
            parse_status_query(body, {})

    def test_a_job_must_be_named(self) -> None:
        assert parse_job_id(b'{"ID": "dnl-x"}') == "dnl-x"
        with pytest.raises(InvalidRequest, match="UUID not specified"):
            parse_job_id(b"{}")
        with pytest.raises(InvalidRequest, match="EOF"):
            parse_job_id(b"")
        with pytest.raises(JobNotFound):
            parse_job_id(b'{"regex": ".*"}')


class TestDescriptionFilter:
    @pytest.mark.parametrize(
        ("pattern", "text", "matches"),
        [
            ("", "anything", True),
            ("^slow", "slow job", True),
            ("job$", "slow job", True),
            ("ow j", "slow job", True),
            ("^job", "slow job", False),
            ("[[:digit:]]+", "job 7", True),
            ("a|b", "xbx", True),
        ],
    )
    def test_posix_unanchored(self, pattern: str, text: str, matches: bool) -> None:
        assert description_filter(pattern)(text) is matches

    @pytest.mark.parametrize(
        ("pattern", "text"),
        [
            ("[(", "error parsing regexp: missing closing ]: `[(`"),
            (r"\d+", r"error parsing regexp: invalid escape sequence: `\d`"),
            ("x" * 257, "error parsing regexp: expression is longer"),
            ("((a{900}){900}){900}", "error parsing regexp: "),
        ],
    )
    def test_what_is_refused(self, pattern: str, text: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            description_filter(pattern)
        assert refused.value.message.startswith(text)

    def test_an_evil_pattern_is_matched_in_linear_time(self) -> None:
        assert not description_filter("(a*)*(a*)*b$")("a" * 4096)
