"""A cluster as the checks look at it: facts and topology with the questions that many checks ask, answered once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Final, TypeVar

from controller.check.finding import States
from controller.core.facts import Facts, service_of
from controller.core.topology.names import is_visible, properties
from controller.core.topology.network import host_of
from controller.core.topology.storages import is_below
from controller.core.topology.topology import Topology
from events.definitions import CorosyncDefined, GuestDefined, StorageDefined, VolumeUse
from events.host import Mount, NodeIscsi, NodeMounts, NodeMultipath, NodeVolumes

T = TypeVar("T")

GUEST_DATA: Final = frozenset({"images", "rootdir"})
"""Contents that running guests read and write."""
MOUNTED: Final = frozenset({"nfs", "cifs", "cephfs", "glusterfs"})
"""Types that Proxmox VE mounts itself."""
DIRECTORIES: Final = frozenset({"dir", "btrfs"})
ISCSI: Final = frozenset({"iscsi", "iscsidirect"})
_OF_SERVER: Final = {
    "nfs": "server",
    "cifs": "server",
    "pbs": "server",
    "esxi": "server",
    "glusterfs": "server",
    "zfs": "portal",
    "iscsi": "portal",
    "iscsidirect": "portal",
}
"""Type to the property that names its server."""


class View:
    """Facts of one cluster. ``states`` is None when nobody knows live states."""

    def __init__(self, facts: Facts, topology: Topology, states: States | None) -> None:
        self.facts, self.topology, self.states = facts, topology, states
        self.nodes: tuple[str, ...] = tuple(facts.nodes())
        self.storages: Mapping[str, StorageDefined] = dict(sorted(topology.storages.items()))
        self.guests: Mapping[str, GuestDefined] = dict(sorted(facts.of(GuestDefined).items(), key=lambda item: _number(item[0])))
        self.mounts: Mapping[str, NodeMounts] = self._on_nodes(facts.of(NodeMounts))
        self.iscsi: Mapping[str, NodeIscsi] = self._on_nodes(facts.of(NodeIscsi))
        self.multipath: Mapping[str, NodeMultipath] = self._on_nodes(facts.of(NodeMultipath))
        self.volumes: Mapping[str, NodeVolumes] = self._on_nodes(facts.of(NodeVolumes))
        self.networks = self._on_nodes(topology.networks)
        self.corosync = facts.get(CorosyncDefined)

    def _on_nodes(self, told: Mapping[str, T]) -> dict[str, T]:
        return {node: told[node] for node in self.nodes if node in told}

    @cached_property
    def cluster(self) -> str:
        """Return the entity that stands for the cluster as a whole: its own, or the node that stands alone."""
        return str(self.corosync.subject) if self.corosync else f"node/{self.nodes[0]}" if len(self.nodes) == 1 else "cluster/standalone"

    # Storages

    def of_type(self, *types: str) -> Iterator[tuple[str, StorageDefined, Mapping[str, str]]]:
        """Yield id, definition and properties of the enabled storages of these types; of all when none is named."""
        for name, storage in self.storages.items():
            if not storage.disabled and (not types or storage.type in types):
                yield name, storage, properties(storage)

    def visible(self, storage: StorageDefined) -> tuple[str, ...]:
        """Return the nodes on which Proxmox VE offers a storage."""
        return tuple(node for node in self.nodes if is_visible(storage, node))

    def servers(self, storage: StorageDefined) -> tuple[str, ...]:
        """Return the hosts that a storage's section names; of an LVM storage those of its base."""
        values = properties(storage)
        if storage.type == "lvm" and (base := self.storages.get(values.get("base", "").partition(":")[0])):
            return self.servers(base) if base.type in ISCSI else ()
        if storage.type in ("rbd", "cephfs"):
            return tuple(host_of(one) for one in values.get("monhost", "").replace(",", " ").replace(";", " ").split())
        name = values.get(_OF_SERVER.get(storage.type, "server"), "")
        return (host_of(name),) if name else ()

    # Guests

    def running(self) -> Iterator[tuple[str, GuestDefined]]:
        """Yield VMID and definition of all guests but templates."""
        yield from ((vmid, guest) for vmid, guest in self.guests.items() if not guest.template)

    def storages_of(self, guest: GuestDefined, *needs: str) -> list[str]:
        """Return the storages that a guest needs; without ``needs`` those to run and to start."""
        return self.topology.storages_of(guest, *(needs or ("runtime", "start")))

    def service(self, vmid: str) -> str:
        """Return the HA service of a guest, empty when HA does not manage it."""
        return service_of(self.facts, vmid) or ""

    @cached_property
    def users(self) -> Mapping[str, tuple[str, ...]]:
        """Return the VMIDs of the guests that need each storage to run or start."""
        found: dict[str, list[str]] = {}
        for vmid, guest in self.guests.items():
            for name in self.storages_of(guest):
                found.setdefault(name, []).append(vmid)
        return {name: tuple(vmids) for name, vmids in found.items()}

    # Mounts

    def mount_of(self, node: str, path: str) -> Mount | None:
        """Return the mount on which a path of a node lies, the root file system included; None when the node told none."""
        known = self.mounts.get(node)
        found = [one for one in known.mounted if is_below(path, one.target.rstrip("/")) or one.target == "/"] if known else []
        return max(found, key=lambda one: len(one.target), default=None)


def is_on_node(use: VolumeUse) -> bool:
    """Tell whether a use names a device or directory of the node, and not a volume of a storage."""
    return not use.storage and bool(use.volume) and not use.shared


def listed(names: tuple[str, ...] | list[str], most: int = 6) -> str:
    """Return names for a sentence, the first ones and how many more."""
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"


def options(text: str) -> dict[str, str]:
    """Return mount options by name; one without value has an empty one."""
    found: dict[str, str] = {}
    for one in text.split(","):
        name, _, value = one.strip().partition("=")
        if name:
            found[name] = value
    return found


def _number(vmid: str) -> tuple[int, str]:
    return (int(vmid), "") if vmid.isdigit() else (0, vmid)
