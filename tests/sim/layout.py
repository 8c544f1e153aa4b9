"""Virtual clusters that are written down: `layouts/NAME.toml`, with every name and address that a script may speak of.

A layout holds ``nodes`` (a number: ``pve1`` and on), ``networks`` (CIDR), ``ceph``, and lists of ``nfs``, ``san`` and ``other`` storages
and of ``guests`` (``"VMID NODE STORAGE… [ha] [ct]"``).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from tests.sim.generate import generate
from tests.sim.plan import Ceph, Guest, Plan, Portal, Server, Storage, Target

_FOLDER = Path(__file__).parent / "layouts"


def cluster(named: str | Mapping[str, int], count: int | None = None) -> Plan:
    """Return the cluster of a layout, or of ``{seed = …, nodes = …}``; ``count`` is another number of nodes than the layout's."""
    return _layout(named, count) if isinstance(named, str) else _generated(named["seed"], named["nodes"])


@lru_cache(maxsize=64)
def _generated(seed: int, count: int) -> Plan:
    return generate(seed, (count, count))


@lru_cache(maxsize=64)
def _layout(name: str, count: int | None) -> Plan:
    given = tomllib.loads((_FOLDER / f"{name}.toml").read_text())
    nodes = tuple(f"pve{number}" for number in range(1, (count or given["nodes"]) + 1))
    networks = tuple(given["networks"])
    storages = (*_nfs(given, networks), *_sans(given, networks), *_others(given, networks))
    return Plan(
        nodes,
        networks,
        storages,
        _ceph(given["ceph"], nodes) if "ceph" in given else None,
        tuple(_guest(one) for one in given.get("guests", ())),
    )


def _network_of(address: str, networks: tuple[str, ...]) -> str:
    return next(one for one in networks if ip_address(address) in ip_network(one))


def _limit(given: Mapping[str, Any]) -> tuple[str, ...] | None:
    return tuple(given["nodes"]) if "nodes" in given else None


def _nfs(given: Mapping[str, Any], networks: tuple[str, ...]) -> Iterator[Storage]:
    for one in given.get("nfs", ()):
        server = Server(one.get("name", one["server"]), one["server"], _network_of(one["server"], networks))
        yield Storage(one["id"], "nfs", _limit(one), server, one["path"], one.get("version", "4.2"))


def _sans(given: Mapping[str, Any], networks: tuple[str, ...]) -> Iterator[Storage]:
    """Yield an iSCSI storage for each target, and an LVM storage `ID-lvm`, `ID-lvm2`… on each of its LUNs."""
    for one in given.get("san", ()):
        portals = tuple(Portal(address, _network_of(address, networks)) for address in one["portals"])
        target = Target(one["target"], portals, tuple(one["luns"]), one.get("multipath", len(portals) > 1))
        name, nodes = one["id"], _limit(one)
        yield Storage(name, "iscsi", nodes, target=target)
        for number, lun in enumerate(target.luns, 1):
            suffix = "" if number == 1 else str(number)
            yield Storage(f"{name}-lvm{suffix}", "lvm", nodes, target=target, vg=f"vg-{name}{suffix}", lun=lun, base=name)


def _others(given: Mapping[str, Any], networks: tuple[str, ...]) -> Iterator[Storage]:
    for one in given.get("other", ()):
        server = Server(one["server"], one["server"], _network_of(one["server"], networks)) if "server" in one else None
        yield Storage(one["id"], one["type"], _limit(one), server, one.get("path", ""), vg=one.get("vg", ""), pool=one.get("pool", ""))


def _ceph(given: Mapping[str, Any], nodes: tuple[str, ...]) -> Ceph:
    each, hosts = given["osds"], nodes[: given["hosts"]]
    osds = tuple((node, tuple(range(index * each, (index + 1) * each))) for index, node in enumerate(hosts))
    racks = tuple((rack, tuple(inside)) for rack, inside in given.get("racks", {}).items())
    return Ceph(given["public"], nodes[: given["monitors"]], osds, tuple(given["pools"]), racks)


def _guest(text: str) -> Guest:
    vmid, node, *rest = text.split()
    return Guest(int(vmid), node, tuple(one for one in rest if one not in {"ha", "ct"}), "ha" in rest, "ct" in rest)
