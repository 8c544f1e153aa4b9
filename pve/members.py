"""``/etc/pve/.members``: the cluster as pmxcfs of this node sees it.

Source: pve-cluster ``status.c`` (``cfs_create_memberlist_msg``), the same in Proxmox VE 8 and 9. ``online`` means that the node's pmxcfs is
in the group that replicates status values. A host that answers a ping with its pmxcfs stopped is offline here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pve.json_object import Fields, read

FILE: Final = ".members"


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """The cluster. ``version`` is corosync's config_version, ``nodes`` how many nodes are configured."""

    name: str
    version: int
    nodes: int
    quorate: bool


@dataclass(frozen=True, slots=True)
class Member:
    """A configured node. ``address`` is None until the node has told its own."""

    id: int
    online: bool
    address: str | None


@dataclass(frozen=True, slots=True)
class Members:
    """What one look at the file found."""

    nodename: str
    """The node whose pmxcfs answers."""
    version: int
    """Counter ``clinfo`` of :mod:`pve.version_file`."""
    cluster: ClusterInfo | None
    """None on a node that is in no cluster."""
    nodes: Mapping[str, Member] = field(default_factory=dict)
    """All configured nodes by name; empty on a node that is in no cluster."""


def parse(data: bytes, filename: str = FILE) -> Members:
    """Read the file's bytes.

    :raises TornError: when the bytes are no JSON; read again.
    :raises FormatError: when a field is missing or of another type.
    """
    fields = Fields(read(data, filename), filename)
    if not (name := fields.text("nodename")):
        raise fields.wrong("nodename", "this node's name")
    nodes = {node: _member(inner) for node, inner in fields.objects("nodelist").items()}
    return Members(name, fields.integer("version"), _cluster(fields) if fields.has("cluster") else None, nodes)


def _cluster(fields: Fields) -> ClusterInfo:
    cluster = fields.inner("cluster")
    return ClusterInfo(cluster.text("name"), cluster.integer("version"), cluster.integer("nodes"), cluster.flag("quorate"))


def _member(fields: Fields) -> Member:
    return Member(fields.integer("id"), fields.flag("online"), fields.text("ip") or None)
