"""moto's S3 in a process of its own, so that its state, its warnings and its pace are not those of the tests.

    with MotoS3() as s3:
        s3.client().create_bucket(Bucket="one")
        Cluster(root, backends=s3.settings_toml())

It ends with the process that started it.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Self
from urllib.request import Request, urlopen

import boto3
from botocore.config import Config

_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
ACCESS_KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET_ACCESS_KEY = "canarySECRETcanary"
REGION = "us-east-1"


class MotoS3:
    """A running service; any keys are right as long as it is not `enforcing`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._clients: list[Any] = []
        self.host, self.port = "127.0.0.1", 0

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.port}"

    def start(self) -> None:
        """It answers when this returns."""
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def stop(self) -> None:
        for client in self._clients:
            client.close()
        if self._process is not None:
            self._process.communicate("")
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def client(self, service: str = "s3", keys: tuple[str, str] = (ACCESS_KEY_ID, SECRET_ACCESS_KEY)) -> Any:
        """A client of boto3 that may do everything."""
        client = boto3.Session().client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=keys[0],
            aws_secret_access_key=keys[1],
            config=Config(s3={"addressing_style": "path"}),
        )
        self._clients.append(client)
        return client

    def settings_toml(self) -> str:
        """The section of a `backends_file` that leads here."""
        return (
            f'[s3]\nendpoint = "{self.endpoint}"\nregion = "{REGION}"\n'
            f'access_key_id = "{ACCESS_KEY_ID}"\nsecret_access_key = "{SECRET_ACCESS_KEY}"\n'
        )

    @contextlib.contextmanager
    def enforcing(self) -> Iterator[None]:
        """Meanwhile keys, signatures and policies are checked."""
        self._reset_auth("0")
        try:
            yield
        finally:
            self._reset_auth("inf")

    def _reset_auth(self, requests_without: str) -> None:
        address = f"{self.endpoint}/moto-api/reset-auth"
        plain = {"Content-Type": "text/plain"}
        with urlopen(Request(address, requests_without.encode(), plain, method="POST")) as answer:
            answer.read()
