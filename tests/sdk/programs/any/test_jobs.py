"""Jobs: found, waited for, described, stopped."""

from datetime import UTC, datetime, timedelta

import pytest
import requests
from aistore.sdk.errors import AISError


def start(client, bucket, template):
    """A download over REST; the SDK has no call for it."""
    url = f"{client.cluster().get_primary_url()}/v1/download"
    job = {"type": "range", "bucket": {"name": bucket.name}, "template": template}
    answer = requests.post(url, json=job, timeout=10)
    answer.raise_for_status()
    return answer.json()["id"]


def status_of(client, job_id):
    url = f"{client.cluster().get_primary_url()}/v1/download"
    return requests.get(url, json={"id": job_id}, timeout=10).json()


@pytest.fixture
def copied(client, bucket, new_name):
    """The id of a job that has copied a bucket."""
    bucket.object("a").get_writer().put_content(b"12345")
    job_id = bucket.copy(client.bucket(new_name()).create())
    assert client.job(job_id, job_kind="copy-bck").wait(timeout=30)
    return job_id


def test_status(client, copied):
    status = client.job(copied, job_kind="copy-bck").status()
    assert (status.uuid, status.err, status.aborted) == (copied, "", False)
    assert status.end_time > 0


def test_details(client, copied):
    snapshots = client.job(copied).get_details().list_snapshots()
    assert {each.id for each in snapshots} == {copied}
    assert {each.kind for each in snapshots} == {"copy-bck"}
    assert sum(int(each.stats.objects) for each in snapshots) == 1
    assert sum(int(each.stats.bytes) for each in snapshots) == 5


def test_total_time(client, copied):
    assert client.job(copied).get_total_time() >= timedelta(0)


def test_within_a_time_frame(client, copied):
    day = timedelta(days=1)
    now = datetime.now(UTC)
    found = client.job(copied, job_kind="copy-bck").get_within_timeframe(now - day, now + day)
    assert copied in {each.id for each in found}


def test_listed(client, copied):
    assert copied in {status.uuid for status in client.cluster().list_jobs_status(job_kind="copy-bck")}
    running = client.cluster().list_running_jobs()
    assert not [job for job in running if copied in job]


def test_unknown_jobs(client):
    with pytest.raises(AISError) as raised:
        client.job("no-such-job", job_kind="copy-bck").status()
    assert raised.value.status_code == 404


def test_downloads_by_their_xaction(client, bucket, origin):
    job_id = start(client, bucket, f"{origin}/data/shard-{{0000..0003}}.bin")
    xaction_id = status_of(client, job_id)["xaction_id"]
    assert client.job(xaction_id, job_kind="download").wait_for_idle(timeout=30)
    assert len(bucket.list_all_objects()) == 4


def test_downloads_by_their_id(client, bucket, origin):
    job_id = start(client, bucket, f"{origin}/data/shard-{{0000..0003}}.bin")
    assert client.job(job_id).wait(timeout=30)
    assert client.job(job_id).status().end_time > 0
    assert len(bucket.list_all_objects()) == 4
    assert status_of(client, job_id)["finished_cnt"] == 4


def test_start_a_job_that_has_its_own_api(client):
    with pytest.raises(AISError) as raised:
        client.job(job_kind="download").start()
    assert raised.value.status_code < 500
