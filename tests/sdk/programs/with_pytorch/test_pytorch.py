"""The PyTorch plug-in: data sets, samplers and a DataLoader that reads with several processes."""

import io
import os
import tarfile

import pytest
import torch
from aistore.pytorch import (
    AISIterDataset,
    AISMapDataset,
    AISMultiShardStream,
    AISParallelMapDataset,
    AISShardReader,
    DynamicBatchSampler,
)
from aistore.pytorch.batch_iter_dataset import AISBatchIterDataset
from aistore.sdk import DataShard
from torch.utils.data import DataLoader

SAMPLES = {f"train/{number:03}": bytes([number]) * (100 + number) for number in range(24)}


@pytest.fixture
def full(bucket):
    for name, content in SAMPLES.items():
        bucket.object(name).get_writer().put_content(content)
    bucket.object("other/0").get_writer().put_content(b"other")
    return bucket


def shard(members):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


def as_they_are(samples):
    return samples


def test_map_data_set(full):
    dataset = AISMapDataset(full, prefix_map={full: "train/"})
    assert len(dataset) == 24
    assert dataset[5] == ("train/005", SAMPLES["train/005"])
    with pytest.raises(IndexError):
        dataset[24]


def test_map_data_set_of_a_group(full):
    dataset = AISMapDataset(full.objects(obj_template="train/{000..003}"))
    assert [dataset[index] for index in range(len(dataset))] == list(SAMPLES.items())[:4]


def test_iterable_data_set(full):
    dataset = AISIterDataset(full, prefix_map={full: ["train/00", "other/"]})
    assert [name for name, _ in dataset] == [*list(SAMPLES)[:10], "other/0"]
    assert len(dataset) == 11


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_of_a_map_data_set(full, workers):
    dataset = AISMapDataset(full, prefix_map={full: "train/"})
    loader = DataLoader(dataset, batch_size=5, num_workers=workers, collate_fn=as_they_are, shuffle=True)
    assert dict(sample for batch in loader for sample in batch) == SAMPLES


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_of_an_iterable_data_set(full, workers):
    dataset = AISIterDataset(full, prefix_map={full: "train/"})
    loader = DataLoader(dataset, batch_size=None, num_workers=workers)
    assert dict(iter(loader)) == SAMPLES


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("workers", [0, 2])
def test_loader_of_batches(client, full, workers, streaming):
    dataset = AISBatchIterDataset(full, client, prefix_map={full: "train/"}, max_batch_size=7, streaming=streaming)
    assert dict(iter(DataLoader(dataset, batch_size=None, num_workers=workers))) == SAMPLES


def test_parallel_data_set(full):
    dataset = AISParallelMapDataset(full, prefix_map={full: "train/"}, num_workers=2)
    name, buffer = dataset[23]
    with buffer:
        assert (name, buffer.tobytes()) == ("train/023", SAMPLES["train/023"])


def test_batches_of_a_size(full, monkeypatch):
    # The plug-in leaves the argument out that PyTorch 1.13, Debian 12's, still wants; since 2.1 it needs none.
    monkeypatch.setattr(torch.utils.data.Sampler, "__init__", lambda _self, _data_source=None: None)
    dataset = AISMapDataset(full, prefix_map={full: "train/"})
    sampler = DynamicBatchSampler(dataset, max_batch_size=600)
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=as_they_are)
    batches = list(loader)
    assert all(sum(len(content) for _, content in batch) <= 600 for batch in batches)
    assert dict(sample for batch in batches for sample in batch) == SAMPLES


def test_shards(full):
    for number in range(2):
        members = {
            f"{number}-{sample}.{kind}": f"{number}-{sample} {kind}".encode()
            for sample in "ab"
            for kind in ("img", "cls")
        }
        full.object(f"shards/{number}.tar").get_writer().put_content(shard(members))
    reader = AISShardReader(full, prefix_map={full: "shards/"})
    samples = dict(iter(reader))
    assert sorted(samples) == ["0-a", "0-b", "1-a", "1-b"]
    assert samples["1-b"] == {"img": b"1-b img", "cls": b"1-b cls"}
    # Not `list`: that asks the loader for its length, for which SDK 2.0.0 wants an attribute that objects do not have.
    batches = [batch for batch in DataLoader(reader, batch_size=2, num_workers=2)]  # noqa: C416
    assert sorted(name for names, _ in batches for name in names) == ["0-a", "0-b", "1-a", "1-b"]


def test_several_shards_side_by_side(client, full, new_name):
    labels = client.bucket(new_name()).create()
    full.object("img-0.tar").get_writer().put_content(shard({"a": b"image a", "b": b"image b"}))
    labels.object("cls-0.tar").get_writer().put_content(shard({"a": b"label a", "b": b"label b"}))
    endpoint = os.environ["HAUL_ENDPOINT"]
    shards = [DataShard(endpoint, full.name, prefix="img-"), DataShard(endpoint, labels.name, prefix="cls-")]
    stream = AISMultiShardStream(shards)
    assert list(stream) == [(b"image a", b"label a"), (b"image b", b"label b")]
    assert len(list(DataLoader(stream, batch_size=None))) == 2


def test_tensors(full):
    dataset = AISMapDataset(full, prefix_map={full: "train/"})
    first = next(iter(DataLoader(dataset, batch_size=1, collate_fn=as_they_are)))
    tensor = torch.frombuffer(bytearray(first[0][1]), dtype=torch.uint8)
    assert tensor.sum().item() == 0
    assert tensor.shape == (100,)
