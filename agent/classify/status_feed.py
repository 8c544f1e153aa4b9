"""pmxcfs' ``.rrd`` to events: storages that the status daemon no longer tells, status daemons that stand still, guests' states.

It is the status daemon's own word, some 20 to 40 s old, and free: see :mod:`pve.freshness`. That a storage is inactive is said again each
minute while it lasts, as pvestatd's own lines are, for a controller forgets what is not renewed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from agent.classify.changes import Changes
from agent.classify.definitions import Definitions
from agent.record import RawRecord
from events.base import Event, Seen
from events.cluster import StatusDaemonAlive, StatusDaemonStuck, StorageActive, StorageInactive
from events.definitions import GuestStatus
from events.entity import Entity, EntityKind
from pve.freshness import Freshness, Pulse, Standing, judge
from pve.rrd import NodeStorage, Rrd, parse

_BAD = frozenset({Pulse.STUCK, Pulse.GONE})


class StatusFeedClassifier:
    """Judges successive reads. What it knows lives as long as the process: silence has to be watched.

    ``memory`` is what :meth:`memory` returned before.
    """

    def __init__(self, node: str, definitions: Definitions, memory: Mapping[str, Any] | None = None) -> None:
        self._node = node
        self._definitions = definitions
        self._last: Freshness | None = None
        self._stuck: set[str] = set()
        self._told: set[str] = set((memory or {}).get("stuck", ()))
        """Nodes whose status daemon was told as stuck, also before a restart, and not as alive since."""
        self._changes = Changes()

    def memory(self) -> dict[str, Any]:
        """Return what was told as bad and whose end must be told as well."""
        return {"stuck": sorted(self._told)}

    def take(
        self, record: RawRecord, enabled: Mapping[str, frozenset[str] | None], online: Collection[str], guests: Collection[str]
    ) -> Iterator[Event]:
        """Yield what a read means. ``enabled`` are storages with the nodes that may use them, ``guests`` the VMIDs of this node."""
        rrd = parse(record.fields.get("text", "").encode("latin-1"))
        mine = frozenset(name for name, nodes in enabled.items() if nodes is None or self._node in nodes)
        expected = {node: mine if node == self._node else frozenset[str]() for node in online}
        self._last = judge(rrd, record.monotonic / 1_000_000, self._last, expected)
        yield from self._daemons(record, online)
        yield from self._storages(record, mine)
        yield from self._definitions.news(self._guests(record, rrd, guests))

    def _daemons(self, record: RawRecord, online: Collection[str]) -> Iterator[Event]:
        assert self._last is not None
        for node, found in sorted(self._last.nodes.items()):
            if node not in online:
                continue
            seen = _seen(record, f".rrd: entry of {node} has not moved for {found.silent_s:.0f} s")
            if found.pulse in _BAD and node not in self._stuck:
                self._stuck.add(node)
                self._told.add(node)
                yield StatusDaemonStuck(subject=Entity(EntityKind.NODE, node), seen=seen, silent=int(found.silent_s))
            elif found.pulse is Pulse.LIVE and node in self._told:
                self._stuck.discard(node)
                self._told.remove(node)
                yield StatusDaemonAlive(subject=Entity(EntityKind.NODE, node), seen=_seen(record, f".rrd: entry of {node} moves"))

    def _storages(self, record: RawRecord, mine: Collection[str]) -> Iterator[Event]:
        assert self._last is not None
        self._changes.keep(mine)
        for name in sorted(mine):
            found = self._last.storages.get(NodeStorage(self._node, name))
            if found is None or found.standing not in (Standing.ACTIVE, Standing.INACTIVE):
                continue
            if not self._changes.is_change(name, found.standing, record.at, bad=found.standing is Standing.INACTIVE):
                continue
            subject = Entity(EntityKind.STORAGE, name)
            if found.standing is Standing.ACTIVE:
                yield StorageActive(subject=subject, seen=_seen(record, f".rrd: {self._node} tells {name}"))
            else:
                excerpt = f".rrd: {self._node} tells its other storages and not {name}"
                yield StorageInactive(subject=subject, seen=_seen(record, excerpt), reason="not told by the status daemon")

    def _guests(self, record: RawRecord, rrd: Rrd, guests: Collection[str]) -> Iterator[Event]:
        for vmid in guests:
            found = rrd.guests.get(int(vmid))
            if found is not None and found.status:
                seen = _seen(record, f".rrd: guest {vmid} is {found.status}")
                yield GuestStatus(subject=Entity(EntityKind.GUEST, vmid), seen=seen, node=self._node, status=found.status[:256])


def _seen(record: RawRecord, excerpt: str) -> Seen:
    return Seen(source=record.source, cursor=record.cursor, excerpt=excerpt[:512])
