"""s3cmd, rclone and curl as Debian has them, pointed at a cluster as docs/s3.md says."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.s3.service import ACCESS_KEY, DOMAIN, SECRET_KEY, Service, new_bucket, run

MIB = 1 << 20
Run = Callable[..., str]


@pytest.fixture
def bucket(haul: Service) -> str:
    return new_bucket(haul.client())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for number in range(20):
        path = root / f"dir {number % 3}" / f"file+{number} ü.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(1000 * number))
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def s3cmd(haul: Service, tmp_path: Path) -> Run:
    settings = tmp_path / "s3cfg"
    settings.write_text(
        f"[default]\naccess_key = {ACCESS_KEY}\nsecret_key = {SECRET_KEY}\nhost_base = {haul.host}\n"
        f"host_bucket = {haul.host}\nuse_https = False\nmultipart_chunk_size_mb = 15\n"
    )
    return lambda *arguments: run("s3cmd", "-c", settings, "--no-progress", *arguments)


def test_s3cmd(s3cmd: Run, bucket: str, tree: Path, tmp_path: Path) -> None:
    place = f"s3://{bucket}"
    assert place in s3cmd("ls")
    s3cmd("sync", f"{tree}/", f"{place}/tree/")
    assert "upload:" not in s3cmd("sync", f"{tree}/", f"{place}/tree/"), "what is there is compared by its MD5"
    back = tmp_path / "back"
    back.mkdir()
    s3cmd("sync", f"{place}/tree/", f"{back}/")
    assert contents(back) == contents(tree)
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(40 * MIB))
    s3cmd("put", large, f"{place}/large.bin")
    assert "40M" in s3cmd("ls", "-H", f"{place}/large.bin")
    s3cmd("get", f"{place}/large.bin", tmp_path / "large.back")
    assert (tmp_path / "large.back").read_bytes() == large.read_bytes()
    s3cmd("cp", f"{place}/large.bin", f"{place}/copy.bin")
    s3cmd("mv", f"{place}/copy.bin", f"{place}/moved.bin")
    s3cmd("modify", "--add-header=x-amz-meta-note:hello", f"{place}/moved.bin")
    assert "note: hello" in s3cmd("info", f"{place}/moved.bin")
    assert f"DIR  {place}/tree/" in s3cmd("ls", place)
    s3cmd("info", place)
    s3cmd("du", place)
    s3cmd("del", "--recursive", "--force", place)
    s3cmd("rb", place)
    assert place not in s3cmd("ls")


@pytest.fixture
def rclone(haul: Service) -> Run:
    settings = {
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_HAUL_TYPE": "s3",
        "RCLONE_CONFIG_HAUL_PROVIDER": "Other",
        "RCLONE_CONFIG_HAUL_ENDPOINT": haul.endpoint,
        "RCLONE_CONFIG_HAUL_ACCESS_KEY_ID": ACCESS_KEY,
        "RCLONE_CONFIG_HAUL_SECRET_ACCESS_KEY": SECRET_KEY,
        "RCLONE_CONFIG_HAUL_REGION": "us-east-1",
    }
    return lambda *arguments: run("rclone", "--retries", "1", *arguments, env=settings)


def test_rclone(rclone: Run, haul: Service, bucket: str, tree: Path, tmp_path: Path) -> None:
    place = f"haul:{bucket}"
    (tree / "large.bin").write_bytes(os.urandom(200 * MIB))
    rclone("copy", "--s3-upload-cutoff", "50M", "--s3-chunk-size", "16M", tree, f"{place}/tree")
    rclone("check", "--download", tree, f"{place}/tree")
    rclone("check", tree, f"{place}/tree")
    (tree / "dir 0" / "new").write_text("new")
    next(tree.rglob("file+3 *")).unlink()
    rclone("sync", tree, f"{place}/tree")
    rclone("check", tree, f"{place}/tree")
    back = tmp_path / "back"
    rclone("sync", f"{place}/tree", back)
    assert contents(back) == contents(tree)
    assert (back / "large.bin").stat().st_mtime == pytest.approx((tree / "large.bin").stat().st_mtime, abs=0.001)
    rclone("copy", f"{place}/tree/dir 1", f"{place}/other")
    rclone("moveto", f"{place}/tree/large.bin", f"{place}/moved.bin")
    listed = rclone("lsf", place).splitlines()
    assert listed == ["moved.bin", "other/", "tree/"]
    sums = rclone("md5sum", f"{place}/other").split()
    assert len(sums[0]) == 32
    rclone("touch", f"{place}/moved.bin")
    haul.client().put_object(Bucket=bucket, Key="other/folder/")
    rclone("sync", f"{place}/other", tmp_path / "beside a folder")
    haul.client().delete_object(Bucket=bucket, Key="other/folder/")  # purge in versions before 1.63 does not see it
    rclone("purge", place)
    assert f"{bucket}/" not in rclone("lsf", "haul:")


def test_rclone_makes_buckets_and_streams(rclone: Run, tmp_path: Path) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    rclone("mkdir", f"haul:{name}")
    rclone("mkdir", f"haul:{name}")
    source = tmp_path / "stream"
    source.write_bytes(os.urandom(7 * MIB))
    rclone("copyto", source, f"haul:{name}/a/b")
    assert rclone("size", "--json", f"haul:{name}").startswith('{"count":1,"bytes":7340032')
    rclone("purge", f"haul:{name}")


@pytest.fixture
def curl(haul: Service) -> Run:
    return lambda *arguments: run(
        *("curl", "-sS", "--fail-with-body", "--aws-sigv4", "aws:amz:us-east-1:s3"),
        *("--user", f"{ACCESS_KEY}:{SECRET_KEY}", "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", *arguments),
    )


def test_curl_signs(curl: Run, haul: Service, bucket: str, tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(os.urandom(3 * MIB))
    url = f"{haul.endpoint}/{bucket}/dir/key"
    curl("-T", source, "-H", "Expect: 100-continue", url)
    curl("-o", tmp_path / "back", url)
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert "<Key>dir/key</Key>" in curl(f"{haul.endpoint}/{bucket}?list-type=2")
    curl("-X", "DELETE", url)
    assert "<KeyCount>0</KeyCount>" in curl(f"{haul.endpoint}/{bucket}?list-type=2")


def test_a_bucket_can_stand_before_the_domain(haul: Service, bucket: str) -> None:
    s3 = haul.client()
    s3.put_object(Bucket=bucket, Key="s3/key", Body=b"by the host")
    port = haul.endpoint.rpartition(":")[2]
    name = f"{bucket}.{DOMAIN}"
    resolve = ("--resolve", f"{name}:{port}:127.0.0.1")
    signing = ("--aws-sigv4", "aws:amz:us-east-1:s3", "--user", f"{ACCESS_KEY}:{SECRET_KEY}")
    assert run("curl", "-sS", "--fail-with-body", *resolve, *signing, f"http://{name}:{port}/s3/key") == "by the host"


def test_curl_needs_only_a_presigned_url(haul: Service, bucket: str, tmp_path: Path) -> None:
    s3 = haul.client(signature_version="s3v4")
    source = tmp_path / "file"
    source.write_bytes(os.urandom(MIB))
    named = {"Bucket": bucket, "Key": "a key"}
    run("curl", "-sS", "--fail-with-body", "-T", source, s3.generate_presigned_url("put_object", named))
    run("curl", "-sS", "--fail-with-body", "-o", tmp_path / "back", s3.generate_presigned_url("get_object", named))
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
