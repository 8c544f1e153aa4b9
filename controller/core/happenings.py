"""What was done to the cluster lately, on purpose or not: what a verdict must be read beside.

A change of storage.cfg, a restart, maintenance: none of it is broken, and all of it makes some explanations likelier and belongs in
the reasons that people read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from controller.core.facts import Facts
from events.agent import AgentStarted, AgentStopped
from events.base import Event
from events.ceph import CephClientSession, CephFlagsChanged, CephOsdMoved
from events.cluster import BackupEnded, BackupStarted, HaArming, HaNodeMaintenance, NodeBooted, NodeUnitStopped, StorageConfigChanged
from events.iscsi import IscsiInitiatorStopped, IscsiTargetAnnouncement

SECOND: Final = 1_000_000
BEFORE: Final = 120 * SECOND
"""How long before the first sign of a fault something counts as having happened just before."""
_SLACK: Final = 5 * SECOND
"""How much later than the first sign it may have been seen: two sources of one node look at their own pace."""
_MOST: Final = 64
"""Most that is remembered."""
POINTING: Final = frozenset(
    {
        "server",
        "server2",
        "export",
        "share",
        "portal",
        "target",
        "vgname",
        "base",
        "monhost",
        "pool",
        "data-pool",
        "fs-name",
        "volume",
        "path",
        "options",
    }
)
"""Properties of a storage that say where it is and how it is reached."""


_FAR_ENDS: Final = frozenset({"server", "server2", "portal"})
"""Those that name a host."""


@dataclass(slots=True)
class Happening:
    """One thing that happened. ``about``: the node, storage or other entity that it touches; ``points``: it says where a storage is."""

    at: int
    about: str
    text: str
    points: bool = False
    lasts: bool = False
    """Whether it holds until its end is told: maintenance, disarmed HA."""
    topic: str = ""
    """What it is about: tells an end from other things that happen to the same, and which faults it makes likelier (``maintenance``,
    ``flags``, ``boot``, ``iscsi`` …)."""

    names: str = ""
    """What a storage was pointed at: a server or portal, which may be named no more when its silence is told."""

    @property
    def key(self) -> str:
        """Return what tells it from others."""
        return f"{self.at} {self.about} {self.text}"


def happenings(event: Event, node: str, at: int, facts: Facts) -> Iterator[Happening]:
    """Yield what an event tells of, observed at ``at`` (UTC µs) by ``node``; nothing for most. ``facts`` tell names from addresses."""
    match event:
        case StorageConfigChanged():
            yield from _configured(event, at)
        case NodeBooted() | NodeUnitStopped() | IscsiInitiatorStopped() | AgentStarted() | AgentStopped():
            text, topic = _restarted(event, node)
            yield Happening(at, f"node/{node}", text, topic=topic)
        case BackupStarted():
            where = f" to storage {event.storage}" if event.storage else ""
            yield Happening(at, f"backup/{node}", f"node {node} began a backup{where}", lasts=True, topic="backup")
        case BackupEnded():
            yield Happening(at, f"backup/{node}", f"a backup of node {node} ended", topic="backup")
        case CephFlagsChanged() | CephOsdMoved() | CephClientSession():
            yield from _ceph(event, at, facts)
        case HaNodeMaintenance():
            name = event.subject.key
            yield Happening(
                at,
                f"node/{name}",
                f"HA maintenance of {name} {'began' if event.active else 'ended'}",
                lasts=event.active,
                topic="maintenance",
            )
        case HaArming():
            yield Happening(at, "cluster", f"HA was {'armed' if event.armed else 'disarmed'}", lasts=not event.armed, topic="arming")
        case IscsiTargetAnnouncement():
            yield Happening(at, str(event.subject), f"{event.subject.key} announced: {event.text}", topic="announced")
        case _:
            pass


def _restarted(event: NodeBooted | NodeUnitStopped | IscsiInitiatorStopped | AgentStarted | AgentStopped, node: str) -> tuple[str, str]:
    """Return in words what was started anew or stopped of a node, and its topic."""
    match event:
        case NodeBooted():
            return f"node {node} booted", "boot"
        case NodeUnitStopped():
            return f"{event.unit} of {node} was {'restarted' if event.restarts else 'stopped'}", _topic(event.unit)
        case IscsiInitiatorStopped():
            return f"iscsid of {node} was stopped", "iscsi"
        case AgentStarted():
            return f"the agent of {node} started, version {event.version}", "agent"
        case AgentStopped():
            return f"the agent of {node} was stopped", "agent"


def _topic(unit: str) -> str:
    return next((topic for prefix, topic in _UNITS if unit.startswith(prefix)), "")


_UNITS: Final = (
    ("iscsid", "iscsi"),
    ("open-iscsi", "iscsi"),
    ("multipathd", "multipath"),
    ("nfs-", "nfs"),
    ("rpc", "nfs"),
    ("corosync", "cluster"),
    ("pve-cluster", "cluster"),
    ("pve-ha-", "ha"),
    ("pvestatd", "status"),
    ("networking", "network"),
    ("ceph-", "ceph"),
)
"""What a service is for, by how its unit's name begins; those of `agent/classify/units.py`."""


def _ceph(event: CephFlagsChanged | CephOsdMoved | CephClientSession, at: int, facts: Facts) -> Iterator[Happening]:
    if isinstance(event, CephClientSession):
        if event.to == "lost" and (monitor := facts.monitor_at(event.address)):
            # Without the node's name: of each monitor once, however many nodes lose it in one second.
            name = monitor.partition("/")[2]
            yield Happening(at, f"ceph-mon/{monitor}", f"the kernel of a node lost its session with mon.{name} at {event.address}")
    elif isinstance(event, CephOsdMoved):
        text = f"Ceph {_MOVED[event.to].format(osd=event.subject.key.rpartition('/')[2])}"
        yield Happening(at, str(event.subject), text, topic="osd")
    elif event.flags:
        yield Happening(at, str(event.subject), f"Ceph flags {', '.join(event.flags)} are set", lasts=True, topic="flags")
    elif event.unset:
        yield Happening(at, str(event.subject), f"Ceph flags {', '.join(event.unset)} were unset", topic="flags")


_MOVED: Final = {
    "out": "took osd.{osd} out: its data moves to others",
    "in": "took osd.{osd} in again: data moves to it",
    "removed": "no longer has an osd.{osd}",
}


def _configured(event: StorageConfigChanged, at: int) -> Iterator[Happening]:
    for storage in event.added:
        yield Happening(at, f"storage/{storage}", f"storage {storage} was added", points=True)
    for storage in event.removed:
        yield Happening(at, f"storage/{storage}", f"storage {storage} was removed")
    told = {one.storage for one in event.changes}
    for change in event.changes:
        text = f"storage {change.storage}: {change.name} {change.before or 'unset'} → {change.after or 'unset'}"
        names = (change.after or "") if change.name in _FAR_ENDS else ""
        yield Happening(at, f"storage/{change.storage}", text, points=change.name in POINTING, names=names)
    for storage in event.changed:
        if storage not in told:
            yield Happening(at, f"storage/{storage}", f"storage {storage} was changed")


class Recent:
    """The latest of them, the same one told by several nodes once."""

    def __init__(self) -> None:
        self.all: dict[str, Happening] = {}

    def take(self, one: Happening) -> list[str]:
        """Take one in; return the keys of what was added or fell out."""
        if any(other.text == one.text and other.about == one.about and self._is_same(one, other) for other in self.all.values()):
            return []
        touched = []
        for key, other in list(self.all.items()):
            if one.topic and other.lasts and (other.about, other.topic) == (one.about, one.topic) and other.at <= one.at:
                del self.all[key]  # maintenance that ended, or other flags than before
                touched.append(key)
        self.all[one.key] = one
        touched.append(one.key)
        while len(self.all) > _MOST:
            oldest = min(self.all.values(), key=lambda other: (other.lasts, other.at, other.key)).key
            del self.all[oldest]
            touched.append(oldest)
        return touched

    def move(self, was: Callable[[int], int]) -> list[str]:
        """Give everything another time; return the keys of what was moved, old and new."""
        before = list(self.all.values())
        touched = list(self.all)
        for one in before:
            one.at = was(one.at)
        self.all = {one.key: one for one in before}
        return [*touched, *self.all]

    def in_maintenance(self) -> frozenset[str]:
        """Return the nodes (entities) that an administrator put into HA maintenance."""
        return frozenset(one.about for one in self.all.values() if one.lasts and one.topic == "maintenance")

    @staticmethod
    def _is_same(one: Happening, other: Happening) -> bool:
        """Tell whether it was told before: by another node just now, or, of what lasts, at any time since."""
        return abs(other.at - one.at) <= BEFORE or (other.lasts and other.at <= one.at)

    def before(self, onset: int) -> list[Happening]:
        """Return what happened just before ``onset``, or holds since long before, oldest first."""
        near = [one for one in self.all.values() if one.at - _SLACK <= onset and (one.lasts or onset - one.at <= BEFORE)]
        return sorted(near, key=lambda one: (one.at, one.key))
