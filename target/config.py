"""What can be set for a target; the field descriptions are the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from common.node import NodeSettings

HostName = Annotated[str, Field(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\s/:@\[\]]+)$")]
"""A host alone, as it stands in a link: no scheme, no port."""


class TargetConfig(NodeSettings):
    """One target process."""

    id: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$",
        description="Node id; placement depends on it, so it never changes.",
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(ge=0, le=65535, description="Port to listen on.")
    public_url: str = Field(description="How clients reach this node.")
    intra_url: str = Field("", description="How peers reach this node, where that is not its `public_url`.")
    cluster_id: str = Field(description="The cluster that the mountpaths belong to; checked against their markers.")
    data_dir: Path = Field(description="Journal and lock of this target.")
    mountpaths: tuple[Path, ...] = Field(min_length=1, description="Directories, one per disk, that hold the objects.")
    proxies: tuple[str, ...] = Field(min_length=1, description="URLs of the cluster's proxies.")
    report_seconds: float = Field(2.0, gt=0, description="How often this target reports to a proxy.")
    allow_origins: tuple[str, ...] = Field((), description="CIDR blocks that downloads may reach besides public ones.")
    durability: Literal["power-loss", "process"] = Field(
        "power-loss", description="What a finished object survives: a loss of power, or only of the process."
    )
    disk_check_seconds: float = Field(
        15.0, gt=0, description="How often a small file is written to every mountpath to see whether its disk works."
    )
    disk_patience_seconds: float = Field(
        20.0,
        gt=0,
        description="How long that may take, with no other write finished meanwhile, before the disk counts as failed.",
    )
    high_watermark_percent: float = Field(
        95.0, gt=0, le=100, description="A mountpath of which more is used takes no new objects (status 507)."
    )
    low_watermark_percent: float = Field(
        90.0, gt=0, le=100, description="A full mountpath of which less is used takes objects again."
    )
    resilver_bytes_per_second: int = Field(
        128 << 20, gt=0, description="How fast objects move to other mountpaths when these come or go."
    )
    max_transfers_per_lane: int = Field(64, ge=1, description="Transfers at once for one mountpath.")
    max_connections_per_host: int = Field(256, ge=1, description="Transfers at once from one origin host.")
    rate_limit: dict[HostName, PositiveInt] = Field(
        {},
        description="Bytes per second that the whole cluster may read from an origin host, by its name: the same for "
        "all targets, and met even when they cannot hear each other.",
    )
    host_patience_seconds: float = Field(
        60.0, ge=0, description="How long objects wait for an origin host that only fails, before they are errors."
    )
    retry_attempts: int = Field(5, ge=1, description="How often an object is tried before it is an error.")
    rebalance_streams: int = Field(
        4,
        ge=1,
        le=256,
        description="Objects moved to new owners at once; one while something is downloaded here.",
    )
    rebalance_bytes_per_second: int = Field(
        100 * 1024 * 1024,
        ge=1024,
        description="How fast they are sent, all together; a quarter of it while something is downloaded here.",
    )
    rebalance_keep_seconds: float = Field(
        10.0,
        ge=0,
        description="How long the old copy of a moved object is kept, for listings that began before it was moved.",
    )
    upload_keep_seconds: float = Field(
        86_400.0, gt=0, description="How long an upload in parts, or an append, is kept that nothing is added to."
    )
    known_hosts_file: Path | None = Field(
        None, description="Keys of the hosts that `sftp://` links may go to; none of them if unset."
    )
    ca_file: Path | None = Field(
        None, description="CA bundle that origins are verified against; the system's if unset."
    )

    @model_validator(mode="after")
    def _watermarks_in_order(self) -> Self:
        if self.low_watermark_percent > self.high_watermark_percent:
            raise ValueError("low_watermark_percent must not be above high_watermark_percent")
        return self
