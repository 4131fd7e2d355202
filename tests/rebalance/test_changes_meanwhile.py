"""Objects that are changed while they are on their way to a new owner: nothing is lost, and conditions hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.nodes import Nodes
from tests.rebalance.moving import PATIENT, body_of, fill, is_running, owner_of, wait_until_settled
from tests.waiting import wait_for

TWO, THREE = ["t1", "t2"], ["t1", "t2", "t3"]
SLOW: dict[str, Any] = {"rebalance_bytes_per_second": 6000, "rebalance_keep_seconds": 1.0}
NAMES = [f"dir{number % 7}/{number:04}" for number in range(120)]
pytestmark = pytest.mark.timeout(300)


class Changing:
    """Clients that change what they come by."""

    def __init__(self, nodes: Nodes) -> None:
        self.http = httpx.Client(base_url=nodes.urls["p1"], follow_redirects=True, timeout=60)
        self.changes = [self.patch, self.rename, self.copy, self.append, self.replace, self.make, self.remove]

    def ask(self, method: str, name: str, *, params: Any = None, **more: Any) -> httpx.Response:
        """As AIStore's clients do, again where it is said that it helps."""

        def attempt() -> httpx.Response | None:
            answer = self.http.request(method, f"/v1/objects/b/{quote(name)}", params=params, **more)
            return None if answer.status_code == 503 else answer

        return wait_for(lambda: [found] if (found := attempt()) is not None else None, what=f"{method} {name}")[0]

    def has(self, name: str, content: bytes) -> httpx.Response:
        answer = self.ask("GET", name)
        assert (answer.status_code, answer.content) == (200, content)
        return answer

    def patch(self, name: str) -> None:
        answer = self.ask("PATCH", name, json={"action": "", "value": {"colour": "red"}})
        assert answer.status_code == 200, answer.text

    def rename(self, name: str) -> None:
        answer = self.ask("POST", name, json={"action": "rename-obj", "name": f"renamed/{name}"})
        assert answer.status_code == 200, answer.text

    def copy(self, name: str) -> None:
        answer = self.ask("PUT", name, params={"object_to": f"ais/@#/b/copied/{name}"})
        assert answer.status_code == 200, answer.text

    def append(self, name: str) -> None:
        answer = self.ask("PUT", name, params={"append_type": "append"}, content=b"more")
        assert answer.status_code == 200, answer.text
        handle = answer.headers["ais-append-handle"]
        params = {"append_type": "flush", "append_handle": handle}
        assert self.ask("PUT", name, params=params).status_code == 200

    def replace(self, name: str) -> None:
        etag = self.has(name, body_of(name)).headers["etag"]
        assert self.ask("PUT", name, content=b"new", headers={"If-Match": '"x"'}).status_code == 412
        assert self.ask("PUT", name, content=b"new", headers={"If-Match": etag}).status_code == 200

    def make(self, name: str) -> None:
        assert self.ask("PUT", name, content=b"new", headers={"If-None-Match": "*"}).status_code == 412

    def remove(self, name: str) -> None:
        etag = self.has(name, body_of(name)).headers["etag"]
        for wanted, status in (('"x"', 412), (etag, 200), (etag, 404)):
            assert self.ask("DELETE", name, headers={"If-Match": wanted}).status_code == status

    def check(self, name: str, number: int) -> None:
        """That what was changed is so."""
        before = body_of(name)
        match self.changes[number % len(self.changes)].__name__:
            case "patch":
                assert self.has(name, before).headers["ais-custom-md"] == "colour=red"
            case "rename":
                assert self.ask("GET", name).status_code == 404
                self.has(f"renamed/{name}", before)
            case "copy":
                self.has(name, before)
                self.has(f"copied/{name}", before)
            case "append":
                self.has(name, before + b"more")
            case "replace":
                self.has(name, b"new")
            case "remove":
                assert self.ask("GET", name).status_code == 404
            case _:
                self.has(name, before)


def test_what_is_changed_on_its_way_is_changed_where_it_arrives(tmp_path: Path) -> None:
    with Nodes(tmp_path, targets=2, target_settings=SLOW, proxy_settings=PATIENT) as nodes:
        wait_until_settled(nodes, set(TWO))
        fill(nodes, NAMES)
        new = [name for name in NAMES if owner_of(name, THREE) == "t3"]
        assert len(new) > 12
        client = Changing(nodes)
        nodes.add_target("t3")
        nodes.start("t3")
        wait_for(lambda: is_running(nodes), what="objects on their way")
        with client.http:
            for number, name in enumerate(new):
                client.changes[number % len(client.changes)](name)
                client.check(name, number)
            wait_until_settled(nodes, set(THREE))
            for number, name in enumerate(new):
                client.check(name, number)
            for name in set(NAMES) - set(new):
                client.has(name, body_of(name))
