"""What can be set for a proxy; the field descriptions are the documentation."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from common.node import NodeSettings

_SQLITE = "sqlite:"


class ProxyConfig(NodeSettings):
    """One proxy process."""

    id: str = Field(pattern=r"^[A-Za-z0-9]{1,32}$", description="Node id, unique in the cluster.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(ge=0, le=65535, description="Port to listen on.")
    public_url: str = Field(pattern=r"^https?://[^/]+$", description="How clients reach this node.")
    intra_url: str = Field(
        "", pattern=r"^(https?://[^/]+)?$", description="How peers reach this node, where that is not its `public_url`."
    )
    cluster_id: str = Field(min_length=1, description="The cluster that this proxy belongs to.")
    data_dir: Path = Field(description="Lock of this proxy.")
    meta_store: str = Field(description="Where the cluster's state is kept: `sqlite:PATH`, one for all proxies.")
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
    max_body_bytes: int = Field(64 * 1024 * 1024, ge=1024, description="Largest body of a download request.")

    @field_validator("meta_store")
    @classmethod
    def _known_store(cls, value: str) -> str:
        if not value.startswith(_SQLITE) or value == _SQLITE:
            raise ValueError("expecting sqlite:PATH")
        return value

    @property
    def meta_store_path(self) -> Path:
        """The embedded store's file."""
        return Path(self.meta_store.removeprefix(_SQLITE))
