"""S1-S8: which addresses may be dialled, and that the engine dials no other, however it is spelt."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from common.errors import Retry
from target.transfer.egress import EgressGuard
from target.transfer.request import FetchError, FetchRequest
from tests.faults import Redirect
from tests.origin import Origin
from tests.transfer.driving import Collector, failure, fetch_all, make_engine, receipt

_REFUSED = """
0.0.0.0 0.0.0.1 0.255.255.255 10.0.0.0 10.1.2.3 10.255.255.255 100.64.0.0 100.100.100.200 100.127.255.255 127.0.0.0
127.0.0.1 127.0.1.1 127.1.2.3 127.255.255.255 169.254.0.0 169.254.169.254 169.254.170.2 169.254.255.255 172.16.0.0
172.20.0.1 172.31.255.255 192.0.0.0 192.0.0.8 192.0.0.170 192.0.0.255 192.0.2.0 192.0.2.255 192.88.99.0 192.88.99.1
192.88.99.255 192.168.0.0 192.168.1.1 192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.0 198.51.100.255
203.0.113.0 203.0.113.255 224.0.0.0 224.0.0.1 239.255.255.255 240.0.0.0 255.255.255.254 255.255.255.255
:: ::1 ::2 ::7f00:1 ::127.0.0.1 ::10.0.0.1 ::8.8.8.8 ::ffff:ffff ::ffff:0.0.0.0 ::ffff:127.0.0.1 ::ffff:7f00:1
::ffff:10.0.0.1 ::ffff:100.64.0.1 ::ffff:169.254.169.254 ::ffff:172.16.0.1 ::ffff:192.168.0.1 ::ffff:224.0.0.1
::ffff:255.255.255.255 ::ffff:0:127.0.0.1 ::ffff:0:0:1 ::ffff:0:8.8.8.8 64:ff9b::127.0.0.1 64:ff9b::7f00:1
64:ff9b::10.0.0.1 64:ff9b::169.254.169.254 64:ff9b::192.168.1.1 64:ff9b:1::1 64:ff9b:1::a00:1 64:ff9b:1::8.8.8.8
64:ff9b:2::1 100:: 100::1 100::ffff:ffff:ffff:ffff 100:0:0:1::1 2001:: 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2
2001:2::1 2001:10::1 2001:20::1 2001:1ff:ffff::1 2001:db8:: 2001:db8::1 2001:db8:ffff::1 2002:: 2002:7f00:1::
2002:7f00:1::1 2002:a00:1::1 2002:a9fe:a9fe::1 2002:c0a8:101::1 2002:808:808::1 3fff:: 3fff::1 3fff:fff::1 4000::1
5f00:: 5f00::1 8000::1 fc00:: fc00::1 fd00::1 fd12:3456:789a::1 fd00:ec2::254 fdff::1 fe00::1 fe80:: fe80::1
fe80::1%lo febf::1 fec0:: fec0::1 feff::1 ff00:: ff01::1 ff02::1 ff05::2 ff0e::1 ffff::1
not-an-address 1.2.3 127.1 0x7f000001 2130706433
"""

_PERMITTED = """
1.0.0.1 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255
169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0
198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255 ::ffff:8.8.8.8
::ffff:1.1.1.1 64:ff9b::8.8.8.8 64:ff9b::101:101 2000::1 2001:200::1 2001:4860:4860::8888 2001:db7:ffff::1 2001:db9::1
2003::1 2600::1 2606:4700:4700::1111 2a00:1450::1 3ffe::1 3fff:1000::1 3ffe:ffff::1
"""


@pytest.mark.parametrize("ip", _REFUSED.split())
def test_refuses_what_is_not_public_unicast(ip: str) -> None:
    assert EgressGuard().refusal(ip, 80)


@pytest.mark.parametrize("ip", _PERMITTED.split())
def test_permits_public_unicast(ip: str) -> None:
    assert EgressGuard().refusal(ip, 80) == ""


def test_allowed_networks_count_for_wrapped_addresses_too() -> None:
    guard = EgressGuard([ip_network("10.1.0.0/16"), ip_network("fd00::/8")])
    for ip in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "2002:a01:203::1", "::10.1.2.3", "fd00::1"):
        assert guard.refusal(ip, 80) == "", ip
    for ip in ("10.2.0.1", "::ffff:10.2.0.1", "64:ff9b::10.2.0.1", "fc00::1", "127.0.0.1"):
        assert guard.refusal(ip, 80), ip


def test_the_reason_says_how_to_allow_it() -> None:
    assert "--allow-origin 10.1.2.3/32" in EgressGuard().refusal("::ffff:10.1.2.3", 80)
    assert "--allow-origin fd00::1/128" in EgressGuard().refusal("fd00::1", 80)


def test_the_clusters_own_endpoints_are_never_origins() -> None:
    guard = EgressGuard([ip_network("0.0.0.0/0"), ip_network("::/0")], [("127.0.0.1", 8080), ("10.0.0.5", 51080)])
    local = "127.0.0.1 127.0.0.2 127.9.9.9 0.0.0.0 ::1 :: ::ffff:127.0.0.1 64:ff9b::127.0.0.1 ::ffff:0.0.0.0 0.0.0.9"
    for ip in local.split():
        assert "belongs to this cluster" in guard.refusal(ip, 8080), ip
        assert guard.refusal(ip, 8081) == "", ip
    for ip in ("10.0.0.5", "::ffff:10.0.0.5", "64:ff9b::10.0.0.5", "2002:a00:5::1"):
        assert "belongs to this cluster" in guard.refusal(ip, 51080), ip
        assert guard.refusal(ip, 80) == "", ip
    guard.deny_endpoints({("0.0.0.0", 9000)})
    assert guard.refusal("127.0.0.1", 9000)
    assert guard.refusal("10.0.0.5", 51080) == ""


class Canary:
    """Listens on every local address; nothing may ever connect."""

    def __init__(self) -> None:
        self.accepted = 0
        self._socket = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                if connection.recv(1) == b"Q":
                    return
                self.accepted += 1

    def close(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"Q")
        self._thread.join()
        self._socket.close()


@pytest.fixture
def canary() -> Iterator[Canary]:
    made = Canary()
    yield made
    made.close()


def spellings() -> list[str]:
    """Hosts that some parser or other takes for an address of this machine."""
    addresses = ["127.0.0.1", "127.0.1.1", "0.0.0.0", "127.255.255.254"]
    hosts = []
    for address in addresses:
        parts = [int(part) for part in address.split(".")]
        number = int.from_bytes(bytes(parts), "big")
        low16, low24 = number & 0xFFFF, number & 0xFFFFFF
        digits = str.maketrans("0123456789", "０１２３４５６７８９")
        circled = str.maketrans("0123456789", "⓪①②③④⑤⑥⑦⑧⑨")
        hosts += [address, address + ".", str(number), hex(number), oct(number).replace("0o", "0")]
        hosts += [".".join(map(hex, parts)), ".".join(f"{part:#06x}" for part in parts)]
        hosts += [".".join(f"0{part:o}" for part in parts), ".".join(f"{part:08o}" for part in parts)]
        hosts += [f"{parts[0]}.{low24}", f"{parts[0]}.{parts[1]}.{low16}", f"0x{parts[0]:x}.{low24}"]
        hosts += [f"0{parts[0]:o}.{parts[1]}.{low16:#x}", f"{parts[0]:#X}.{parts[1]:#x}.{parts[2]}.{parts[3]}"]
        hosts += [address.translate(digits), address.translate(circled), address.replace(".", "。")]
        hosts += [address.replace(".", "．"), address.replace(".", "｡"), address.replace("1", "%31")]
        hosts += [f"[::ffff:{address}]", f"[::{address}]", f"[64:ff9b::{address}]", f"[::ffff:0:{address}]"]
        hosts += [f"user:pass@{address}", f"8.8.8.8@{address}"]
        hosts += [f"[2002:{number >> 16:x}:{low16:x}::1]", f"[::ffff:{number >> 16:x}:{low16:x}]"]
    hosts += ["127.1", "127.0.1", "0", "00", "0x0", "0x7f.1", "0177.1", "0x7f000001", "017700000001", "localhost"]
    hosts += ["LOCALHOST", "localhost.", "ｌocalhost", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::0001]", "[::1%25lo]"]
    hosts += ["[fe80::1%25lo]", "[::FFFF:7F00:1]", "[0000::1]", "①②⑦.⓪.⓪.①", "127。0。0。1", "127.0.0.1%00", "[::%31]"]
    return hosts


def test_no_spelling_reaches_this_machine(canary: Canary) -> None:
    urls = [f"http://{host}:{canary.port}/canary" for host in spellings()]
    assert len(set(urls)) >= 120
    engine = make_engine(guard=EgressGuard(), connect_timeout_seconds=5)
    results = fetch_all(engine, [FetchRequest(url) for url in urls], Collector())
    engine.close()
    assert all(isinstance(result, FetchError) for result in results)
    assert canary.accepted == 0
    kinds = [result.kind for result in results if isinstance(result, FetchError)]
    assert kinds.count("egress") >= 100
    assert set(kinds) <= {"egress", "dns", "protocol"}


def test_the_error_names_address_and_option_and_is_final(origin: Origin) -> None:
    engine = make_engine(guard=EgressGuard())
    error = failure(engine, f"http://user:pw@localhost:{origin.port}/a?token=1")
    engine.close()
    assert (error.kind, error.retry) == ("egress", Retry.NEVER)
    assert "egress blocked: " in str(error)
    assert "--allow-origin" in str(error)
    assert "pw" not in str(error)
    assert "token" not in str(error)
    assert origin.connections == 0


def test_every_hop_passes_the_guard(origin: Origin, canary: Canary) -> None:
    engine = make_engine(guard=EgressGuard([ip_network("127.0.0.1/32")]))
    for host in ("127.0.0.2", "0.0.0.0", "[::1]", "2130706434", "[::ffff:127.0.0.2]"):
        origin.misbehave("/a", Redirect(f"http://{host}:{canary.port}/"))
        assert failure(engine, origin.url("/a")).kind == "egress", host
    engine.close()
    assert canary.accepted == 0


def test_a_name_with_one_good_address_is_fetched_from_that(origin: Origin) -> None:
    origin.put("/a", b"x")
    engine = make_engine(guard=EgressGuard([ip_network("127.0.0.0/8")]))  # localhost is ::1 too, which is refused
    assert receipt(engine, f"http://localhost:{origin.port}/a")[1] == b"x"
    engine.close()


def test_endpoints_denied_while_running_count_from_then_on(origin: Origin) -> None:
    origin.put("/a", b"x")
    guard = EgressGuard([ip_network("127.0.0.0/8")])
    engine = make_engine(guard=guard)
    guard.deny_endpoints({("127.0.0.1", origin.port)})
    assert "belongs to this cluster" in str(failure(engine, origin.url("/a")))
    guard.deny_endpoints(())
    assert receipt(engine, origin.url("/a"))[1] == b"x"
    engine.close()


def test_environment_and_netrc_are_not_consulted(
    origin: Origin, canary: Canary, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / ".netrc").write_text("machine 127.0.0.1 login canary password canary\n")
    monkeypatch.setenv("HOME", str(home))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    origin.put("/a", b"x")
    engine = make_engine()
    assert receipt(engine, origin.url("/a"))[1] == b"x"
    engine.close()
    assert canary.accepted == 0
    assert "authorization" not in origin.requests[0].headers
