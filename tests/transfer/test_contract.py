"""The contract of `contract.py` for libcurl against a real server and for the in-memory twin."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from target.transfer.memory import MemoryAnswer, MemoryEngine, MemoryOrigin
from target.transfer.request import TransferEngine
from tests.faults import Status
from tests.origin import Gate, Origin
from tests.transfer.contract import EngineContract
from tests.transfer.driving import make_engine


class CurlWorld:
    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.engine: TransferEngine = make_engine()
        self._gates: dict[str, Gate] = {}

    def put(self, path: str, body: bytes, **headers: str) -> str:
        return self.origin.put(path, body, **headers)

    def status(self, path: str, status: int, headers: dict[str, str]) -> str:
        self.origin.misbehave(path, Status(status, headers))
        return self.origin.url(path)

    def hold(self, path: str) -> None:
        self._gates[path] = self.origin.gate(path)

    def release(self, path: str) -> None:
        self._gates[path].release()

    def requests(self, path: str) -> int:
        return self.origin.count(path)


class MemoryWorld:
    base = "http://memory:80"

    def __init__(self) -> None:
        self.origin = MemoryOrigin()
        self.engine: TransferEngine = MemoryEngine(self.origin)
        self._gates: dict[str, list[threading.Event]] = {}

    def put(self, path: str, body: bytes, **headers: str) -> str:
        self.origin.put(self.base + path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return self.base + path

    def status(self, path: str, status: int, headers: dict[str, str]) -> str:
        for url in (self.base + path, self.base + path + "?secret=1"):
            self.origin.misbehave(url, MemoryAnswer(status, headers))
        return self.base + path

    def hold(self, path: str) -> None:
        self._gates[path] = [self.origin.gate(self.base + path + query) for query in ("", "?token=abc")]

    def release(self, path: str) -> None:
        for gate in self._gates[path]:
            gate.set()

    def requests(self, path: str) -> int:
        return sum(url == self.base + path for url, _ in self.origin.requests)


class TestEngine(EngineContract):
    @pytest.fixture
    def world(self, origin: Origin) -> Iterator[CurlWorld]:
        world = CurlWorld(origin)
        yield world
        world.engine.close()


class TestMemoryEngine(EngineContract):
    @pytest.fixture
    def world(self) -> MemoryWorld:
        return MemoryWorld()
