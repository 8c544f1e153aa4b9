"""Names of Ceph's data directories to the daemons that a node has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from events.base import Seen
from events.entity import Entity
from events.host import NodeCeph

CEPH_PLACE: Final = "/var/lib/ceph"
"""Where the directories are. Debian's packages make it 0750 for user and group `ceph`."""
_MOST_OSDS, _MOST_DAEMONS, _LONGEST = 512, 8, 255


def ceph(found: Mapping[str, Any], node: Entity, seen: Seen) -> NodeCeph:
    """Return the node's daemons, running or not."""
    osds = sorted(int(name) for name in _ids(found, "osd") if name.isascii() and name.isdigit() and len(name) < len(str(2**31)))
    monitors, managers = (tuple(_ids(found, kind))[:_MOST_DAEMONS] for kind in ("mon", "mgr"))
    return NodeCeph(subject=node, seen=seen, osds=tuple(osds[:_MOST_OSDS]), monitors=monitors, managers=managers)


def _ids(found: Mapping[str, Any], kind: str) -> list[str]:
    """Return the ids behind the cluster's name, which is ``ceph`` or what old installations called it."""
    return [name.partition("-")[2][:_LONGEST] for name in found.get(kind, ()) if name.partition("-")[2]]
