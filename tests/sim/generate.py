"""Random clusters: 3 to 64 nodes, 1 to 12 storages of all kinds, 1 to 4 storage networks, guests, HA. The same seed, the same cluster."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tests.sim.plan import Ceph, Guest, Plan, Portal, Server, Storage, Target

SIZES = (3, 64)
"""Nodes, at least and at most."""
_WEIGHTS = (("nfs", 5), ("iscsi", 3), ("rbd", 2), ("cephfs", 1), ("cifs", 1), ("pbs", 1), ("dir", 1), ("lvmthin", 1))
_NETWORKED = ("nfs", "iscsi")
_MOST_GUESTS = 4
"""Guests for each node."""


@dataclass(slots=True)
class _Making:
    """Names and addresses given out so far."""

    chance: Random
    nodes: tuple[str, ...]
    subnets: tuple[str, ...]
    hosts: int = 0
    servers: int = 0
    luns: int = 0

    def address(self) -> tuple[str, str]:
        """Return a new address and the network that it lies in."""
        subnet = self.chance.choice(self.subnets)
        return self.inside(subnet), subnet

    def inside(self, subnet: str) -> str:
        """Return a new address of a network."""
        self.hosts += 1
        return f"{subnet.rpartition('.')[0]}.{200 + self.hosts}"

    def limit(self) -> tuple[str, ...] | None:
        """Return the nodes that a storage is limited to: one in five is."""
        if len(self.nodes) < 4 or self.chance.random() > 0.2:
            return None
        some = self.chance.randint(2, len(self.nodes) - 1)
        return tuple(sorted(self.chance.sample(self.nodes, some), key=self.nodes.index))


def generate(seed: int, sizes: tuple[int, int] = SIZES) -> Plan:
    """Return the cluster of a seed, with ``sizes`` nodes at least and at most; half of all clusters have 8 or fewer."""
    chance = Random(f"cluster {seed}")
    least, most = sizes
    small = min(most, max(8, least))
    count = chance.randint(least, small) if chance.random() < 0.5 else chance.randint(small, most)
    nodes = tuple(f"pve{number}" for number in range(1, count + 1))
    subnets = tuple(f"10.10.{number}.0/24" for number in range(1, chance.randint(1, 4) + 1))
    making = _Making(chance, nodes, subnets)
    storages = _storages(making, chance.randint(1, 12))
    ceph = _ceph(chance, nodes, subnets) if any(one.type in ("rbd", "cephfs") for one in storages) else None
    guests = tuple(_guests(chance, nodes, storages))
    return Plan(nodes, subnets, tuple(storages), ceph, guests, seed=seed, rules=_rules(chance, nodes, guests))


def _storages(making: _Making, count: int) -> list[Storage]:
    names, weights = zip(*_WEIGHTS, strict=True)
    types = making.chance.choices(names, weights, k=count)
    if not any(one in _NETWORKED for one in types):
        types[0] = making.chance.choice(_NETWORKED)
    found: list[Storage] = []
    servers: list[Server] = []
    for number, kind in enumerate(types):
        match kind:
            case "nfs":
                found.append(_nfs(making, number, servers))
            case "iscsi":
                found.extend(_san(making, number))
            case "cifs" | "pbs":
                address, subnet = making.address()
                share = "backup" if kind == "pbs" else "share"
                found.append(Storage(f"{kind}{number}", kind, making.limit(), Server(address, address, subnet), share))
            case "dir":
                found.append(Storage(f"dir{number}", kind, None, path=f"/srv/dir{number}"))
            case "lvmthin":
                found.append(Storage(f"thin{number}", kind, None, vg=f"local{number}"))
            case _:
                found.append(Storage(f"{kind}{number}", kind, making.limit(), pool=f"pool{number}"))
    return found


def _nfs(making: _Making, number: int, servers: list[Server]) -> Storage:
    """Return a storage on a new server, or, one time in three, on one that is there already."""
    chance = making.chance
    if servers and chance.random() < 0.33:
        server = chance.choice(servers)
    else:
        address, subnet = making.address()
        making.servers += 1
        server = Server(f"nas{making.servers}.example" if chance.random() < 0.2 else address, address, subnet)
        servers.append(server)
    version = chance.choice(("3", "4.2"))
    return Storage(f"nfs{number}", "nfs", making.limit(), server, f"/export/pve{number}", version)


def _san(making: _Making, number: int) -> list[Storage]:
    """Return an iSCSI storage and the volume groups on its LUNs."""
    chance = making.chance
    networks = [chance.choice(making.subnets) for _ in range(chance.choice((1, 2, 2, 4)))]
    if len(making.subnets) > 1:  # portals of one target stand in different networks where there are several
        networks = [making.subnets[(making.subnets.index(networks[0]) + turn) % len(making.subnets)] for turn in range(len(networks))]
    portals = tuple(Portal(making.inside(one), one) for one in networks)
    luns = []
    for _ in range(chance.choice((1, 1, 2))):
        making.luns += 1
        luns.append(f"36001405{making.luns:025x}")
    target = Target(f"iqn.2005-10.org.freenas.ctl:san{number}", portals, tuple(luns), len(portals) > 1)
    nodes, name = making.limit(), f"san{number}"
    groups = [
        Storage(f"{name}lvm{index}", "lvm", nodes, target=target, vg=f"vg-{name}-{index}", lun=lun, base=name)
        for index, lun in enumerate(luns)
    ]
    return [Storage(name, "iscsi", nodes, target=target), *groups]


def _ceph(chance: Random, nodes: tuple[str, ...], subnets: tuple[str, ...]) -> Ceph:
    hosts = nodes[: max(3, min(len(nodes), chance.randint(3, 12)))]
    each = chance.randint(1, 4)
    osds = tuple((node, tuple(range(index * each, (index + 1) * each))) for index, node in enumerate(hosts))
    return Ceph(chance.choice(subnets), hosts[: 5 if len(hosts) >= 5 and chance.random() < 0.3 else 3], osds, ("pool0", "pool1"))


def _guests(chance: Random, nodes: tuple[str, ...], storages: list[Storage]) -> list[Guest]:
    usable = [one for one in storages if one.type not in ("iscsi", "pbs")]
    found = []
    for number in range(len(nodes) * chance.randint(1, _MOST_GUESTS) if usable else 0):
        node = chance.choice(nodes)
        mine = [one.id for one in usable if one.nodes is None or node in one.nodes]
        if mine:
            some = tuple(sorted(chance.sample(mine, min(len(mine), chance.choice((1, 1, 2))))))
            found.append(Guest(100 + number, node, some, chance.random() < 0.33, chance.random() < 0.2))
    return found


def _rules(chance: Random, nodes: tuple[str, ...], guests: tuple[Guest, ...]) -> tuple[tuple[str, tuple[str, ...], tuple[int, ...]], ...]:
    managed = [one.vmid for one in guests if one.managed and not one.container]
    if not managed or len(nodes) < 3:
        return ()
    return (("prefer", tuple(nodes[:3]), tuple(chance.sample(managed, min(2, len(managed))))),)
