"""Which bad cells only follow from a fault further down: paths from sessions, volume groups from paths, storages from all of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from controller.core.evidence import PATHS, STORAGES, VOLUMES
from controller.core.inference.scene import is_network, kind_of
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
        is_of_cluster = root.entity.startswith("ceph") and _fsid(cell) == _fsid(root)
        return _within_ceph(cell, root) if is_of_cluster else _was_served_by(cell, root)
    if root.node != cell.node or root.node == CONTROLLER:
        return False
    if cell.layer in {PATHS, VOLUMES}:
        if root.entity.startswith("lun/") and cell.entity.startswith("lun/"):
            return root.entity == cell.entity
        return root.entity.startswith((*_BENEATH_PATHS, "lun/")) or (root.layer == PATHS and not root.entity.startswith("ceph"))
    return cell.layer == STORAGES and (root.entity.startswith(_BENEATH_STORAGES) or root.layer in {PATHS, VOLUMES})


def _hears_no_monitor(cell: Cell) -> bool:
    return cell.aspect == "quorum" and cell.entity.startswith("ceph/") and cell.layer == PATHS


def _was_served_by(cell: Cell, root: Cell) -> bool:
    """Tell whether a health check may be about daemons of a node that is gone."""
    return cell.aspect == "check" and kind_of(root) == ("node", "member") and _is_of_services(cell.via)


def _within_ceph(cell: Cell, root: Cell) -> bool:
    """Tell whether trouble of a Ceph cluster may follow from other trouble of it."""
    if cell.aspect == "quorum":  # a node that hears no monitor: its own ears
        return root.entity.startswith("ceph-mon/") and root.node == cell.node
    if cell.aspect == "check":
        return _may_raise(cell.via, root)
    if root.aspect == "capacity" and cell.aspect in {"ops", "active"}:
        return False  # what is nearly full serves as before
    # Data suffers by OSDs and hosts that are down, and by full ones; not by a monitor. It does not matter who says it.
    return root.entity.startswith(("ceph-osd/", "ceph-host/", "ceph-pool/")) or root.aspect in _OF_DATA


_OF_DATA: Final = frozenset({"quorum", "active", "recovery", "redundancy"})


def _may_raise(code: str, root: Cell) -> bool:
    """Tell whether a serious health check may follow from other trouble of its cluster, by what the check is about.

    Damage, failing disks and what no version knew yet are trouble of their own, whatever else is broken.
    """
    if _is_of_services(code):  # their daemons run on hosts, and keep what they know in placement groups
        return root.entity.startswith("ceph-host/") or root.aspect in {"quorum", "active"}
    if code.startswith(_OF_MONITORS):
        return root.entity.startswith("ceph-mon/") or root.aspect == "quorum"
    return code in _OF_COPIES and (root.entity.startswith(("ceph-osd/", "ceph-host/", "ceph-pool/")) or root.aspect in _OF_OSDS)


def _is_of_services(code: str) -> bool:
    return code.startswith(_OF_SERVICES) and code != "MDS_DAMAGE"


_OF_MONITORS: Final = "MON_"
_OF_SERVICES: Final = ("MDS_", "FS_", "NVMEOF_")
_OF_COPIES: Final = frozenset(
    {
        "OBJECT_UNFOUND",
        "OSD_UNREACHABLE",
        "REQUEST_STUCK",
        "PG_RECOVERY_FULL",
        "PG_BACKFILL_FULL",
        "DEGRADED_STRETCH_MODE",
        "BLOCK_DEVICE_STALLED_READ_ALERT",
        "WAL_DEVICE_STALLED_READ_ALERT",
        "DB_DEVICE_STALLED_READ_ALERT",
    }
)
"""Codes (agent/classify/ceph_checks.py: SERIOUS) by which OSDs that are down, full or slow show."""
_OF_OSDS: Final = _OF_DATA | {"ops", "capacity", "full"}


def _fsid(cell: Cell) -> str:
    return cell.entity.split("/", 2)[1]
