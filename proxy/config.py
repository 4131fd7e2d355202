"""What can be set for a proxy; the field descriptions are the documentation."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from common.metastore.etcd.address import is_etcd, member_urls
from common.node import NodeSettings

_SQLITE = "sqlite:"
_DOMAIN = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\Z")


class ProxyConfig(NodeSettings):
    """One proxy process."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$", description="Node id, unique in the cluster.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(ge=0, le=65535, description="Port to listen on.")
    public_url: str = Field(pattern=r"^https?://[^/]+$", description="How clients reach this node.")
    intra_url: str = Field(
        "", pattern=r"^(https?://[^/]+)?$", description="How peers reach this node, where that is not its `public_url`."
    )
    cluster_id: str = Field(min_length=1, description="The cluster that this proxy belongs to.")
    data_dir: Path = Field(description="Lock of this proxy.")
    meta_store: str = Field(
        description="Where the cluster's state is kept: `sqlite:PATH`, one file for all proxies of one machine, or "
        "`etcd://HOST:PORT,HOST:PORT,…` (`etcds://…` by TLS) for many machines."
    )
    meta_store_user: str = Field("", description="User of etcd, when its authentication is enabled.")
    meta_store_password_file: Path | None = Field(
        None, validate_default=True, description="File with that user's password, which nobody else can write."
    )
    meta_store_ca_file: Path | None = Field(
        None, description="Authorities (PEM) that have signed etcd's certificates; otherwise the system's."
    )
    meta_store_cert_file: Path | None = Field(
        None, description="Certificate (PEM) to show to etcd, where it asks for one."
    )
    meta_store_key_file: Path | None = Field(
        None, validate_default=True, description="Private key (PEM) of that certificate."
    )
    keep_alive_seconds: float = Field(2.0, gt=0, description="How often nodes report; three missed ones mean offline.")
    decision_grace_seconds: float = Field(
        5.0, ge=0, description="How long a target's share lies unstarted, at least, before an unknown job is given up."
    )
    failover_grace_seconds: float = Field(
        30.0,
        gt=0,
        description="How long a node may be offline before it leaves the cluster map and its part of running jobs is "
        "given to others.",
    )
    hf_endpoint: str = Field(
        "",
        pattern=r"^(https?://[^?#]+)?$",
        description="A mirror of HuggingFace's Hub; otherwise the environment's `HF_ENDPOINT`, or https://huggingface.co.",
    )
    s3_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of the S3 API alone, besides `/s3` at `port`; 0 for none: `docs/s3.md`.",
    )
    s3_domains: tuple[str, ...] = Field(
        (),
        description="Domains that a bucket's name may stand before in the host of a request to `s3_port`: with "
        "`s3.example.org`, `http://BUCKET.s3.example.org/KEY`.",
    )
    s3_credentials_file: Path | None = Field(
        None,
        description='TOML file of the keys that requests to the S3 API must be signed with, `ACCESS_KEY = "secret"`; '
        "the same for all proxies. Without it the S3 API is open to everybody, as the rest is.",
    )
    max_body_bytes: int = Field(64 * 1024 * 1024, ge=1024, description="Largest body of a download request.")

    @field_validator("s3_domains")
    @classmethod
    def _host_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for domain in value:
            if not _DOMAIN.match(domain):
                raise ValueError(f'"{domain}" is no domain: letters, digits, dashes and dots, without a port')
        return value

    @field_validator("meta_store")
    @classmethod
    def _known_store(cls, value: str) -> str:
        if is_etcd(value):
            member_urls(value)
        elif not value.startswith(_SQLITE) or value == _SQLITE:
            raise ValueError("expecting sqlite:PATH, etcd://HOST:PORT,… or etcds://HOST:PORT,…")
        return value

    @field_validator("meta_store_password_file", "meta_store_key_file")
    @classmethod
    def _with_its_other_half(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        other = "meta_store_user" if info.field_name == "meta_store_password_file" else "meta_store_cert_file"
        if bool(info.data.get(other)) != (value is not None):
            raise ValueError(f"give both this and {other}, or neither")
        return value

    @property
    def meta_store_path(self) -> Path | None:
        """The embedded store's file; None where the store is an etcd."""
        return None if is_etcd(self.meta_store) else Path(self.meta_store.removeprefix(_SQLITE))
