"""What the cluster is made of, as its own configuration says: the facts that the dependency graph is built from.

They judge nothing. Each is said when it is first seen and again when it changes; the latest one about a subject holds.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from events.base import Count, Frozen, InfoEvent, Name, Text

Value = Annotated[str, StringConstraints(max_length=1024)]
"""Value of a property: an NFS export path may be that long."""
MOST_USES = 192
"""Most volumes of one guest that an event lists: 57 drives, or 257 mount points of which nobody has so many."""


class Property(Frozen):
    """One property of a storage as text; a secret's value is never here."""

    name: Name
    value: Value = ""


class StorageDefined(InfoEvent):
    """A storage as storage.cfg defines it and Proxmox VE understands it."""

    kind: Literal["storage.defined"] = "storage.defined"
    type: Name
    """As in storage.cfg: `nfs`, `iscsi`, `lvm`, `rbd`, …"""
    content: Annotated[tuple[Name, ...], Field(max_length=16)] = ()
    nodes: Annotated[tuple[Name, ...], Field(max_length=256)] | None = None
    """Nodes that may use it; nothing means all."""
    disabled: bool = False
    shared: bool = False
    """What Proxmox VE believes: the type's default or what the administrator claims."""
    properties: Annotated[tuple[Property, ...], Field(max_length=64)] = ()
    """All others, in alphabetical order."""


class StorageUndefined(InfoEvent):
    """storage.cfg no longer defines a storage."""

    kind: Literal["storage.undefined"] = "storage.undefined"


class StorageConfigWarned(InfoEvent):
    """Proxmox VE's parser ignores parts of storage.cfg; an empty list says that it ignores nothing any more."""

    kind: Literal["storage.config.warned"] = "storage.config.warned"
    warnings: Annotated[tuple[Value, ...], Field(max_length=32)] = ()
    """As Proxmox VE words them, without values of secrets."""


class VolumeUse(Frozen):
    """One volume of a guest: where it lies and what its loss would mean."""

    key: Name
    """Its property: `scsi0`, `rootfs`, `mp1`, …"""
    storage: Text = ""
    """Empty for a device or a directory of the node."""
    volume: Value = ""
    """Name of the volume within its storage, or path of the device or directory."""
    role: Name
    """`disk`, `efi`, `tpm`, `cdrom`, `cloudinit`, `rootfs`, `mountpoint`, `bind`, `hookscript`, …"""
    need: Literal["runtime", "start", "history"]
    """When it is needed: all the time, only to start or migrate, or only for snapshots and leftovers."""
    section: Text = ""
    """Empty for the current configuration, else the snapshot, or what is pending."""
    shared: bool = False
    """The guest's own claim that this path is on all nodes."""


class GuestDefined(InfoEvent):
    """A guest as its configuration file defines it."""

    kind: Literal["guest.defined"] = "guest.defined"
    guest: Literal["qemu", "lxc"]
    node: Name
    """Node on which it is: the directory of its file."""
    name: Text = ""
    template: bool = False
    onboot: bool = False
    uses: Annotated[tuple[VolumeUse, ...], Field(max_length=MOST_USES)] = ()
    """First what it needs to run, then what it needs to start, then, one for each storage, what only snapshots and leftovers use."""
    omitted: Count = 0
    """Volumes that found no place in the list."""


class GuestGone(InfoEvent):
    """A node no longer has a guest's configuration: it was removed or is on another node now."""

    kind: Literal["guest.gone"] = "guest.gone"
    node: Name


class GuestStatus(InfoEvent):
    """The run state of a guest as its node's status daemon reports it."""

    kind: Literal["guest.status"] = "guest.status"
    node: Name
    status: Name
    """`running`, `stopped`, `paused`, `io-error`, … (QMP run state)."""


class HaResourceDefined(InfoEvent):
    """A service that HA manages, as resources.cfg defines it."""

    kind: Literal["ha.resource.defined"] = "ha.resource.defined"
    requested: Name = "started"
    """`started`, `stopped`, `disabled`, `ignored`."""
    group: Text = ""
    """Group of a cluster that has not migrated to rules."""
    failback: bool = True
    max_restart: Count = 1
    max_relocate: Count = 1


class HaResourceGone(InfoEvent):
    """HA no longer manages a service."""

    kind: Literal["ha.resource.gone"] = "ha.resource.gone"


class BackupJobDefined(InfoEvent):
    """A backup job, as jobs.cfg defines it."""

    kind: Literal["backup.job.defined"] = "backup.job.defined"
    schedule: Text
    """A calendar event of Proxmox VE, `mon..fri 22:30`: local time unless it ends in `UTC`."""
    utc_offset: Annotated[int, Field(ge=-1440, le=1440)] = 0
    """The node's local time when it was read, minutes east of UTC."""
    enabled: bool = True
    storage: Text = ""
    """Where it writes to; empty when vzdump.conf of each node says so."""
    node: Text = ""
    """The only node whose guests it saves; empty for all."""
    everything: bool = False
    """Whether it saves all guests but those of `exclude`."""
    guests: Annotated[tuple[Name, ...], Field(max_length=2048)] = ()
    """VMIDs that it saves: listed, or those of its pool."""
    exclude: Annotated[tuple[Name, ...], Field(max_length=2048)] = ()
    pool: Text = ""
    """The pool whose guests it saves, if that is how they are chosen."""


class BackupJobGone(InfoEvent):
    """A backup job is no longer defined."""

    kind: Literal["backup.job.gone"] = "backup.job.gone"


class NodePriority(Frozen):
    """A node of an HA group or node-affinity rule; the higher priority wins."""

    node: Name
    priority: Count = 0


class HaRuleDefined(InfoEvent):
    """An HA group or rule, as groups.cfg or rules.cfg defines it."""

    kind: Literal["ha.rule.defined"] = "ha.rule.defined"
    form: Literal["group", "node-affinity", "resource-affinity"]
    resources: Annotated[tuple[Name, ...], Field(max_length=512)] = ()
    """Service ids; of a group those that name it."""
    nodes: Annotated[tuple[NodePriority, ...], Field(max_length=256)] = ()
    strict: bool = False
    """Whether its services may run on no other node: strict rule, restricted group."""
    negative: bool = False
    """Keep apart, or keep away from these nodes."""
    disabled: bool = False
    dropped: Value = ""
    """Why HA itself ignores the rule; empty when it does not."""


class HaRuleGone(InfoEvent):
    """An HA group or rule is no longer defined."""

    kind: Literal["ha.rule.gone"] = "ha.rule.gone"


class HaServiceState(InfoEvent):
    """What the HA manager does with a service now, and where."""

    kind: Literal["ha.service.state"] = "ha.service.state"
    service: Name
    """`started`, `stopped`, `freeze`, `fence`, `recovery`, `migrate`, `relocate`, `error`, …"""
    node: Text = ""


class HaManagerState(InfoEvent):
    """Who is HA master and which nodes' local managers work, as the manager's status file says; the subject is the cluster."""

    kind: Literal["ha.manager.state"] = "ha.manager.state"
    master: Text = ""
    groups: bool = False
    """Whether HA groups are in use; otherwise rules, which groups are migrated to when all nodes run Proxmox VE 9."""
    maintenance: Annotated[tuple[Name, ...], Field(max_length=256)] = ()
    """Nodes in maintenance."""
    unreachable: Annotated[tuple[Name, ...], Field(max_length=256)] = ()
    """Nodes whose local manager has not written its status for 30 s or more."""


class CorosyncNode(Frozen):
    """A node of corosync.conf with the address of each of its links."""

    node: Name
    addresses: Annotated[tuple[Text, ...], Field(max_length=8)] = ()
    votes: Count = 1


class CorosyncDefined(InfoEvent):
    """Nodes and links of the cluster as corosync.conf defines them; the subject is the cluster."""

    kind: Literal["cluster.corosync.defined"] = "cluster.corosync.defined"
    nodes: Annotated[tuple[CorosyncNode, ...], Field(max_length=256)] = ()
    device: bool = False
    """Whether a quorum device has a vote."""
    two_node: bool = False


class ClusterNodesListed(InfoEvent):
    """The nodes that the cluster has, online or not; the subject is the cluster, or the node that stands alone."""

    kind: Literal["cluster.nodes.listed"] = "cluster.nodes.listed"
    nodes: Annotated[tuple[Name, ...], Field(max_length=256)] = ()


class CephMonitor(Frozen):
    """A monitor that ceph.conf names; ``name`` is empty when only its address is known."""

    name: Text = ""
    address: Text


class CephDefined(InfoEvent):
    """The Ceph cluster that ceph.conf describes; the subject is the cluster's fsid."""

    kind: Literal["ceph.defined"] = "ceph.defined"
    monitors: Annotated[tuple[CephMonitor, ...], Field(max_length=32)] = ()
    public_networks: Annotated[tuple[Text, ...], Field(max_length=16)] = ()
    cluster_networks: Annotated[tuple[Text, ...], Field(max_length=16)] = ()
    size: Count | None = None
    """`osd_pool_default_size`."""
    min_size: Count | None = None
    """`osd_pool_default_min_size`."""


class CephMonitorsListed(InfoEvent):
    """The monitors that a Ceph cluster itself lists; the subject is the cluster's fsid."""

    kind: Literal["ceph.monitors.listed"] = "ceph.monitors.listed"
    monitors: Annotated[tuple[CephMonitor, ...], Field(max_length=32)] = ()


class CephHostDefined(InfoEvent):
    """A host in a Ceph cluster's CRUSH map with its OSDs."""

    kind: Literal["ceph.host.defined"] = "ceph.host.defined"
    osds: Annotated[tuple[Count, ...], Field(max_length=512)] = ()
    within: Text = ""
    """The failure domain that it is part of, `rack1` for instance; empty when that is the root."""


class CephHostGone(InfoEvent):
    """A host, or a larger failure domain, is no longer in the CRUSH map, or not where it was, or has no OSD any more."""

    kind: Literal["ceph.host.gone"] = "ceph.host.gone"
    within: Text = ""
    """The failure domain that it was part of; empty when that was the root."""


class CephPoolDefined(InfoEvent):
    """A pool of a Ceph cluster."""

    kind: Literal["ceph.pool.defined"] = "ceph.pool.defined"
    number: Count
    size: Count = 0
    """Copies, or pieces of erasure coding."""
    min_size: Count = 0
    """With fewer it serves no I/O."""
    internal: bool = False
    """Whether the manager keeps its own data in it, and no storage can."""


class CephPoolGone(InfoEvent):
    """A pool was removed."""

    kind: Literal["ceph.pool.gone"] = "ceph.pool.gone"


class DatacenterDefined(InfoEvent):
    """What datacenter.cfg says of migration and HA; the subject is the cluster."""

    kind: Literal["cluster.datacenter.defined"] = "cluster.datacenter.defined"
    migration_network: Text = ""
    migration_type: Text = ""
    shutdown_policy: Text = ""
