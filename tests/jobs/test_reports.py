"""A job's ledger and its story, against real sockets."""

import hashlib
import json
from typing import Any

import pytest

from tests.cluster import Api, Cluster
from tests.faults import Status
from tests.origin import Origin


@pytest.fixture(autouse=True)
def _manifests_have_a_place(api: Api) -> None:
    api.call("POST", "/v1/buckets/manifests", {"action": "create-bck"})


def ledger(api: Api, job: str, **query: str) -> dict[str, dict[str, Any]]:
    response = api.http.get(f"/v1/download/{job}/ledger", params=query)
    assert response.status_code == 200, response.text
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert len({line["name"] for line in lines}) == len(lines)
    return {line["name"]: line for line in lines}


def test_ledger_says_of_each_object_what_it_is_and_how_it_came(api: Api, origin: Origin) -> None:
    content = b"x" * 5000
    origin.put("/l/good.bin", content)
    origin.put("/l/shaky.bin", b"y" * 100)
    origin.misbehave("/l/shaky.bin", Status(503))
    job = api.download(
        type="multi",
        objects={
            "l/good": {"link": origin.url("/l/good.bin"), "sha256": hashlib.sha256(content).hexdigest()},
            "l/shaky": origin.url("/l/shaky.bin") + "?token=s3cret",
            "l/missing": origin.url("/l/missing.bin"),
        },
    )
    api.finished(job)
    lines = ledger(api, job)
    good, shaky, missing = lines["l/good"], lines["l/shaky"], lines["l/missing"]
    assert (good["state"], good["size"], good["grade"], good["attempts"]) == ("finished", 5000, "user", 1)
    assert good["sha256"] == hashlib.sha256(content).hexdigest()
    assert good["link"] == origin.url("/l/good.bin")
    assert good["etag"]
    assert good["start_time"] <= good["end_time"]
    assert good["node"] in {"t1", "t2", "t3"}
    assert (shaky["state"], shaky["attempts"], shaky["link_incomplete"]) == ("finished", 2, True)
    assert "s3cret" not in json.dumps(lines)
    assert missing["state"] == "failed"
    assert "does not exist" in missing["error"]
    assert ledger(api, job, only_failed="true").keys() == {"l/missing"}


def test_a_template_that_lost_its_secrets_makes_no_manifest(api: Api, origin: Origin) -> None:
    job = api.download(type="range", template=origin.url("/cut/{0..3}.bin") + "?token=s3cret", subdir="cut")
    assert api.finished(job)["error_cnt"] == 4
    lines = ledger(api, job)
    assert lines.keys() == {f"cut/{n}.bin" for n in range(4)}
    assert all(line["link_incomplete"] for line in lines.values())
    assert {line["link"] for line in lines.values()} == {origin.url(f"/cut/{n}.bin") for n in range(4)}


def test_what_failed_is_a_manifest_of_its_own(api: Api, origin: Origin) -> None:
    for n in range(4):
        origin.put(f"/again/{n}.bin", b"%d" % n)
    objects = {f"again/{n}": origin.url(f"/again/{n}.bin") for n in range(8)}
    job = api.download(type="multi", objects=objects)
    assert api.finished(job)["error_cnt"] == 4
    for n in range(4, 8):
        origin.put(f"/again/{n}.bin", b"%d" % n)
    failed = api.http.get(f"/v1/download/{job}/ledger", params={"only_failed": "true"}).content
    api.put("manifests", "failed.jsonl", failed)
    second = api.finished(api.download(type="multi", manifest="ais://manifests/failed.jsonl"))
    assert (second["finished_cnt"], second["error_cnt"]) == (4, 0)


def test_a_ledger_proves_that_nothing_is_to_be_done(api: Api, origin: Origin) -> None:
    for n in range(20):
        origin.put(f"/proof/{n:02}.bin", b"content %d" % n)
    job = api.download(type="range", template=origin.url("/proof/{00..19}.bin"), subdir="proof")
    assert api.finished(job)["error_cnt"] == 0
    whole = api.http.get(f"/v1/download/{job}/ledger").content
    api.put("manifests", "whole.jsonl", whole)
    asked = sum(origin.counts().values())
    second = api.finished(api.download(type="multi", manifest="ais://manifests/whole.jsonl"))
    assert (second["skipped_cnt"], second["error_cnt"]) == (20, 0)
    assert sum(origin.counts().values()) == asked, "the digests that are stored say it all"


def test_ledger_of_many_objects_comes_in_pages(api: Api, origin: Origin) -> None:
    job = api.download(type="range", template=origin.url("/nothing/{00000..11999}.bin"), subdir="pages")
    assert api.finished(job)["error_cnt"] == 12_000
    lines = ledger(api, job, only_failed="1")
    assert lines.keys() == {f"pages/{n:05}.bin" for n in range(12_000)}
    assert {line["state"] for line in lines.values()} == {"failed"}


def test_unknown_jobs_have_neither(api: Api) -> None:
    for what in ("ledger", "story"):
        assert api.http.get(f"/v1/download/dnl-nothing01/{what}").status_code == 404


@pytest.mark.parametrize("path", ["/v1/download/dnl-x/other", "/v1/download/dnl-x"])
def test_other_paths_are_refused(api: Api, path: str) -> None:
    assert 400 <= api.http.get(path).status_code < 500


def test_story_tells_why_connections_changed(api: Api, origin: Origin) -> None:
    for n in range(300):
        origin.put(f"/story/{n:03}.bin", b"z" * 100)
    job = api.download(type="range", template=origin.url("/story/{000..299}.bin"), subdir="story")
    api.finished(job)
    story = api.http.get(f"/v1/download/{job}/story").json()
    decisions = story["decisions"]
    assert {decision["origin"] for decision in decisions} == {origin.url("").rstrip("/")}
    assert all(decision["reason"] for decision in decisions)
    assert [decision["time"] for decision in decisions] == sorted(decision["time"] for decision in decisions)
    assert {decision["target"] for decision in decisions} == {"t1", "t2", "t3"}


def test_a_dead_host_is_told_in_the_story(api: Api, cluster: Cluster) -> None:
    with Origin() as dead:
        url = dead.url("/{00..39}.bin")
    job = api.download(type="range", template=url, subdir="dead")
    api.finished(job)
    reasons = " ".join(decision["reason"] for decision in api.http.get(f"/v1/download/{job}/story").json()["decisions"])
    assert "struggles (refused)" in reasons


def test_grade_is_shown_in_head_and_listing(api: Api, origin: Origin) -> None:
    content = b"graded"
    origin.put("/grade/a.bin", content)
    link = origin.url("/grade/a.bin")
    api.finished(api.download(type="single", object_name="grade/user", link=link, md5=hashlib.md5(content).hexdigest()))
    api.finished(api.download(type="single", object_name="grade/size", link=link))
    head = api.http.head("/v1/objects/b/grade/user")
    assert head.headers["haul-grade"] == "user"
    message = {"action": "list", "value": {"prefix": "grade/", "props": "name,size,grade"}}
    listing = api.call("GET", "/v1/buckets/b", message).json()
    assert {entry["name"]: entry["grade"] for entry in listing["entries"]} == {
        "grade/user": "user",
        "grade/size": "size",
    }
