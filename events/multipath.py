"""Multipath maps and their paths (rows I1, I3, I4, I5)."""

from __future__ import annotations

from typing import ClassVar, Literal

from events.base import BadEvent, Count, InfoEvent, Name, OkEvent, Text


class MultipathPathFailed(BadEvent):
    """A path of a multipath map failed."""

    aspect: ClassVar[str] = "path"
    kind: Literal["multipath.path.failed"] = "multipath.path.failed"
    map: Text = ""
    device: Text = ""


class MultipathPathRestored(OkEvent):
    """A path of a multipath map works again."""

    aspect: ClassVar[str] = "path"
    kind: Literal["multipath.path.restored"] = "multipath.path.restored"
    map: Text = ""
    device: Text = ""


class MultipathMapDegraded(BadEvent):
    """A map has fewer working paths than it had: redundancy is lost, I/O goes on."""

    aspect: ClassVar[str] = "redundancy"
    kind: Literal["multipath.map.degraded"] = "multipath.map.degraded"
    map: Name
    active: Count
    expected: Count | None = None


class MultipathMapRestored(OkEvent):
    """A map has all its known paths."""

    aspect: ClassVar[str] = "redundancy"
    kind: Literal["multipath.map.restored"] = "multipath.map.restored"
    map: Name
    active: Count


class MultipathMapLost(BadEvent):
    """A map has no working path: I/O waits or fails."""

    aspect: ClassVar[str] = "paths"
    kind: Literal["multipath.map.lost"] = "multipath.map.lost"
    map: Name
    expected: Count | None = None


class MultipathMapUsable(OkEvent):
    """A map has at least one working path."""

    aspect: ClassVar[str] = "paths"
    kind: Literal["multipath.map.usable"] = "multipath.map.usable"
    map: Name
    active: Count


class MultipathQueueingDisabled(InfoEvent):
    """A map without paths stopped queueing: I/O errors now reach the guests."""

    kind: Literal["multipath.queueing.disabled"] = "multipath.queueing.disabled"
    map: Name


class MultipathQueueingEnabled(InfoEvent):
    """A map queues I/O while it has no path."""

    kind: Literal["multipath.queueing.enabled"] = "multipath.queueing.enabled"
    map: Name
    retries: Count | None = None


class MultipathWwidChanged(BadEvent):
    """A path leads to another LUN than its map: writing on may destroy data."""

    aspect: ClassVar[str] = "identity"
    kind: Literal["multipath.wwid.changed"] = "multipath.wwid.changed"
    device: Name
    expected: Text
    found: Text


class MultipathWwidConfirmed(OkEvent):
    """All paths of a map lead to the map's own LUN."""

    aspect: ClassVar[str] = "identity"
    kind: Literal["multipath.wwid.confirmed"] = "multipath.wwid.confirmed"
    map: Text = ""


class MultipathIdentityConflict(BadEvent):
    """Two maps claim one alias or one WWID on this node."""

    aspect: ClassVar[str] = "conflict"
    kind: Literal["multipath.identity.conflict"] = "multipath.identity.conflict"
    map: Name
    reason: Text


class MultipathIdentityUnique(OkEvent):
    """A map's alias and WWID, claimed twice before, are its own again."""

    aspect: ClassVar[str] = "conflict"
    kind: Literal["multipath.identity.unique"] = "multipath.identity.unique"
    map: Text = ""


class MultipathMapSingle(InfoEvent):
    """A map has one path and never had more: it works, and the first failure of that path stops its I/O."""

    kind: Literal["multipath.map.single"] = "multipath.map.single"
    map: Name


class MultipathMapChanged(InfoEvent):
    """A map was made, reloaded or removed, or a path was added to or taken from it."""

    kind: Literal["multipath.map.changed"] = "multipath.map.changed"
    map: Name
    change: Text


class MultipathDaemonFailed(BadEvent):
    """multipathd itself is broken: nobody watches the paths of this node."""

    aspect: ClassVar[str] = "daemon"
    kind: Literal["multipath.daemon.failed"] = "multipath.daemon.failed"
    reason: Text


class MultipathDaemonStarted(OkEvent):
    """multipathd started and watches the paths of this node."""

    aspect: ClassVar[str] = "daemon"
    kind: Literal["multipath.daemon.started"] = "multipath.daemon.started"
    version: Text = ""
