"""Records of :mod:`agent.sources.host` to events: what a node is made of, said when it is new or differs from what was said last.

Across a restart, too: a digest of each event that was published is kept with the spool, so that a node whose make-up did not change says
nothing. An excerpt tells what is missing in a picture: files that the agent may not read, volume groups known from a backup only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from agent.classify.host_block import iscsi, multipath
from agent.classify.host_bounds import fitting
from agent.classify.host_ceph import CEPH_PLACE, ceph
from agent.classify.host_mounts import mounts
from agent.classify.host_networks import networks
from agent.classify.host_volumes import Group, Volumes
from agent.record import RawRecord
from events.base import EXCERPT_LENGTH, Event, Seen
from events.entity import Entity, EntityKind
from events.host import NodeVolumes, VolumeGroup

_MOST_GROUPS, _MOST_LUNS = 256, 64
_MOST_REMEMBERED: Final = 1024
_NAME: Final = 127
"""Longest name of a volume group (lvm(8))."""
_LUN: Final = 255
_EVENTS: Final[Mapping[str, Callable[[Mapping[str, Any], Entity, Seen], Event]]] = {
    "networks": networks,
    "mounts": mounts,
    "iscsi": iscsi,
    "multipath": multipath,
    "ceph": ceph,
}


class HostClassifier:
    """Turns one node's host records, in order, into events.

    ``memory`` is what :meth:`memory` returned before, or None at the very first start.
    """

    def __init__(self, node: str, memory: dict[str, Any] | None = None) -> None:
        state = memory or {}
        self._node = Entity(EntityKind.NODE, node)
        self._digests: dict[str, str] = dict(state.get("digests", {}))
        self._luns: dict[str, str] = dict(state.get("luns", {}))

    def memory(self) -> dict[str, Any]:
        """Return what must be kept: digests of what was published, and the LUNs on which physical volumes were seen."""
        return {"digests": dict(self._digests), "luns": dict(self._luns)}

    def repeat(self) -> None:
        """Say everything again at its next sight: a controller does not know it."""
        self._digests.clear()

    def classify(self, record: RawRecord) -> list[Event]:
        """Return the event that a record stands for; none when the same was published last.

        :raises HostFileError: when a file that was recorded in a copied tree is not what it should be.
        """
        what = record.fields.get("what", "")
        if what not in _EVENTS and what != "volumes":
            return []
        found = json.loads(record.fields["found"])
        denied = record.fields.get("denied", "")
        if what == "ceph" and any(path.startswith(CEPH_PLACE) for path in denied.split()):
            return []  # which daemons there are is not known, and no daemons would be a fact
        seen = _seen(record, [f"not readable: {denied}"] if denied and what in ("iscsi", "volumes", "mounts") else [])
        event = self._volumes(found, record, seen) if what == "volumes" else _EVENTS[what](found, self._node, seen)
        digest = hashlib.sha256(event.model_dump_json(exclude={"seen"}).encode()).hexdigest()
        if self._digests.get(what) == digest:
            return []
        self._digests[what] = digest
        return [event]

    def _volumes(self, found: Mapping[str, Any], record: RawRecord, seen: Seen) -> Event:
        look = Volumes(found, self._luns)
        groups = look.groups()
        self._luns = dict(list(look.seen.items())[:_MOST_REMEMBERED])
        notes = [f"{name}: {known.note}" for name, known in sorted(groups.items()) if known.note]
        listed = fitting(
            (_group(name, known) for name, known in sorted(groups.items(), key=_san_first) if 0 < len(name) <= _NAME), _MOST_GROUPS
        )
        seen = _seen(record, [*([seen.excerpt] if seen.excerpt else []), *notes])
        return NodeVolumes(subject=self._node, seen=seen, groups=tuple(sorted(listed, key=lambda one: one.name)))


def _san_first(item: tuple[str, Group]) -> tuple[bool, str]:
    name, known = item
    return not known.luns, name


def _group(name: str, known: Group) -> VolumeGroup:
    luns = tuple(sorted(lun for lun in known.luns if 0 < len(lun) <= _LUN))
    return VolumeGroup(name=name, complete=known.complete, luns=luns[:_MOST_LUNS])


def _seen(record: RawRecord, notes: list[str]) -> Seen:
    """Return the proof: sentences of ours, never a line of a file."""
    return Seen(source=record.source, cursor=record.cursor, excerpt="; ".join(notes)[:EXCERPT_LENGTH])
