"""Errors that the SDK tells by the text of answers, for clusters elsewhere too."""

import pytest
from aistore.sdk import Namespace
from aistore.sdk.errors import AISError, ErrObjNotFound, ErrRemoteBckNotFound


def test_objects_in_a_missing_bucket_of_a_service(client):
    with pytest.raises(ErrRemoteBckNotFound):
        client.bucket("there-is-no-such-bucket", provider="aws").object("a").get_reader().read_all()


def test_missing_objects_of_a_service(remote):
    with pytest.raises(AISError) as raised:
        remote.object("missing").get_reader().read_all()
    assert raised.value.status_code == 404
    assert isinstance(raised.value, (ErrObjNotFound, ErrRemoteBckNotFound))


def test_buckets_of_a_cluster_that_is_not_known(client):
    with pytest.raises(AISError) as raised:
        client.bucket("b", namespace=Namespace(uuid="nocluster")).list_objects()
    assert 400 <= raised.value.status_code < 500
