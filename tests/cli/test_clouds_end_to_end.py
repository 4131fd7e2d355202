"""`haul` with S3 and Google Cloud Storage, from end to end; Azure, which needs npm, is in `tests/clouds`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest

from tests.backends.gcsserver import GcsServer
from tests.backends.s3server import SECRET_ACCESS_KEY, MotoS3
from tests.cli.cloudcontract import CLOSED, Cloud, CloudContract, cluster_of
from tests.cluster import Cluster

_TOKEN = "canarySECRETtoken"
_READER, _SECRET = "AKIAREADEROFCLOSED00", "canarySECRETofReader"


class S3:
    """moto's S3; the nodes' keys are let in everywhere but in `CLOSED`, which stands behind a `_Door`."""

    scheme, alias, extra, library = "s3", "aws", "s3", "boto3"

    def __init__(self, server: MotoS3, door: _Door) -> None:
        self._server = server
        self._door = door
        self._client = server.client()
        self.secrets = [SECRET_ACCESS_KEY, _SECRET, "X-Amz-Signature"]

    def settings_toml(self) -> str:
        return self._server.settings_toml() + f'[s3.buckets.{CLOSED}]\nendpoint = "{self._door.url}"\n'

    def make_bucket(self, name: str) -> None:
        self._client.create_bucket(Bucket=name)

    def put(self, bucket: str, contents: Mapping[str, bytes]) -> None:
        for name, content in contents.items():
            self._client.put_object(Bucket=bucket, Key=name, Body=content)

    def remove(self, bucket: str, name: str) -> None:
        self._client.delete_object(Bucket=bucket, Key=name)

    @contextlib.contextmanager
    def guarding(self) -> Iterator[Mapping[str, str]]:
        yield {"access_key_id": _READER, "secret_access_key": _SECRET}


class _Door(ThreadingHTTPServer):
    """Lets requests of one key through to moto, whose own checks refuse all signed URLs."""

    daemon_threads = True

    def __init__(self, server: MotoS3) -> None:
        super().__init__(("127.0.0.1", 0), _Doorkeeper)
        self.behind = server
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Doorkeeper(BaseHTTPRequestHandler):
    server: _Door

    def do_GET(self) -> None:
        if f"{_READER}/" in f"{self.headers['Authorization']} {unquote(self.path)}":
            moto = HTTPConnection(self.server.behind.host, self.server.behind.port)
            moto.request(self.command, self.path, headers=dict(self.headers))
            answer = moto.getresponse()
            self._answer(answer.status, answer.getheaders(), answer.read())
            moto.close()
        else:
            error = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            self._answer(403, [("Content-Length", str(len(error)))], error)

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Google:
    """The nodes are anonymous there, which is enough until tokens are wanted."""

    scheme, alias, extra, library = "gs", "gcp", "gcs", "google.cloud.storage"

    def __init__(self, server: GcsServer) -> None:
        self._server = server
        self.secrets = [_TOKEN]
        self.settings_toml = server.settings_toml
        self.make_bucket = server.make_bucket
        self.remove = server.remove

    def put(self, bucket: str, contents: Mapping[str, bytes]) -> None:
        self._server.put(bucket, contents)

    @contextlib.contextmanager
    def guarding(self) -> Iterator[Mapping[str, str]]:
        self._server.tokens = {_TOKEN}
        yield {"token": _TOKEN}
        self._server.tokens = None


@pytest.fixture(scope="module", params=["s3", "gs"])
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    if request.param == "s3":
        with MotoS3() as moto, _Door(moto) as door:
            thread = threading.Thread(target=door.serve_forever, args=(0.05,))
            thread.start()
            yield S3(moto, door)
            door.shutdown()
            thread.join()
    else:
        with GcsServer() as google:
            yield Google(google)


@pytest.fixture(scope="module")
def own(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster_of(cloud, tmp_path_factory.mktemp("cluster")) as running:
        yield running


class TestClouds(CloudContract):
    pass
