"""One program from beginning to end: fill a bucket from the web, wait, look, read, train, clean up."""

import os

import pytest
import requests
import torch
from aistore.pytorch import AISMapDataset
from aistore.sdk import Client
from aistore.sdk.errors import ErrBckNotFound
from torch.utils.data import DataLoader


def collate(samples):
    return torch.stack([torch.frombuffer(bytearray(content), dtype=torch.uint8) for _, content in samples])


def test_from_the_web_into_training(origin):
    endpoint = os.environ["HAUL_ENDPOINT"]
    client = Client(endpoint)
    bucket = client.bucket("sdk-story").create(exist_ok=True)

    started = requests.post(
        f"{endpoint}/v1/download",
        json={
            "type": "range",
            "bucket": {"name": bucket.name, "provider": "ais"},
            "template": f"{origin}/data/shard-{{0000..0019}}.bin",
            "subdir": "train",
        },
        timeout=10,
    )
    job_id = started.json()["id"]
    assert client.job(job_id).wait(timeout=60)
    status = requests.get(f"{endpoint}/v1/download", json={"id": job_id}, timeout=10).json()
    assert (status["finished_cnt"], status["error_cnt"]) == (20, 0)

    entries = bucket.list_all_objects(prefix="train/", props="name,size")
    assert [entry.name for entry in entries] == [f"train/shard-{number:04}.bin" for number in range(20)]
    assert {entry.size for entry in entries} == {20_000}

    shard = bucket.object("train/shard-0007.bin")
    assert shard.get_reader(byte_range="bytes=4-11").read_all() == b"00070007"
    assert shard.get_reader(direct=True).read_all() == b"0007" * 5000

    loader = DataLoader(AISMapDataset(bucket), batch_size=4, num_workers=2, collate_fn=collate)
    assert [tuple(batch.shape) for batch in loader] == [(4, 20_000)] * 5

    requests.delete(f"{endpoint}/v1/download/remove", json={"id": job_id}, timeout=10).raise_for_status()
    bucket.delete()
    with pytest.raises(ErrBckNotFound):
        bucket.list_objects()
