"""The recorded exchanges of a running AIStore 5.0, replayed in their order: same statuses, shapes, headers and texts.

Where Haul answers differently on purpose, DIFFERENCES says what and why; nothing else may differ, and nothing that is
listed may be the same.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx

from common.names import Bucket
from tests.proxy.derive_captures import shape
from tests.proxy.harness import Cluster, cluster, eventually

CAPTURES = json.loads(Path(__file__).with_name("captures.json").read_text(encoding="utf-8"))
OUR_NODES = {"p1": "jpnp18100", "t1": "Swht18101", "t2": "bzst18102", "t3": "hyEt18103"}

DIFFERENCES = {
    "a GET without a body lists, and takes an id from the query (design.md §7)": (
        "149-dl-status-via-query-id 168-dl-list-nobody"
    ),
    "a bucket is listed without a `value`, too (AIStore's http_api.md)": (
        "102-list-objects-plain 112-list-objects-missing-bucket"
    ),
    "names that collide are refused before anything is downloaded (issue 2)": (
        "238-dlerr-multi-list-dup 239-dlerr-multi-list-dup-status"
    ),
    "a provider that does not exist is refused, not taken for a name": "219-dlerr-bad-provider",
    "a link without a path names no object; AIStore fails on the port in the host": "222-dlerr-single-link-root",
    "another client's bad template does not abort running jobs (AIStore's bug)": (
        "160-dl-victim-status-after 161-dl-victim-status-final"
    ),
    "what runs at an abort is no error: its tasks are neither finished nor failed": "187-dl-status-aborted",
    "an abort is answered when the job has stopped": "185-dl-status-just-aborted",
    "a removed job is gone in every form of the question": "191-dl-status-removed-onlyactive",
    "a bucket of a cloud that the cluster has no way to does not exist for it, in every request": (
        "068-bucket-create-aws-not-built"
    ),
    "an error has no other headers than its own": "008-health-prr-true-cii-true",
    "nodes do not sign requests, so there is no verifying_key": (
        "013-daemon-proxy-smap 014-daemon-proxy-snode 037-cluster-smap 038-cluster-snode "
        "018-daemon-proxy-node_stats 019-daemon-proxy-node_status 041-cluster-node_stats"
    ),
    "there is no such build, and one network": "021-daemon-proxy-software_version 044-cluster-target_ips",
}
EXPECTED = {name for names in DIFFERENCES.values() for name in names.split()}
WIRE = Path(__file__).parents[2] / "docs" / "wire.md"
NOT_REPLAYED = {119}
"""The S3 API's list of buckets, whose XML is tested in tests/s3."""
OWN_TEXT = re.compile(r"failed to unmarshal|ReadString: expects")
"""Where the recorded text is that of a Go JSON reader, only the status is the contract."""
WORDS = re.compile(r"\A[pt]\[\w+\]: |(?<=: )(?:errTemplateInvalid|NumError): | \(further details.*\Z")


class Replay:
    """Sends the recorded requests, with our job ids in the place of the recorded ones."""

    def __init__(self, running: Cluster) -> None:
        self.running = running
        self.job_ids: dict[str, str] = {}

    async def exchange(self, capture: dict[str, Any]) -> httpx.Response:
        body = capture["body"]
        for recorded, ours in self.job_ids.items():
            body = body and body.replace(recorded, ours)
        request = self.running.http.build_request(
            capture["method"],
            self.running.proxies[0].url + "/",
            content=body.encode() if body else None,
            headers={"content-type": "application/json"} if body else {},
            extensions={"target": capture["path"].encode()},
        )

        async def ask() -> httpx.Response:
            return await self.running.http.send(request)

        if "is_finished" in capture and capture["name"] not in EXPECTED:
            return await eventually(ask, lambda answer: is_finished(answer) == capture["is_finished"])
        answer = await ask()
        if capture["method"] == "POST" and "id" in capture and answer.status_code == 200:
            self.job_ids[capture["id"]] = answer.json()["id"]
        if answer.status_code == 202 and capture.get("text"):  # the body is an id
            self.job_ids[capture["text"].strip()] = answer.text
        return answer

    def recorded_text(self, text: str) -> str:
        """One of our answers as if AIStore had given it: its node and job ids."""
        for recorded, ours in self.job_ids.items():
            text = text.replace(ours, recorded)
        for ours, recorded in OUR_NODES.items():
            text = text.replace(f'"{ours}"', f'"{recorded}"')
        return text


def is_finished(answer: httpx.Response) -> bool:
    return bool(answer.json()["finished_time"][:4] != "1970")


def differences(capture: dict[str, Any], answer: httpx.Response, text: str) -> list[str]:
    """What is not as recorded."""
    if answer.status_code != capture["accept_status"]:
        return [f"status {answer.status_code} instead of {capture['accept_status']}: {text}"]
    found = []
    headers = set(answer.headers) - {"content-length", "date", "connection", "retry-after"}
    if headers != set(capture["headers"]):
        found.append(f"headers {sorted(headers)} instead of {capture['headers']}")
    if "shape" not in capture:
        is_redirect = 300 <= answer.status_code < 400
        return found if is_redirect or text.strip() == capture["text"].strip() else [*found, f"body {text!r}"]
    value = json.loads(text)
    if "message" in capture:
        promised = WORDS.sub("", capture["message"])
        promised = re.sub(r"from 127.0.0.1:\d+", "from 127.0.0.1:", promised)
        if not OWN_TEXT.search(capture["message"]) and not value["message"].startswith(promised):
            found.append(f"message {value['message']!r} instead of {promised!r}")
        if not OWN_TEXT.search(capture["message"]) and value.get("tcode", "") != capture["tcode"]:
            found.append(f"tcode {value.get('tcode')!r} instead of {capture['tcode']!r}")
    elif shape(value) != capture["shape"]:
        found.append(f"shape {shape(value)} instead of {capture['shape']}")
    return found


def instance(shape: Any) -> Any:
    """Some value of a shape."""
    if isinstance(shape, dict):
        return {key: instance(element) for key, element in shape.items()}
    return {"int": 1, "float": 0.5, "str": "1"}[shape]


def describe_recorded_nodes(running: Cluster) -> None:
    """The stand-ins have no disks and no machine: they answer in the recorded shape, and the proxy gathers it."""
    recorded = next(capture for capture in CAPTURES if capture["name"] == "042-cluster-sysinfo")
    for ours, theirs in OUR_NODES.items():
        if ours in running.targets:
            running.targets[ours].described["sysinfo"] = instance(recorded["shape"]["target"][theirs])


def store_recorded_objects(running: Cluster) -> None:
    bucket = Bucket("demo")
    for name, size in (("dir/h2.txt", 11), ("empty", 0), ("hello.txt", 11)):
        for target in running.targets.values():
            if target.owns(bucket, name):
                target.objects.setdefault(bucket.uname, {})[name] = size


async def replay_all(directory: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    async with cluster(directory) as running:
        replay = Replay(running)
        await eventually(
            lambda: running.request("GET", "/v1/cluster?what=running_all"), lambda answer: not answer.json()
        )
        describe_recorded_nodes(running)
        for capture in CAPTURES:
            if capture["name"].startswith("102-"):
                store_recorded_objects(running)
            answer = await replay.exchange(capture)
            text = replay.recorded_text(answer.headers.get("hdr-error", answer.text))
            if problems := differences(capture, answer, text):
                found[capture["name"]] = problems
    return found


def test_the_recorded_exchanges_are_answered_as_aistore_answered_them(tmp_path: Path) -> None:
    found = asyncio.run(replay_all(tmp_path))
    unexpected = {name: problems for name, problems in found.items() if name not in EXPECTED}
    assert unexpected == {}
    assert sorted(EXPECTED - set(found)) == [], "these are listed as different, and are the same"


def test_the_documentation_lists_the_same_differences() -> None:
    numbers: set[int] = set()
    for row in re.findall(r"^\| ([\d, -]+) \|", WIRE.read_text(encoding="utf-8"), re.MULTILINE):
        for span in row.split(", "):
            first, _, last = span.partition("-")
            numbers.update(range(int(first), int(last or first) + 1))
    assert numbers == {int(name[:3]) for name in EXPECTED} | NOT_REPLAYED


def test_every_listed_difference_is_of_a_recorded_exchange() -> None:
    assert {capture["name"] for capture in CAPTURES} >= EXPECTED
