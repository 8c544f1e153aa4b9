"""What a virtual cluster consists of: nodes, networks, servers, targets, storages, guests. Values only, nothing happens here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

_T = TypeVar("_T")

CLUSTER = "prod"
"""Name of every virtual cluster."""
FSID = "4b5c8c0a-ff60-454b-a1b4-9747aa737d19"


@dataclass(frozen=True, slots=True)
class Server:
    """An NFS server. ``name`` is what storage.cfg says: its address, or a name that resolves to it."""

    name: str
    address: str
    subnet: str
    """CIDR."""

    @property
    def entity(self) -> str:
        """Return ``nfs-server/NAME``."""
        return f"nfs-server/{self.name}"

    @property
    def is_named(self) -> bool:
        """Tell whether it is given by a name, not by its address."""
        return self.name != self.address


@dataclass(frozen=True, slots=True)
class Portal:
    """An iSCSI portal, on the default port."""

    address: str
    subnet: str

    @property
    def key(self) -> str:
        """Return ``address:port``."""
        return f"{self.address}:3260"

    @property
    def entity(self) -> str:
        """Return ``iscsi-portal/ADDRESS:PORT``."""
        return f"iscsi-portal/{self.key}"


@dataclass(frozen=True, slots=True)
class Target:
    """An iSCSI target with its portals and LUNs (WWIDs). With ``multipath`` a LUN is a map with a path for each portal."""

    iqn: str
    portals: tuple[Portal, ...]
    luns: tuple[str, ...]
    multipath: bool

    @property
    def entity(self) -> str:
        """Return ``iscsi-target/IQN``."""
        return f"iscsi-target/{self.iqn}"


@dataclass(frozen=True, slots=True)
class Ceph:
    """The nodes' own Ceph cluster."""

    public: str
    monitors: tuple[str, ...]
    """Nodes."""
    osds: tuple[tuple[str, tuple[int, ...]], ...]
    """Nodes with their OSDs."""
    pools: tuple[str, ...]
    racks: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """CRUSH racks with their nodes; none where all hosts are directly below the root."""

    def rack(self, node: str) -> str:
        """Return the rack of a node, empty where there are none."""
        return next((rack for rack, nodes in self.racks if node in nodes), "")


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage of storage.cfg. Which of the other fields are set depends on its type."""

    id: str
    type: str
    nodes: tuple[str, ...] | None = None
    server: Server | None = None
    """Of `nfs`; of `cifs` and `pbs` as well, which no probe asks."""
    path: str = ""
    """Export of `nfs`, directory of `dir`, share of `cifs`, datastore of `pbs`."""
    version: str = ""
    target: Target | None = None
    vg: str = ""
    lun: str = ""
    base: str = ""
    pool: str = ""

    @property
    def entity(self) -> str:
        """Return ``storage/ID``."""
        return f"storage/{self.id}"

    @property
    def export(self) -> str:
        """Return ``server:/path`` of an NFS storage."""
        assert self.server is not None
        return f"{self.server.name}:{self.path}"


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest, where it is, and the storages of its disks."""

    vmid: int
    node: str
    storages: tuple[str, ...]
    managed: bool
    container: bool = False


@dataclass(frozen=True, eq=False)
class Plan:
    """A whole cluster. One is equal to itself only: it is a key of caches."""

    nodes: tuple[str, ...]
    subnets: tuple[str, ...]
    """Storage networks (CIDR); every node has an address in each."""
    storages: tuple[Storage, ...]
    ceph: Ceph | None = None
    guests: tuple[Guest, ...] = ()
    seed: int = 0
    rules: tuple[tuple[str, tuple[str, ...], tuple[int, ...]], ...] = field(default=())
    """HA node-affinity rules: name, nodes, guests."""

    def users(self, storage: Storage) -> tuple[str, ...]:
        """Return the nodes that may use a storage."""
        return self.nodes if storage.nodes is None else storage.nodes

    @cached_property
    def servers(self) -> dict[Server, tuple[str, ...]]:
        """Return NFS servers with the nodes that use them."""
        return self._used((one.server, one) for one in self.of_type("nfs") if one.server is not None)

    @cached_property
    def targets(self) -> dict[Target, tuple[str, ...]]:
        """Return iSCSI targets with the nodes that use them."""
        return self._used((one.target, one) for one in self.of_type("iscsi") if one.target is not None)

    @cached_property
    def volume_groups(self) -> dict[str, Storage]:
        """Return the LVM storages on LUNs by volume group."""
        return {one.vg: one for one in self.of_type("lvm") if one.lun}

    def of_type(self, *types: str) -> list[Storage]:
        """Return the storages of some types, in order."""
        return [one for one in self.storages if one.type in types]

    def address(self, node: str, subnet: str) -> str:
        """Return a node's address in a storage network."""
        return f"{subnet.rpartition('.')[0]}.{11 + self.nodes.index(node)}"

    def _used(self, pairs: Iterable[tuple[_T, Storage]]) -> dict[_T, tuple[str, ...]]:
        found: dict[_T, dict[str, None]] = {}
        for thing, storage in pairs:
            found.setdefault(thing, {}).update(dict.fromkeys(self.users(storage)))
        return {thing: tuple(nodes) for thing, nodes in found.items()}
