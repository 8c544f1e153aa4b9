"""Ceph: health checks, OSDs, hosts, monitors, placement groups, capacity (rows C1 to C5)."""

from __future__ import annotations

from typing import ClassVar, Literal

from events.base import BadEvent, Count, InfoEvent, Name, OkEvent, Text


class CephHealthChanged(InfoEvent):
    """The cluster's overall health changed."""

    kind: Literal["ceph.health.changed"] = "ceph.health.changed"
    health: Literal["HEALTH_OK", "HEALTH_WARN", "HEALTH_ERR"]
    previous: Text = ""


class CephCheckRaised(BadEvent):
    """A health check was raised or changed."""

    aspect: ClassVar[str] = "check"
    kind: Literal["ceph.check.raised"] = "ceph.check.raised"
    code: Name
    severity: Literal["HEALTH_WARN", "HEALTH_ERR"]
    summary: Text
    muted: bool = False


class CephCheckCleared(OkEvent):
    """A health check was cleared."""

    aspect: ClassVar[str] = "check"
    kind: Literal["ceph.check.cleared"] = "ceph.check.cleared"
    code: Name


class CephOsdDown(BadEvent):
    """An OSD is down."""

    aspect: ClassVar[str] = "up"
    kind: Literal["ceph.osd.down"] = "ceph.osd.down"
    host: Text = ""
    reason: Text = ""
    planned: bool = False


class CephOsdUp(OkEvent):
    """An OSD is up."""

    aspect: ClassVar[str] = "up"
    kind: Literal["ceph.osd.up"] = "ceph.osd.up"
    host: Text = ""


class CephHostDown(BadEvent):
    """All OSDs of a host are down."""

    aspect: ClassVar[str] = "up"
    kind: Literal["ceph.host.down"] = "ceph.host.down"
    osds: tuple[Count, ...] = ()


class CephHostUp(OkEvent):
    """A host has OSDs that are up."""

    aspect: ClassVar[str] = "up"
    kind: Literal["ceph.host.up"] = "ceph.host.up"


class CephMonDown(BadEvent):
    """A monitor is out of quorum."""

    aspect: ClassVar[str] = "up"
    kind: Literal["ceph.mon.down"] = "ceph.mon.down"


class CephMonUp(OkEvent):
    """A monitor is in quorum."""

    aspect: ClassVar[str] = "up"
    kind: Literal["ceph.mon.up"] = "ceph.mon.up"


class CephQuorumLost(BadEvent):
    """The monitors have no quorum, or answer no command within the deadline."""

    aspect: ClassVar[str] = "quorum"
    kind: Literal["ceph.quorum.lost"] = "ceph.quorum.lost"
    reason: Text = ""


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


class CephPgsClean(OkEvent):
    """All placement groups have all their copies."""

    aspect: ClassVar[str] = "redundancy"
    kind: Literal["ceph.pg.clean"] = "ceph.pg.clean"


class CephRecoverySaturated(BadEvent):
    """Recovery or backfill starves clients: slow requests while data moves."""

    aspect: ClassVar[str] = "recovery"
    kind: Literal["ceph.recovery.saturated"] = "ceph.recovery.saturated"
    bytes_per_second: Count = 0


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


class CephOpsNormal(OkEvent):
    """No request is blocked."""

    aspect: ClassVar[str] = "ops"
    kind: Literal["ceph.ops.normal"] = "ceph.ops.normal"


class CephNearFull(BadEvent):
    """An OSD or pool passed the nearfull or backfillfull ratio."""

    aspect: ClassVar[str] = "capacity"
    kind: Literal["ceph.capacity.nearfull"] = "ceph.capacity.nearfull"
    level: Literal["nearfull", "backfillfull"] = "nearfull"
    percent: Count | None = None


class CephFull(BadEvent):
    """An OSD or pool is full: writes stop."""

    aspect: ClassVar[str] = "full"
    kind: Literal["ceph.capacity.full"] = "ceph.capacity.full"
    percent: Count | None = None


class CephCapacityNormal(OkEvent):
    """An OSD or pool is below the nearfull ratio."""

    aspect: ClassVar[str] = "capacity"
    kind: Literal["ceph.capacity.normal"] = "ceph.capacity.normal"
    percent: Count | None = None
