"""What a node says of itself: networks, mounts, iSCSI sessions, multipath maps, volume groups. Facts, not judgements.

Each event carries the whole picture of its node and takes the place of the one before; the subject is the node.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from events.base import Count, Frozen, InfoEvent, Name, Text
from events.definitions import Value
from events.iscsi import Iqn


class Interface(Frozen):
    """A network interface that has addresses."""

    name: Name
    addresses: Annotated[tuple[Text, ...], Field(max_length=32)] = ()
    """With prefix length: `10.0.1.11/24`."""
    speed: Count | None = None
    """Mbit/s as the driver says; nothing when it does not."""
    up: bool = True
    mtu: Count = 1500


class Route(Frozen):
    """A route of the main table."""

    destination: Text
    """CIDR; `0.0.0.0/0` and `::/0` are the default routes."""
    interface: Name
    gateway: Text = ""


class NodeNetworks(InfoEvent):
    """Interfaces and routes of a node."""

    kind: Literal["node.networks"] = "node.networks"
    interfaces: Annotated[tuple[Interface, ...], Field(max_length=128)] = ()
    routes: Annotated[tuple[Route, ...], Field(max_length=256)] = ()


class Mount(Frozen):
    """A mounted file system, or one that fstab configures."""

    source: Value
    target: Value
    type: Name
    options: Value = ""
    """Those of the mount and of its superblock, with commas."""


class NodeMounts(InfoEvent):
    """Mounts of a node that storages can lie on, read from the kernel's table without touching them."""

    kind: Literal["node.mounts"] = "node.mounts"
    mounted: Annotated[tuple[Mount, ...], Field(max_length=256)] = ()
    configured: Annotated[tuple[Mount, ...], Field(max_length=256)] = ()
    """What /etc/fstab mounts at boot."""


class Session(Frozen):
    """An iSCSI session of the kernel."""

    number: Count
    target: Iqn
    portal: Name
    """`address:port`."""
    state: Name
    """`LOGGED_IN`, `FAILED`, `FREE`."""
    luns: Annotated[tuple[Name, ...], Field(max_length=256)] = ()
    """WWIDs of its disks, as multipath prints them."""


class NodeRecord(Frozen):
    """An entry of open-iscsi's node database."""

    target: Iqn
    portal: Name
    startup: Text = ""
    """`automatic` or `manual`."""


class NodeIscsi(InfoEvent):
    """iSCSI sessions and configured portals of a node."""

    kind: Literal["node.iscsi"] = "node.iscsi"
    initiator: Text = ""
    sessions: Annotated[tuple[Session, ...], Field(max_length=256)] = ()
    records: Annotated[tuple[NodeRecord, ...], Field(max_length=256)] = ()


class MapPath(Frozen):
    """A path of a multipath map."""

    device: Name
    """`sdX`."""
    state: Text = ""
    """`active ready running` and the like, as far as known."""
    portal: Text = ""
    wwid: Text = ""
    """What the disk itself says; another than its map's is a danger."""


class MultipathMap(Frozen):
    """A multipath map."""

    wwid: Name
    name: Name
    paths: Annotated[tuple[MapPath, ...], Field(max_length=64)] = ()


class NodeMultipath(InfoEvent):
    """Multipath maps of a node."""

    kind: Literal["node.multipath"] = "node.multipath"
    running: bool | None = None
    """Whether multipathd runs; nothing when that is not known."""
    maps: Annotated[tuple[MultipathMap, ...], Field(max_length=256)] = ()


class VolumeGroup(Frozen):
    """An LVM volume group."""

    name: Name
    complete: bool = True
    luns: Annotated[tuple[Name, ...], Field(max_length=64)] = ()
    """WWIDs of the LUNs that its physical volumes lie on; local disks are left out."""


class NodeVolumes(InfoEvent):
    """LVM volume groups that a node knows."""

    kind: Literal["node.volumes"] = "node.volumes"
    groups: Annotated[tuple[VolumeGroup, ...], Field(max_length=256)] = ()


class NodeCeph(InfoEvent):
    """Ceph daemons that a node has data directories for, running or not."""

    kind: Literal["node.ceph"] = "node.ceph"
    fsid: Text = ""
    osds: Annotated[tuple[Count, ...], Field(max_length=512)] = ()
    monitors: Annotated[tuple[Name, ...], Field(max_length=8)] = ()
    managers: Annotated[tuple[Name, ...], Field(max_length=8)] = ()
