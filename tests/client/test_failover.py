"""Any proxy answers: calls go on when one of two is stopped or breaks off, and are repeated only where that is safe."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import haul
from haul.filesystem import HaulFileSystem
from tests.cluster import Cluster
from tests.origin import Origin


@contextmanager
def server_that_breaks_off(answer: bytes = b"") -> Iterator[tuple[str, list[bytes]]]:
    """It accepts a request, says what it is told to, without one nothing, and closes the connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    seen: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                seen.append(connection.recv(65536).partition(b"\r\n")[0])
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_one_of_two_proxies_is_stopped(tmp_path: Path, origin: Origin) -> None:
    with Cluster(tmp_path, targets=2, mountpaths=1, proxies=2) as cluster:
        urls = [cluster.urls["p1"], cluster.urls["p2"]]
        with haul.Client(urls) as client:
            client.create_bucket("b")
            client.put("b", "x", b"data")
            gate = origin.gate("/failover.bin")
            job_id = client.start(haul.SingleJob("b", origin.put("/failover.bin", b"came"), "y"))
            states = client.follow(job_id)
            assert next(states).state == "running"
            cluster.stop("p1")
            gate.release()
            assert [state.state for state in states][-1] == "finished"
            assert client.get("b", "y") == b"came"
            client.put("b", "z", b"written")
            client.create_bucket("another")
            assert client.wait(client.start(haul.SingleJob("b", origin.put("/f2", b"x"), "f2"))).succeeded
        filesystem = HaulFileSystem(urls, direct=False, skip_instance_cache=True)
        assert filesystem.cat_file("b/x") == b"data"
        filesystem.close()
        cluster.start("p1")


def test_a_target_that_owns_an_object_no_more_sends_to_the_proxies(tmp_path: Path) -> None:
    with Cluster(tmp_path, targets=2, mountpaths=1) as cluster, haul.Client(cluster.urls["p1"], direct=True) as client:
        client.create_bucket("b")
        for number in range(8):
            client.put("b", f"x{number}", b"data")
        assert all(client.get("b", f"x{number}") == b"data" for number in range(8))
        known = client._transport._targets
        assert known is not None
        urls = sorted(known._urls)
        known._urls = urls[::-1] if known._urls == urls else urls
        assert all(client.get("b", f"x{number}") == b"data" for number in range(8))
        with pytest.raises(haul.NotFound):
            client.get("b", "missing")
        known = client._transport._targets
        assert known is not None
        known._urls = [cluster.urls["p1"].replace("127.0.0.1", "127.0.0.1:1").rpartition(":")[0]] * 2
        assert client.head("b", "x1").size_bytes == 4


def test_what_is_safe_is_asked_again_where_an_answer_broke_off(endpoints: list[str], client: haul.Client) -> None:
    client.put("b", "safe", b"data")
    with server_that_breaks_off() as (broken, seen):
        for ask in (
            lambda one: one.get("b", "safe"),
            lambda one: one.head("b", "safe"),
            lambda one: list(one.objects("b")),
            lambda one: one.start(haul.SingleJob("b", "http://127.0.0.1:1/x")),
            lambda one: one.put("b", "safe", b"data"),
        ):
            with haul.Client([broken, *endpoints]) as failing:
                assert ask(failing)
        assert len(seen) == 5


def test_what_is_not_safe_is_not(endpoints: list[str], client: haul.Client) -> None:
    client.put("b", "kept", b"data")
    with server_that_breaks_off() as (broken, seen):
        for ask in (
            lambda one: one.create_bucket("unsafe"),
            lambda one: one.delete_bucket("b"),
            lambda one: one.delete("b", "kept"),
        ):
            with (
                haul.Client([broken, *endpoints]) as failing,
                pytest.raises(haul.Unreachable, match="may have done it"),
            ):
                ask(failing)
        assert len(seen) == 3
    assert client.get("b", "kept") == b"data"
    assert haul.Bucket("unsafe") not in client.buckets()


def test_nobody_answers() -> None:
    with haul.Client("http://127.0.0.1:1,127.0.0.1:2") as client:
        with pytest.raises(haul.NoProxyAnswers, match="1 or http://127") as raised:
            client.buckets()
        assert raised.value.may_pass
        with pytest.raises(haul.Unreachable):
            client.wait("dnl-abc", patience_seconds=0)


def test_a_target_that_does_not_answer_is_told_from_its_proxy() -> None:
    redirect = b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/v1/objects/b/x\r\nContent-Length: 0\r\n\r\n"
    with server_that_breaks_off(redirect) as (proxy, seen):
        told = f"target http://127.0.0.1:1, to which {proxy} redirects, does not answer"
        with haul.Client(proxy) as client, pytest.raises(haul.Unreachable, match=told):
            client.get("b", "x")
        assert len(seen) == 1


def test_the_environment_names_a_cluster(monkeypatch: pytest.MonkeyPatch, endpoints: list[str]) -> None:
    monkeypatch.delenv("HAUL_ENDPOINT", raising=False)
    monkeypatch.delenv("AIS_ENDPOINT", raising=False)
    with pytest.raises(haul.InvalidInput, match="HAUL_ENDPOINT"):
        haul.Client()
    monkeypatch.setenv("AIS_ENDPOINT", endpoints[0])
    with haul.Client() as client:
        assert client.buckets() is not None
    monkeypatch.setenv("HAUL_ENDPOINT", "ftp://elsewhere")
    with pytest.raises(haul.InvalidInput, match="no endpoint"):
        haul.Client()


def test_what_is_no_cluster_is_told(origin: Origin) -> None:
    origin.put("/v1/download/dnl-x/story", b"[1]")
    origin.put("/v1/buckets", b"<html>")
    with haul.Client(origin.base) as client:
        with pytest.raises(haul.UnexpectedAnswer, match="JSON"):
            client.story("dnl-x")
        with pytest.raises(haul.NotFound, match="404"):
            client.story("dnl-y")
        with pytest.raises(haul.UnexpectedAnswer, match="JSON"):
            client.buckets()
