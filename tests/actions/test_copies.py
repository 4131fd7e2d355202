"""Copies of buckets and of objects: everything arrives, whatever happens meanwhile, and its job can be watched."""

from __future__ import annotations

import pytest

from proxy.actions.records import ActionRecord
from proxy.actions.tending import Tending
from tests.actions.acting import act, contents, copy, ended, fill, snaps, started, status, total
from tests.cluster import Api, Cluster
from tests.waiting import wait_for


def test_a_bucket_is_copied_with_its_properties(cluster: Cluster, source: str, destination: str) -> None:
    made = fill(cluster, source, 60)
    cluster.api.put(source, "empty", b"")
    cluster.api.call("PATCH", f"/v1/buckets/{source}", {"action": "set-bprops", "value": {"mirror": {"copies": 3}}})
    job = copy(cluster.api, source, destination)
    assert ended(cluster.api, job) == {"kind": "copy-bck", "uuid": job, "err": "", "aborted": False} | {
        "end_time": status(cluster.api, job)["end_time"]
    }
    assert contents(cluster.api, destination) == made | {"empty": b""} == contents(cluster.api, source)
    assert '"copies":3' in cluster.api.call("HEAD", f"/v1/buckets/{destination}").headers["Ais-Bucket-Props"]
    assert total(cluster.api, job, "loc-objs") == 61
    assert total(cluster.api, job, "loc-bytes") == sum(map(len, made.values()))
    assert 0 < total(cluster.api, job, "out-objs") == total(cluster.api, job, "in-objs") < 61


def test_any_proxy_answers_for_a_copy(cluster: Cluster, source: str, destination: str) -> None:
    fill(cluster, source, 20)
    other = Api(cluster.urls["p2"])
    try:
        job = copy(other, source, destination)
        assert ended(cluster.api, job) == ended(other, job)
        assert snaps(cluster.api, id=job) == snaps(other, id=job)
        assert len(contents(other, destination)) == 20
    finally:
        other.close()


def test_what_is_there_already_stays_or_is_replaced(cluster: Cluster, source: str, destination: str) -> None:
    made = fill(cluster, source, 5)
    cluster.api.create_bucket(destination)
    same, other = sorted(made)[:2]
    cluster.api.put(destination, same, made[same])
    cluster.api.put(destination, other, b"another")
    cluster.api.put(destination, "own", b"own")
    job = copy(cluster.api, source, destination)
    ended(cluster.api, job)
    assert contents(cluster.api, destination) == made | {"own": b"own"}
    assert total(cluster.api, job, "loc-objs") == 4


def test_a_prefix_other_names_and_other_extensions(cluster: Cluster, source: str, destination: str) -> None:
    made = fill(cluster, source, 10)
    job = copy(cluster.api, source, destination, prefix="d1/", prepend="copied/", ext={"jpg": "png"})
    ended(cluster.api, job)
    expected = {f"copied/{name[:-3]}png": data for name, data in made.items() if name.startswith("d1/")}
    assert contents(cluster.api, destination) == expected


def test_a_dry_run_counts_only(cluster: Cluster, source: str, destination: str) -> None:
    made = fill(cluster, source, 10)
    job = copy(cluster.api, source, destination, dry_run=True)
    assert ended(cluster.api, job)["err"] == ""
    assert total(cluster.api, job, "loc-objs") == 10
    assert total(cluster.api, job, "loc-bytes") == sum(map(len, made.values()))
    assert cluster.api.call("HEAD", f"/v1/buckets/{destination}").status_code == 404


def test_large_objects_and_their_metadata(cluster: Cluster, source: str, destination: str) -> None:
    cluster.api.create_bucket(source)
    data = bytes(range(256)) * 20_000
    path = f"/v1/objects/{source}/large"
    assert cluster.api.http.put(path, content=data, headers={"Ais-Custom-Md": "color=blue"}).status_code == 200
    ended(cluster.api, copy(cluster.api, source, destination))
    answer = cluster.api.get(destination, "large")
    assert answer.content == data
    assert answer.headers["Ais-Custom-Md"] == "color=blue"
    assert answer.headers["Ais-Checksum-Value"] == cluster.api.get(source, "large").headers["Ais-Checksum-Value"]


@pytest.mark.parametrize(
    "value", [{"objnames": ["d1/00001.jpg", "d2/00002.jpg"]}, {"template": "d{1..2}/0000{1..2}.jpg"}]
)
def test_some_objects_are_copied(cluster: Cluster, source: str, destination: str, value: dict[str, object]) -> None:
    made = fill(cluster, source, 10)
    message = value | {"tobck": {"name": destination, "provider": "ais"}, "coer": False, "prepend": "x/"}
    job = started(act(cluster.api, source, "copy-listrange", message))
    assert ended(cluster.api, job)["err"] == ""
    assert contents(cluster.api, destination) == {f"x/{name}": made[name] for name in ("d1/00001.jpg", "d2/00002.jpg")}


def test_a_named_object_that_is_missing_ends_a_copy_unless_it_goes_on(
    cluster: Cluster, source: str, destination: str
) -> None:
    made = fill(cluster, source, 3)
    message = {"objnames": [*made, "nothing"], "tobck": {"name": destination}}
    job = started(act(cluster.api, source, "copy-listrange", message))
    error = f"ais://{source}/nothing does not exist"
    assert ended(cluster.api, job)["err"] == error
    snapshots = [found[0] for found in snaps(cluster.api, id=job).values()]
    assert {(one["aborted"], one["abort-err"]) for one in snapshots} == {
        (True, f"ais://{source}/nothing does not exist")
    }
    job = started(act(cluster.api, source, "copy-listrange", message | {"coer": True}))
    assert ended(cluster.api, job)["err"] == f"1 objects of ais://{source} could not be copied"
    assert not any(found[0]["aborted"] for found in snaps(cluster.api, id=job).values())
    assert contents(cluster.api, destination) == made


def test_a_bucket_gets_another_name(cluster: Cluster, source: str, destination: str) -> None:
    made = fill(cluster, source, 40)
    versions = {name: cluster.api.get(source, name).headers["Ais-Version"] for name in made}
    job = started(act(cluster.api, source, "move-bck", to=destination))
    assert ended(cluster.api, job)["err"] == ""
    assert cluster.api.call("HEAD", f"/v1/buckets/{source}").status_code == 404
    assert contents(cluster.api, destination) == made
    assert {name: cluster.api.get(destination, name).headers["Ais-Version"] for name in made} == versions
    assert total(cluster.api, job, "loc-objs") == 40


def test_a_bucket_is_not_moved_over_another(cluster: Cluster, source: str, destination: str) -> None:
    made = fill(cluster, source, 1)
    cluster.api.create_bucket(destination)
    answer = act(cluster.api, source, "move-bck", to=destination)
    assert (answer.status_code, answer.json()["message"]) == (409, f'bucket "ais://{destination}" already exists')
    assert contents(cluster.api, source) == made


def test_an_abort_stops_a_copy_and_is_harmless_again(cluster: Cluster, source: str, destination: str) -> None:
    fill(cluster, source, 300, 20_000)
    job = copy(cluster.api, source, destination, **{"num-workers": -1})
    for _ in range(2):
        stop = {"action": "stop", "value": {"ID": job, "Kind": ""}}
        assert cluster.api.call("PUT", "/v1/cluster", stop).status_code == 200
    shown = ended(cluster.api, job)
    assert (shown["aborted"], shown["err"]) == (True, "aborted by user request")
    assert all(found[0]["aborted"] and found[0]["abort-err"] for found in snaps(cluster.api, id=job).values())
    count = len(cluster.api.list(destination))
    assert count < 300
    assert cluster.api.call("PUT", "/v1/cluster", {"action": "stop", "value": {"id": "cpy-unknown"}}).status_code == 200
    assert len(cluster.api.list(destination)) == count


def test_destroying_the_destination_ends_a_copy_with_an_error(cluster: Cluster, source: str, destination: str) -> None:
    fill(cluster, source, 300, 20_000)
    job = copy(cluster.api, source, destination, **{"num-workers": -1})
    assert cluster.api.call("DELETE", f"/v1/buckets/{destination}", {"action": "destroy-bck"}).status_code == 200
    shown = ended(cluster.api, job)
    assert shown["err"] == f'bucket "ais://{destination}" does not exist'


def test_destroying_the_source_ends_a_copy_with_an_error(cluster: Cluster, source: str, destination: str) -> None:
    fill(cluster, source, 300, 20_000)
    job = copy(cluster.api, source, destination, **{"num-workers": -1})
    assert cluster.api.call("DELETE", f"/v1/buckets/{source}", {"action": "destroy-bck"}).status_code == 200
    assert ended(cluster.api, job)["err"] == f'bucket "ais://{source}" does not exist'


def test_what_a_copy_refuses(cluster: Cluster, source: str, destination: str) -> None:
    fill(cluster, source, 1)
    api = cluster.api
    for answer, code, text in (
        (act(api, source, "copy-bck", {}, to=source), 400, "onto itself"),
        (act(api, source, "copy-bck", {}), 400, "bck_to"),
        (act(api, source, "copy-bck", {"nonesuch": 1}, to=destination), 400, "nonesuch"),
        (act(api, source, "copy-bck", {"prefix": 1}, to=destination), 400, "prefix"),
        (act(api, source, "copy-bck", {"synchronize": True}, to=destination), 400, "synchronize"),
        (act(api, "nonesuch", "copy-bck", {}, to=destination), 404, 'bucket "ais://nonesuch" does not exist'),
        (
            act(api, source, "copy-listrange", {"objnames": ["../x"], "tobck": {"name": "b"}}),
            400,
            "invalid object name",
        ),
        (act(api, source, "copy-listrange", {"objnames": ["x"]}), 400, "tobck"),
        (act(api, source, "move-bck", {"prefix": "x/"}, to=destination), 400, "'value' must be empty"),
        (
            act(api, source, "copy-listrange", {"template": "x", "prefix": "y", "tobck": {"name": "b"}}),
            400,
            "'prefix' is for whole buckets",
        ),
        (act(api, source, "etl-bck", {}, to=destination), 501, "etl-bck"),
        (api.call("POST", f"/v1/buckets/{source}?bck_to=aws/@%23/x/", {"action": "copy-bck"}), 501, "s3://x"),
        (api.call("POST", f"/v1/buckets/{source}?bck_to=zzz", {"action": "copy-bck"}), 400, "bck_to"),
    ):
        assert (answer.status_code, text in answer.json()["message"]) == (code, True), answer.text
    assert api.call("HEAD", f"/v1/buckets/{destination}").status_code == 404


def test_what_is_written_meanwhile_is_moved_too(cluster: Cluster, source: str, destination: str) -> None:
    made = fill(cluster, source, 200, 10_000)
    job = started(act(cluster.api, source, "move-bck", to=destination))
    late: dict[str, bytes] = {}
    for number in range(20):
        answer = cluster.api.http.put(f"/v1/objects/{source}/d9/{number}", content=b"late")
        if answer.status_code == 200:
            late[f"d9/{number}"] = b"late"
    shown = ended(cluster.api, job)
    assert shown["err"] == ""
    assert len(late) >= 1
    found = contents(cluster.api, destination)
    assert {name: found.get(name) for name in made} == made
    wait_for(lambda: cluster.api.call("HEAD", f"/v1/buckets/{source}").status_code == 404, what="the source has gone")


def test_what_would_be_undone_by_a_move_is_refused(
    cluster: Cluster, source: str, destination: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is deleted or given metadata where it has been copied already."""

    async def wait(_: Tending, record: ActionRecord, __: object) -> ActionRecord:
        return record

    made = fill(cluster, source, 20)
    monkeypatch.setattr(Tending, "_move_on", wait)
    job = started(act(cluster.api, source, "move-bck", to=destination))
    wait_for(lambda: contents(cluster.api, destination) == made, what="copies of everything")
    path, named = f"/v1/objects/{source}/{next(iter(made))}", {"objnames": list(made)}
    answers = [
        cluster.api.http.delete(path),
        cluster.api.call("PATCH", path, {"action": "", "value": {"colour": "red"}}),
        cluster.api.call("POST", path, {"action": "rename-obj", "name": "new"}),
        cluster.api.call("DELETE", f"/v1/buckets/{source}", {"action": "delete-listrange", "value": named}),
        cluster.api.http.delete(path.replace("/v1/objects", "/s3")),
        cluster.api.http.post(f"/s3/{source}?delete", content=b""),
    ]
    assert [(answer.status_code, answer.headers.get("retry-after")) for answer in answers] == [(503, "2")] * 6
    monkeypatch.undo()
    assert ended(cluster.api, job)["err"] == ""
    assert contents(cluster.api, destination) == made


def test_a_bucket_that_is_moved_is_not_copied_as_well(cluster: Cluster, source: str, destination: str) -> None:
    made = fill(cluster, source, 200, 10_000)
    job = started(act(cluster.api, source, "move-bck", to=destination))
    answer = act(cluster.api, source, "copy-bck", {}, to=f"{destination}-2")
    assert (answer.status_code, answer.json()["tcode"]) == (409, "ErrLimitedCoexistence"), answer.text
    assert "://" not in answer.json()["message"]
    assert ended(cluster.api, job)["err"] == ""
    assert contents(cluster.api, destination) == made
