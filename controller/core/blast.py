"""What an incident's cause does to storages and guests, by the dependency graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Final

from controller.core.backups import Backup, due
from controller.core.causes import Cause
from controller.core.incident import IncidentState
from controller.core.inference.ceph import fsid_of, hosts_in, parts
from controller.core.state import CONTROLLER, CoreState, Incident
from controller.core.topology.domains import network_of_node
from controller.core.topology.graph import State
from controller.core.topology.impact import Effect, Impact, amid, impact
from controller.core.topology.names import at
from controller.core.topology.topology import Topology

_EVERYWHERE: Final = frozenset(
    {
        Cause.NFS_SERVER_DOWN,
        Cause.NFS_NAME_UNRESOLVED,
        Cause.STORAGE_SUBNET_DOWN,
        Cause.NODE_DOWN,
        Cause.ISCSI_PORTAL_DOWN,
        Cause.ISCSI_TARGET_DOWN,
        Cause.CEPH_HOST_DOWN,
        Cause.CEPH_MON_QUORUM,
    }
)
"""The thing itself is gone, for whoever uses it and whether or not he noticed yet."""
_WHERE_SEEN: Final = frozenset(
    {
        Cause.NFS_EXPORT_DENIED,
        Cause.NFS_STALE_HANDLE,
        Cause.ISCSI_AUTH_REJECTED,
        Cause.ALL_PATHS_DOWN,
        Cause.LUN_REMAPPED,
        Cause.LUN_WWID_CONFLICT,
        Cause.VG_MISSING,
        Cause.STORAGE_CONFIG_CHANGED,
    }
)
"""The thing is gone for the nodes that say so."""
_WEAKENED: Final = frozenset(
    {
        Cause.PATH_REDUNDANCY_LOST,
        Cause.NFS_SLOW,
        Cause.CEPH_OSD_DOWN,
        Cause.CEPH_PG_DEGRADED,
        Cause.CEPH_RECOVERY_SATURATION,
        Cause.CEPH_SLOW_OPS,
        Cause.CEPH_NEARFULL,
    }
)
"""The thing still serves."""
_OVER: Final = frozenset({IncidentState.RECOVERING, IncidentState.RESOLVED})
_OF_POOLS: Final = frozenset(
    {
        Cause.CEPH_OSD_DOWN,
        Cause.CEPH_PG_INACTIVE,
        Cause.CEPH_PG_DEGRADED,
        Cause.CEPH_RECOVERY_SATURATION,
        Cause.CEPH_SLOW_OPS,
        Cause.CEPH_NEARFULL,
        Cause.CEPH_FULL,
    }
)
"""What all pools of a cluster feel, for their data lies on the same OSDs."""


def blast(state: CoreState, incident: Incident) -> Impact | None:
    """Return what an incident does, as things stand; None when its cause is none that storages or guests suffer from.

    A portal's loss freezes nobody, nor does another's: the second of the two does, and both incidents say so.
    """
    own = _failed(state, incident)
    if own is None:
        return None
    alone = impact(state.topology, own)
    if incident.state in _OVER:
        return alone  # what others do to its guests now is their matter
    live = [one for one in state.live_incidents() if not _still_serves(one)]
    together = sorted({name for one in live for name in _failed(state, one) or ()})
    if _still_serves(incident) or set(together) <= set(own):
        return alone
    return amid(state.topology, alone, together)


def _still_serves(incident: Incident) -> bool:
    """Tell whether what broke still serves, so that guests on it are only at risk."""
    return incident.cause in _WEAKENED and not incident.halted


def _failed(state: CoreState, incident: Incident) -> list[str] | None:
    """Return the vertices that an incident takes down: by its cause, and by I/O that it stopped; None when it is none of the kind."""
    own = _failed_by_cause(state, incident)
    if not incident.halted:
        return own
    stopped = {cell.entity for key in incident.consequences if (cell := state.cells.get(key)) is not None and cell.aspect == "active"}
    return sorted({*(own or ()), *(pool for cluster in stopped for pool in _pools(state.topology, fsid_of(cluster)))})


def _pools(topology: Topology, fsid: str) -> list[str]:
    """Return the pools of a Ceph cluster that something needs."""
    return sorted(name for name in topology.graph.names() if name.startswith(f"ceph-pool/{fsid}/"))


def _failed_by_cause(state: CoreState, incident: Incident) -> list[str] | None:
    topology = state.topology
    nodes = [node for node in incident.nodes if node != CONTROLLER]
    if incident.cause is Cause.NODE_STORAGE_NETWORK:
        return _lost_by(topology, incident.entity.partition("/")[2], incident.scope)
    if incident.cause in _OF_POOLS and not incident.entity.startswith("ceph-pool/"):
        return _pools(topology, fsid_of(incident.entity))
    if incident.cause is Cause.CEPH_HOST_DOWN and incident.entity not in topology.graph:
        return _hosts(state, incident.entity)
    if incident.cause in _EVERYWHERE or incident.cause in _OF_POOLS:
        return [incident.entity]
    if incident.cause in _WHERE_SEEN or incident.cause in _WEAKENED:
        return seen_from(topology, incident.entity, nodes)
    return None


def _hosts(state: CoreState, bucket: str) -> list[str]:
    """Return the hosts of a rack or larger CRUSH bucket, on which pools depend; itself where none is known."""
    return sorted(hosts_in(bucket, parts(state.facts, fsid_of(bucket), state.cells.values()))) or [bucket]


def backups_hit(state: CoreState, incident: Incident, found: Impact, now: int) -> list[Backup]:
    """Return the backup jobs that fail soon; none when what broke still serves, or serves again."""
    if _still_serves(incident) or incident.state in _OVER:
        return []
    return due(state.topology, found, now)


def guests_hit(incident: Incident, found: Impact) -> tuple[list[str], list[str]]:
    """Return the VMIDs of guests that stand still, and of those that the next failure would stop."""
    stopped = [one.vmid for one in found.with_effect(Effect.FROZEN, Effect.STOPPED, Effect.RESTARTED)]
    at_risk = [one.vmid for one in found.with_effect(Effect.AT_RISK, Effect.NO_START)]
    return ([], [*stopped, *at_risk]) if _still_serves(incident) else (stopped, at_risk)


def seen_from(topology: Topology, entity: str, nodes: Iterable[str]) -> list[str]:
    """Return the vertices that stand for an entity as these nodes see it: their views of it, else their storages that need it."""
    views = [(node, at(entity, node)) for node in nodes]
    is_known = {view: view in topology.graph for _, view in views}
    storages = {} if all(is_known.values()) else _storages(topology, entity)
    return [name for node, view in views for name in ([view] if is_known[view] else storages.get(node, ()))]


_LOST: Final = "storages lost with"


def _storages(topology: Topology, entity: str) -> Mapping[str, Sequence[str]]:
    """Return the storages that fail without an entity, by the node that sees them."""
    known = topology.remembered.get((_LOST, entity))
    if isinstance(known, dict):
        return known
    states = topology.spread([entity])
    found: dict[str, list[str]] = {}
    for storage, node in product(topology.storages, topology.nodes):
        name = at(f"storage/{storage}", node)
        if states.get(name) is State.FAILED:
            found.setdefault(node, []).append(name)
    topology.remembered.keep((_LOST, entity), found)
    return found


def _lost_by(topology: Topology, node: str, scope: str) -> list[str]:
    """Return what a node lost: its way to one thing, else all of its storage network."""
    if scope:
        return seen_from(topology, scope, [node])
    return list(network_of_node(topology, node)) or [
        name for storage, one in topology.storages.items() if one.shared and (name := at(f"storage/{storage}", node)) in topology.graph
    ]
