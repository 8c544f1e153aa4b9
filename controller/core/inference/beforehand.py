"""What was done just before makes some faults likelier: maintenance that was announced, a service that was restarted, a backup that runs.

It never decides alone, and it hides nothing: a fault that somebody meant costs less to believe, is told all the same, and its reasons name
what was done.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

from controller.core.causes import Cause
from controller.core.happenings import Happening
from controller.core.inference.hypothesis import Hypothesis
from controller.core.inference.likelihood import DONE_BEFORE
from controller.core.inference.scene import Scene
from controller.core.state import SEPARATOR

_OF_A_NODE: Final = frozenset({Cause.NODE_DOWN, Cause.AGENT_SILENT, Cause.CEPH_HOST_DOWN, Cause.CEPH_MON_QUORUM, Cause.CEPH_OSD_DOWN})
_ACCESS: Final = frozenset({Cause.NODE_STORAGE_NETWORK, Cause.PATH_REDUNDANCY_LOST, Cause.ALL_PATHS_DOWN})
LIKELIER: Final[dict[str, frozenset[Cause]]] = {
    "maintenance": _OF_A_NODE | {Cause.NODE_STORAGE_NETWORK},
    "arming": _OF_A_NODE | {Cause.CLUSTER_QUORUM_LOST},
    "boot": _ACCESS | {Cause.NODE_DOWN, Cause.AGENT_SILENT, Cause.VG_MISSING},
    "agent": frozenset({Cause.AGENT_SILENT}),
    "network": _ACCESS | {Cause.NODE_DOWN},
    "iscsi": _ACCESS | {Cause.ISCSI_AUTH_REJECTED, Cause.VG_MISSING},
    "multipath": frozenset({Cause.PATH_REDUNDANCY_LOST, Cause.ALL_PATHS_DOWN, Cause.LUN_WWID_CONFLICT, Cause.VG_MISSING}),
    "nfs": frozenset({Cause.NODE_STORAGE_NETWORK}),
    "cluster": frozenset({Cause.PMXCFS_DOWN, Cause.NODE_DOWN, Cause.CLUSTER_QUORUM_LOST}),
    "status": frozenset({Cause.STATUS_DAEMON_STUCK}),
    "ha": frozenset({Cause.HA_SERVICE_ERROR, Cause.HA_FENCING}),
    "ceph": frozenset({Cause.CEPH_OSD_DOWN, Cause.CEPH_HOST_DOWN, Cause.CEPH_MON_QUORUM}),
    "flags": frozenset({Cause.CEPH_OSD_DOWN, Cause.CEPH_HOST_DOWN, Cause.CEPH_PG_DEGRADED, Cause.NODE_DOWN}),
    "osd": frozenset({Cause.CEPH_PG_DEGRADED, Cause.CEPH_RECOVERY_SATURATION, Cause.CEPH_SLOW_OPS}),
    "backup": frozenset({Cause.NFS_SLOW, Cause.CEPH_SLOW_OPS, Cause.CEPH_RECOVERY_SATURATION}),
    "announced": frozenset({Cause.ISCSI_TARGET_DOWN, Cause.ISCSI_PORTAL_DOWN}),
}
"""The faults that each topic of :class:`controller.core.happenings.Happening` makes likelier."""
_NODES_OWN: Final = frozenset({"boot", "agent", "network", "iscsi", "multipath", "nfs", "cluster", "status", "ceph", "maintenance"})
"""Topics of one node: what others say of other things has nothing to do with them."""


def touches(one: Happening, cause: Cause, entity: str, nodes: Collection[str]) -> bool:
    """Tell whether something that was done may have to do with a fault of this thing that these nodes see."""
    if cause not in LIKELIER.get(one.topic, ()):
        return False
    kind, _, key = one.about.partition("/")
    if one.topic in _NODES_OWN:
        return _host(entity) == key or (not _host(entity) and set(nodes) == {key})
    if kind == "backup":
        return entity.startswith("ceph") or key in nodes  # all nodes' load meets in one Ceph cluster
    if kind in {"ceph", "ceph-osd"}:
        return not entity.startswith("ceph") or entity.partition("/")[2].partition("/")[0] == key.partition("/")[0]
    return kind == "cluster" or one.about == entity


def _host(entity: str) -> str:
    """Return the node that an entity is, or is part of; empty for what belongs to none."""
    kind, _, key = entity.partition("/")
    return key if kind == "node" else key.rpartition("/")[2] if kind in {"ceph-host", "ceph-mon"} else ""


def beforehand(scene: Scene, one: Hypothesis) -> Hypothesis:
    """Return a hypothesis as likely as what was done before makes it."""
    if not scene.happenings or one.cause is Cause.STORAGE_CONFIG_CHANGED:
        return one
    nodes = {one.of_node} if one.of_node else {key.partition(SEPARATOR)[0] for key in one.covers}
    if any(touches(happened, one.cause, one.entity, nodes) for happened in scene.recent(one.onset)):
        return replace(one, prior=max(0.0, one.prior - DONE_BEFORE))
    return one
