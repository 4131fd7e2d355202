"""Jobs whose objects are listed in a manifest: on the web, or as an object of the cluster."""

import hashlib
import json

import pytest

from tests.cluster import Api
from tests.origin import Origin


def objects(origin: Origin, place: str, count: int) -> dict[str, bytes]:
    made = {f"{place}-{n:03}": f"{place} {n}".encode() * 10 for n in range(count)}
    for name, data in made.items():
        origin.put(f"/{place}/{name}", data)
    return made


def check(api: Api, bucket: str, made: dict[str, bytes], job: str) -> None:
    status = api.finished(job)
    assert (status["finished_cnt"], status["error_cnt"], status["total"]) == (len(made), 0, len(made))
    assert {entry["name"] for entry in api.list(bucket)} == set(made)
    name, data = next(iter(made.items()))
    assert api.get(bucket, name).content == data


def test_sums_on_the_web_stand_beside_their_files(api: Api, origin: Origin) -> None:
    made = objects(origin, "sums", 50)
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in made.items()]
    manifest = origin.put("/sums/SHA256SUMS", "".join(lines).encode())
    check(api, "sums", made, api.download(type="multi", bucket={"name": "sums"}, manifest=manifest))
    assert origin.count("/sums/SHA256SUMS") == 1
    assert all(job["description"].find("SHA256SUMS") < 0 for job in api.call("GET", "/v1/download").json())
    assert api.list("haul-manifests") == []


def test_lines_of_json_as_an_object_of_the_cluster(api: Api, origin: Origin) -> None:
    made = objects(origin, "lines", 300)
    lines = [
        json.dumps({"link": origin.url(f"/lines/{name}"), "name": name, "size": len(data), "grade": "size"})
        for name, data in made.items()
    ]
    api.create_bucket("lists")
    api.put("lists", "all of them.jsonl", "\n".join(lines).encode())
    job = api.download(type="multi", bucket={"name": "lines"}, manifest="ais://lists/all of them.jsonl")
    check(api, "lines", made, job)


def test_a_wrong_digest_in_a_manifest_is_that_objects_error(api: Api, origin: Origin) -> None:
    made = objects(origin, "wrong", 3)
    rows = [f"{origin.url(f'/wrong/{name}')},{hashlib.md5(data).hexdigest()}" for name, data in made.items()]
    rows[1] = rows[1][:-32] + "0" * 32
    manifest = origin.put("/wrong/list", ("link,md5\n" + "\n".join(rows)).encode())
    job = api.download(type="multi", bucket={"name": "wrong"}, manifest=manifest, format="csv")
    status = api.finished(job)
    assert (status["finished_cnt"], status["error_cnt"]) == (2, 1)
    assert "0" * 32 in status["download_errors"][0]["error"]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"manifest": "ais://nowhere/x.csv"}, "cannot be read"),
        ({"manifest": "http://host/x"}, "'format' is missing"),
        ({"manifest": "http://host/x.csv", "format": "xml"}, "'format' must be one of"),
        ({"manifest": "http://host/x.csv", "objects": ["http://host/y"]}, "in place of 'objects'"),
        ({"manifest": 5}, "manifest"),
    ],
)
def test_what_cannot_be_read_is_refused(api: Api, fields: dict[str, object], complaint: str) -> None:
    response = api.call("POST", "/v1/download", {"type": "multi", "bucket": {"name": "b"}, **fields})
    assert response.status_code == 400, response.text
    assert complaint in response.json()["message"]


@pytest.mark.parametrize(
    ("path", "content", "complaint"),
    [("/missing.tsv", None, "does not exist"), ("/bad.jsonl", b'{"link": "http://h/x"}\n{', "line 2")],
)
def test_a_bad_manifest_starts_nothing(
    api: Api, origin: Origin, path: str, content: bytes | None, complaint: str
) -> None:
    link = origin.url(path) if content is None else origin.put(path, content)
    before = len(api.call("GET", "/v1/download").json())
    response = api.call("POST", "/v1/download", {"type": "multi", "bucket": {"name": "never"}, "manifest": link})
    assert response.status_code == 400, response.text
    assert complaint in response.json()["message"]
    assert len(api.call("GET", "/v1/download").json()) == before
    assert "never" not in [bucket["name"] for bucket in api.call("GET", "/v1/buckets", {"action": "list"}).json()]


def test_two_links_for_one_name_are_named(api: Api, origin: Origin) -> None:
    manifest = origin.put("/clash.csv", b"link\nhttp://one/x\nhttp://two/x\n")
    response = api.call("POST", "/v1/download", {"type": "multi", "bucket": {"name": "b"}, "manifest": manifest})
    assert response.status_code == 400
    assert "http://one/x" in response.json()["message"]
    assert "http://two/x" in response.json()["message"]
