"""Which Ceph daemons a node has data directories for. Only names are read, from directories of the root file system and of tmpfs.

Form: ``TYPE/CLUSTER-ID`` below /var/lib/ceph (ceph.io, "Storage devices and paths"): ``osd/ceph-3``, ``mon/ceph-pve1``, ``mgr/ceph-pve1``.
"""

from __future__ import annotations

from typing import Any, Final

from agent.sources.host_files import Tree

_PLACE: Final = "var/lib/ceph"
_TYPES: Final = ("osd", "mon", "mgr")


def ceph(tree: Tree) -> dict[str, Any]:
    """Return the names below each type's directory."""
    return {kind: sorted(tree.names(f"{_PLACE}/{kind}")) for kind in _TYPES}
