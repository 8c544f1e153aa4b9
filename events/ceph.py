"""Ceph: health checks, OSDs, hosts, monitors, placement groups, capacity (rows C1 to C5)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from events.base import BadEvent, Count, InfoEvent, Name, OkEvent, Seconds, Text

Percent = Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False)]
"""A share in per cent; quotas may be passed, so it may be above 100."""


class CephFamily(StrEnum):
    """What a health check is about."""

    MONITOR = "monitor"
    MANAGER = "manager"
    OSD = "osd"
    DATA = "data"
    CAPACITY = "capacity"
    NETWORK = "network"
    DEVICE = "device"
    CEPHFS = "cephfs"
    OTHER = "other"


class CephSilence(StrEnum):
    """How a monitor does not answer a connection."""

    REFUSED = "refused"
    NO_ROUTE = "no-route"
    NO_REPLY = "no-reply"
    MUTE = "mute"
    """Its machine takes the connection, and the monitor says nothing: it is frozen, or has no processor."""


class CephHealthChanged(InfoEvent):
    """The cluster's overall health changed."""

    kind: Literal["ceph.health.changed"] = "ceph.health.changed"
    health: Literal["HEALTH_OK", "HEALTH_WARN", "HEALTH_ERR"]
    previous: Text = ""


class CephCheckRaised(BadEvent):
    """A health check was raised or changed; one that Ceph's documentation does not know is passed on as itself."""

    aspect: ClassVar[str] = "check"
    kind: Literal["ceph.check.raised"] = "ceph.check.raised"
    code: Name
    family: CephFamily = CephFamily.OTHER
    severity: Literal["HEALTH_WARN", "HEALTH_ERR"]
    summary: Text
    serious: bool = False
    """Whether data or service suffer by it, while no other kind of event says so."""
    muted: bool = False
    """Whether an administrator muted it: it is true, and nobody wants to hear of it."""
    count: Count | None = None
    """How many things it counts, where Ceph says so."""
    detail: Annotated[tuple[Text, ...], Field(max_length=8)] = ()
    """The first lines of its details."""


class CephCheckCleared(OkEvent):
    """A health check was cleared."""

    aspect: ClassVar[str] = "check"
    kind: Literal["ceph.check.cleared"] = "ceph.check.cleared"
    code: Name


class CephUnwatched(InfoEvent):
    """This node uses a Ceph cluster that its agent cannot watch, since nobody made a key for it."""

    kind: Literal["ceph.unwatched"] = "ceph.unwatched"
    reason: Text


class CephFlagsChanged(InfoEvent):
    """Flags of the OSD map were set or unset, for all OSDs, a CRUSH bucket, a device class or one OSD: an administrator works on them."""

    kind: Literal["ceph.flags.changed"] = "ceph.flags.changed"
    flags: Annotated[tuple[Name, ...], Field(max_length=32)] = ()
    """Those that are set now and change what Ceph does by itself, `noout` for instance; those of a part as `noout of pve1`."""
    set: Annotated[tuple[Name, ...], Field(max_length=32)] = ()
    unset: Annotated[tuple[Name, ...], Field(max_length=32)] = ()


class CephOsdDown(BadEvent):
    """An OSD is down."""

    aspect: ClassVar[str] = "up"
    kind: Literal["ceph.osd.down"] = "ceph.osd.down"
    host: Text = ""
    """CRUSH host."""
    reason: Text = ""
    planned: bool = False
    """Whether an administrator meant it: `noout`, a mute, or a stop in order that is not long ago."""


class CephOsdMoved(InfoEvent):
    """An OSD was taken out, and its data moves to others; or in again; or it is no longer part of the cluster."""

    kind: Literal["ceph.osd.moved"] = "ceph.osd.moved"
    to: Literal["out", "in", "removed"]
    host: Text = ""


class CephOsdUp(OkEvent):
    """An OSD is up."""

    aspect: ClassVar[str] = "up"
    kind: Literal["ceph.osd.up"] = "ceph.osd.up"
    host: Text = ""


class CephHostDown(BadEvent):
    """All OSDs of a host are down."""

    aspect: ClassVar[str] = "up"
    kind: Literal["ceph.host.down"] = "ceph.host.down"
    osds: Annotated[tuple[Count, ...], Field(max_length=512)] = ()
    type: Name = "host"
    """Type of its CRUSH bucket: `host`, or a larger failure domain such as `rack`."""
    within: Text = ""
    """The failure domain that it is part of; empty when that is the root."""
    planned: bool = False


class CephHostUp(OkEvent):
    """A host has OSDs that are up."""

    aspect: ClassVar[str] = "up"
    kind: Literal["ceph.host.up"] = "ceph.host.up"
    within: Text = ""


class CephMonUnreachable(BadEvent):
    """A node gets no word from a monitor."""

    aspect: ClassVar[str] = "reach"
    kind: Literal["ceph.mon.unreachable"] = "ceph.mon.unreachable"
    how: CephSilence
    address: Text = ""


class CephMonReachable(OkEvent):
    """A node reaches a monitor."""

    aspect: ClassVar[str] = "reach"
    kind: Literal["ceph.mon.reachable"] = "ceph.mon.reachable"
    address: Text = ""


class CephClientSession(InfoEvent):
    """A node's kernel (krbd disks, CephFS mounts) lost its session with a monitor and looks for another, or has one again."""

    # No word on the monitor: the kernel does not return to the one that it left, so nobody would ever say that it is well again.
    kind: Literal["ceph.client.session"] = "ceph.client.session"
    to: Literal["lost", "established"]
    address: Text
    """The monitor's address and port; the kernel knows neither its name nor which cluster it means."""


class CephMonDown(BadEvent):
    """A monitor is out of quorum."""

    aspect: ClassVar[str] = "up"
    kind: Literal["ceph.mon.down"] = "ceph.mon.down"
    spare: Count | None = None
    """How many more monitors may fail before the others have no majority."""
    planned: bool = False


class CephMonUp(OkEvent):
    """A monitor is in quorum."""

    aspect: ClassVar[str] = "up"
    kind: Literal["ceph.mon.up"] = "ceph.mon.up"


class CephQuorumLost(BadEvent):
    """The monitors have no quorum, or answer no command within the deadline."""

    aspect: ClassVar[str] = "quorum"
    kind: Literal["ceph.quorum.lost"] = "ceph.quorum.lost"
    reason: Text = ""
    reachable: Count = 0
    """Monitors that this node reaches all the same. With none it is this node's network, or all of them."""


class CephQuorumFormed(OkEvent):
    """The monitors have quorum."""

    aspect: ClassVar[str] = "quorum"
    kind: Literal["ceph.quorum.formed"] = "ceph.quorum.formed"
    leader: Text = ""
    members: tuple[Name, ...] = ()


class CephPgsInactive(BadEvent):
    """Placement groups serve no I/O."""

    aspect: ClassVar[str] = "active"
    kind: Literal["ceph.pg.inactive"] = "ceph.pg.inactive"
    pgs: Count
    pools: Annotated[tuple[Name, ...], Field(max_length=32)] = ()
    """Pools that have some of them, where Ceph names them."""


class CephPgsActive(OkEvent):
    """All placement groups serve I/O."""

    aspect: ClassVar[str] = "active"
    kind: Literal["ceph.pg.active"] = "ceph.pg.active"


class CephPgsDegraded(BadEvent):
    """Placement groups have fewer copies than they should."""

    aspect: ClassVar[str] = "redundancy"
    kind: Literal["ceph.pg.degraded"] = "ceph.pg.degraded"
    pgs: Count
    objects: Count = 0
    planned: bool = False


class CephPgsClean(OkEvent):
    """All placement groups have all their copies."""

    aspect: ClassVar[str] = "redundancy"
    kind: Literal["ceph.pg.clean"] = "ceph.pg.clean"


class CephRecoveryProgress(InfoEvent):
    """How far recovery and backfill are; without data that moves or waits to be moved, that they are over."""

    kind: Literal["ceph.recovery.progress"] = "ceph.recovery.progress"
    degraded: Percent = 0.0
    """Copies of objects that are missing, per cent."""
    misplaced: Percent = 0.0
    """Copies that are there and belong elsewhere, per cent."""
    bytes_per_second: Count = 0
    objects_per_second: Count = 0
    seconds_left: Seconds | None = None
    """At the present rate; nothing when none is known."""


class CephRecoverySaturated(BadEvent):
    """Recovery or backfill starves clients: slow requests, slow heartbeats or slow disks while data moves."""

    aspect: ClassVar[str] = "recovery"
    kind: Literal["ceph.recovery.saturated"] = "ceph.recovery.saturated"
    bytes_per_second: Count = 0
    signs: Annotated[tuple[Name, ...], Field(max_length=8)] = ()
    """Health codes that say that clients suffer."""


class CephRecoveryCalm(OkEvent):
    """Recovery no longer starves clients."""

    aspect: ClassVar[str] = "recovery"
    kind: Literal["ceph.recovery.calm"] = "ceph.recovery.calm"


class CephOpsSlow(BadEvent):
    """Requests are blocked longer than the complaint time."""

    aspect: ClassVar[str] = "ops"
    kind: Literal["ceph.ops.slow"] = "ceph.ops.slow"
    count: Count
    oldest: Count = 0
    """Age of the oldest, seconds."""
    planned: bool = False


class CephOpsNormal(OkEvent):
    """No request is blocked."""

    aspect: ClassVar[str] = "ops"
    kind: Literal["ceph.ops.normal"] = "ceph.ops.normal"


class CephNearFull(BadEvent):
    """An OSD or pool passed the nearfull or backfillfull ratio."""

    aspect: ClassVar[str] = "capacity"
    kind: Literal["ceph.capacity.nearfull"] = "ceph.capacity.nearfull"
    level: Literal["nearfull", "backfillfull"] = "nearfull"
    percent: Percent | None = None
    seconds_left: Seconds | None = None
    """Until it is full, at the rate of the last hour; nothing when it does not grow."""


class CephFull(BadEvent):
    """An OSD or pool is full: writes stop."""

    aspect: ClassVar[str] = "full"
    kind: Literal["ceph.capacity.full"] = "ceph.capacity.full"
    percent: Percent | None = None
    quota: bool = False
    """Whether it is the pool's own quota that is reached, while its OSDs have room."""


class CephCapacityNormal(OkEvent):
    """An OSD or pool is below the nearfull ratio."""

    aspect: ClassVar[str] = "capacity"
    kind: Literal["ceph.capacity.normal"] = "ceph.capacity.normal"
    percent: Percent | None = None
