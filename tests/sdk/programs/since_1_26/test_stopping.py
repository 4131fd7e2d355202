"""Jobs stopped by the SDK."""

import pytest
from aistore.sdk.errors import AISError, JobInfoNotFound


def test_stop_what_has_ended(client, bucket, new_name):
    bucket.object("a").get_writer().put_content(b"1")
    job_id = bucket.copy(client.bucket(new_name()).create())
    job = client.job(job_id)
    assert job.wait(timeout=30)
    job.abort()
    assert job.status().end_time > 0


def test_stop_what_is_unknown(client):
    client.job("no-such-job").abort()


def test_a_kind_is_found_by_the_id(client, bucket, new_name):
    bucket.object("a").get_writer().put_content(b"1")
    job = client.job(bucket.copy(client.bucket(new_name()).create()))
    assert job.wait(timeout=30)
    assert job.job_kind == "copy-bck"


def test_waiting_for_what_is_unknown(client):
    with pytest.raises((AISError, JobInfoNotFound)):
        client.job("no-such-job").wait(timeout=2)
