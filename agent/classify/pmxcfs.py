"""Records of :mod:`agent.sources.pmxcfs` to events: /etc/pve served or not, quorum, members, changed files.

What a state is (served, quorum, members) is said anew after each start of the agent: while it was silent, its evidence was
worth nothing. What changed (files) is said only against what was remembered, so a change made while it was down is told too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from agent.record import RawRecord
from events.base import EXCERPT_LENGTH, Event, Seen
from events.cluster import (
    ClusterFileChanged,
    MemberJoined,
    MemberLeft,
    PmxcfsLost,
    PmxcfsServed,
    QuorumLost,
    QuorumRegained,
    StorageConfigChanged,
)
from events.entity import Entity, EntityKind
from events.errors import EntityError

STORAGE_CFG: Final = "storage.cfg"
_HEADER: Final = re.compile(r"(\S+):\s*(\S+)\s*")
_MOST: Final = 64
"""Most section ids that an event names in each list: an event is no copy of the file."""
_LONGEST: Final = 256
"""Longest section id that an event can name, characters."""


class PmxcfsClassifier:
    """Turns one node's pmxcfs records, in order, into events.

    ``memory`` is what :meth:`memory` returned before, or None at the very first start.
    """

    def __init__(self, node: str, memory: dict[str, Any] | None = None) -> None:
        state = memory or {}
        self._node = Entity(EntityKind.NODE, node)
        self._starttime: str | None = state.get("starttime")
        self._digests: dict[str, str] = dict(state.get("digests", {}))
        self._sections: dict[str, str] = dict(state.get("sections", {}))
        self._said: dict[str, str] = {}
        self._kinds: Mapping[str, Callable[[RawRecord], list[Event]]] = {
            "served": self._served,
            "lost": self._lost,
            "quorum": self._quorum,
            "member": self._member,
            "file": self._file,
        }

    def memory(self) -> dict[str, Any]:
        """Return what must be kept for a change to be seen as one after a restart: plain data, digests only."""
        return {"starttime": self._starttime, "digests": dict(self._digests), "sections": dict(self._sections)}

    def classify(self, record: RawRecord) -> list[Event]:
        """Return the events that a record stands for. Never raises for any text."""
        judge = self._kinds.get(record.fields.get("what", ""))
        return judge(record) if judge else []

    def _is_news(self, about: str, value: str) -> bool:
        news = self._said.get(about) != value
        self._said[about] = value
        return news

    def _served(self, record: RawRecord) -> list[Event]:
        before, now = self._starttime, record.fields.get("starttime", "")
        self._starttime = now
        if not self._is_news("served", now):
            return []
        restarted = before not in (None, now)
        excerpt = f".version: starttime {now}" if now else "files are there"
        return [PmxcfsServed(subject=self._node, seen=_seen(record, excerpt), restarted=restarted)]

    def _lost(self, record: RawRecord) -> list[Event]:
        how = record.fields.get("how", "")
        if how not in _LOST or not self._is_news("served", f"lost {how}"):
            return []
        return [PmxcfsLost.model_validate({"subject": self._node, "seen": _seen(record, _LOST[how]), "how": how})]

    def _quorum(self, record: RawRecord) -> list[Event]:
        held = record.fields.get("held", "")
        if held not in ("yes", "no") or not self._is_news("quorum", held):
            return []
        if held == "yes":
            return [QuorumRegained(subject=self._node, seen=_seen(record, "write bit of /etc/pve/local is set"))]
        return [QuorumLost(subject=self._node, seen=_seen(record, "write bit of /etc/pve/local is not set"))]

    def _member(self, record: RawRecord) -> list[Event]:
        node, online, address = (record.fields.get(name, "") for name in ("node", "online", "address"))
        try:
            subject = Entity(EntityKind.NODE, node)
        except EntityError:
            return []
        if not self._is_news(f"member {node}", f"{online} {address}"):
            return []
        seen = _seen(record, f".members: {node} online {online}")
        return (
            [MemberJoined(subject=subject, seen=seen, address=address[:256])]
            if online == "yes"
            else [MemberLeft(subject=subject, seen=seen)]
        )

    def _file(self, record: RawRecord) -> list[Event]:
        path, digest = record.fields.get("path", ""), record.fields.get("digest", "")
        before = self._digests.get(path)
        if not path or digest == before:
            return []
        self._digests[path] = digest
        event = self._storage_changed if path == STORAGE_CFG else self._other_changed
        return event(record, digest, before)

    def _other_changed(self, record: RawRecord, digest: str, before: str | None) -> list[Event]:
        if before is None:
            return []  # seen for the first time is not changed
        path = record.fields["path"]
        return [
            ClusterFileChanged(
                subject=self._cluster(record), seen=_seen(record, f"digest of {path}"), path=path[:256], digest=digest or None
            )
        ]

    def _storage_changed(self, record: RawRecord, digest: str, before: str | None) -> list[Event]:
        was, now = self._sections, sections(record.fields.get("outline", ""))
        self._sections = now
        if before is None:
            return []
        return [
            StorageConfigChanged(
                subject=self._cluster(record),
                seen=_seen(record, f"digest of {STORAGE_CFG}"),
                digest=digest,
                previous=before,
                added=_names(now.keys() - was.keys()),
                removed=_names(was.keys() - now.keys()),
                changed=_names(name for name in now.keys() & was.keys() if now[name] != was[name]),
            )
        ]

    def _cluster(self, record: RawRecord) -> Entity:
        """Name whose file it is: the cluster's, or the node's when it stands alone."""
        try:
            return Entity(EntityKind.CLUSTER, record.fields.get("cluster", ""))
        except EntityError:
            return self._node


_LOST: Final[Mapping[str, str]] = {
    "unmounted": "/etc/pve is empty",
    "crashed": "/etc/pve: Transport endpoint is not connected",
    "hung": "/etc/pve does not answer",
}
"""What was seen, by ``how``."""


def _seen(record: RawRecord, excerpt: str) -> Seen:
    """Return the proof: a sentence of ours, never a line of a file."""
    return Seen(source=record.source, cursor=record.cursor, excerpt=excerpt[:EXCERPT_LENGTH])


def _names(ids: Any) -> tuple[str, ...]:
    return tuple(sorted(name for name in ids if len(name) <= _LONGEST)[:_MOST])


def sections(outline: str) -> dict[str, str]:
    """Split storage.cfg into its sections: id to a fingerprint of type and lines, in which their order plays no part.

    Only to tell which sections differ. It does not judge them: no types, properties, defaults, duplicates within a section
    or comments are known here, ids are not checked, and values are expected to be fingerprints already. As Proxmox VE does, it
    takes all lines up to an empty one for one section, and of two sections with one id the last.
    """
    found: dict[str, str] = {}
    for block in re.split(r"\n(?:0?\n)+", f"\n{outline}\n"):
        lines = [line for line in block.split("\n") if line not in ("", "0")]
        start = next((number for number, line in enumerate(lines) if _HEADER.fullmatch(line)), None)
        if start is None:
            continue
        header = _HEADER.fullmatch(lines[start])
        assert header is not None
        body = "\n".join((header[1].lower(), *sorted(lines[start + 1 :])))
        found[header[2]] = hashlib.sha1(body.encode(errors="replace"), usedforsecurity=False).hexdigest()
    return found
