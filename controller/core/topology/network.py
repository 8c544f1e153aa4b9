"""Which network a node's packets to an address leave through."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_interface, ip_network
from types import MappingProxyType
from typing import Final

from events.host import NodeNetworks

Address = IPv4Address | IPv6Address
Net = IPv4Network | IPv6Network
_LOOPBACK: Final = "lo"
_PARSED: Final = 4096
"""Addresses whose parsed form is remembered: each node is asked for its way to the same few hosts."""
NO_NAMES: Final[Mapping[str, str]] = MappingProxyType({})


@lru_cache(_PARSED)
def address_of(host: str) -> Address | None:
    """Return the address that a host is given by, with or without brackets; None for a name."""
    try:
        return ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def host_of(endpoint: str) -> str:
    """Return the host of ``host``, ``host:port``, ``[v6]:port`` or a bare IPv6 address."""
    if endpoint.startswith("["):
        return endpoint[1:].partition("]")[0]
    host, colon, port = endpoint.rpartition(":")
    return host if colon and ":" not in host and port.isdigit() else endpoint


def network_of(text: str) -> Net | None:
    """Read a CIDR or an address with prefix length; None when it is neither."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


class Networks:
    """One node's connected networks and routes. ``names``: addresses of hosts that are given by name."""

    def __init__(self, facts: NodeNetworks, names: Mapping[str, str] = NO_NAMES) -> None:
        self._names = names
        self._connected: list[tuple[Net, str]] = []
        self._speeds: dict[str, int | None] = {one.name: one.speed for one in facts.interfaces}
        self.addresses: set[Address] = set()
        for interface in facts.interfaces:
            for text in interface.addresses if interface.name != _LOOPBACK else ():
                self._add(text, interface.name)
        self._routes = [
            (net, route.interface, address_of(route.gateway))
            for route in facts.routes
            if (net := network_of(route.destination)) is not None
        ]
        self._routes.sort(key=lambda route: -route[0].prefixlen)
        self._known: dict[str, str] = {}
        self._connected_names: tuple[str, ...] | None = None

    def _add(self, text: str, interface: str) -> None:
        try:
            found = ip_interface(text)
        except ValueError:
            return
        if not found.ip.is_link_local:
            self._connected.append((found.network, interface))
            self.addresses.add(found.ip)

    def toward(self, host: str) -> str:
        """Return the connected network through which a host is reached, CIDR; empty when that cannot be told."""
        if host not in self._known:
            address = self._address(host)
            found = None if address is None else self._find(address)
            self._known[host] = "" if found is None else str(found[0])
        return self._known[host]

    def speed_toward(self, host: str) -> int | None:
        """Return the speed in Mbit/s of the interface through which a host is reached, None when it is not known."""
        address = self._address(host)
        found = None if address is None else self._find(address)
        return None if found is None else self._speeds.get(found[1])

    def connected(self) -> tuple[str, ...]:
        """Return the networks that the node has an address in, CIDR."""
        if self._connected_names is None:  # asked for by each storage in Ceph
            self._connected_names = tuple(sorted({str(net) for net, _ in self._connected}))
        return self._connected_names

    def _address(self, host: str) -> Address | None:
        return address_of(self._names.get(host, host))

    def _find(self, address: Address) -> tuple[Net, str] | None:
        direct = [one for one in self._connected if address.version == one[0].version and address in one[0]]
        if direct:
            return max(direct, key=lambda one: one[0].prefixlen)
        for net, interface, gateway in self._routes:
            if net.version == address.version and address in net:
                return self._through(interface, gateway)
        return None

    def _through(self, interface: str, gateway: Address | None) -> tuple[Net, str] | None:
        own = [one for one in self._connected if one[1] == interface]
        holding = [one for one in own if gateway is not None and gateway.version == one[0].version and gateway in one[0]]
        return next(iter([*holding, *own]), None)
