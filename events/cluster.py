"""pmxcfs, storage configuration, cluster membership and HA (rows P1 to P3)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from events.base import BadEvent, Count, Frozen, InfoEvent, Name, OkEvent, Text

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
"""SHA-1 of a file's bytes in hex, as Proxmox VE itself computes it."""


class PmxcfsLost(BadEvent):
    """/etc/pve is not served on this node: unmounted, crashed or hanging."""

    aspect: ClassVar[str] = "served"
    kind: Literal["pmxcfs.lost"] = "pmxcfs.lost"
    how: Literal["unmounted", "crashed", "hung"]


class PmxcfsServed(OkEvent):
    """/etc/pve is served on this node."""

    aspect: ClassVar[str] = "served"
    kind: Literal["pmxcfs.served"] = "pmxcfs.served"
    restarted: bool = False


class PropertyChange(Frozen):
    """A property of a storage that differs; of a secret only that it does."""

    storage: Name
    name: Name
    before: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """Nothing when it was not there."""
    after: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """Nothing when it is no longer there."""


class Visibility(Frozen):
    """A storage and the nodes for which it comes or goes."""

    storage: Name
    nodes: Annotated[tuple[Name, ...], Field(max_length=256)]


class StorageConfigChanged(InfoEvent):
    """storage.cfg has other content than before; says which sections differ, never their secrets."""

    kind: Literal["storage.config.changed"] = "storage.config.changed"
    digest: Digest
    previous: Digest | None = None
    added: tuple[Name, ...] = ()
    removed: tuple[Name, ...] = ()
    changed: tuple[Name, ...] = ()
    changes: Annotated[tuple[PropertyChange, ...], Field(max_length=64)] = ()
    hidden: Annotated[tuple[Visibility, ...], Field(max_length=64)] = ()
    """Storages that some nodes could see before and no longer can."""
    revealed: Annotated[tuple[Visibility, ...], Field(max_length=64)] = ()
    """Storages that some nodes can see now and could not before."""


class StorageConfigBroken(BadEvent):
    """A section of storage.cfg makes Proxmox VE give up on all storages of every node."""

    aspect: ClassVar[str] = "valid"
    kind: Literal["storage.config.broken"] = "storage.config.broken"
    section: Text
    line: Count
    reason: Text


class StorageConfigValid(OkEvent):
    """storage.cfg holds no section that blinds Proxmox VE."""

    aspect: ClassVar[str] = "valid"
    kind: Literal["storage.config.valid"] = "storage.config.valid"
    digest: Digest


class ClusterFileChanged(InfoEvent):
    """A watched file of /etc/pve other than storage.cfg has other content than before."""

    kind: Literal["cluster.file.changed"] = "cluster.file.changed"
    path: Name
    digest: Digest | None = None
    """None when the file is gone."""


class StorageInactive(BadEvent):
    """Proxmox VE's status daemon found a storage inactive on this node."""

    aspect: ClassVar[str] = "active"
    kind: Literal["storage.inactive"] = "storage.inactive"
    reason: Text = ""


class StorageActive(OkEvent):
    """Proxmox VE's status daemon found a storage active on this node."""

    aspect: ClassVar[str] = "active"
    kind: Literal["storage.active"] = "storage.active"


class StatusDaemonStuck(BadEvent):
    """pvestatd of a node no longer reports: all its storages and guests will turn grey."""

    aspect: ClassVar[str] = "status"
    kind: Literal["node.status.stuck"] = "node.status.stuck"
    silent: Count = 0
    """Seconds since its last report."""


class StatusDaemonAlive(OkEvent):
    """pvestatd of a node reports."""

    aspect: ClassVar[str] = "status"
    kind: Literal["node.status.alive"] = "node.status.alive"


class QuorumLost(BadEvent):
    """This node has no cluster quorum: /etc/pve is read-only."""

    aspect: ClassVar[str] = "quorum"
    kind: Literal["cluster.quorum.lost"] = "cluster.quorum.lost"


class QuorumRegained(OkEvent):
    """This node is part of a quorate cluster."""

    aspect: ClassVar[str] = "quorum"
    kind: Literal["cluster.quorum.held"] = "cluster.quorum.held"


class MemberLeft(BadEvent):
    """A node left the cluster's pmxcfs group as this node sees it."""

    aspect: ClassVar[str] = "member"
    kind: Literal["cluster.member.left"] = "cluster.member.left"


class MemberJoined(OkEvent):
    """A node is in the cluster's pmxcfs group as this node sees it."""

    aspect: ClassVar[str] = "member"
    kind: Literal["cluster.member.joined"] = "cluster.member.joined"
    address: Text = ""


class ClusterLinkDown(BadEvent):
    """A corosync link to a node is down."""

    aspect: ClassVar[str] = "link"
    kind: Literal["cluster.link.down"] = "cluster.link.down"
    link: Count = 0


class ClusterLinkUp(OkEvent):
    """A corosync link to a node is up."""

    aspect: ClassVar[str] = "link"
    kind: Literal["cluster.link.up"] = "cluster.link.up"
    link: Count = 0


class HaNodeFencing(BadEvent):
    """The HA manager is fencing a node."""

    aspect: ClassVar[str] = "fence"
    kind: Literal["ha.node.fencing"] = "ha.node.fencing"


class HaNodeFenced(OkEvent):
    """The HA manager finished fencing a node, or the node is back online."""

    aspect: ClassVar[str] = "fence"
    kind: Literal["ha.node.settled"] = "ha.node.settled"
    outcome: Text = ""


class HaServiceError(BadEvent):
    """An HA service is in error state: HA no longer touches it."""

    aspect: ClassVar[str] = "service"
    kind: Literal["ha.service.error"] = "ha.service.error"
    reason: Text = ""


class HaServiceSettled(OkEvent):
    """An HA service left the error state."""

    aspect: ClassVar[str] = "service"
    kind: Literal["ha.service.settled"] = "ha.service.settled"
    request: Text = ""


class HaLocalManagerDead(BadEvent):
    """The HA local resource manager of a node has not written its status for 30 s: what HA manages there is not looked after."""

    aspect: ClassVar[str] = "lrm"
    kind: Literal["ha.lrm.dead"] = "ha.lrm.dead"
    silent: Count = 0
    """Seconds since its last status."""


class HaLocalManagerAlive(OkEvent):
    """The HA local resource manager of a node writes its status."""

    aspect: ClassVar[str] = "lrm"
    kind: Literal["ha.lrm.alive"] = "ha.lrm.alive"
    manager: Text = ""
    """`active`, `wait_for_agent_lock`, `maintenance`, …"""


class HaNodeMaintenance(InfoEvent):
    """A node entered or left HA maintenance mode."""

    kind: Literal["ha.node.maintenance"] = "ha.node.maintenance"
    active: bool


class HaArming(InfoEvent):
    """HA was disarmed or armed again for the cluster."""

    kind: Literal["ha.arming"] = "ha.arming"
    armed: bool
    mode: Text = ""


class NodeUnitStopped(InfoEvent):
    """systemd stopped a service of a node that storage, cluster or network depend on, by itself or to start it anew."""

    kind: Literal["node.unit.stopped"] = "node.unit.stopped"
    unit: Name
    restarts: bool = False
    """Whether it is started again at once."""


class BackupStarted(InfoEvent):
    """A node began to back up guests: vzdump reads their disks and writes to a storage as fast as both can."""

    kind: Literal["backup.started"] = "backup.started"
    task: Text = ""
    """UPID of the task, where the line names it."""
    storage: Text = ""


class BackupEnded(InfoEvent):
    """A node's backup task ended."""

    kind: Literal["backup.ended"] = "backup.ended"
    task: Text = ""
    result: Text = ""
    """How it ended, in Proxmox VE's words: ``OK``, ``finished with errors``, or what went wrong."""


class NodeBooted(InfoEvent):
    """A node started anew; what was known of its sessions and mounts no longer holds."""

    kind: Literal["node.booted"] = "node.booted"
    boot_id: Name
