"""Which bad cells only follow from a fault further down: paths from sessions, volume groups from paths, storages from all of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from controller.core.evidence import PATHS, STORAGES, VOLUMES
from controller.core.inference.scene import is_network
from controller.core.state import CONTROLLER, Cell
from controller.core.topology.names import at, properties, split
from controller.core.topology.topology import Topology

_BENEATH_PATHS: Final = ("iscsi-",)
_TARGETS: Final = ("iscsi-target/", "iscsi-portal/")
_BENEATH_STORAGES: Final = ("iscsi-", "nfs-", "ceph", "server/", "lun/")


def follows(cell: Cell, roots: Iterable[Cell], topology: Topology) -> bool:
    """Tell whether a bad cell of a higher layer may be a consequence of bad cells of lower layers."""
    found = [root for root in roots if root.layer < cell.layer and _from(cell, root)]
    if not found or cell.layer not in {PATHS, VOLUMES} or cell.entity.startswith("ceph"):
        return bool(found)
    beneath = _beneath(cell, topology)
    return not beneath or any({root.entity, root.via} & beneath for root in found)


def _beneath(cell: Cell, topology: Topology) -> set[str]:
    """Return all that a LUN or volume group needs on its node; nothing where it is not known as far as its target."""
    views = [at(cell.entity, cell.node)]
    kind, _, name = cell.entity.partition("/")
    if kind == "vg":
        on_it = (storage for storage, one in topology.storages.items() if properties(one).get("vgname") == name)
        views += [at(f"storage/{storage}", cell.node) for storage in on_it]
    found = {split(one)[0] for view in views for one in topology.graph.below(view)}
    return found if any(one.startswith(_TARGETS) for one in found) else set()


def _from(cell: Cell, root: Cell) -> bool:
    if _hears_no_monitor(cell) and is_network(root) and root.silent and root.node == cell.node:
        return True  # it lost other things of its network as well
    if cell.entity.startswith("ceph"):
        return root.entity.startswith("ceph") and _fsid(cell) == _fsid(root) and _within_ceph(cell, root)
    if root.node != cell.node or root.node == CONTROLLER:
        return False
    if cell.layer in {PATHS, VOLUMES}:
        if root.entity.startswith("lun/") and cell.entity.startswith("lun/"):
            return root.entity == cell.entity
        return root.entity.startswith((*_BENEATH_PATHS, "lun/")) or (root.layer == PATHS and not root.entity.startswith("ceph"))
    return cell.layer == STORAGES and (root.entity.startswith(_BENEATH_STORAGES) or root.layer in {PATHS, VOLUMES})


def _hears_no_monitor(cell: Cell) -> bool:
    return cell.aspect == "quorum" and cell.entity.startswith("ceph/") and cell.layer == PATHS


def _within_ceph(cell: Cell, root: Cell) -> bool:
    """Tell whether trouble of a Ceph cluster may follow from other trouble of it."""
    if cell.aspect == "quorum":  # a node that hears no monitor: its own ears
        return root.entity.startswith("ceph-mon/") and root.node == cell.node
    if cell.aspect == "check":
        return True
    if root.aspect == "capacity" and cell.aspect == "ops":
        return False  # what is nearly full serves as before
    # Data suffers by OSDs and hosts that are down, and by full ones; not by a monitor. It does not matter who says it.
    return root.entity.startswith(("ceph-osd/", "ceph-host/", "ceph-pool/")) or root.aspect in _OF_DATA


_OF_DATA: Final = frozenset({"quorum", "active", "recovery", "redundancy"})


def _fsid(cell: Cell) -> str:
    return cell.entity.split("/", 2)[1]
