"""Requests that change objects, over a whole cluster: digests, conditions, copies, new names, metadata, appends."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import google_crc32c
import httpx
import pytest
from xxhash import xxh64_hexdigest

from tests.cluster import Cluster
from tests.storage.disks import files_below

NAMES = [f"object-{number}" for number in range(8)]
"""Enough of them that both targets have some, and copies go both ways."""
S3 = {"Haul-S3": "true"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("writing"), targets=2) as running:
        for bucket in ("b", "other"):
            running.api.create_bucket(bucket)
        yield running


def put(cluster: Cluster, name: str, data: bytes, bucket: str = "b", **headers: str) -> httpx.Response:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return cluster.api.http.put(f"/v1/objects/{bucket}/{quote(name)}", content=data, headers=named)


def act(cluster: Cluster, method: str, name: str, action: str, value: object = None, **more: str) -> httpx.Response:
    message = {"action": action, "name": more.pop("new_name", ""), "value": value}
    return cluster.api.http.request(method, f"/v1/objects/b/{quote(name)}", params=more, json=message)


def copy(cluster: Cluster, name: str, to: str) -> httpx.Response:
    params = {"object_to": to, "latest-ver": "false", "synchronize": "false"}
    return cluster.api.http.put(f"/v1/objects/b/{quote(name)}", params=params)


def append(
    cluster: Cluster,
    name: str,
    data: bytes,
    handle: str = "",
    kind: str = "append",
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    params = {"append_type": kind, "append_handle": handle}
    return cluster.api.http.put(f"/v1/objects/b/{quote(name)}", params=params, content=data, headers=headers)


def handle_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.headers["ais-append-handle"]


def custom_of(cluster: Cluster, name: str, bucket: str = "b") -> dict[str, str]:
    lines = cluster.api.http.head(f"/v1/objects/{bucket}/{quote(name)}").headers.get_list("ais-custom-md")
    return dict(line.split("=", 1) for line in lines)


# --- digests


@pytest.mark.parametrize("size", [0, 5, 3_000_000])
def test_an_upload_of_s3_has_its_md5_as_etag_and_keeps_its_content_type(cluster: Cluster, size: int) -> None:
    data = os.urandom(size)
    answer = put(cluster, "s3", data, Haul_S3="true", Content_Type="image/png", Ais_Custom_Md="colour=red")
    assert answer.status_code == 200, answer.text
    head = cluster.api.http.head("/v1/objects/b/s3")
    assert head.headers["etag"] == f'"{hashlib.md5(data).hexdigest()}"'
    assert custom_of(cluster, "s3") == {"colour": "red", "Content-Type": "image/png"}
    assert put(cluster, "native", data, Content_Type="application/json").status_code == 200
    assert custom_of(cluster, "native") == {}


def digests_of(data: bytes) -> dict[str, str]:
    return {
        "md5": hashlib.md5(data).hexdigest(),
        "sha1": hashlib.sha1(data).hexdigest(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "crc32c": f"{google_crc32c.value(data):08x}",
        "xxh64": xxh64_hexdigest(data),
    }


@pytest.mark.parametrize("algorithm", sorted(digests_of(b"")))
def test_a_digest_that_was_told_is_verified(cluster: Cluster, algorithm: str) -> None:
    digest = digests_of(b"right")[algorithm]
    assert put(cluster, f"d/{algorithm}", b"right", Haul_Digest=f"{algorithm}={digest.upper()}").status_code == 200
    head = cluster.api.http.head(f"/v1/objects/b/d/{algorithm}", params={"props": "grade"})
    assert head.headers["haul-grade"] == "user"
    answer = put(cluster, f"d/{algorithm}", b"wrong", Haul_Digest=f"{algorithm}={digest}")
    assert (answer.status_code, answer.json()["tcode"]) == (400, "ErrBadCksum")
    assert cluster.api.get("b", f"d/{algorithm}").content == b"right"


def test_all_digests_that_were_told_must_be_right(cluster: Cluster) -> None:
    digests = digests_of(b"right")
    lines = [("Haul-Digest", f"sha1={digests['sha1']}"), ("Haul-Digest", f"sha256={'0' * 64}")]
    answer = cluster.api.http.put("/v1/objects/b/several", content=b"right", headers=lines)
    assert (answer.status_code, "sha256" in answer.json()["message"]) == (400, True)
    assert cluster.api.get("b", "several").status_code == 404
    md5 = base64.b64encode(hashlib.md5(b"right").digest()).decode()
    assert put(cluster, "several", b"wrong", Content_MD5=md5).status_code == 400
    assert put(cluster, "several", b"right", Content_MD5=md5).status_code == 200
    checksum = {"Ais_Checksum_Type": "crc32c", "Ais_Checksum_Value": digests["crc32c"]}
    assert put(cluster, "several", b"right", **checksum).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_MD5": "nonsense"},
        {"Content_MD5": "AAAA"},
        {"Haul_Digest": "md5"},
        {"Haul_Digest": "adler=00"},
        {"Haul_Digest": "sha256="},
        {"Haul_S3": "true", "Content_Type": "x" * 600},
        {"Ais_Checksum_Value": xxh64_hexdigest(b"x")},
        {"Content_Range": "bytes 0-0/2"},
    ],
)
def test_promises_that_cannot_be_read(cluster: Cluster, headers: dict[str, str]) -> None:
    assert put(cluster, "promises", b"x", **headers).status_code == 400
    assert cluster.api.get("b", "promises").status_code == 404


# --- conditions


def test_an_object_is_only_made_where_none_is(cluster: Cluster) -> None:
    assert put(cluster, "once", b"first", If_None_Match="*").status_code == 200
    answer = put(cluster, "once", b"second", If_None_Match="*")
    assert (answer.status_code, answer.json()["tcode"]) == (412, "ErrPreconditionFailed")
    assert cluster.api.get("b", "once").content == b"first"
    assert cluster.api.http.delete("/v1/objects/b/once").status_code == 200
    assert put(cluster, "once", b"third", If_None_Match="*").status_code == 200


def test_an_object_is_only_replaced_if_it_is_the_one_that_is_known(cluster: Cluster) -> None:
    assert put(cluster, "known", b"x", If_Match='"anything"').status_code == 412
    assert put(cluster, "known", b"x", If_Match="*").status_code == 412
    assert put(cluster, "known", b"one", Haul_S3="true").status_code == 200
    etag = f'"{hashlib.md5(b"one").hexdigest()}"'
    for wanted, status in ((etag, 200), (etag, 412), ("*", 200), (f'"x", "{xxh64_hexdigest(b"two")}"', 200)):
        assert put(cluster, "known", b"two", If_Match=wanted).status_code == status


def test_conditions_on_several_lines_are_one_list(cluster: Cluster) -> None:
    etag = put(cluster, "lines", b"one").headers["ais-checksum-value"]
    lines = [("If-Match", f'"{etag}"'), ("If-Match", '"other"')]
    assert cluster.api.http.put("/v1/objects/b/lines", content=b"two", headers=lines).status_code == 200
    etag = cluster.api.get("b", "lines").headers["etag"]
    lines = [("If-None-Match", etag), ("If-None-Match", '"other"')]
    assert cluster.api.http.put("/v1/objects/b/lines", content=b"three", headers=lines).status_code == 412


@pytest.mark.parametrize("header", ["If-Unmodified-Since", "If-Modified-Since"])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_changes_are_under_no_conditions_of_time(cluster: Cluster, method: str, header: str) -> None:
    put(cluster, "timed", b"kept")
    headers = {header: "Mon, 23 Nov 2020 01:38:14 GMT"}
    answer = cluster.api.http.request(method, "/v1/objects/b/timed", content=b"x"[: method == "PUT"], headers=headers)
    assert (answer.status_code, answer.json()["tcode"]) == (501, "ErrUnsupp")
    assert cluster.api.get("b", "timed").content == b"kept"


def test_where_conditions_are_not_looked_at_they_are_refused(cluster: Cluster) -> None:
    put(cluster, "refused", b"kept")
    requests: list[tuple[str, dict[str, str], object]] = [
        ("PUT", {"object_to": "ais/@#/b/refused-copy"}, None),
        ("PUT", {"append_type": "append"}, None),
        ("PUT", {"uploadId": "x", "partNumber": "1"}, None),
        ("POST", {}, {"action": "rename-obj", "name": "refused-copy"}),
        ("POST", {}, {"action": "mpt-upload"}),
        ("PATCH", {}, {"action": "", "value": {"a": "1"}}),
        ("DELETE", {"uploadId": "x"}, {"action": "mpt-abort"}),
    ]
    for method, params, message in requests:
        for condition in ({"If-Match": '"x"'}, {"If-None-Match": "*"}):
            answer = cluster.api.http.request(
                method, "/v1/objects/b/refused", params=params, json=message, headers=condition
            )
            assert (answer.status_code, answer.json()["tcode"]) == (501, "ErrUnsupp"), (method, params)
    assert cluster.api.get("b", "refused-copy").status_code == 404
    assert custom_of(cluster, "refused") == {}


def test_of_many_at_once_one_makes_the_object(cluster: Cluster) -> None:
    statuses: list[int] = []

    def attempt(number: int) -> None:
        statuses.append(put(cluster, "race", b"%d" % number, If_None_Match="*").status_code)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [412] * 15
    assert cluster.api.get("b", "race").headers["ais-version"] == "1"


# --- copies and new names


@pytest.mark.parametrize("size", [0, 10, 9_000_000])
def test_a_copy_is_an_object_of_its_own(cluster: Cluster, size: int) -> None:
    data = os.urandom(size)
    source = "dir/the source"
    assert put(cluster, source, data, Haul_S3="true", Ais_Custom_Md="colour=red").status_code == 200
    assert put(cluster, source, data, Haul_S3="true", Ais_Custom_Md="colour=red").status_code == 200
    for name in NAMES:
        answer = copy(cluster, source, f"ais/@#/other/copies/{name}")
        assert answer.status_code == 200, answer.text
    original = cluster.api.http.head(f"/v1/objects/b/{quote(source)}").headers
    for name in NAMES:
        copied = cluster.api.get("other", f"copies/{name}")
        assert copied.content == data
        for header in ("etag", "ais-custom-md", "ais-checksum-value"):
            assert copied.headers[header] == original[header]
        assert (original["ais-version"], copied.headers["ais-version"]) == ("2", "1")
        assert int(copied.headers["ais-atime"]) > int(original["ais-atime"])
        assert cluster.api.http.delete(f"/v1/objects/other/copies/{name}").status_code == 200
    assert cluster.api.http.delete(f"/v1/objects/b/{quote(source)}").status_code == 200


def test_copies_that_cannot_be_made(cluster: Cluster) -> None:
    put(cluster, "source", b"x")
    answer = copy(cluster, "source", "ais/@#/nonesuch/x")
    assert (answer.status_code, answer.json()["message"]) == (404, 'bucket "ais://nonesuch" does not exist')
    for name in NAMES:
        answer = copy(cluster, f"missing/{name}", "ais/@#/other/x")
        assert answer.status_code == 404
        assert f"ais://b/missing/{name} does not exist" in answer.json()["message"]
    assert cluster.api.get("other", "x").status_code == 404
    for uname in ("", "other/x", "ais/@#/other/", "ais/@#/other/../x", "ais/#/other/x"):
        assert copy(cluster, "source", uname).status_code == 400
    assert copy(cluster, "source", "ais/@#/b/source").status_code == 200
    assert cluster.api.get("b", "source").headers["ais-version"] == "1"


def test_an_object_gets_another_name(cluster: Cluster) -> None:
    for name in NAMES:
        put(cluster, f"old/{name}", name.encode(), Ais_Custom_Md="colour=red")
        answer = act(cluster, "POST", f"old/{name}", "rename-obj", new_name=f"new/{name}")
        assert answer.status_code == 200, answer.text
        assert cluster.api.get("b", f"old/{name}").status_code == 404
        assert cluster.api.get("b", f"new/{name}").content == name.encode()
        assert custom_of(cluster, f"new/{name}") == {"colour": "red"}
    assert cluster.api.list("b", prefix="old/") == []
    assert act(cluster, "POST", "new/object-1", "rename-obj", new_name="new/object-1").status_code == 200
    assert cluster.api.get("b", "new/object-1").content == b"object-1"
    assert act(cluster, "POST", "old/object-1", "rename-obj", new_name="x").status_code == 404
    for wrong in ("", "../x", "x/", "a/./b"):
        assert act(cluster, "POST", "new/object-1", "rename-obj", new_name=wrong).status_code == 400
    assert cluster.api.get("b", "new/object-1").content == b"object-1"


# --- custom metadata


def test_custom_metadata_is_added_to_and_replaced(cluster: Cluster) -> None:
    put(cluster, "custom", b"x", Haul_S3="true", Ais_Custom_Md="a=1")
    before = cluster.api.http.head("/v1/objects/b/custom").headers
    assert act(cluster, "PATCH", "custom", "", {"b": "2", "a": "one, or two"}).status_code == 200
    assert custom_of(cluster, "custom") == {"a": "one, or two", "b": "2"}
    assert act(cluster, "PATCH", "custom", "", {"c": "=3"}, **{"set-new-custom": "true"}).status_code == 200
    assert custom_of(cluster, "custom") == {"c": "=3"}
    after = cluster.api.http.head("/v1/objects/b/custom").headers
    for header in ("etag", "ais-version", "last-modified", "ais-checksum-value"):
        assert before[header] == after[header]
    assert int(after["ais-atime"]) - int(before["ais-atime"]) == 2
    assert cluster.api.get("b", "custom").content == b"x"
    assert act(cluster, "PATCH", "custom", "", {}, **{"set-new-custom": "true"}).status_code == 200
    assert custom_of(cluster, "custom") == {}


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "a=1",
        {"": "x"},
        {"a=b": "x"},
        {"a": 1},
        {"a": None},
        {"a": "x\r\ny: z"},
        {"a\n": "x"},
        {"a": "v" * 2048},
    ],
)
def test_custom_metadata_that_is_refused(cluster: Cluster, value: object) -> None:
    put(cluster, "strict", b"x", Ais_Custom_Md="kept=yes")
    assert act(cluster, "PATCH", "strict", "", value).status_code == 400
    assert custom_of(cluster, "strict") == {"kept": "yes"}


def test_custom_metadata_of_what_is_not_there(cluster: Cluster) -> None:
    answer = act(cluster, "PATCH", "nothing", "", {"a": "1"})
    assert (answer.status_code, answer.json()["message"]) == (404, "ais://b/nothing does not exist")
    assert act(cluster, "PATCH", "nothing", "no-such-action", {"a": "1"}).status_code == 400


def test_custom_metadata_that_does_not_fit_beside_the_name(cluster: Cluster) -> None:
    name, data = "very/" * 700 + "long", os.urandom(2_000_000)
    put(cluster, name, data)
    for value in ({"a": "1" * 1000}, {"b": "2" * 1000}):
        assert act(cluster, "PATCH", name, "", value).status_code == 200
    assert custom_of(cluster, name) == {"a": "1" * 1000, "b": "2" * 1000}
    assert cluster.api.get("b", name).content == data
    assert act(cluster, "PATCH", name, "", {"a": "x"}, **{"set-new-custom": "true"}).status_code == 200
    assert custom_of(cluster, name) == {"a": "x"}


# --- appends


def test_appended_bytes_become_an_object_at_last(cluster: Cluster) -> None:
    pieces = [b"one ", os.urandom(3_000_000), b"", b" three"]
    handle = ""
    for piece in pieces:
        handle = handle_of(append(cluster, "log", piece, handle))
    assert cluster.api.get("b", "log").status_code == 404
    assert append(cluster, "log", b"!", handle, "flush").status_code == 200
    answer = cluster.api.get("b", "log")
    assert answer.content == b"".join(pieces) + b"!"
    assert answer.headers["ais-checksum-value"] == xxh64_hexdigest(answer.content)
    assert append(cluster, "log", b"", handle, "flush").status_code == 404


def test_the_checksum_of_a_flush_is_that_of_the_whole_object(cluster: Cluster) -> None:
    handle = handle_of(append(cluster, "summed", b"one"))
    handle = handle_of(append(cluster, "summed", b"two", handle))
    params = {"append_type": "flush", "append_handle": handle}
    headers = {"Ais-Checksum-Type": "xxhash2", "Ais-Checksum-Value": xxh64_hexdigest(b"two")}
    answer = cluster.api.http.put("/v1/objects/b/summed", params=params, headers=headers)
    assert (answer.status_code, answer.json()["tcode"]) == (400, "ErrBadCksum")
    assert cluster.api.get("b", "summed").status_code == 404
    headers = {"Haul-Digest": f"md5={hashlib.md5(b'onetwo').hexdigest()}"}
    assert cluster.api.http.put("/v1/objects/b/summed", params=params, headers=headers).status_code == 200
    assert cluster.api.get("b", "summed").content == b"onetwo"


def test_pieces_and_parts_are_no_ranges(cluster: Cluster) -> None:
    for params in ({"append_type": "append"}, {"uploadId": "x", "partNumber": "1"}):
        headers = {"Content-Range": "bytes 5-8/9"}
        answer = cluster.api.http.put("/v1/objects/b/ranged", params=params, content=b"piece", headers=headers)
        assert answer.status_code == 400
        assert "Content-Range" in answer.json()["message"]


@pytest.mark.parametrize("kind", ["Content-MD5", "Haul-Digest", "Ais-Checksum-Value"])
def test_the_checksum_of_a_piece_is_that_of_the_piece(cluster: Cluster, kind: str) -> None:
    def announced(piece: bytes) -> dict[str, str]:
        return {
            "Content-MD5": {"Content-MD5": base64.b64encode(hashlib.md5(piece).digest()).decode()},
            "Haul-Digest": {"Haul-Digest": f"sha256={hashlib.sha256(piece).hexdigest()}"},
            "Ais-Checksum-Value": {"Ais-Checksum-Type": "xxhash", "Ais-Checksum-Value": xxh64_hexdigest(piece)},
        }[kind]

    name = f"pieces-{kind}"
    handle = handle_of(append(cluster, name, b"one", headers=announced(b"one")))
    piece = os.urandom(3_000_000)
    answer = append(cluster, name, piece, handle, headers=announced(piece[:-1]))
    assert (answer.status_code, answer.json()["tcode"]) == (400, "ErrBadCksum")
    handle = handle_of(append(cluster, name, piece, handle, headers=announced(piece)))
    assert append(cluster, name, b"", handle, "flush", headers=announced(b"one" + piece)).status_code == 200
    assert cluster.api.get("b", name).content == b"one" + piece


def test_a_flush_under_a_condition(cluster: Cluster) -> None:
    handle = handle_of(append(cluster, "guarded", b"appended"))
    put(cluster, "guarded", b"stored meanwhile")
    answer = append(cluster, "guarded", b"", handle, "flush", headers={"If-None-Match": "*"})
    assert (answer.status_code, answer.json()["tcode"]) == (412, "ErrPreconditionFailed")
    assert cluster.api.get("b", "guarded").content == b"stored meanwhile"
    etag = cluster.api.get("b", "guarded").headers["etag"]
    assert append(cluster, "guarded", b"", handle, "flush", headers={"If-Match": etag}).status_code == 200
    assert cluster.api.get("b", "guarded").content == b"appended"


def test_a_flush_may_bring_custom_metadata(cluster: Cluster) -> None:
    handle = handle_of(append(cluster, "described", b"one", headers={"Ais-Custom-Md": "a=1"}))
    assert append(cluster, "described", b"two", handle, headers={"Ais-Custom-Md": "b=2"}).status_code == 400
    assert append(cluster, "described", b"", handle, "flush", headers={"Ais-Custom-Md": "c=3"}).status_code == 200
    assert custom_of(cluster, "described") == {"a": "1", "c": "3"}


def test_what_is_there_is_appended_to(cluster: Cluster) -> None:
    put(cluster, "grown", b"begin ", Ais_Custom_Md="a=1")
    handle = handle_of(append(cluster, "grown", b"end"))
    assert cluster.api.get("b", "grown").content == b"begin "
    assert append(cluster, "grown", b"", handle, "flush").status_code == 200
    assert cluster.api.get("b", "grown").content == b"begin end"
    assert custom_of(cluster, "grown") == {"a": "1"}
    assert cluster.api.get("b", "grown").headers["ais-version"] == "2"


def test_a_piece_that_comes_again_is_there_once(cluster: Cluster) -> None:
    first = handle_of(append(cluster, "repeated", b"one"))
    handle_of(append(cluster, "repeated", b"lost answer, longer", first))
    second = handle_of(append(cluster, "repeated", b"two", first))
    assert append(cluster, "repeated", b"", second, "flush").status_code == 200
    assert cluster.api.get("b", "repeated").content == b"onetwo"


def test_handles_that_are_wrong(cluster: Cluster) -> None:
    handle = handle_of(append(cluster, "handled", b"one"))
    token, target, size = handle.split("~")
    wrong = ["x", f"{token}~{target}", f"{'0' * 24}~{target}~3", f"{token}~{target}~{int(size) + 1}", f"{token}~t9~3"]
    for one in wrong:
        for kind in ("append", "flush"):
            answer = append(cluster, "handled", b"x", one, kind)
            assert answer.status_code == 404, answer.text
    assert append(cluster, "another", b"x", handle).status_code == 404
    assert append(cluster, "handled", b"x", "", "prepend").status_code == 400
    assert append(cluster, "handled", b"", handle, "flush").status_code == 200
    assert cluster.api.get("b", "handled").content == b"one"


def test_appending_goes_on_after_the_target_was_restarted(tmp_path: Path) -> None:
    with Cluster(tmp_path, targets=1) as cluster:
        cluster.api.create_bucket("b")
        handle = handle_of(append(cluster, "log", b"before "))
        cluster.stop("t1")
        cluster.start("t1")
        cluster.wait_until_ready()
        assert append(cluster, "log", b"after", handle, "flush").status_code == 200
        assert cluster.api.get("b", "log").content == b"before after"
        assert act(cluster, "PATCH", "log", "", {"a": "1"}).status_code == 200
        cluster.stop("t1")
        cluster.start("t1")
        cluster.wait_until_ready()
        assert custom_of(cluster, "log") == {"a": "1"}
        assert not [path for path in files_below(tmp_path) if "/%mp/" in path or "/%wk/" in path]


# --- the rest


def test_what_is_asked_of_objects_besides(cluster: Cluster) -> None:
    put(cluster, "asked", b"x")
    assert act(cluster, "POST", "asked", "check-lock").status_code == 200
    for action in ("promote", "blob-download"):
        answers = [act(cluster, "POST", "asked", action), cluster.api.call("POST", "/v1/objects/b", {"action": action})]
        for answer in answers:
            assert (answer.status_code, answer.json()["tcode"]) == (501, "ErrUnsupp")
    assert act(cluster, "POST", "asked", "no-such-action").status_code == 400
    assert cluster.api.call("POST", "/v1/objects/b/asked", "no message").status_code == 400
    assert cluster.api.call("POST", "/v1/objects/b", "no message").status_code == 400
    answer = cluster.api.http.put("/v1/objects/b/asked", params={"archpath": "a"}, content=b"x")
    assert (answer.status_code, answer.json()["tcode"]) == (501, "ErrUnsupp")
    assert cluster.api.get("b", "asked").content == b"x"
