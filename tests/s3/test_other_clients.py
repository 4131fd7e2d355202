"""Clients that share no code with boto3: Arrow's file system (AWS's SDK for C++) and obstore (Rust's object_store)."""

from __future__ import annotations

import os

import obstore
import pyarrow
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
import pytest
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.store import S3Store

from tests.s3.service import ACCESS_KEY, SECRET_KEY, Service

MIB = 1 << 20
ODD_KEYS = ["a b", "plus+and%20percent", "ünï/cødé", "x" * 900, "amp&quote'\"<>"]


@pytest.fixture
def arrow(service: Service) -> pyarrow.fs.S3FileSystem:
    return pyarrow.fs.S3FileSystem(
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        endpoint_override=service.endpoint.partition("//")[2],
        scheme="http",
        region="us-east-1",
        allow_bucket_creation=True,
        allow_bucket_deletion=True,
    )


@pytest.fixture
def store(service: Service, bucket: str) -> S3Store:
    return S3Store(
        bucket,
        endpoint=service.endpoint,
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        region="us-east-1",
        client_options={"allow_http": True},
    )


def test_arrow_writes_and_reads_partitioned_datasets(arrow: pyarrow.fs.S3FileSystem, bucket: str) -> None:
    """It makes objects for folders, and makes them anew when it deletes what is in them."""
    rows = pyarrow.table({"city": ["Oslo", "Rome", "Oslo"], "degrees": [-3, 11, 4]})
    pyarrow.parquet.write_to_dataset(rows, f"{bucket}/weather/daily", partition_cols=["city"], filesystem=arrow)
    read = pyarrow.dataset.dataset(f"{bucket}/weather/daily", filesystem=arrow, partitioning="hive").to_table()
    assert sorted(read["degrees"].to_pylist()) == [-3, 4, 11]
    assert sorted(set(read["city"].to_pylist())) == ["Oslo", "Rome"]
    found = arrow.get_file_info(pyarrow.fs.FileSelector(f"{bucket}/weather", recursive=True))
    folders = sorted(info.path for info in found if info.type == pyarrow.fs.FileType.Directory)
    assert folders == [f"{bucket}/weather/daily{city}" for city in ("", "/city=Oslo", "/city=Rome")]
    files = [info.path for info in found if info.is_file]
    assert len(files) == 2
    arrow.move(files[0], f"{bucket}/moved/here.parquet")
    arrow.copy_file(f"{bucket}/moved/here.parquet", f"{bucket}/copied.parquet")
    assert pyarrow.parquet.read_table(f"{bucket}/copied.parquet", filesystem=arrow).num_rows in (1, 2)
    arrow.delete_file(f"{bucket}/moved/here.parquet")
    arrow.delete_dir(f"{bucket}/weather/daily")
    arrow.create_dir(f"{bucket}/empty/of all")
    assert arrow.get_file_info(f"{bucket}/empty/of all").type == pyarrow.fs.FileType.Directory
    arrow.delete_dir_contents(bucket)
    assert arrow.get_file_info(pyarrow.fs.FileSelector(bucket, recursive=True)) == []


def test_arrow_streams_large_files(arrow: pyarrow.fs.S3FileSystem, bucket: str) -> None:
    data = os.urandom(22 * MIB + 3)
    with arrow.open_output_stream(f"{bucket}/large", metadata={"Content-Type": "text/x-test"}) as stream:
        for begin in range(0, len(data), MIB):
            stream.write(data[begin : begin + MIB])
    assert arrow.get_file_info(f"{bucket}/large").size == len(data)
    with arrow.open_input_file(f"{bucket}/large") as file:
        assert file.read_at(1000, 11 * MIB) == data[11 * MIB : 11 * MIB + 1000]
        assert file.read() == data
    with arrow.open_output_stream(f"{bucket}/none"):
        pass
    with arrow.open_input_stream(f"{bucket}/none") as stream:
        assert stream.read() == b""


def test_obstore(store: S3Store) -> None:
    for key in ODD_KEYS:
        store.put(key, key.encode())
        assert bytes(store.get(key).bytes()) == key.encode()
    data = os.urandom(13 * MIB)
    store.put("dir/large", data, use_multipart=True, chunk_size=5 * MIB)
    assert store.head("dir/large")["size"] == len(data)
    assert bytes(store.get_range("dir/large", start=6 * MIB, length=10)) == data[6 * MIB : 6 * MIB + 10]
    ranges = store.get_ranges("dir/large", starts=[0, 9 * MIB], lengths=[3, 4])
    assert [bytes(part) for part in ranges] == [data[:3], data[9 * MIB : 9 * MIB + 4]]
    store.copy("dir/large", "dir/copy")
    store.rename("dir/copy", "other/renamed")
    level = store.list_with_delimiter()
    assert sorted(level["common_prefixes"]) == ["dir", "other", "ünï"]
    listed = {entry["path"] for page in store.list() for entry in page}
    assert listed == {*ODD_KEYS, "dir/large", "other/renamed"}
    store.delete(sorted(listed))
    assert [entry for page in store.list() for entry in page] == []


def test_obstore_writes_under_conditions(store: S3Store) -> None:
    first = store.put("k", b"first", mode="create")
    with pytest.raises(AlreadyExistsError):
        store.put("k", b"second", mode="create")
    second = store.put("k", b"second", mode={"e_tag": first["e_tag"]})
    with pytest.raises(PreconditionError):
        store.put("k", b"third", mode={"e_tag": first["e_tag"]})
    assert store.head("k")["e_tag"] == second["e_tag"]
    assert bytes(obstore.get(store, "k").bytes()) == b"second"
