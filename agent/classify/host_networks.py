"""A node's addresses and routes out of /proc/net, or out of recorded `ip -json` (ip-address(8), ip-route(8)).

Formats: net/ipv4/fib_trie.c (fib_route_seq_show), net/ipv6/route.c (rt6_info_route), net/ipv6/addrconf.c (if6_seq_show); flags of routes
from include/uapi/linux/route.h and ipv6_route.h. A line that does not have its form is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network
from typing import Any, Final, NamedTuple

from agent.classify.host_bounds import ROOM, fitting
from events.base import Seen
from events.entity import Entity
from events.host import Interface, NodeNetworks, Route

_MOST_INTERFACES, _MOST_ADDRESSES, _MOST_ROUTES = 128, 32, 256
_NAME: Final = 255
_REJECT: Final = 0x200
_NOT_A_WAY: Final = _REJECT | 0x80000000 | 0x01000000 | 0x00100000
"""RTF_REJECT, RTF_LOCAL, RTF_CACHE, RTF_ANYCAST: /proc/net/ipv6_route also shows what is no route to somewhere else."""
_DOWN: Final = frozenset({"down", "lowerlayerdown", "notpresent"})
"""operstate (Documentation/ABI/testing/sysfs-class-net); `unknown` is what drivers say that never say more."""
_LOOPBACK: Final = "lo"
Net = IPv4Network | IPv6Network


class HostFileError(ValueError):
    """A recorded file cannot be understood; the text names it and says how it is made."""


class Way(NamedTuple):
    """A route before it is cut to what an event can hold."""

    net: Net
    metric: int
    interface: str
    gateway: str


def networks(found: Mapping[str, Any], node: Entity, seen: Seen) -> NodeNetworks:
    """Return the event of what :mod:`agent.sources.host_networks` found.

    Loopback and link-local addresses are left out: nothing is reached through them.

    :raises HostFileError: when a recorded ip-addr.json or ip-route.json is not what `ip` prints.
    """
    recorded = _recorded(found["addr"], "ip-addr.json", "ip -json addr")
    addresses: dict[str, dict[str, None]] = {}
    for name, address in (*_own(found["inet"]), *_of_proc(found["inet6"]), *_of_ip(recorded)):
        if text := _useful(address):
            addresses.setdefault(name, {})[text] = None
    links = {**_links_of_ip(recorded), **{name: link for name, link in found["links"].items() if link.get("mtu")}}
    interfaces = (
        _interface(name, sorted(addresses[name], key=_by_number), links.get(name, {}))
        for name in sorted(addresses)
        if 0 < len(name) <= _NAME
    )
    return NodeNetworks(
        subject=node,
        seen=seen,
        interfaces=fitting(interfaces, _MOST_INTERFACES, ROOM // 2),
        routes=fitting(_routes(found), _MOST_ROUTES, ROOM // 2),
    )


def _interface(name: str, addresses: list[str], link: Mapping[str, str]) -> Interface:
    speed, mtu = _number(link.get("speed", "")), _number(link.get("mtu", ""))
    return Interface(
        name=name,
        addresses=tuple(addresses[:_MOST_ADDRESSES]),
        speed=speed or None,  # -1 and 0 are drivers' words for: not known
        up=link.get("operstate", "").lower() not in _DOWN,
        mtu=1500 if mtu is None else mtu,
    )


def _by_number(address: str) -> tuple[int, int]:
    found = ip_interface(address)
    return found.version, int(found)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _useful(address: str) -> str:
    """Return an address with its prefix length; nothing for one that leads nowhere."""
    try:
        found = ip_interface(address)
    except ValueError:
        return ""
    return "" if found.ip.is_loopback or found.ip.is_link_local or found.ip.is_unspecified else found.with_prefixlen


def _own(pairs: Iterable[list[str]]) -> Iterator[tuple[str, str]]:
    yield from ((name, address) for name, address in pairs)


def _of_proc(text: str) -> Iterator[tuple[str, str]]:
    for line in text.split("\n"):
        fields = line.split()
        if len(fields) == 6 and (address := _hex6(fields[0])) and (prefix := _hex(fields[2])) is not None:
            yield fields[5], f"{address}/{prefix}"


def _of_ip(recorded: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for link in recorded:
        for one in _dicts(link.get("addr_info")):
            yield str(link.get("ifname", "")), f"{one.get('local', '')}/{one.get('prefixlen', '')}"


def _links_of_ip(recorded: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    return {str(one.get("ifname", "")): {"mtu": str(one.get("mtu", "")), "operstate": str(one.get("operstate", ""))} for one in recorded}


# Routes


def _routes(found: Mapping[str, Any]) -> Iterator[Route]:
    """Yield routes: first the default ones, then those through a gateway, then the rest; of equal ones the preferred first."""
    ways = list(_ways_of_ip(found["routes"]))
    families = {way.net.version for way in ways}
    ways += [way for way in (*_ways4(found["route"]), *_ways6(found["route6"])) if way.net.version not in families]
    ways.sort(key=lambda way: (way.net.prefixlen > 0, not way.gateway, way.net.version, way.net, way.metric))
    for way in ways:
        if way.interface != _LOOPBACK and 0 < len(way.interface) <= _NAME and not (way.net.is_link_local or way.net.is_multicast):
            yield Route(destination=str(way.net), interface=way.interface, gateway=way.gateway)


def _ways4(text: str) -> Iterator[Way]:
    for line in text.split("\n")[1:]:
        fields = line.split()
        if len(fields) < 8 or fields[0] == "*":  # a route that refuses has no interface
            continue
        net, gateway, flags = _net4(fields[1], fields[7]), _hex4(fields[2]), _hex(fields[3])
        if net is not None and gateway and flags is not None and not flags & _REJECT:
            yield Way(net, _number(fields[6]) or 0, fields[0], gateway if gateway != "0.0.0.0" else "")  # noqa: S104 - no gateway


def _ways6(text: str) -> Iterator[Way]:
    for line in text.split("\n"):
        fields = line.split()
        if len(fields) != 10:
            continue
        net, gateway, flags = _net6(fields[0], fields[1]), _hex6(fields[4]), _hex(fields[8])
        if net is not None and gateway and flags is not None and not flags & _NOT_A_WAY:
            yield Way(net, _hex(fields[5]) or 0, fields[9], gateway if gateway != "::" else "")


def _ways_of_ip(text: str) -> Iterator[Way]:
    for one in _recorded(text, "ip-route.json", "ip -json route show table main"):
        if one.get("type", "unicast") != "unicast" or (net := _net_of_ip(one)) is None:
            continue
        metric = one["metric"] if isinstance(one.get("metric"), int) else 0
        for hop in _dicts(one.get("nexthops")) or [one]:
            via = hop.get("via")
            gateway = via.get("host", "") if isinstance(via, dict) else hop.get("gateway", "")
            yield Way(net, metric, str(hop.get("dev", "")), _address(gateway))


def _net_of_ip(one: Mapping[str, Any]) -> Net | None:
    text = str(one.get("dst", ""))
    if text == "default":
        text = "::/0" if ":" in str(one.get("gateway", "")) else "0.0.0.0/0"
    return _net(text)


def _recorded(text: str, file: str, command: str) -> list[dict[str, Any]]:
    if not text:
        return []
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise HostFileError(f"{file}: is not what `{command}` prints; record it again")
    return _dicts(found)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _address(text: Any) -> str:
    try:
        return str(ip_address(str(text)))
    except ValueError:
        return ""


def _net(text: str) -> Net | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _hex(text: str) -> int | None:
    try:
        return int(text, 16) if len(text) <= 8 else None
    except ValueError:
        return None


def _hex4(text: str) -> str:
    """Return the address that the kernel prints as one number in its own byte order, which on all nodes is little-endian."""
    number = _hex(text) if len(text) == 8 else None
    return _address(".".join(str(byte) for byte in number.to_bytes(4, "little"))) if number is not None and number >= 0 else ""


def _hex6(text: str) -> str:
    return _address(":".join(text[at : at + 4] for at in range(0, 32, 4))) if len(text) == 32 else ""


def _net4(destination: str, mask: str) -> Net | None:
    address, netmask = _hex4(destination), _hex4(mask)
    return _net(f"{address}/{netmask}") if address and netmask else None


def _net6(destination: str, prefix: str) -> Net | None:
    address, length = _hex6(destination), _hex(prefix)
    return _net(f"{address}/{length}") if address and length is not None else None
