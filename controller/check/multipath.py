"""Checks of multipath: a map over each LUN with several paths, all of them well, and all of them the same LUN.

Sources: multipath-tools' multipathd(8) and multipath.conf(5); states of disks: drivers/scsi/scsi_sysfs.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from controller.check.finding import Check, Hit, Need, Severity
from controller.check.iscsi import nodes as iscsi_nodes
from controller.check.view import View, listed
from events.host import MapPath

_WELL: Final = frozenset({"running", "created", ""})
"""What sysfs says of a disk that works; nothing when it was not told."""
_NEEDS: Final = (Need.ISCSI, Need.MULTIPATH)


def _nodes(view: View) -> Iterable[str]:
    """Return the nodes where a map is to be expected: iSCSI is used there, or multipath told of maps."""
    return sorted({*iscsi_nodes(view), *(node for node, known in view.multipath.items() if known.maps)})


def _several(view: View, node: str) -> dict[str, list[str]]:
    """Return a node's LUNs that several sessions lead to, with these sessions' portals."""
    found: dict[str, list[str]] = {}
    for one in view.iscsi[node].sessions:
        for lun in one.luns:
            found.setdefault(lun, []).append(one.portal)
    return {lun: portals for lun, portals in found.items() if len(portals) > 1}


def _missing(view: View) -> Iterator[Hit]:
    for node in view.iscsi:
        if node in view.multipath:
            maps = {one.wwid for one in view.multipath[node].maps}
            for lun, portals in sorted(_several(view, node).items()):
                if lun not in maps:
                    yield Hit(f"lun/{lun}", f"{len(portals)} paths, and no multipath map", node)


def _stopped(view: View) -> Iterator[Hit]:
    for node, known in view.multipath.items():
        if known.running is False and (known.maps or (node in view.iscsi and _several(view, node))):
            yield Hit(f"node/{node}", "multipathd does not run", node)


def _one_path(view: View) -> Iterator[Hit]:
    for node, known in view.multipath.items():
        for one in known.maps:
            if len(one.paths) == 1:
                yield Hit(f"lun/{one.wwid}", f"map {one.name} has one path, {one.paths[0].device}", node, {"map": one.name})


def _fewer(view: View) -> Iterator[Hit]:
    most: dict[str, int] = {}
    for known in view.multipath.values():
        for one in known.maps:
            most[one.wwid] = max(most.get(one.wwid, 0), len(one.paths))
    for node, known in view.multipath.items():
        for one in known.maps:
            if 1 < len(one.paths) < most[one.wwid]:
                yield Hit(f"lun/{one.wwid}", f"map {one.name} has {len(one.paths)} paths, on another node {most[one.wwid]}", node)


def _failed(view: View) -> Iterator[Hit]:
    for node, known in view.multipath.items():
        for one in known.maps:
            bad = [f"{path.device} ({path.state})" for path in one.paths if not _is_well(path)]
            if bad:
                yield Hit(f"lun/{one.wwid}", f"map {one.name}: {listed(bad)}", node, {"map": one.name})


def _is_well(path: MapPath) -> bool:
    return path.state in _WELL or ("active" in path.state and "ready" in path.state)


def _foreign(view: View) -> Iterator[Hit]:
    for node, known in view.multipath.items():
        for one in known.maps:
            foreign = [f"{path.device} says {path.wwid}" for path in one.paths if path.wwid and path.wwid != one.wwid]
            if foreign:
                yield Hit(f"lun/{one.wwid}", f"map {one.name} holds another LUN: {listed(foreign, 2)}", node, {"map": one.name})


CHECKS: Final = (
    Check(
        "multipath-map-missing",
        Severity.ERROR,
        "a LUN with several paths has no multipath map",
        "LVM then finds the same volume group on several disks and takes one of them: the second path is no help when that one fails.",
        "On {node}: `multipath -a {name}` writes the WWID to /etc/multipath/wwids, then `multipath -r`; check find_multipaths and the "
        "blacklist in /etc/multipath.conf.",
        _missing,
        _NEEDS,
        iscsi_nodes,
    ),
    Check(
        "multipathd-stopped",
        Severity.ERROR,
        "multipathd does not run on a node with several paths",
        "The maps stay, but nobody tests paths: one that failed never comes back, until none is left.",
        "On {node}: `systemctl enable --now multipathd`",
        _stopped,
        _NEEDS,
        _nodes,
    ),
    Check(
        "multipath-one-path",
        Severity.WARNING,
        "a multipath map has one path",
        "It looks redundant and is not: the next link or controller that fails freezes everything on it.",
        "On {node}: `multipath -ll {map}` and `iscsiadm -m session -P 3` show which session or LUN is missing.",
        _one_path,
        (Need.MULTIPATH,),
        _nodes,
    ),
    Check(
        "multipath-fewer-paths",
        Severity.WARNING,
        "a node has fewer paths to a LUN than another node",
        "A path was lost unnoticed, or was never configured on this node: it dies earlier than the others in the same failure.",
        "On {node}: compare `multipath -ll {name}` and `iscsiadm -m session` with another node.",
        _fewer,
        (Need.MULTIPATH,),
        _nodes,
    ),
    Check(
        "multipath-path-failed",
        Severity.ERROR,
        "a path of a multipath map is not `active ready`",
        "The cluster runs on what is left. Nothing in Proxmox VE shows it: the storage is active as long as one path works.",
        "On {node}: `multipath -ll {map}`; then look for the link, switch port or controller that its portal stands for.",
        _failed,
        (Need.MULTIPATH,),
        _nodes,
    ),
    Check(
        "multipath-foreign-lun",
        Severity.ERROR,
        "a multipath map holds a path to another LUN",
        "The array gave a known address to another LUN (a map or host entry was changed under running sessions). Writes of one LUN go to "
        "the other as soon as this path is used.",
        "On {node} at once: `multipathd del path DEVICE` for the foreign path; then rescan, and do not change LUN numbers of hosts that "
        "are logged in.",
        _foreign,
        (Need.MULTIPATH,),
        _nodes,
    ),
)
