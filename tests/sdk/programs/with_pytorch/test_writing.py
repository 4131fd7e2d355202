"""Data sets written as WebDataset shards."""

import io
import tarfile

from aistore.pytorch import AISShardReader
from aistore.sdk.dataset.data_attribute import DataAttribute
from aistore.sdk.dataset.dataset_config import DatasetConfig


def test_write_and_read_shards(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(6):
        (tmp_path / f"s{number}.txt").write_text(f"text {number}")
    config = DatasetConfig(primary_attribute=DataAttribute(path=tmp_path, name="text", file_type="txt"))
    bucket.write_dataset(config=config, pattern="set", maxcount=4, verbose=0)
    shards = [entry.name for entry in bucket.list_all_objects()]
    assert shards == ["set-0.tar", "set-1.tar"]
    with tarfile.open(fileobj=io.BytesIO(bucket.object("set-1.tar").get_reader().read_all())) as archive:
        assert archive.getnames() == ["sample_4.text.txt", "sample_5.text.txt"]
    texts = sorted(sample["txt"] for _, sample in AISShardReader(bucket))
    assert texts == [b"text %d" % number for number in range(6)]
    assert not list(tmp_path.glob("*.tar"))
