"""AIStore's documentation of its HTTP API with curl, for what Haul has."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.cluster import Cluster
from tests.curl.conftest import Curl
from tests.waiting import wait_for

JSON = "-H 'Content-Type: application/json'"
CONTENT = bytes(range(256)) * 16


@pytest.fixture(autouse=True)
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def names(cluster: Cluster, bucket: str) -> list[str]:
    return [entry["name"] for entry in cluster.api.list(bucket)]


def test_health(curl: Curl) -> None:
    answer = curl("curl -i http://G//v1/health")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["ais-cluster-uptime"]) > 0
    assert int(answer.headers["ais-node-uptime"]) > 0
    assert curl("curl -i http://G//v1/health?prr=true").status == 200


def test_create_and_destroy_buckets(curl: Curl) -> None:
    create = f"""curl -i -X POST {JSON} -d '{{"action": "create-bck"}}' 'http://G/v1/buckets/curled'"""
    assert (curl(create).status, curl(create).status) == (200, 409)
    destroy = f"""curl -i -X DELETE {JSON} -d '{{"action": "destroy-bck"}}' 'http://G/v1/buckets/curled'"""
    assert (curl(destroy).status, curl(destroy).status) == (200, 404)


@pytest.mark.parametrize("query", ["", "?presence=2", "?provider=ais"])
@pytest.mark.parametrize("path", ["buckets", "buckets/"])
def test_list_buckets(curl: Curl, bucket: str, path: str, query: str) -> None:
    answer = curl(f"""curl -s -L -X GET {JSON} -d '{{"action": "list"}}' 'http://G/v1/{path}{query}'""")
    assert {"name": bucket, "provider": "ais", "namespace": {"uuid": "", "name": ""}} in answer.json()


def test_bucket_properties(curl: Curl, bucket: str) -> None:
    answer = curl(f"curl -s -L --head 'http://G/v1/buckets/{bucket}'")
    assert json.loads(answer.headers["ais-bucket-props"])["provider"] == "ais"


def test_set_and_reset_bucket_properties(curl: Curl, bucket: str) -> None:
    value = '{"checksum": {"type": "sha256"}, "force": false}'
    answer = curl(
        f"""curl -i -X PATCH {JSON} -d '{{"action":"set-bprops", "value": {value}}}' 'http://G/v1/buckets/{bucket}'"""
    )
    assert answer.status < 500
    answer = curl(f"""curl -i -X PATCH {JSON} -d '{{"action":"reset-bprops"}}' 'http://G/v1/buckets/{bucket}'""")
    assert answer.status < 500


def test_put_get_and_ranges(curl: Curl, bucket: str, tmp_path: Path) -> None:
    assert curl(f"curl -s -L -X PUT 'http://G/v1/objects/{bucket}/dir/object' -T file").status == 200
    assert curl(f"curl -s -L -X GET 'http://G/v1/objects/{bucket}/dir/object?provider=ais' -o got").status == 200
    assert (tmp_path / "got").read_bytes() == CONTENT
    answer = curl(f"curl -s -L -X GET -H 'Range: bytes=1024-1535' 'http://G/v1/objects/{bucket}/dir/object'")
    assert (answer.status, answer.body) == (206, CONTENT[1024:1536])
    answer = curl(f"curl -s -L -X GET -H 'Range: bytes=9999-' 'http://G/v1/objects/{bucket}/dir/object'")
    assert answer.status == 416


def test_put_with_expect(curl: Curl, bucket: str) -> None:
    assert curl(f"curl -L -H 'Expect: 100-continue' -T file 'http://G/v1/objects/{bucket}/object'").status == 200
    assert curl(f"curl -L 'http://G/v1/objects/{bucket}/object'").body == CONTENT


def test_head_of_objects(curl: Curl, bucket: str) -> None:
    curl(f"curl -s -L -X PUT 'http://G/v1/objects/{bucket}/object' -T file")
    answer = curl(f"curl -s -L --head 'http://G/v1/objects/{bucket}/object'")
    assert (answer.status, answer.headers["content-length"], answer.headers["ais-present"]) == (200, "4096", "true")
    assert curl(f"curl -s -L --head 'http://G/v1/objects/{bucket}/object?presence=2'").status == 200
    missing = curl(f"curl -s -L --head 'http://G/v1/objects/{bucket}/missing'")
    assert (missing.status, json.loads(missing.headers["hdr-error"])["status"]) == (404, 404)


def test_delete_objects(curl: Curl, bucket: str) -> None:
    curl(f"curl -s -L -X PUT 'http://G/v1/objects/{bucket}/object' -T file")
    assert curl(f"curl -i -X DELETE -L 'http://G/v1/objects/{bucket}/object'").status == 200
    assert curl(f"curl -i -X DELETE -L 'http://G/v1/objects/{bucket}/object'").status == 404


def test_list_objects(curl: Curl, cluster: Cluster, bucket: str) -> None:
    for name in ("a", "b"):
        cluster.api.put(bucket, name, b"12")
    answer = curl(
        f"""curl -X GET -L {JSON} -d '{{"action": "list", "value":{{"props": "size"}}}}' 'http://G/v1/buckets/{bucket}'"""
    )
    assert [(entry["name"], entry["size"]) for entry in answer.json()["entries"]] == [("a", "2"), ("b", "2")]
    value = '{"flags": "1", "prefix": "b"}'
    answer = curl(
        f"""curl -X GET -L {JSON} -d '{{"action": "list", "value": {value}}}' 'http://G/v1/buckets/{bucket}?provider=ais'"""
    )
    assert [entry["name"] for entry in answer.json()["entries"]] == ["b"]


def test_append(curl: Curl, bucket: str) -> None:
    url, handle = f"http://G/v1/objects/{bucket}/log", ""
    for _ in range(2):
        answer = curl(f"curl -s -L -X PUT '{url}?append_type=append&append_handle={quote(handle)}' -T file")
        assert answer.status == 200, answer.text
        handle = answer.headers["ais-append-handle"]
    assert curl(f"curl -s -L '{url}'").status == 404
    assert curl(f"curl -s -L -X PUT '{url}?append_type=flush&append_handle={quote(handle)}'").status == 200
    assert curl(f"curl -s -L '{url}'").body == CONTENT * 2


@pytest.mark.parametrize(
    "value", ['{"objnames":["o-1","o-2"]}', '{"template":"o-{1..2}"}'], ids=["by names", "by a template"]
)
def test_delete_many(curl: Curl, cluster: Cluster, bucket: str, value: str) -> None:
    for number in range(4):
        cluster.api.put(bucket, f"o-{number}", b"x")
    answer = curl(
        f"""curl -i -g -X DELETE {JSON} -d '{{"action":"delete-listrange", "value":{value}}}' 'http://G/v1/buckets/{bucket}'"""
    )
    assert answer.status == 200
    assert answer.text
    wait_for(lambda: names(cluster, bucket) == ["o-0", "o-3"], what="the deletion")


def test_copy_and_rename_buckets(curl: Curl, cluster: Cluster, bucket: str) -> None:
    cluster.api.put(bucket, "o", b"x")
    to = f"{bucket}-copy"
    copy = f"""curl -i -X POST {JSON} -d '{{"action": "copy-bck"}}' 'http://G/v1/buckets/{bucket}?bck_to=ais/@%%23/{to}/'"""
    answer = curl(copy.replace("%%", "%"))
    assert answer.status == 200, answer.text
    wait_for(lambda: "o" in names(cluster, to), what="the copy")
    rename = f"""curl -i -X POST {JSON} -d '{{"action": "move-bck"}}' 'http://G/v1/buckets/{to}?bck_to=ais/@%23/{to}-again/'"""
    wait_for(lambda: curl(rename).status == 200, what="the new name")
    wait_for(lambda: names(cluster, f"{to}-again") == ["o"], what="the object in the renamed bucket")
    assert curl(f"curl -s 'http://G/ais/{to}-again'").status == 200


def test_members_of_archives(curl: Curl, cluster: Cluster, bucket: str) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        info = tarfile.TarInfo("567.jpg")
        info.size = len(CONTENT)
        archive.addfile(info, io.BytesIO(CONTENT))
    cluster.api.put(bucket, "train-1234.tar", made.getvalue())
    cluster.api.put(bucket, "train-1234.tgz", gzip.compress(made.getvalue()))
    for name in ("train-1234.tar", "train-1234.tgz"):
        answer = curl(f"curl -s -L -X GET 'http://G/v1/objects/{bucket}/{name}?provider=ais&archpath=567.jpg'")
        assert (answer.status, answer.body) == (200, CONTENT)


def test_custom_properties_of_objects(curl: Curl, bucket: str) -> None:
    curl(f"curl -s -L -X PUT 'http://G/v1/objects/{bucket}/object' -T file")
    url = f"http://G/v1/objects/{bucket}/object"
    answer = curl(f"""curl -s -L -X PATCH {JSON} -d '{{"action": "", "value": {{"colour": "blue"}}}}' '{url}'""")
    assert answer.status == 200, answer.text
    assert "Ais-Custom-Md: colour=blue" in curl(f"curl -s -L --head '{url}'").head.title().replace(
        "Colour=Blue", "colour=blue"
    )


@pytest.mark.parametrize("what", ["smap", "snode", "config", "sysinfo", "node_stats", "node_status"])
def test_what_a_node_tells(curl: Curl, what: str) -> None:
    for node in ("G", "T"):
        answer = curl(f"curl -X GET http://{node}/v1/daemon?what={what}")
        assert answer.status == 200, answer.text
        assert isinstance(answer.json(), dict)


@pytest.mark.parametrize("what", ["smap", "bmd", "cluster_config", "remote", "sysinfo", "node_stats", "mountpaths"])
def test_what_the_cluster_tells(curl: Curl, what: str) -> None:
    answer = curl(f"curl -s -L http://G//v1/cluster?what={what}")
    assert answer.status == 200, answer.text
    assert isinstance(answer.json(), dict)


def test_targets_do_not_know_all_buckets(curl: Curl) -> None:
    assert isinstance(curl("curl -X GET http://G/v1/daemon?what=bmd").json(), dict)
    answer = curl("curl -X GET http://T/v1/daemon?what=bmd")
    assert answer.status == 501
    assert "ask one of them" in answer.json()["message"]


def test_disks_and_addresses(curl: Curl) -> None:
    assert curl("curl -X GET http://T/v1/daemon?what=mountpaths").json()["available"]
    assert "127.0.0.1" in curl("curl -X GET http://G/v1/cluster?what=target_ips").text


def test_log(curl: Curl) -> None:
    answer = curl("curl -s -L -i http://T//v1/daemon?what=log")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
