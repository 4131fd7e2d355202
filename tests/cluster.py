"""A whole cluster inside the test process: every node on a thread and loop of its own, real sockets and disks."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx
import uvloop

from common import node
from common.logs import RecentLines
from common.vault import new_key
from proxy.app import ProxyNode
from proxy.config import ProxyConfig
from target.app import TargetNode
from target.carriers.nursery import Nursery
from target.config import TargetConfig
from tests.waiting import wait_for

CLUSTER_ID = "testcluster"


class _Served:
    """One node on its thread."""

    def __init__(self, built: node.Node, listener: Any) -> None:
        self._loop = uvloop.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, args=(built, listener))
        self._thread.start()

    def _run(self, built: node.Node, listener: Any) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(node.serve(built, listener, self._stopping))
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()


class Cluster:
    """`with Cluster(tmp_path) as cluster`: proxies `p1…`, targets `t1…`; `cluster.api` speaks to the first proxy."""

    def __init__(
        self,
        root: Path,
        *,
        targets: int = 3,
        mountpaths: int = 2,
        proxies: int = 1,
        hf_endpoint: str = "",
        backends: str = "",
        proxy_settings: Mapping[str, Any] | None = None,
        **target_settings: Any,
    ) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)
        self._key_file = root / "secret.key"
        self._key_file.write_text(new_key())
        self._backends_file = root / "backends.toml" if backends else None
        if self._backends_file is not None:
            self._backends_file.write_text(backends)
        self._nursery = Nursery()
        self._settings = {"allow_origins": ("127.0.0.0/8",), "durability": "process", **target_settings}
        self._served: dict[str, _Served] = {}
        self._configs: dict[str, Any] = {}
        self._listeners: dict[str, Any] = {}
        self.urls: dict[str, str] = {}
        self.logs: dict[str, RecentLines] = {}
        """What nodes keep of their logs; nothing comes here by itself, because all share the test's log."""
        self.proxy_ids = [f"p{n + 1}" for n in range(proxies)]
        self.target_ids = [f"t{n + 1}" for n in range(targets)]
        for node_id in (*self.proxy_ids, *self.target_ids):
            listener = self._listeners[node_id] = node.listen("127.0.0.1", 0)
            self.urls[node_id] = f"http://127.0.0.1:{listener.getsockname()[1]}"
        for node_id in self.proxy_ids:
            self._configs[node_id] = ProxyConfig(
                **self._common(node_id),
                meta_store=f"sqlite:{root}/meta.db",
                hf_endpoint=hf_endpoint,
                **(proxy_settings or {}),
            )
        for node_id in self.target_ids:
            paths = [root / node_id / f"mp{n + 1}" for n in range(mountpaths)]
            for path in paths:
                path.mkdir(parents=True, exist_ok=True)
            self._configs[node_id] = TargetConfig(
                **self._common(node_id),
                mountpaths=tuple(paths),
                proxies=tuple(self.urls[p] for p in self.proxy_ids),
                **self._settings,
            )
        self.api = Api(self.urls["p1"])

    def _common(self, node_id: str) -> dict[str, Any]:
        url = self.urls[node_id]
        return {
            "id": node_id,
            "port": int(url.rpartition(":")[2]),
            "public_url": url,
            "cluster_id": CLUSTER_ID,
            "data_dir": self._root / node_id,
            "backends_file": self._backends_file,
            "secret_key_file": self._key_file,
        }

    def __enter__(self) -> Self:
        for node_id in (*self.proxy_ids, *self.target_ids):
            self.start(node_id)
        self.wait_until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        for node_id in [*self.target_ids, *self.proxy_ids]:
            if node_id in self._served:
                self.stop(node_id)
        self._nursery.close()
        self.api.close()

    def start(self, node_id: str) -> None:
        """Start a node on the port that it has had from the beginning."""
        config = self._configs[node_id]
        listener = self._listeners.pop(node_id, None) or node.listen("127.0.0.1", config.port)
        log = self.logs[node_id] = RecentLines()
        built = TargetNode(config, self._nursery, log) if node_id in self.target_ids else ProxyNode(config, log)
        self._served[node_id] = _Served(built, listener)

    def stop(self, node_id: str) -> None:
        """Stop a node the way SIGTERM would."""
        self._served.pop(node_id).stop()

    def wait_until_ready(self) -> None:
        """Until every node says that it is ready."""
        for node_id in self._served:
            wait_for(lambda url=self.urls[node_id]: _is_ready(url), what=f"{node_id} ready")

    def mountpaths(self, node_id: str) -> list[Path]:
        return list(self._configs[node_id].mountpaths)


def _is_ready(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/v1/health", params={"readiness": "true"}).status_code == 200
    return False


class Api:
    """The public dialect as a client uses it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, follow_redirects=True, timeout=30)

    def close(self) -> None:
        self.http.close()

    def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        content = body if isinstance(body, (bytes, str)) else None if body is None else json.dumps(body)
        return self.http.request(method, path, content=content, headers={"Content-Type": "application/json"})

    def download(self, **job: Any) -> str:
        """Post a job into bucket `b` (unless another is given); returns its id."""
        response = self.call("POST", "/v1/download", {"bucket": {"name": "b"}, **job})
        assert response.status_code == 200, response.text
        return str(response.json()["id"])

    def status(self, job_id: str, **options: Any) -> dict[str, Any]:
        response = self.call("GET", "/v1/download", {"id": job_id, **options})
        assert response.status_code == 200, response.text
        return dict(response.json())

    def finished(self, job_id: str, *, seconds: float = 60.0) -> dict[str, Any]:
        """The status of a job once it has ended."""

        def ended() -> bool:
            return not self.status(job_id, only_active_tasks=True)["finished_time"].startswith("1970")

        wait_for(ended, seconds=seconds, what=f"end of {job_id}")
        return self.status(job_id)

    def create_bucket(self, name: str) -> None:
        assert self.call("POST", f"/v1/buckets/{name}", {"action": "create-bck"}).status_code == 200

    def put(self, bucket: str, name: str, data: bytes) -> httpx.Response:
        response = self.http.put(f"/v1/objects/{bucket}/{quote(name)}", content=data)
        assert response.status_code == 200, response.text
        return response

    def get(self, bucket: str, name: str, **headers: str) -> httpx.Response:
        return self.http.get(f"/v1/objects/{bucket}/{quote(name)}", headers=headers)

    def pages(self, bucket: str, **message: Any) -> Iterator[list[dict[str, Any]]]:
        token = uuid = ""
        while True:
            value = {**message, "continuation_token": token, "uuid": uuid}
            response = self.call("GET", f"/v1/buckets/{bucket}", {"action": "list", "value": value})
            assert response.status_code == 200, response.text
            page = response.json()
            yield page["entries"] or []
            token, uuid = page["continuation_token"], page["uuid"]
            if not token:
                return

    def list(self, bucket: str, **message: Any) -> list[dict[str, Any]]:
        return [entry for page in self.pages(bucket, **message) for entry in page]
