"""Clusters: the map, readiness, performance, buckets, jobs, logs."""

import os

import pytest
import requests
from aistore.sdk.errors import AISError


def test_info_is_a_map_of_all_nodes(client):
    info = client.cluster().get_info()
    assert len(info.tmap) == 3
    assert len(info.pmap) == 2
    assert info.proxy_si.daemon_id in info.pmap
    assert info.uuid == client.cluster().get_uuid() != ""
    assert {node.daemon_type for node in info.tmap.values()} == {"target"}


def test_the_cluster_is_ready(client):
    assert client.cluster().is_ready() is True
    assert requests.get(f"{client.cluster().get_primary_url()}/v1/health", timeout=10).status_code == 200


def test_health_by_any_node(client):
    info = client.cluster().get_info()
    for node in [*info.pmap.values(), *info.tmap.values()]:
        answer = requests.get(f"{node.public_net.direct_url}/v1/health", timeout=10)
        assert answer.status_code == 200
    assert int(requests.get(f"{os.environ['HAUL_ENDPOINT']}/v1/health", timeout=10).headers["Ais-Node-Uptime"]) > 0


def test_performance_of_each_target(client):
    performance = client.cluster().get_performance()
    assert set(performance) == set(client.cluster().get_info().tmap)
    for status in performance.values():
        assert status["snode"]["daemon_type"] == "target"
        assert status["capacity"]["mountpaths"]
        assert "tracker" in status


def test_buckets_are_listed_by_provider(client, bucket, remote):
    remote.list_objects(page_size=1)  # now the cluster knows it
    local = {each.name for each in client.cluster().list_buckets()}
    assert bucket.name in local
    assert remote.name not in local
    assert remote.name in {each.name for each in client.cluster().list_buckets(provider="aws")}


def test_no_jobs_of_a_kind_that_nobody_started(client):
    assert client.cluster().list_jobs_status(job_kind="rechunk") == []
    assert client.cluster().list_running_jobs(job_kind="rechunk") == []


def test_etls_are_none(client):
    assert client.cluster().list_etls() == []


def test_etls_and_sorting_say_that_they_are_not_offered(client):
    for call in (client.etl("etl-of-mine").view, client.etl("etl-of-mine").stop, client.dsort("srt-1").abort):
        with pytest.raises(AISError) as raised:
            call()
        assert raised.value.status_code == 501
        assert "not offered by this cluster" in raised.value.message


def test_inventories_say_that_they_are_not_offered(bucket):
    for call in (bucket.create_inventory, bucket.show_inventory, bucket.destroy_inventory):
        with pytest.raises(AISError) as raised:
            call()
        assert raised.value.status_code == 501
