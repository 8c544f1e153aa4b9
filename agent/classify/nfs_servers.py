"""Pictures of :mod:`agent.sources.nfs_servers` to events: does each server answer, does its name resolve.

Silence is believed at once where it came after an answer, for then two calls in a row went unanswered, the second over a new connection
with a retransmission of its own. All else that is bad is believed at its second sight: a server that restarts refuses for a moment.
A server that is reached in several ways (two ports, two versions) is well when all of them are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from agent.classify.changes import BELIEVED, Changes, Streak
from agent.record import RawRecord
from events.base import EXCERPT_LENGTH, Event, Seen
from events.entity import Entity, EntityKind
from events.errors import EntityError
from events.nfs import NfsNameResolved, NfsNameUnresolved, NfsServerReachable, NfsServerUnreachable, NfsSilence

_ANSWERED, _BLIND, _NO_REPLY = "answered", "blind", "no-reply"
_MOST_ADDRESSES: Final = 16
Row = Mapping[str, Any]


class NfsServers:
    """What was seen of one node's NFS servers."""

    def __init__(self) -> None:
        self._changes, self._streak = Changes(), Streak()
        self._numbers: dict[str, int] = {}
        self._answered: set[str] = set()
        """Ways that answered at their latest call but those that fail since."""

    def repeat(self) -> None:
        """Say everything again at its next sight."""
        self._changes = Changes()

    def classify(self, rows: list[Row], record: RawRecord) -> list[Event]:
        """Return what a picture says anew."""
        by_server: dict[str, list[Row]] = {}
        for row in rows:
            by_server.setdefault(row["server"], []).append(row)
        self._forget(by_server, {_way(row) for row in rows})
        events: list[Event] = []
        for server, ways in sorted(by_server.items()):
            try:
                subject = Entity(EntityKind.NFS_SERVER, server)
            except EntityError:
                continue
            events += [*self._name(subject, ways[0], record), *self._reach(subject, ways, record)]
        return events

    def _forget(self, servers: Mapping[str, list[Row]], ways: set[str]) -> None:
        self._changes.keep({f"{what} {server}" for server in servers for what in ("name", "reach")})
        self._streak.keep(ways)
        self._numbers = {way: number for way, number in self._numbers.items() if way in ways}
        self._answered &= ways

    def _name(self, subject: Entity, row: Row, record: RawRecord) -> Iterator[Event]:
        trouble = row["trouble"]
        if not row["asked"] or row["addresses"] == [subject.key]:
            return
        words = trouble or " ".join(sorted(row["addresses"]))
        if not self._changes.is_news(f"name {subject.key}", words, record.at, bad=bool(trouble)):
            return
        if trouble:
            yield NfsNameUnresolved(subject=subject, seen=_seen(record, f"{subject.key}: {trouble}"), reason=trouble[:256])
        else:
            seen = _seen(record, f"{subject.key} is {words}")
            yield NfsNameResolved(subject=subject, seen=seen, addresses=tuple(row["addresses"][:_MOST_ADDRESSES]))

    def _reach(self, subject: Entity, ways: list[Row], record: RawRecord) -> Iterator[Event]:
        judged = [self._judged(subject, row) for row in ways]
        asked = [row for row, one in zip(ways, judged, strict=True) if one is not None]
        bad = [row for row, one in zip(ways, judged, strict=True) if one]
        # Good only when every way was asked and none waits to be believed.
        if not asked or (not bad and len(asked) < len(ways)):
            return
        worst = (bad or asked)[0]
        if not self._changes.is_news(f"reach {subject.key}", worst["outcome"] if bad else "", record.at, bad=bool(bad)):
            return
        what = f"NFS at {worst['address']} port {worst['port']}: {worst['detail'] or worst['outcome']}"
        if bad:
            yield NfsServerUnreachable(subject=subject, seen=_seen(record, what), how=NfsSilence(worst["outcome"]))
        else:
            yield NfsServerReachable(subject=subject, seen=_seen(record, what), rtt=worst["rtt"])

    def _judged(self, subject: Entity, row: Row) -> bool | None:
        """Tell whether a way is bad; None while nothing is known or it is not believed yet."""
        outcome, way = row.get("outcome", _BLIND), _way(row)
        if outcome == _BLIND:
            return None
        was_bad = self._changes.was_bad(f"reach {subject.key}")
        if self._numbers.get(way) != row["number"]:
            self._numbers[way] = row["number"]
            self._streak.count(way, outcome)
        if outcome == _ANSWERED:
            self._answered.add(way)
            return False
        if was_bad or self._streak.times(way) >= BELIEVED or (outcome == _NO_REPLY and way in self._answered):
            self._answered.discard(way)
            return True
        return None


def _way(row: Row) -> str:
    return f"{row['server']} {row['port']} {row['version']}"


def _seen(record: RawRecord, excerpt: str) -> Seen:
    return Seen(source=record.source, excerpt=excerpt[:EXCERPT_LENGTH])
