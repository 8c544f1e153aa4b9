"""Which faults could explain the bad cells, and what each of them predicts.

A hypothesis is a broken component, or a node's broken way to components, with a cause. It *covers* the bad cells that it
would make bad, and is *contradicted* by cells that it would make bad and that are well. Silence of nodes that may use the
component speaks weakly against it: logs are blind to half of what happens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from controller.core.causes import Cause
from controller.core.evidence import PATHS, ROOT, SECOND, STORAGES, VOLUMES, Answer
from controller.core.state import CONTROLLER, Cell

NFS_SPREAD: Final = 15 * SECOND
"""Within this the kernels of several busy nodes report one server's silence (measured: 2.1 s; the rest is slack for load)."""


@dataclass(slots=True)
class Scene:
    """What there is to explain: bad cells, all other cells, nodes whose agents live, the time."""

    now: int
    bad: list[Cell]
    others: list[Cell]
    alive: frozenset[str]
    others_of: dict[str, list[Cell]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        """Index the other cells by all that they are about."""
        for cell in self.others:
            for name in {cell.entity, cell.via, f"node/{cell.node}"} - {""}:
                self.others_of[name].append(cell)

    def contradicts(self, cell: Cell, onset: int) -> bool:
        """Whether a well cell is proof against a fault that began at ``onset``."""
        if cell.answer is not Answer.OK or cell.node not in self.alive:
            return False
        return cell.seen > onset or (cell.notices is not None and self.now >= onset + cell.notices * SECOND)

    def decides_at(self, cell: Cell, onset: int) -> int | None:
        """When a well cell will have become proof, if it is none yet."""
        if cell.answer is Answer.OK and cell.node in self.alive and cell.notices is not None and cell.seen <= onset:
            return onset + cell.notices * SECOND
        return None


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One possible fault. ``prior`` is the cost of believing it; ``of_node`` marks faults that are one node's own."""

    cause: Cause
    entity: str
    covers: frozenset[str]
    against: tuple[str, ...]
    quiet: int
    """Nodes that may use the component and say nothing."""
    prior: float
    scope: str = ""
    of_node: str = ""


COMPONENT: Final = 3.0
NODE_NETWORK: Final = 3.5
NODE_WAY: Final = 4.0
DIRECT: Final = 2.0
"""Prior costs in nats. A whole network is likelier lost than one way in it; a component is as likely as a node's network."""

_NETWORK: Final = {("nfs-server", "reach"), ("iscsi-portal", "reach"), ("iscsi-portal", "session"), ("iscsi-session", "session")}
"""(kind of entity, aspect) of cells that say whether a node reaches something over its network."""
_NFS: Final = {("nfs-server", "reach"), ("nfs-server", "state")}

DIRECT_CAUSES: Final[dict[tuple[str, str], Cause]] = {
    ("nfs-server", "name"): Cause.NFS_NAME_UNRESOLVED,
    ("nfs-export", "export"): Cause.NFS_EXPORT_DENIED,
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
    ("vg", "vg"): Cause.VG_MISSING,
    ("ceph-osd", "up"): Cause.CEPH_OSD_DOWN,
    ("ceph-host", "up"): Cause.CEPH_HOST_DOWN,
    ("ceph", "quorum"): Cause.CEPH_MON_QUORUM,
    ("ceph", "active"): Cause.CEPH_PG_INACTIVE,
    ("ceph-pool", "active"): Cause.CEPH_PG_INACTIVE,
    ("ceph", "redundancy"): Cause.CEPH_PG_DEGRADED,
    ("ceph-pool", "redundancy"): Cause.CEPH_PG_DEGRADED,
    ("ceph", "recovery"): Cause.CEPH_RECOVERY_SATURATION,
    ("ceph-pool", "capacity"): Cause.CEPH_NEARFULL,
    ("ceph-osd", "capacity"): Cause.CEPH_NEARFULL,
    ("ceph-pool", "full"): Cause.CEPH_FULL,
    ("ceph-osd", "full"): Cause.CEPH_FULL,
    ("ceph", "ops"): Cause.CEPH_SLOW_OPS,
    ("ceph-osd", "ops"): Cause.CEPH_SLOW_OPS,
    ("cluster", "valid"): Cause.STORAGE_CONFIG_BROKEN,
    ("cluster", "quorum"): Cause.CLUSTER_QUORUM_LOST,
    ("node", "served"): Cause.PMXCFS_DOWN,
    ("node", "status"): Cause.STATUS_DAEMON_STUCK,
    ("node", "agent"): Cause.AGENT_SILENT,
    ("node", "member"): Cause.NODE_DOWN,
    ("node", "fence"): Cause.HA_FENCING,
    ("ha", "service"): Cause.HA_SERVICE_ERROR,
}
"""What a bad cell means when nothing beneath it explains it, by kind of entity and aspect."""


def kind_of(cell: Cell) -> tuple[str, str]:
    """Return (kind of entity, aspect) of a cell."""
    return cell.entity.partition("/")[0], cell.aspect


def onset_of(cells: Iterable[Cell]) -> int:
    """Return when the earliest of some bad cells went bad."""
    return min(cell.broke for cell in cells)


def hypotheses(scene: Scene) -> list[Hypothesis]:
    """Return all faults that could explain some bad root cell, in a stable order."""
    roots = [cell for cell in scene.bad if cell.layer == ROOT]
    found = [
        *_servers(scene, roots),
        *_portals(scene, roots),
        *_targets(scene, roots),
        *_rejections(roots),
        *_node_networks(scene, roots),
        *_direct(roots),
    ]
    return sorted(found, key=lambda one: (one.cause, one.entity, one.scope))


def _group(cells: Iterable[Cell], name: Callable[[Cell], str]) -> dict[str, list[Cell]]:
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        if key := name(cell):
            groups[key].append(cell)
    return groups


def _keys(cells: Iterable[Cell]) -> frozenset[str]:
    return frozenset(cell.key for cell in cells)


def _servers(scene: Scene, roots: list[Cell]) -> Iterator[Hypothesis]:
    for server, cells in _group((cell for cell in roots if kind_of(cell) in _NFS), lambda cell: cell.entity).items():
        onset, bad_nodes = onset_of(cells), {cell.node for cell in cells}
        well = [cell for cell in scene.others_of[server] if cell.aspect == "reach" and cell.node not in bad_nodes]
        against = [cell for cell in well if scene.contradicts(cell, onset)]
        quiet = scene.alive - bad_nodes - {cell.node for cell in against}
        yield Hypothesis(Cause.NFS_SERVER_DOWN, server, _keys(cells), tuple(sorted(_keys(against))), len(quiet), COMPONENT)


def _portals(scene: Scene, roots: list[Cell]) -> Iterator[Hypothesis]:
    for name, cells in _group((cell for cell in roots if cell.entity.startswith("iscsi-portal/")), lambda cell: cell.entity).items():
        onset = onset_of(cells)
        against = [cell for cell in scene.others_of[name] if cell.aspect == "session" and scene.contradicts(cell, onset)]
        yield Hypothesis(Cause.ISCSI_PORTAL_DOWN, name, _keys(cells), tuple(sorted(_keys(against))), 0, COMPONENT)


def _targets(scene: Scene, roots: list[Cell]) -> Iterator[Hypothesis]:
    named = _group(roots, lambda cell: cell.via if cell.aspect == "session" else cell.entity if cell.aspect == "service" else "")
    for target, cells in named.items():
        if not target.startswith("iscsi-target/"):
            continue
        portals = {cell.entity for cell in cells} | {cell.entity for cell in scene.others_of[target] if cell.aspect == "session"}
        reach = [cell for cell in roots if cell.aspect == "reach" and cell.entity in portals]
        onset = onset_of(cells)
        against = [cell for cell in scene.others_of[target] if cell.aspect == "session" and scene.contradicts(cell, onset)]
        # A target with one portal is down when that portal is: its name says more than the address.
        yield Hypothesis(Cause.ISCSI_TARGET_DOWN, target, _keys([*cells, *reach]), tuple(sorted(_keys(against))), 0, COMPONENT - 0.1)


def _rejections(roots: list[Cell]) -> Iterator[Hypothesis]:
    """Yield rejected logins; they also explain why that target's sessions do not come back and why it was unavailable before.

    Where a node has no rejection yet, only sessions that the target itself closed count: a silent way has another reason.
    """
    for target, cells in _group((cell for cell in roots if cell.aspect == "auth"), lambda cell: cell.entity).items():
        nodes = {cell.node for cell in cells}
        sessions = [cell for cell in roots if cell.via == target and cell.aspect == "session" and (cell.node in nodes or not cell.silent)]
        service = [cell for cell in roots if cell.entity == target and cell.aspect == "service"]
        yield Hypothesis(Cause.ISCSI_AUTH_REJECTED, target, _keys([*cells, *sessions, *service]), (), 0, COMPONENT)


def _node_networks(scene: Scene, roots: list[Cell]) -> Iterator[Hypothesis]:
    network = [cell for cell in roots if kind_of(cell) in _NETWORK or kind_of(cell) in _NFS]
    for node, cells in _group(network, lambda cell: cell.node).items():
        onset, lost = onset_of(cells), {cell.entity for cell in cells}
        # What this fault took down and what comes back first is no witness against it.
        well = [cell for cell in scene.others_of[f"node/{node}"] if kind_of(cell) in _NETWORK and cell.entity not in lost]
        against = tuple(sorted(cell.key for cell in well if scene.contradicts(cell, onset)))
        # An endpoint that closed or refused the connection was reached: then the network is not the likely culprit.
        answered = 2.0 if not all(cell.silent for cell in cells) else 0.0
        yield Hypothesis(
            Cause.NODE_STORAGE_NETWORK, f"node/{node}", _keys(cells), against, 0, NODE_NETWORK + answered, scope="", of_node=node
        )
        for endpoint, ways in _group(cells, lambda cell: cell.via or cell.entity).items():
            yield from _node_ways(scene, node, endpoint, ways, answered)


def _node_ways(scene: Scene, node: str, endpoint: str, ways: list[Cell], answered: float) -> Iterator[Hypothesis]:
    """One node lost its way to one server, target or portal, and keeps others."""
    onset = onset_of(ways)
    left = [cell for cell in scene.others_of[endpoint] if cell.node == node and cell.aspect == "session" and scene.contradicts(cell, onset)]
    if left:
        lun = next((cell.entity for cell in scene.bad if cell.node == node and cell.layer == PATHS and cell.aspect == "redundancy"), "")
        scope = ways[0].entity
        yield Hypothesis(Cause.PATH_REDUNDANCY_LOST, lun or scope, _keys(ways), (), 0, NODE_WAY + answered, scope=scope, of_node=node)
    else:
        yield Hypothesis(Cause.NODE_STORAGE_NETWORK, f"node/{node}", _keys(ways), (), 0, NODE_WAY + answered, scope=endpoint, of_node=node)


def _direct(cells: Iterable[Cell]) -> Iterator[Hypothesis]:
    rest = [cell for cell in cells if kind_of(cell) not in _NETWORK | _NFS and cell.aspect not in {"auth", "service"}]
    for (entity, aspect), group in _pairs(rest).items():
        cause = DIRECT_CAUSES.get((entity.partition("/")[0], aspect), Cause.UNEXPLAINED)
        scope = "" if cause is not Cause.UNEXPLAINED else aspect
        yield Hypothesis(cause, entity, _keys(group), (), 0, DIRECT, scope=scope)


def _pairs(cells: Iterable[Cell]) -> dict[tuple[str, str], list[Cell]]:
    groups: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.entity, cell.aspect].append(cell)
    return groups


def leftover(cells: list[Cell]) -> list[Hypothesis]:
    """Return one fault for each thing whose bad cells nothing else explains, lowest layers first.

    A LUN without paths is one fault, not that and a lost redundancy beside it.
    """
    found: list[Hypothesis] = []
    without_paths = {cell.entity for cell in cells if cell.aspect in {"paths", "presence"}}
    merged = [
        cell for cell in cells if cell.aspect in {"paths", "presence"} or (cell.aspect == "redundancy" and cell.entity in without_paths)
    ]
    for entity, group in _group(merged, lambda cell: cell.entity).items():
        found.append(Hypothesis(Cause.ALL_PATHS_DOWN, entity, _keys(group), (), 0, DIRECT))
    taken = _keys(merged)
    found += _direct(cell for cell in cells if cell.key not in taken)
    return sorted(found, key=lambda one: (one.cause, one.entity, one.scope))


def follows(cell: Cell, roots: Iterable[Cell]) -> bool:
    """Whether a bad cell of a higher layer may be a consequence of bad cells of lower layers on its node."""
    for root in roots:
        if root.node != cell.node or root.layer >= cell.layer or root.node == CONTROLLER:
            continue
        kind = root.entity.partition("/")[0]
        if cell.layer in {PATHS, VOLUMES} and (kind.startswith("iscsi") or root.layer == PATHS):
            return True
        if cell.layer == STORAGES and (kind.startswith(("iscsi", "nfs", "ceph")) or root.layer in {PATHS, VOLUMES}):
            return True
    return False
