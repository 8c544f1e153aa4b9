"""Faults that nodes say of a thing itself: what a bad cell means when nothing beneath it explains it. A table first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from controller.core.causes import Cause
from controller.core.evidence import SECOND
from controller.core.inference.alone import NEAR
from controller.core.inference.ceph import daemons, is_ceph
from controller.core.inference.hypothesis import Hypothesis, suppose
from controller.core.inference.likelihood import DENIED, DIRECT, NAMED, NODE, SOME
from controller.core.inference.reaching import one_server, since
from controller.core.inference.scene import Scene, coherent, is_network, kind_of, onset_of
from controller.core.state import Cell

DIRECT_CAUSES: Final[dict[tuple[str, str], Cause]] = {
    ("nfs-server", "name"): Cause.NFS_NAME_UNRESOLVED,
    ("nfs-export", "export"): Cause.NFS_EXPORT_DENIED,
    ("nfs-export", "writable"): Cause.NFS_EXPORT_DENIED,
    ("nfs-server", "handle"): Cause.NFS_STALE_HANDLE,
    ("nfs-export", "handle"): Cause.NFS_STALE_HANDLE,
    ("nfs-server", "latency"): Cause.NFS_SLOW,
    ("nfs-export", "latency"): Cause.NFS_SLOW,
    ("lun", "identity"): Cause.LUN_REMAPPED,
    ("path", "identity"): Cause.LUN_REMAPPED,
    ("lun", "conflict"): Cause.LUN_WWID_CONFLICT,
    ("multipath-map", "conflict"): Cause.LUN_WWID_CONFLICT,
    ("node", "duplicate"): Cause.LUN_WWID_CONFLICT,
    ("vg", "conflict"): Cause.LUN_WWID_CONFLICT,
    ("lun", "presence"): Cause.ALL_PATHS_DOWN,
    ("lun", "paths"): Cause.ALL_PATHS_DOWN,
    ("multipath-map", "paths"): Cause.ALL_PATHS_DOWN,
    ("lun", "redundancy"): Cause.PATH_REDUNDANCY_LOST,
    ("multipath-map", "redundancy"): Cause.PATH_REDUNDANCY_LOST,
    ("iscsi-target", "login"): Cause.ISCSI_TARGET_DOWN,
    ("vg", "vg"): Cause.VG_MISSING,
    ("cluster", "valid"): Cause.STORAGE_CONFIG_BROKEN,
    ("cluster", "quorum"): Cause.CLUSTER_QUORUM_LOST,
    ("node", "served"): Cause.PMXCFS_DOWN,
    ("node", "status"): Cause.STATUS_DAEMON_STUCK,
    ("node", "agent"): Cause.AGENT_SILENT,
    ("node", "member"): Cause.NODE_DOWN,
    ("node", "fence"): Cause.HA_FENCING,
    ("ha", "service"): Cause.HA_SERVICE_ERROR,
}
"""What a bad cell means, by kind of entity and aspect; what is not here is ``unexplained``, never dropped."""
_OF_SERVER: Final = frozenset({Cause.NFS_EXPORT_DENIED, Cause.NFS_STALE_HANDLE, Cause.NFS_SLOW})
"""Causes that a server may have with several of its exports at once."""
_OF_LOGINS: Final = frozenset({("iscsi-target", "auth"), ("iscsi-target", "service")})
"""What belongs to :mod:`controller.core.inference.reaching`: the target was reached, and lets nobody in."""
_OF_A_DEAD_NODE: Final = frozenset({"member", "agent", "fence"})


def cause_of(cell: Cell) -> Cause:
    """Return what a bad cell means by itself."""
    return DIRECT_CAUSES.get(kind_of(cell), Cause.UNEXPLAINED)


def said(scene: Scene, cells: list[Cell]) -> Iterator[Hypothesis]:
    """Yield the faults that cells speak of themselves."""
    rest = [cell for cell in cells if not (is_network(cell) or is_ceph(cell) or kind_of(cell) in _OF_LOGINS)]
    yield from _each(scene, [cell for cell in rest if kind_of(cell) not in _HANDLES])
    yield from _handles(scene, [cell for cell in rest if kind_of(cell) in _HANDLES])
    yield from _servers(scene, rest)
    yield from _nodes(scene, cells)
    yield from _outside(scene, rest)


def _each(scene: Scene, cells: Iterable[Cell]) -> Iterator[Hypothesis]:
    groups: dict[tuple[str, Cause, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        cause = cause_of(cell)
        groups[cell.entity, cause, cell.aspect if cause is Cause.UNEXPLAINED else ""].append(cell)
    for (entity, cause, scope), group in groups.items():
        names = [*group, *_unreachable(scene, group)] if cause is Cause.NFS_NAME_UNRESOLVED else group
        yield suppose(scene, cause, entity, names, (), DIRECT, scope=scope)


def _handles(scene: Scene, cells: list[Cell]) -> Iterator[Hypothesis]:
    """Yield what makes handles stale: an export that is another one now is so for everybody, one that is denied only for some.

    knfsd answers "stale" to a client that is no longer in the export's list (Linux ``fs/nfsd/nfsfh.c``, nfsd_set_fh_dentry). The kernel's
    own line names the server only: it belongs to the export whose handle the same node finds stale.
    """
    of_servers = [cell for cell in cells if cell.entity.startswith("nfs-server/")]
    claimed: set[str] = set()
    exports = sorted({cell.entity for cell in cells} - {cell.entity for cell in of_servers})
    speaking = {(cell.node, server_of(cell.entity)) for cell in cells}
    for export in exports:
        own = [cell for cell in cells if cell.entity == export]
        nodes = {cell.node for cell in own}
        lines = [cell for cell in of_servers if cell.entity == server_of(export) and (cell.node in nodes or _is_of(cell, own, speaking))]
        claimed |= {cell.key for cell in lines}
        well = [cell for cell in scene.well_of[export] if cell.entity == export and cell.aspect == "handle"]
        yield suppose(scene, Cause.NFS_STALE_HANDLE, export, [*own, *lines], well, DIRECT)
        of_node = min(nodes) if len(nodes) == 1 else ""
        prior = DIRECT + DENIED + SOME * (len(nodes) - 1)
        yield suppose(scene, Cause.NFS_EXPORT_DENIED, export, [*own, *lines], (), prior, scope="handle", of_node=of_node)
    yield from _each(scene, [cell for cell in of_servers if cell.key not in claimed])


def _is_of(line: Cell, handles: list[Cell], speaking: set[tuple[str, str]]) -> bool:
    """Tell whether a kernel's line belongs to an export's stale handles, although its node's own word on that export is not there."""
    return (line.node, line.entity) not in speaking and abs(line.broke - onset_of(handles)) < NEAR


_HANDLES: Final = frozenset({("nfs-export", "handle"), ("nfs-server", "handle")})


def _unreachable(scene: Scene, names: list[Cell]) -> list[Cell]:
    """Return what cannot be reached since its name does not resolve."""
    lost = {(cell.node, cell.entity) for cell in names}
    return [cell for cell in scene.bad if is_network(cell) and (cell.node, cell.entity) in lost]


def server_of(entity: str) -> str:
    """Return the server of an export, as an entity; empty for other things."""
    kind, _, key = entity.partition("/")
    return f"nfs-server/{key.partition(':/')[0]}" if kind == "nfs-export" else ""


def _servers(scene: Scene, cells: list[Cell]) -> Iterator[Hypothesis]:
    """Yield servers that have one and the same trouble with several exports."""
    groups: dict[tuple[str, Cause], list[Cell]] = defaultdict(list)
    for cell in cells:
        if (server := server_of(cell.entity)) and cause_of(cell) in _OF_SERVER:
            groups[one_server(scene, server), cause_of(cell)].append(cell)
    for (server, cause), group in groups.items():
        # A further node's word on an export that is in trouble already is no trouble of its own: the first one may have been lost.
        for together, _ in since(coherent(group), lambda cell: cell.entity):
            if len({cell.entity for cell in together}) > 1:
                names = {server_of(cell.entity) for cell in together}
                lines = [cell for cell in cells if cell.entity in names and cause_of(cell) is cause]
                yield suppose(scene, cause, server if len(names) > 1 else min(names), [*together, *lines], (), DIRECT)


def _nodes(scene: Scene, cells: list[Cell]) -> Iterator[Hypothesis]:
    """Yield nodes that are gone: they left the cluster and are fenced, their agents are silent, their OSDs and monitors are down."""
    gone = {cell.entity for cell in cells if kind_of(cell) == ("node", "member")}
    of_node = daemons(scene, cells, {entity.partition("/")[2] for entity in gone}) if gone else {}
    for entity in sorted(gone):
        signs = [cell for cell in cells if cell.entity == entity and cell.aspect in _OF_A_DEAD_NODE]
        yield suppose(scene, Cause.NODE_DOWN, entity, [*signs, *of_node.get(entity.partition("/")[2], ())], (), NODE)


def _outside(scene: Scene, cells: list[Cell]) -> Iterator[Hypothesis]:
    """Yield why nodes that live are no members: /etc/pve is not served on one, or corosync's network is down and quorum with it."""
    members = [cell for cell in cells if kind_of(cell) == ("node", "member")]
    if not members:
        return
    unserved = _by_entity(cell for cell in cells if kind_of(cell) == ("node", "served"))
    heard = {cell.entity for cell in members if _is_heard(scene, cell)}
    for entity in sorted({*unserved, *heard}):
        others = [cell for cell in cells if cell.entity == entity and cell.aspect in {"member", "status"}]
        # That the others miss a node which is heard may be all that there is: its own word may be lost. Then this is the second guess.
        prior = DIRECT if entity in unserved else NODE + NAMED
        own = [] if entity in unserved else [cell for cell in scene.well_of[entity] if kind_of(cell) == ("node", "served")]
        yield suppose(scene, Cause.PMXCFS_DOWN, entity, [*unserved.get(entity, ()), *others], own, prior)
    for entity, lost in _by_entity(cell for cell in cells if kind_of(cell) == ("cluster", "quorum")).items():
        without = {f"node/{cell.node}" for cell in lost}
        apart = [
            cell
            for cell in members
            if (cell.entity in without or f"node/{cell.node}" in without) and (cell.entity in without or _is_heard(scene, cell))
        ]
        yield suppose(scene, Cause.CLUSTER_QUORUM_LOST, entity, [*lost, *apart], (), DIRECT)


def _is_heard(scene: Scene, member: Cell) -> bool:
    """Tell whether a node is heard although others miss it: corosync waits for longer than a second before it gives one up."""
    return scene.heard.get(member.entity.partition("/")[2], 0) > member.broke - SECOND


def _by_entity(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.entity].append(cell)
    return groups
