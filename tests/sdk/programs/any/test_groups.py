"""Groups of objects: deleted, copied, evicted and prefetched, by names, ranges and templates."""

import pytest
from aistore.sdk.errors import AISError, InvalidBckProvider
from aistore.sdk.multiobj import ObjectRange


@pytest.fixture
def full(bucket):
    """It has `o-00` to `o-19`."""
    for number in range(20):
        bucket.object(f"o-{number:02}").get_writer().put_content(b"%d" % number)
    return bucket


def names(bucket):
    return [entry.name for entry in bucket.list_all_objects()]


def test_delete_by_names(client, full):
    job_id = full.objects(obj_names=["o-03", "o-17"]).delete()
    assert client.job(job_id, job_kind="delete-listrange").wait(timeout=30)
    assert names(full) == [f"o-{number:02}" for number in range(20) if number not in {3, 17}]


def test_delete_by_range(client, full):
    group = full.objects(obj_range=ObjectRange(prefix="o-", min_index=0, max_index=18, pad_width=2, step=2))
    assert client.job(group.delete(), job_kind="delete-listrange").wait(timeout=30)
    assert names(full) == [*(f"o-{number:02}" for number in range(1, 18, 2)), "o-19"]


def test_delete_by_template(client, full):
    job_id = full.objects(obj_template="o-{05..19}").delete()
    assert client.job(job_id, job_kind="delete-listrange").wait(timeout=30)
    assert names(full) == [f"o-{number:02}" for number in range(5)]


def test_delete_by_prefix(client, full):
    job_id = full.objects(obj_template="o-1").delete()
    assert client.job(job_id, job_kind="delete-listrange").wait(timeout=30)
    assert names(full) == [f"o-{number:02}" for number in range(10)]


def test_delete_what_is_not_there(client, full):
    job_id = full.objects(obj_names=["none-1", "o-00"]).delete()
    client.job(job_id, job_kind="delete-listrange").wait(timeout=30)
    assert "o-00" not in names(full)


def test_copy_by_names(client, full, new_name):
    to = client.bucket(new_name()).create()
    job_ids = full.objects(obj_names=["o-01", "o-02"]).copy(to, prepend="new/")
    assert len(job_ids) >= 1
    for job_id in job_ids:
        assert client.job(job_id, job_kind="copy-listrange").wait_for_idle(timeout=30)
    assert names(to) == ["new/o-01", "new/o-02"]
    assert to.object("new/o-02").get_reader().read_all() == b"2"


def test_copy_by_template(client, full, new_name):
    to = client.bucket(new_name())
    for job_id in full.objects(obj_template="o-{00..10..5}").copy(to):
        assert client.job(job_id, job_kind="copy-listrange").wait_for_idle(timeout=30)
    assert names(to) == ["o-00", "o-05", "o-10"]


def test_copy_by_range(client, full, new_name):
    to = client.bucket(new_name()).create()
    group = full.objects(obj_range=ObjectRange(prefix="o-", min_index=8, max_index=11, pad_width=2))
    for job_id in group.copy(to, num_workers=2, continue_on_error=True):
        assert client.job(job_id, job_kind="copy-listrange").wait_for_idle(timeout=30)
    assert names(to) == ["o-08", "o-09", "o-10", "o-11"]


def test_a_copy_of_what_is_missing(client, full, new_name):
    to = client.bucket(new_name()).create()
    (job_id,) = full.objects(obj_names=["o-01", "missing"]).copy(to)
    result = client.job(job_id).wait(timeout=30)
    assert not result.success
    assert "missing does not exist" in result.error
    (job_id,) = full.objects(obj_names=["o-01", "missing"]).copy(to, continue_on_error=True)
    assert client.job(job_id).wait(timeout=30).success
    assert names(to) == ["o-01"]


def test_dry_copy(client, full, new_name):
    to = client.bucket(new_name()).create()
    for job_id in full.objects(obj_names=["o-01"]).copy(to, dry_run=True):
        assert client.job(job_id, job_kind="copy-listrange").wait_for_idle(timeout=30)
    assert names(to) == []


def test_objects_of_a_group(full):
    group = full.objects(obj_template="o-{00..04}")
    assert group.list_names() == [f"o-{number:02}" for number in range(5)]
    assert [obj.get_reader().read_all() for obj in group.list_all_objects_iter()] == [b"0", b"1", b"2", b"3", b"4"]
    assert [obj.props_cached.size for obj in group.list_all_objects_iter(prefix="o-03")] == [1]


def test_archives_are_not_made(full):
    with pytest.raises(AISError) as raised:
        full.objects(obj_template="o-{00..09}").archive("all.tar")
    assert raised.value.status_code == 501


def test_evict_and_prefetch_are_for_buckets_elsewhere(full):
    with pytest.raises(InvalidBckProvider):
        full.objects(obj_names=["o-01"]).evict()
    with pytest.raises(InvalidBckProvider):
        full.objects(obj_names=["o-01"]).prefetch()


def cached(bucket):
    return [entry.name for entry in bucket.list_all_objects(props="name,cached") if entry.is_cached()]


def test_prefetch_and_evict(client, remote):
    remote.evict(keep_md=True)
    assert cached(remote) == []
    job_id = remote.objects(obj_template="r-{0..3}").prefetch()
    assert client.job(job_id, job_kind="prefetch-listrange").wait(timeout=30)
    assert cached(remote) == ["r-0", "r-1", "r-2", "r-3"]
    job_id = remote.objects(obj_names=["r-1", "r-2"]).evict()
    assert client.job(job_id, job_kind="evict-listrange").wait(timeout=30)
    assert cached(remote) == ["r-0", "r-3"]
    assert len(remote.list_all_objects()) == 6
    remote.evict()
    assert cached(remote) == []


def test_templates_that_cannot_be(full):
    with pytest.raises(AISError) as raised:
        full.objects(obj_template="o-{9..1}").delete()
    assert raised.value.status_code == 400
    assert len(names(full)) == 20
