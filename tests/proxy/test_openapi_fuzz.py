"""Whatever the API's description allows is sent, by schemathesis and as mutated examples: nothing fails in the server.

The same requests each time, a bounded number for each operation. Links lead to a port of this machine where nobody
listens, so that nothing is ever asked elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.cluster import Cluster
from tests.hub import Hub

BOUNDED = settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
NOWHERE = "http://127.0.0.1:9/"
RESOURCES = ("/v1/download", "/v1/buckets", "/v1/objects", "/")
FORBIDDEN = {500, 502, 503, 504}
"""501 says that something is not offered, 507 that disks are full."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


THERE = {"bucket": "demo", "name": "a.bin"}
PLAUSIBLE = {
    "what": ("smap", "bmd", "node_status", "node_stats", "sysinfo", "cluster_config", "qryxstats", "status", "log"),
    "provider": ("ais", "aws", "gs"),
    "namespace": ("@cluster#space", "#space"),
    "presence": ("0", "2", "5"),
    "props": ("name,size", "checksum,atime", "status"),
    "archpath": ("a/member",),
    "archregx": ("a.*",),
    "archmode": ("regexp", "prefix", "wdskey"),
    "append_type": ("append", "flush"),
    "append_handle": ("",),
    "uploadId": ("none",),
    "partNumber": ("1", "0", "-1"),
    "bck_to": ("ais/@#/other/",),
    "object_to": ("ais/@#/demo/copy",),
    "bsumm_remote": ("true",),
    "uuid": ("none",),
    "new_custom": ("true",),
    "latest-ver": ("true",),
    "keep_bck_md": ("True",),
    "tasks_after": ("1:2",),
}
"""Query parameters that mean something somewhere, and values that do."""
QUERIES = st.lists(st.sampled_from(sorted(PLAUSIBLE)), max_size=3, unique=True).flatmap(
    lambda names: st.fixed_dictionaries(
        {name: st.sampled_from(PLAUSIBLE[name]) | st.text(max_size=8) for name in names}
    )
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Hub() as hub, Cluster(tmp_path_factory.mktemp("cluster"), targets=2, hf_endpoint=hub.url) as running:
        hub.add("datasets", "squad", {"train.parquet": b"rows"})
        yield running


def resource_of(path: str) -> str:
    return next(each for each in RESOURCES if path.startswith(each))


def examples_of(operation: Any) -> list[Any]:
    """The bodies that the description shows."""
    contents = operation.definition.raw.get("requestBody", {}).get("content", {})
    return [example["value"] for content in contents.values() for example in content.get("examples", {}).values()]


def mutated(value: Any) -> st.SearchStrategy[Any]:
    """`value`, or a value that has something else somewhere, or lacks something, or has something more."""
    choices = [st.just(value), JSON]
    if isinstance(value, dict):
        for key, inner in value.items():
            choices.append(mutated(inner).map(lambda new, key=key: {**value, key: new}))
            choices.append(st.just({name: kept for name, kept in value.items() if name != key}))
        choices.append(st.dictionaries(st.text(max_size=8), JSON, max_size=2).map(lambda more: {**value, **more}))
    if isinstance(value, list) and value:
        choices.append(mutated(value[0]).map(lambda new: [new, *value[1:]]))
    return st.one_of(choices)


def tamed(value: Any, *, links: bool = False) -> Any:
    """The same body, but every link in it leads to where nobody is."""
    if isinstance(value, dict):
        leading = {"link", "template", "objects", "manifest"}
        return {key: tamed(inner, links=links or key in leading) for key, inner in value.items()}
    if isinstance(value, list):
        return [tamed(inner, links=links) for inner in value]
    return NOWHERE + value.rpartition("//")[2] if links and isinstance(value, str) else value


def check(cluster: Cluster, case: Any) -> None:
    if case.path.startswith("/v1/download"):
        case.body = tamed(case.body)
    try:
        answer = case.call(base_url=cluster.api.url, timeout=30)
    except requests.exceptions.InvalidHeader:  # cannot be sent
        return
    if "location" in answer.headers:
        sent, target = answer.request, answer.headers["location"][0]
        answer = requests.request(str(sent.method), target, headers=sent.headers, data=sent.body, timeout=30)
    assert answer.status_code not in FORBIDDEN, f"{answer.status_code} {answer.text}\n{case.as_curl_command()}"


def restored(cluster: Cluster) -> None:
    """The bucket and the object that requests name are there, whatever was done to them."""
    cluster.api.call("POST", "/v1/buckets/demo", {"action": "create-bck"})
    cluster.api.put("demo", "a.bin", b"content")


@pytest.mark.parametrize("resource", RESOURCES)
def test_nothing_is_the_servers_fault(cluster: Cluster, resource: str) -> None:
    schema = schemathesis.openapi.from_url(f"{cluster.api.url}/openapi.json")
    operations = [each.ok() for each in schema.get_all_operations()]
    chosen = [each for each in operations if resource_of(each.path) == resource]
    assert chosen
    for operation in chosen:
        send_as_described(cluster, operation)
        send_of_what_is_there(cluster, operation)


def send_as_described(cluster: Cluster, operation: Any) -> None:
    """What schemathesis makes of the description."""

    @BOUNDED
    @given(case=operation.as_strategy())
    def send(case: Any) -> None:
        check(cluster, case)

    send()


def send_of_what_is_there(cluster: Cluster, operation: Any) -> None:
    """Requests of a bucket and an object that exist, with mutated examples as bodies."""
    examples = examples_of(operation)
    bodies = st.one_of([mutated(example) for example in examples] or [JSON])

    @BOUNDED
    @given(case=operation.as_strategy(), query=QUERIES, body=bodies)
    def send(case: Any, query: dict[str, str], body: Any) -> None:
        case.path_parameters.update({name: THERE[name] for name in THERE if name in case.path_parameters})
        case.query = query
        case.headers = {**(case.headers or {}), "Ais-Node-Id": "t1"}
        if examples or case.method in {"PUT", "POST", "PATCH", "DELETE"}:
            case.body, case.media_type = body, "application/json"
        restored(cluster)
        check(cluster, case)

    send()
