"""What one agent knows of one Ceph cluster, and what was last said of it: shared by the classifiers of its parts. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agent.classify.changes import Changes, Streak
from agent.record import RawRecord
from events.base import EXCERPT_LENGTH, Event, Seen, State
from events.entity import Entity, EntityKind

_FSID: Final = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
TEXT: Final = 255
"""Characters of a text fact."""
PLANNED: Final = 120_000_000
"""Microseconds after a stop in order during which an OSD that is down is being restarted. A reboot takes longer than a restart, and is
announced by `noout`."""
REPEATED: Final = frozenset({EntityKind.CEPH, EntityKind.CEPH_POOL, EntityKind.CEPH_MON})
"""Kinds of entities of which there are few: that they are well is said again and again, as proof. That an OSD is well is said once."""


@dataclass(slots=True)
class View:
    """One cluster as this agent knows it. ``fsid`` is empty as long as nobody has told it."""

    fsid: str = ""
    changes: Changes = field(default_factory=Changes)
    streak: Streak = field(default_factory=Streak)
    muted: frozenset[str] = frozenset()
    """Codes that an administrator muted."""
    codes: frozenset[str] = frozenset()
    """Codes that are raised, muted or not."""
    flags: frozenset[str] = frozenset()
    """Flags of the OSD map; those of one CRUSH bucket, device class or OSD as ``noout of NAME``."""
    stopped: dict[int, int] = field(default_factory=dict)
    """OSDs that said goodbye, and when (µs)."""
    reached: int = 0
    """How many monitors this node hears."""
    failing: frozenset[int] = frozenset()
    """OSDs that went down while somebody watched: they stay down until they are up or gone, also when Ceph has taken them out."""
    retired: frozenset[int] = frozenset()
    """OSDs that are down and no fault: they were out before."""
    rearranged: int | None = None
    """When somebody took an OSD that is up out or in, or its data was last seen to move for that (µs); None when there is nothing of it."""
    hosts: dict[int, str] = field(default_factory=dict)
    """OSD to its CRUSH host."""
    groups: dict[int, frozenset[str]] = field(default_factory=dict)
    """OSD to all whose flags hold for it beside its host: the CRUSH buckets that it is in, up to the root, and its device class."""
    used: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Pool to (when, bytes) of the last hour."""

    def entity(self, kind: EntityKind, *parts: str | int) -> Entity:
        """Name a part of this cluster.

        :raises EntityError: the name is none that can be printed.
        """
        return Entity(kind, "/".join((self.fsid, *map(str, parts))))

    @property
    def cluster(self) -> Entity:
        """Name the cluster."""
        return Entity(EntityKind.CEPH, self.fsid)

    def say(self, event: Event, record: RawRecord, words: str = "", aspect: str = "") -> Iterator[Event]:
        """Yield an event when it is news. ``words`` tell what makes it another one than that before, by default its facts.

        ``aspect`` tells apart what is said of one subject, by default the event's own.
        """
        bad = event.state is State.BAD
        key = f"{event.subject} {aspect or event.aspect or event.kind}"
        body = words or (json.dumps(event.model_dump(mode="json", exclude={"seen", "subject"}), sort_keys=True) if bad else "")
        ask = self.changes.is_news if bad or event.subject.kind in REPEATED else self.changes.is_change
        if ask(key, body, record.at, bad=bad):
            yield event

    def is_planned(self, osd: int, host: str, at: int) -> bool:
        """Tell whether an administrator meant an OSD to be down."""
        names = {host, f"osd.{osd}", *self.groups.get(osd, ())}
        return (
            not self.flags.isdisjoint({"noout", *(f"noout of {name}" for name in names)})
            or "OSD_DOWN" in self.muted
            or 0 <= at - self.stopped.get(osd, -PLANNED) < PLANNED
        )


def seen(record: RawRecord, excerpt: str = "") -> Seen:
    """Return the proof of what a record says."""
    return Seen(source=record.source, excerpt=excerpt[:EXCERPT_LENGTH])


def is_fsid(text: object) -> bool:
    """Tell whether something is a cluster's identity."""
    return isinstance(text, str) and _FSID.fullmatch(text) is not None


def rows(found: object) -> list[Mapping[str, Any]]:
    """Return the maps in a list; of anything else nothing. Ceph's answers differ between releases, and a proxy may cut them."""
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def part(found: object, *names: str) -> Mapping[str, Any]:
    """Return the map at a path of names, an empty one where there is none."""
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def number(found: object) -> float:
    """Return a number that is not negative; 0 for anything else, not-a-number included."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return 0.0
    return float(found) if 0 <= found < 2**63 else 0.0


def words(found: object) -> list[str]:
    """Return the texts in a list; of anything else nothing."""
    return [text(one) for one in found if isinstance(one, str)] if isinstance(found, list) else []


def text(found: object) -> str:
    """Return a short text; nothing for anything else."""
    # JSON can name halves of characters, which no event can carry.
    return found[:TEXT].encode(errors="replace").decode() if isinstance(found, str) else ""
