"""What an SDK program is given: a client of the cluster, a bucket of its own, an origin, a bucket at a service."""

import os
import uuid

import pytest
from aistore.sdk import Client


@pytest.fixture
def client():
    return Client(os.environ["HAUL_ENDPOINT"])


@pytest.fixture
def new_name():
    """Names of buckets that nobody else has; those that are left are deleted."""
    client = Client(os.environ["HAUL_ENDPOINT"])
    names = []

    def name():
        names.append(f"sdk-{uuid.uuid4().hex[:12]}")
        return names[-1]

    yield name
    for each in names:
        client.bucket(each).delete(missing_ok=True)


@pytest.fixture
def bucket(client, new_name):
    return client.bucket(new_name()).create()


@pytest.fixture
def remote(client):
    """A bucket at an S3 service, which has `r-0` to `r-5`."""
    return client.bucket(os.environ["HAUL_REMOTE_BUCKET"], provider="aws")


@pytest.fixture
def origin():
    """The base URL of a web server with `/data/shard-0000.bin` to `0019`, 20,000 bytes each."""
    return os.environ["HAUL_ORIGIN"]
