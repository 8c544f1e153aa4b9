"""Records of :mod:`agent.sources.iscsi` to events: each session's state, whether portals accept, whether their names resolve.

The kernel's states (drivers/scsi/scsi_transport_iscsi.c): LOGGED_IN; FAILED, broken and being recovered, I/O waits; FREE, not recovered in
time, I/O fails. Several sessions to one portal and target, one for each interface they are bound to, are told as one: by the worst of them,
and as closed with the last. A refused connection and a missing answer are believed at their second sight, for one packet may be lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from agent.classify.changes import BELIEVED, Changes, Streak
from agent.record import RawRecord
from events.base import EXCERPT_LENGTH, Event, Seen
from events.entity import Entity, EntityKind, portal
from events.errors import EntityError
from events.iscsi import (
    IscsiConnectionFailed,
    IscsiConnectionRecovered,
    IscsiNameResolved,
    IscsiNameUnresolved,
    IscsiPortalReachable,
    IscsiPortalUnreachable,
    IscsiSessionClosed,
    IscsiSessionEstablished,
    IscsiSessionExpired,
    IscsiSessionMissing,
    IscsiSessionPresent,
)

_LOGGED_IN, _FAILED, _FREE = "LOGGED_IN", "FAILED", "FREE"
_WORST: Final = (_FREE, _FAILED, _LOGGED_IN)
"""States that mean something, the worst first. Others are of a session that comes or goes just now."""
_OPEN, _BLIND = "accepted", "blind"
_PATIENCE: Final = 60_000_000
"""Microseconds that a target of storage.cfg may be without a session: Proxmox VE logs in when it activates the storage, each 10 s."""
_RECOVERY: Final = 120.0
"""Seconds that the kernel waits for a lost session when it does not say (open-iscsi's ``replacement_timeout``)."""
Row = Mapping[str, Any]


class IscsiClassifier:
    """Turns one node's iSCSI records, in order, into events. Keeps nothing over a restart: then everything is said once."""

    def __init__(self, node: str, memory: dict[str, Any] | None = None) -> None:
        del memory
        self._node = node
        self._sessions: dict[str, list[Row]] = {}
        """Sessions by portal and target, the oldest first."""
        self._failed: set[str] = set()
        self._missing: dict[str, int | None] = {}
        """Target to monotonic µs since when it has no session, None while it has one: the clock may be set while a node boots."""
        self._numbers: dict[str, int] = {}
        self._changes, self._streak = Changes(), Streak()

    def memory(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def repeat(self) -> None:
        """Say everything again at its next sight: a controller does not know it."""
        self._changes = Changes()

    def classify(self, record: RawRecord) -> list[Event]:
        """Return the events that a record stands for."""
        fields = record.fields
        if "found" not in fields:
            return []  # a look that hangs or fails says nothing of the far end
        found = json.loads(fields["found"])
        match fields.get("look"):
            case "sessions":
                return [*self._all_sessions(found["sessions"], record), *self._all_targets(found, record)]
            case "portals":
                return list(self._all_portals(found, record))
            case _:
                return []

    def _all_sessions(self, rows: list[Row], record: RawRecord) -> Iterator[Event]:
        now: dict[str, list[Row]] = {}
        for row in sorted(rows, key=lambda one: int(one["session"])):
            now.setdefault(f"session {row['address']} {row['port']} {row['target']}", []).append(row)
        for key, before in self._sessions.items():
            if key not in now:
                self._failed.discard(key)
                yield from self._closed(before[-1], record)
        self._changes.keep({*now, *self._other_keys()})
        self._sessions = now
        for key, alike in now.items():
            yield from self._session(key, alike, record)

    def _other_keys(self) -> list[str]:
        return [key for key in self._changes.keys if not key.startswith("session ")]

    def _session(self, key: str, alike: list[Row], record: RawRecord) -> Iterator[Event]:
        row = min(alike, key=lambda one: _WORST.index(one["state"]) if one["state"] in _WORST else len(_WORST))
        subject, number, state = _portal_of(row), row["session"], row["state"]
        # One that is closed or logged in beside another is news: the initiator's own line on it spoke for all of them.
        words = " ".join([state, *(one["session"] for one in alike)])
        if subject is None or not self._changes.is_news(key, words, record.at, bad=state in (_FAILED, _FREE)):
            return
        known: dict[str, Any] = {"subject": subject, "target": row["target"], "session": int(number)}
        known["seen"] = _seen(record, f"session{number}: {state}")
        if state == _LOGGED_IN:
            yield (IscsiConnectionRecovered if key in self._failed else IscsiSessionEstablished)(**known)
            self._failed.discard(key)
        elif state == _FAILED:
            self._failed.add(key)
            yield IscsiConnectionFailed(**known, reason="the kernel tries to recover the session")
        elif state == _FREE:
            self._failed.add(key)
            yield IscsiSessionExpired(**known, after=_seconds(row.get("recovery", "")))

    def _closed(self, row: Row, record: RawRecord) -> Iterator[Event]:
        if (subject := _portal_of(row)) is not None:
            seen = _seen(record, f"session{row['session']} is gone")
            yield IscsiSessionClosed(subject=subject, seen=seen, target=row["target"], session=int(row["session"]))

    def _all_targets(self, found: Row, record: RawRecord) -> Iterator[Event]:
        """Tell targets of storage.cfg that have no session for longer than a storage takes to be activated."""
        present = {row["target"] for row in found["sessions"]}
        for target in found["wanted"]:
            subject = _entity(EntityKind.ISCSI_TARGET, target)
            if subject is None:
                continue
            known = self._missing.get(target)
            since = self._missing[target] = None if target in present else record.monotonic if known is None else known
            bad, key = since is not None, f"target {target}"
            if since is not None and record.monotonic - since < _PATIENCE and not self._changes.was_bad(key):
                continue
            if self._changes.is_news(key, "missing" if bad else "present", record.at, bad=bad):
                seen = _seen(record, f"storage.cfg names {target}, which has {'no' if bad else 'a'} session here")
                yield IscsiSessionMissing(subject=subject, seen=seen) if bad else IscsiSessionPresent(subject=subject, seen=seen)

    def _all_portals(self, found: Row, record: RawRecord) -> Iterator[Event]:
        for name, row in sorted(found.items()):
            subject = _entity(EntityKind.ISCSI_PORTAL, name)
            if subject is not None:
                yield from self._name(subject, row, record)
                yield from self._reach(subject, row, record)

    def _name(self, subject: Entity, row: Row, record: RawRecord) -> Iterator[Event]:
        key, trouble = f"name {subject.key}", row["trouble"]
        if _is_named(subject, row["host"]) or not self._changes.is_news(key, trouble, record.at, bad=bool(trouble)):
            return
        seen = _seen(record, f"{row['host']}: {trouble or 'resolves'}")
        if trouble:
            yield IscsiNameUnresolved(subject=subject, seen=seen, reason=trouble[:256])
        else:
            yield IscsiNameResolved(subject=subject, seen=seen)

    def _reach(self, subject: Entity, row: Row, record: RawRecord) -> Iterator[Event]:
        """Say what a connection that was tried since the record before says."""
        outcome = row.get("outcome")
        if outcome in (None, _BLIND):
            return
        bad, key = outcome != _OPEN, f"reach {subject.key}"
        if self._numbers.get(subject.key) != row["number"]:
            self._numbers[subject.key] = row["number"]
            times = self._streak.count(key, outcome)
            if bad and times < BELIEVED and not self._changes.was_bad(key):
                return
        elif bad and not self._changes.was_bad(key):
            return
        if not self._changes.is_news(key, outcome, record.at, bad=bad):
            return
        seen = _seen(record, f"connection to {subject.key}: {row.get('detail') or outcome}")
        if bad:
            yield IscsiPortalUnreachable(subject=subject, seen=seen, reason=str(row.get("detail") or outcome)[:256])
        else:
            yield IscsiPortalReachable(subject=subject, seen=seen, rtt=row.get("rtt"))


def _portal_of(row: Row) -> Entity | None:
    try:
        return portal(row["address"], row["port"])
    except EntityError:
        return None


def _entity(kind: EntityKind, key: str) -> Entity | None:
    try:
        return Entity(kind, key)
    except EntityError:
        return None


def _is_named(subject: Entity, host: str) -> bool:
    """Tell whether a portal is named by an address, which needs no resolver."""
    text = host.strip("[]").partition("%")[0]
    return subject.key.startswith("[") or text.replace(".", "").isdecimal()


def _seconds(text: str) -> float:
    return float(text) if text.isdecimal() else _RECOVERY


def _seen(record: RawRecord, excerpt: str) -> Seen:
    return Seen(source=record.source, excerpt=excerpt[:EXCERPT_LENGTH])
