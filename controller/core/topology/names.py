"""Names of the graph's vertices: entities as text, and things that only one node sees, ``<entity>@<node>``.

``storage/nfs1@pve1`` is the storage as pve1 can use it, ``iscsi-portal/10.0.1.1:3260@pve1`` pve1's way to a portal,
``node/pve1@quorum`` pve1 as a member of the quorum, ``guest/100@start`` what guest 100 needs to start or migrate.
"""

from __future__ import annotations

from collections.abc import Mapping

from events.definitions import StorageDefined

START = "start"
QUORUM = "quorum"


def at(entity: str, node: str) -> str:
    """Return the name of an entity as one node sees it."""
    return f"{entity}@{node}"


def split(name: str) -> tuple[str, str]:
    """Return (entity, node) of a vertex; the node is empty when it is not one node's."""
    entity, mark, node = name.rpartition("@")
    return (entity, node) if mark and "/" not in node else (name, "")


def properties(storage: StorageDefined) -> Mapping[str, str]:
    """Return a storage's properties by name."""
    return {one.name: one.value for one in storage.properties}


def is_visible(storage: StorageDefined, node: str) -> bool:
    """Tell whether Proxmox VE offers a storage on a node: not disabled, and not limited to other nodes."""
    return not storage.disabled and (storage.nodes is None or node in storage.nodes)
