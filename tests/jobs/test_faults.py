"""Origins that lie about sizes and ranges, end early or never, or lead nowhere: what becomes of the objects."""

from __future__ import annotations

import random
import re

import pytest

from tests.cluster import Api
from tests.faults import Chunked, ContentLength, Cut, Endless, Fault, LyingRange, Redirect, Status
from tests.origin import Origin

MIB = 1 << 20
SMALL = random.Random(1).randbytes(50_000)
LARGE = random.Random(2).randbytes(12 * MIB)


def fetched(api: Api, link: str, **entry: object) -> tuple[int, str]:
    """How many objects came of one link, and the error if there is one."""
    status = api.finished(api.download(type="multi", bucket={"name": "faulty"}, objects={"o": {"link": link, **entry}}))
    errors = status.get("download_errors") or [{"error": ""}]
    return status["finished_cnt"], errors[0]["error"]


def _path(fault: Fault) -> str:
    return "/faulty/" + re.sub(r"\W+", "-", repr(fault))


def stored(api: Api) -> bytes | None:
    response = api.get("faulty", "o")
    return response.content if response.status_code == 200 else None


@pytest.fixture(autouse=True)
def _empty(api: Api) -> None:
    api.create_bucket("faulty") if api.call("HEAD", "/v1/buckets/faulty").status_code == 404 else None
    api.call("DELETE", "/v1/objects/faulty/o")


@pytest.mark.parametrize(
    "fault",
    [Cut(20_000), Cut(0, reset=True), Chunked(cut=True), ContentLength(str(len(SMALL) + 9)), Status(503), Status(408)],
    ids=repr,
)
def test_one_bad_answer_costs_one_request(api: Api, origin: Origin, fault: Fault) -> None:
    path = _path(fault)
    link = origin.put(path, SMALL)
    origin.misbehave(path, fault)
    assert fetched(api, link) == (1, "")
    assert stored(api) == SMALL
    assert origin.count(path) == 2


@pytest.mark.parametrize(
    "fault", [Status(416, {"Content-Range": f"bytes */{len(LARGE)}"}), LyingRange(1), LyingRange(-4096)], ids=repr
)
def test_a_range_that_is_refused_or_another_is_never_stored(api: Api, origin: Origin, fault: Fault) -> None:
    path = _path(fault)
    link = origin.put(path, LARGE)
    origin.misbehave(path, Cut(5 * MIB), fault)
    assert fetched(api, link) == (1, "")
    assert stored(api) == LARGE


def test_an_origin_that_always_lies_about_ranges_is_an_error_in_the_end(api: Api, origin: Origin) -> None:
    link = origin.put("/faulty/liar", LARGE)
    lies: list[Fault] = [Cut(5 * MIB), LyingRange(1)] * 20
    origin.misbehave("/faulty/liar", *lies)
    count, error = fetched(api, link)
    assert (count, stored(api)) == (0, None)
    assert "asked for bytes" in error
    assert origin.count("/faulty/liar") <= 10


@pytest.mark.parametrize("fault", [Endless(), Chunked(), ContentLength(None)], ids=repr)
def test_more_than_the_job_expects_is_not_read(api: Api, origin: Origin, fault: Fault) -> None:
    link = origin.put("/faulty/more", SMALL)
    origin.misbehave("/faulty/more", fault, lasting=True)
    count, error = fetched(api, link, size=10_000)
    origin.behave("/faulty/more")
    assert (count, stored(api)) == (0, None)
    assert "size is more than 10000, which is what the job expects" in error


def test_without_a_length_the_end_is_the_end_and_the_grade_says_so(api: Api, origin: Origin) -> None:
    link = origin.put("/faulty/lengthless", SMALL)
    origin.misbehave("/faulty/lengthless", ContentLength(None))
    assert fetched(api, link) == (1, "")
    assert api.http.head("/v1/objects/faulty/o").headers["Haul-Grade"] == "none"


def test_an_expired_link_says_so_without_its_signature(api: Api, origin: Origin) -> None:
    link = origin.put("/faulty/signed", SMALL)
    origin.misbehave("/faulty/signed", Status(403), lasting=True)
    count, error = fetched(api, f"{link}?X-Amz-Signature=canary&X-Amz-Expires=1")
    origin.behave("/faulty/signed")
    assert (count, origin.count("/faulty/signed")) == (0, 1)
    assert "status 403" in error
    assert "canary" not in error


def test_redirects_that_lead_nowhere_end_at_once(api: Api, origin: Origin) -> None:
    for path, to in (("/faulty/loop", "/faulty/loop"), ("/faulty/scheme", "ftp://127.0.0.1/x")):
        origin.misbehave(path, Redirect(to), lasting=True)
        count, error = fetched(api, origin.url(path))
        assert count == 0
        assert "redirect" in error
    assert origin.count("/faulty/loop") == 11
    assert origin.count("/faulty/scheme") == 1
