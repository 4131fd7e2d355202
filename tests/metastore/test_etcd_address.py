"""How an etcd is named, and what is refused before anything is connected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from common.errors import InvalidRequest
from common.metastore.etcd.address import member_urls, read_password, tls_context
from common.metastore.etcd.login import Credentials
from proxy.config import ProxyConfig


def config(**fields: Any) -> ProxyConfig:
    return ProxyConfig(id="p1", port=1, public_url="http://h:1", cluster_id="c", data_dir=Path("d"), **fields)


@pytest.mark.parametrize(
    ("meta_store", "urls"),
    [
        ("etcd://a:2379", ["http://a:2379"]),
        ("etcds://a:2379,b.example:1,10.0.0.1:2", ["https://a:2379", "https://b.example:1", "https://10.0.0.1:2"]),
        ("etcd://[::1]:2379", ["http://[::1]:2379"]),
    ],
)
def test_members(meta_store: str, urls: list[str]) -> None:
    assert member_urls(meta_store) == urls
    assert config(meta_store=meta_store).meta_store_path is None


@pytest.mark.parametrize(
    "meta_store",
    [
        *("etcd://", "etcd://a", "etcd://a:1,", "etcd://a:1/path", "etcd://u:p@a:1", "etcd://a:x", "etcd://a:0"),
        *("etcd://a:1,a:1", "etcd://a:1?x", "etcd:a:1", "http://a:1", "sqlite:", ""),
    ],
)
def test_what_names_no_store(meta_store: str) -> None:
    with pytest.raises(ValidationError):
        config(meta_store=meta_store)


def test_halves_are_refused() -> None:
    config(meta_store="etcd://a:1", meta_store_user="u", meta_store_password_file="p")
    for fields in ({"user": "u"}, {"password_file": "p"}, {"cert_file": "c"}, {"key_file": "k"}):
        with pytest.raises(ValidationError, match="or neither"):
            config(meta_store="etcds://a:1", **{f"meta_store_{name}": value for name, value in fields.items()})


def test_password_files(tmp_path: Path) -> None:
    path = tmp_path / "password"
    with pytest.raises(InvalidRequest, match="cannot be read"):
        read_password(path)
    path.write_text("\n")
    with pytest.raises(InvalidRequest, match="is empty"):
        read_password(path)
    path.write_text("S3CRET\n")
    path.chmod(0o662)
    with pytest.raises(InvalidRequest, match="can be written by others"):
        read_password(path)
    path.chmod(0o640)
    assert read_password(path) == "S3CRET"
    assert "S3CRET" not in repr(Credentials("user", "S3CRET"))


def test_files_that_are_no_certificates(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    with pytest.raises(InvalidRequest, match="meta_store_ca_file"):
        tls_context(path, None, None)
    path.write_text("no certificate")
    with pytest.raises(InvalidRequest, match="meta_store_ca_file"):
        tls_context(path, None, None)
    with pytest.raises(InvalidRequest, match="meta_store_cert_file"):
        tls_context(None, path, path)
