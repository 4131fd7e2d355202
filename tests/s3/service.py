"""A cluster with the S3 API at a port of its own, where requests must be signed, and clients for it."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.cluster import Cluster
from tests.ports import free_port

ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
DOMAIN = "s3.localhost"


@dataclass
class Service:
    """Somewhere that speaks S3."""

    endpoint: str
    cluster: Cluster | None = None

    @property
    def is_haul(self) -> bool:
        return self.cluster is not None

    @property
    def host(self) -> str:
        return self.endpoint.partition("//")[2]

    def client(self, *, secret: str = SECRET_KEY, **settings: Any) -> Any:
        """boto3 as it comes, but for what is given, and for repeating nothing."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=secret,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}, **settings),
        )


@contextmanager
def signed_service(root: Path, **target_settings: Any) -> Iterator[Service]:
    """A cluster whose S3 API wants signatures."""
    root.mkdir(parents=True, exist_ok=True)
    credentials = root / "s3.toml"
    credentials.write_text(f'{ACCESS_KEY} = "{SECRET_KEY}"\n')
    credentials.chmod(0o600)
    port = free_port()
    settings = {"s3_port": port, "s3_domains": (DOMAIN,), "s3_credentials_file": credentials}
    with Cluster(root / "cluster", proxy_settings=settings, **target_settings) as cluster:
        yield Service(f"http://127.0.0.1:{port}", cluster)


def new_bucket(client: Any) -> str:
    """A bucket that no other test has."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    return name


def run(*command: str | Path, env: dict[str, str] | None = None) -> str:
    """What a program shows, once it has ended well; it knows of no other cluster or cloud."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HAUL_", "AIS_"))}
    done = subprocess.run(
        [str(part) for part in command],
        env={**clean, **(env or {})},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout
