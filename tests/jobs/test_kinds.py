"""Every kind of job, end to end: what is asked for is what is stored."""

from typing import Any

import pytest

from tests.cluster import Api
from tests.faults import Status
from tests.origin import Origin


def names(api: Api, bucket: str) -> list[str]:
    return [entry["name"] for entry in api.list(bucket)]


def ends(status: dict[str, Any]) -> tuple[int, int, int, int]:
    return status["scheduled_cnt"], status["finished_cnt"], status["error_cnt"], status["total"]


def test_single_with_a_name(api: Api, origin: Origin) -> None:
    link = origin.put("/one.bin", b"x" * 1000)
    status = api.finished(api.download(type="single", bucket={"name": "single"}, object_name="a/b.bin", link=link))
    assert ends(status) == (1, 1, 0, 1)
    (task,) = status["finished_tasks"]
    assert (task["name"], task["downloaded"], task["total"]) == ("a/b.bin", "1000", "1000")
    assert status["description"] == f"{link} -> ais://single/a/b.bin"
    assert api.get("single", "a/b.bin").content == b"x" * 1000


def test_single_takes_its_name_from_the_path_of_the_link(api: Api, origin: Origin) -> None:
    origin.put("/dir/two%20words.bin", b"22")
    job = api.download(type="single", bucket={"name": "named"}, link=origin.url("/dir/two%20words.bin?token=planted"))
    status = api.finished(job)
    assert ends(status) == (1, 1, 0, 1)
    assert names(api, "named") == ["two words.bin"]
    assert "planted" not in str(status)


def test_single_without_a_scheme(api: Api, origin: Origin) -> None:
    link = origin.put("/plain.bin", b"3").removeprefix("http://")
    assert ends(api.finished(api.download(type="single", link=link, object_name="noscheme"))) == (1, 1, 0, 1)


def test_empty_object(api: Api, origin: Origin) -> None:
    link = origin.put("/empty", b"")
    assert ends(api.finished(api.download(type="single", link=link))) == (1, 1, 0, 1)
    response = api.get("b", "empty")
    assert (response.status_code, response.content) == (200, b"")


def test_multi_as_map_and_as_list(api: Api, origin: Origin) -> None:
    links = [origin.put(f"/multi/{n}.bin", str(n).encode()) for n in range(4)]
    objects = {f"map/{n}": link for n, link in enumerate(links)}
    assert ends(api.finished(api.download(type="multi", bucket={"name": "multi"}, objects=objects))) == (4, 4, 0, 4)
    assert ends(api.finished(api.download(type="multi", bucket={"name": "multi"}, objects=links))) == (4, 4, 0, 4)
    assert names(api, "multi") == [f"{n}.bin" for n in range(4)] + [f"map/{n}" for n in range(4)]
    assert api.get("multi", "map/2").content == b"2"


def test_range_with_padding_steps_several_ranges_and_subdir(api: Api, origin: Origin) -> None:
    origin.serve_pattern("/pattern/", lambda path: path.encode())
    template = origin.url("/pattern/o-{000..020..10}-{7..9}.bin")
    job = api.download(type="range", bucket={"name": "range"}, template=template, subdir="sub/dir/")
    assert ends(api.finished(job)) == (9, 9, 0, 9)
    expected = [f"sub/dir/o-{a:03}-{b}.bin" for a in (0, 10, 20) for b in (7, 8, 9)]
    assert names(api, "range") == expected
    for name in expected:
        assert api.get("range", name).content == f"/pattern/{name.rpartition('/')[2]}".encode()


def test_range_of_thousands_is_listed_once_each_with_size_and_checksum(api: Api, origin: Origin) -> None:
    origin.serve_pattern("/many/", lambda path: path.encode() * 10)
    job = api.download(type="range", bucket={"name": "many"}, template=origin.url("/many/{00000..04999}"))
    assert ends(api.finished(job)) == (5000, 5000, 0, 5000)
    entries = api.list("many", props="name,size,checksum", pagesize=700)
    assert [entry["name"] for entry in entries] == [f"{n:05}" for n in range(5000)]
    assert {entry["size"] for entry in entries} == {"110"}
    assert len({entry["checksum"] for entry in entries}) == 5000
    for name in ("00000", "02500", "04999"):
        assert api.get("many", name).content == f"/many/{name}".encode() * 10


def test_failures_are_counted_and_explained(api: Api, origin: Origin) -> None:
    good = origin.put("/good", b"good")
    for status in (403, 500):
        origin.misbehave(f"/e{status}", Status(status), lasting=True)
    objects = {
        "ok": good,
        "missing": origin.url("/missing?secret=planted"),
        "denied": origin.url("/e403"),
        "broken": origin.url("/e500"),
    }
    status = api.finished(api.download(type="multi", bucket={"name": "failures"}, objects=objects))
    assert ends(status) == (4, 1, 3, 4)
    errors = {error["name"]: error["error"] for error in status["download_errors"]}
    assert errors == {
        "missing": f"{origin.url('/missing')} does not exist",
        "denied": f'failed to download "{origin.url("/e403")}": status 403',
        "broken": f'failed to download "{origin.url("/e500")}": status 500',
    }
    assert {task["name"] for task in status["finished_tasks"]} == {"ok", "missing", "denied", "broken"}
    assert names(api, "failures") == ["ok"]
    assert origin.count("/e403") == 1
    assert origin.count("/e500") == 3


def test_a_passing_failure_is_retried(api: Api, origin: Origin) -> None:
    link = origin.put("/flaky", b"flaky")
    origin.misbehave("/flaky", Status(503), Status(500))
    assert ends(api.finished(api.download(type="single", link=link))) == (1, 1, 0, 1)
    assert origin.count("/flaky") == 3


def test_unchanged_objects_are_skipped_and_changed_ones_replaced(api: Api, origin: Origin) -> None:
    link = origin.put("/again", b"first")
    for _ in range(2):
        status = api.finished(api.download(type="single", bucket={"name": "again"}, link=link))
    assert (status["finished_cnt"], status["skipped_cnt"]) == (1, 1)
    origin.put("/again", b"second")
    status = api.finished(api.download(type="single", bucket={"name": "again"}, link=link))
    assert (status["finished_cnt"], status["skipped_cnt"]) == (1, 0)
    response = api.get("again", "again")
    assert (response.content, response.headers["ais-version"]) == (b"second", "2")


def test_timeout_of_the_job_ends_a_stalled_object(api: Api, origin: Origin) -> None:
    link = origin.put("/held", b"held")
    gate = origin.gate("/held")
    status = api.finished(api.download(type="single", link=link, timeout="50ms"))
    gate.release()
    assert ends(status) == (1, 0, 1, 1)
    assert "timeout" in status["download_errors"][0]["error"]


def test_headers_of_the_job_reach_the_origin_and_nobody_else(api: Api, origin: Origin) -> None:
    link = origin.put("/private", b"p")
    job = api.download(type="single", link=link, headers={"Authorization": ["Bearer planted"]})
    status = api.finished(job)
    assert [r.headers["authorization"] for r in origin.requests if r.path == "/private"] == ["Bearer planted"]
    assert "planted" not in str(status) + api.call("GET", "/v1/download").text


@pytest.mark.parametrize("objects", [{}, []])
def test_an_empty_multi_ends_at_once(api: Api, objects: object) -> None:
    status = api.finished(api.download(type="multi", objects=objects))
    assert ends(status) == (0, 0, 0, 0)


def test_different_links_for_one_name_are_refused_before_anything_is_fetched(api: Api, origin: Origin) -> None:
    first, second = origin.put("/x/same", b"1"), origin.put("/y/same", b"2")
    response = api.call(
        "POST", "/v1/download", {"type": "multi", "bucket": {"name": "clash"}, "objects": [first, second]}
    )
    assert response.status_code == 400
    message = response.json()["message"]
    assert first in message
    assert second in message
    template = origin.url("/x/d{1..2}/same")
    response = api.call("POST", "/v1/download", {"type": "range", "bucket": {"name": "clash"}, "template": template})
    assert response.status_code == 400
    assert origin.url("/x/d1/same") in response.json()["message"]
    assert origin.count("/x/same") == origin.count("/x/d1/same") == 0
