"""A node's addresses and routes: from the kernel, or of a copied tree from what ``ip -json`` recorded there.

Without netlink and without a child process, which the agent's service may both not use: IPv4 addresses by ioctl on a socket that
sends nothing (netdevice(7)), IPv6 addresses and all routes from /proc/net, the rest from /sys/class/net.

A copied tree has its IPv4 addresses in ``ip-addr.json`` (made with ``ip -json addr``), at its root; routes in ``proc/net/route`` and
``proc/net/ipv6_route``, or in ``ip-route.json`` (``ip -json route show table main``), which says more and is preferred.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from agent.sources.host_files import Tree

LIVE: Final = Path("/")
_SIOCGIFCONF: Final = 0x8912
_SIOCGIFNETMASK: Final = 0x891B
_IFREQ: Final = 16 + (24 if struct.calcsize("P") == 8 else 16)
"""Size of struct ifreq (include/uapi/linux/if.h): a name, then a union."""
_MOST_ADDRESSES: Final = 16384
_TABLE: Final = 1 << 18
"""Most bytes read of a table of routes, some 2000 of them: a node may have those of the whole Internet."""


def networks(tree: Tree) -> dict[str, Any]:
    """Return ``inet`` (pairs of interface and address with netmask), ``inet6``, ``route``, ``route6`` (texts of /proc/net), ``links``
    (interface to ``mtu``, ``speed`` and ``operstate``) and what was recorded of ``ip`` as ``addr`` and ``routes``.
    """  # noqa: D205 - a list, not a sentence
    inet = list(_inet()) if tree.root == LIVE else []
    inet6 = tree.text("proc/net/if_inet6")
    addr = tree.text("ip-addr.json", 1 << 22) if tree.root != LIVE else ""
    with_address = {name for name, _ in inet} | {line.split()[-1] for line in inet6.splitlines() if line.split()}
    return {
        "inet": [list(one) for one in inet],
        "inet6": inet6,
        "route": tree.text("proc/net/route", _TABLE),
        "route6": tree.text("proc/net/ipv6_route", _TABLE),
        "links": dict(_links(tree, with_address if tree.root == LIVE else set(tree.names("sys/class/net")))),
        "addr": addr,
        "routes": tree.text("ip-route.json", 1 << 22) if tree.root != LIVE else "",
    }


def _links(tree: Tree, names: set[str]) -> Iterator[tuple[str, dict[str, str]]]:
    for name in sorted(names):
        device = f"sys/class/net/{name}"
        yield name, {attribute: tree.text(f"{device}/{attribute}") for attribute in ("mtu", "speed", "operstate")}


def _inet() -> Iterator[tuple[str, str]]:
    """Yield interface and ``address/netmask`` of all IPv4 addresses of this host, also of those after an interface's first."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for request in _requests(asking):
            label, address = request[:16].split(b"\0", 1)[0], request[20:24]
            # Asked for with an address, the mask is that of this address (net/ipv4/devinet.c).
            query = struct.pack("16sHH4s", label, socket.AF_INET, 0, address).ljust(_IFREQ, b"\0")
            try:
                mask = fcntl.ioctl(asking, _SIOCGIFNETMASK, query)[20:24]
            except OSError:  # gone since
                continue
            name = label.decode("utf-8", "replace").partition(":")[0]  # what follows is a label of the address
            yield name, f"{socket.inet_ntoa(address)}/{socket.inet_ntoa(mask)}"


def _requests(asking: socket.socket) -> Iterator[bytes]:
    size = _MOST_ADDRESSES * _IFREQ
    buffer = array.array("B", bytes(size))
    answer = fcntl.ioctl(asking, _SIOCGIFCONF, struct.pack("iP", size, buffer.buffer_info()[0]))
    used = struct.unpack_from("i", answer)[0]
    yield from (buffer[at : at + _IFREQ].tobytes() for at in range(0, used, _IFREQ))
