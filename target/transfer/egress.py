"""Which addresses may be dialled: public unicast and what the configuration allows, never the cluster itself; pure.

It judges the address that is really dialled; the engine asks from libcurl's open-socket callback, so that odd
spellings, names, rebinding and redirects all end here. Ports and names are left to whoever accepts the job.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Endpoint = tuple[str, int]

_SPECIAL: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "this host"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "carrier-grade NAT"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol assignments"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::1/128", "loopback"),
    ("::/96", "IPv4-compatible"),
    ("::ffff:0:0:0/96", "IPv4-translated"),
    ("64:ff9b:1::/48", "local NAT64"),
    ("100::/64", "discard-only"),
    ("2001::/23", "protocol assignments"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment routing"),
    ("fc00::/7", "unique local"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
)
_TABLE: tuple[tuple[Network, str], ...] = tuple((ip_network(text), reason) for text, reason in _SPECIAL)
_GLOBAL_UNICAST = ip_network("2000::/3")
_NAT64 = ip_network("64:ff9b::/96")
_COMPATIBLE = ip_network("::/96")
_LOOPBACK = ip_address("127.0.0.1")


class EgressGuard:
    """Judges addresses; `deny_endpoints` may be called from any thread."""

    def __init__(self, allowed: Iterable[Network] = (), denied_endpoints: Iterable[Endpoint] = ()) -> None:
        self._allowed = tuple(allowed)
        self._denied = _endpoint_keys(denied_endpoints)

    def deny_endpoints(self, endpoints: Iterable[Endpoint]) -> None:
        """Replace the cluster's own endpoints, which are refused even where their network is allowed."""
        self._denied = _endpoint_keys(endpoints)

    def refusal(self, ip: str, port: int) -> str:
        """Why this address must not be dialled, as it is shown to the user; empty when it may be."""
        try:
            address = ip_address(ip.partition("%")[0])
        except ValueError:
            return "not an internet address"
        inner = _unwrapped(address)
        if _key(inner, port) in self._denied:
            return f"port {port} there belongs to this cluster, which is never an origin"
        if any(candidate in network for network in self._allowed for candidate in {address, inner}):
            return ""
        reason = _special(address) or _special(inner)
        if not reason:
            return ""
        return f"{reason} address; to allow it as an origin use the option --allow-origin {inner}/{inner.max_prefixlen}"


def _special(address: Address) -> str:
    """What is special about an address that is not public unicast; those that carry another are judged by that."""
    if address.version == 6 and (address.ipv4_mapped or address in _NAT64):
        return ""
    for network, reason in _TABLE:
        if address in network:
            return reason
    return "" if address.version == 4 or address in _GLOBAL_UNICAST else "unassigned"


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, or the address itself."""
    if address.version == 4:
        return address
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour or address
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _key(address: Address, port: int) -> tuple[Address, int]:
    """One key for all spellings of this machine: a server on a wildcard address answers on every loopback address."""
    local = address.is_loopback or address.is_unspecified or int(address) >> 24 == 0
    return (_LOOPBACK if local else address, port)


def _endpoint_keys(endpoints: Iterable[Endpoint]) -> frozenset[tuple[Address, int]]:
    return frozenset(_key(_unwrapped(ip_address(ip.partition("%")[0])), port) for ip, port in endpoints)
