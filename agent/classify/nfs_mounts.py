"""Pictures of :mod:`agent.sources.nfs_mounts` to events: denied, stale, silent, read-only, missing and slow mounts, by their export.

A denial is believed at its second sight: `exportfs -r` takes an export away for a moment. A mount under Kerberos denies everybody who
has no ticket, the agent too: there a denial says nothing. A mount counts as slow when the mean round trip of its requests was over
the limit in two looks in a row, and as fast again when it was well below in two; a look with a handful of requests says neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from agent.classify.changes import BELIEVED, Changes, Streak
from agent.mountstats import Totals
from agent.record import RawRecord
from events.base import EXCERPT_LENGTH, Event, Seen
from events.entity import Entity, EntityKind
from events.errors import EntityError
from events.nfs import (
    NfsExportDenied,
    NfsExportGranted,
    NfsHandleStale,
    NfsHandleValid,
    NfsLatencyHigh,
    NfsLatencyNormal,
    NfsMounted,
    NfsMountFailed,
    NfsMountReadOnly,
    NfsMountResponsive,
    NfsMountUnresponsive,
    NfsMountWritable,
    NfsRequestsRepeated,
)

WELL, _STALE = "ok", "ESTALE"
_DENIALS: Final = frozenset({"EACCES", "EPERM"})
_SILENCES: Final = frozenset({"hung", "EIO", "ETIMEDOUT", "ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EHOSTDOWN"})
"""Answers of a mount whose server is not reached: a hard mount waits for ever, a soft one gives up with one of these errors."""
_PATIENCE: Final = 60_000_000
"""Microseconds that an enabled storage may be without its mount: Proxmox VE mounts it within 10 s, unless that fails."""
_FEWEST: Final = 5
"""Requests within one look that make a mean. The looks at the mount itself make two of them."""
_BELOW: Final = 0.8
"""Part of the limit below which a mount is fast again."""
Row = Mapping[str, Any]


class NfsMounts:
    """What was seen of one node's NFS mounts. ``limit`` is the mean round trip, in seconds, over which a mount is slow."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._changes, self._streak = Changes(), Streak()
        self._missing: dict[str, int] = {}
        """Place to when (monotonic µs) it was first seen without its mount."""
        self._counters: dict[str, tuple[int, Totals]] = {}

    def repeat(self) -> None:
        """Say everything again at its next sight."""
        self._changes = Changes()

    def mounts(self, rows: list[Row], record: RawRecord) -> list[Event]:
        """Return what a picture of the mounts says anew."""
        self._forget(rows)
        events: list[Event] = []
        for row in rows:
            try:
                subject = Entity(EntityKind.NFS_EXPORT, row["source"])
            except EntityError:
                continue
            events += self._mounted(subject, row, record) if row["mounted"] else self._not_mounted(subject, row, record)
        return events

    def _forget(self, rows: list[Row]) -> None:
        sources, targets = {row["source"] for row in rows}, {row["target"] for row in rows}
        self._changes.keep([key for key in self._changes.keys if key.partition(" ")[2] in sources | targets])
        self._streak.keep(sources | targets)
        self._missing = {target: since for target, since in self._missing.items() if target in targets}

    def _mounted(self, subject: Entity, row: Row, record: RawRecord) -> Iterator[Event]:
        answer, target = row["answer"], row["target"]
        self._missing.pop(target, None)
        if row["storage"] and self._is_news("mounted", target, "", record):
            yield NfsMounted(subject=subject, seen=_seen(record, f"mounted at {target}"), mountpoint=target[:256])
        yield from self._writable(subject, row, record)
        times = self._streak.count(target, answer)
        if answer == WELL:
            yield from self._well(subject, target, record)
        elif answer == _STALE:
            if self._is_news("handle", target, answer, record):
                yield NfsHandleStale(subject=subject, seen=_seen(record, f"{target}: {row['detail']}"))
        elif answer in _DENIALS:
            believed = times >= BELIEVED and not row["security"].startswith("krb5")
            if believed and self._is_news("export", target, answer, record):
                yield NfsExportDenied(subject=subject, seen=_seen(record, f"{target}: {row['detail']}"))
        elif answer in _SILENCES and self._is_news("answer", target, answer, record):
            seen = _seen(record, f"{target}: {row['detail']}")
            yield NfsMountUnresponsive(subject=subject, seen=seen, mountpoint=target[:256], reason=row["detail"][:256])

    def _well(self, subject: Entity, target: str, record: RawRecord) -> Iterator[Event]:
        seen = _seen(record, f"{target} answers")
        if self._is_news("answer", target, "", record):
            yield NfsMountResponsive(subject=subject, seen=seen, mountpoint=target[:256])
        if self._is_news("export", target, "", record):
            yield NfsExportGranted(subject=subject, seen=seen)
        if self._is_news("handle", target, "", record):
            yield NfsHandleValid(subject=subject, seen=seen)

    def _writable(self, subject: Entity, row: Row, record: RawRecord) -> Iterator[Event]:
        target, bad = row["target"], row["ro"]
        if not bad and not self._changes.was_bad(f"writable {target}"):
            return
        if self._is_news("writable", target, "ro" if bad else "", record):
            seen = _seen(record, f"{target} is mounted {'read-only' if bad else 'for writing'}")
            yield (NfsMountReadOnly if bad else NfsMountWritable)(subject=subject, seen=seen, mountpoint=target[:256])

    def _not_mounted(self, subject: Entity, row: Row, record: RawRecord) -> Iterator[Event]:
        target = row["target"]
        since = self._missing.setdefault(target, record.monotonic)  # the clock may be set just now: a node boots
        if record.monotonic - since >= _PATIENCE and self._is_news("mounted", target, "missing", record):
            reason = f"storage {row['storage']} is enabled but not mounted at {target}"
            yield NfsMountFailed(subject=subject, seen=_seen(record, reason), reason=reason[:256])

    def _is_news(self, what: str, which: str, words: str, record: RawRecord) -> bool:
        return self._changes.is_news(f"{what} {which}", words, record.at, bad=bool(words))

    def statistics(self, found: Mapping[str, list[int]], record: RawRecord) -> list[Event]:
        """Return what a picture of the counters says anew."""
        events: list[Event] = []
        known, self._counters = self._counters, {}
        for source, sums in sorted(found.items()):
            now = Totals(*sums)
            self._counters[source] = record.monotonic, now
            at, before = known.get(source, (record.monotonic, now))
            done, seconds = now - before, (record.monotonic - at) / 1e6
            try:
                subject = Entity(EntityKind.NFS_EXPORT, source)
            except EntityError:
                continue
            if min(done) < 0 or seconds <= 0:
                continue  # mounted anew, or nothing to compare with
            events += [*self._repeated(subject, done, seconds, record), *self._latency(subject, done, seconds, record)]
        return events

    def _repeated(self, subject: Entity, done: Totals, seconds: float, record: RawRecord) -> Iterator[Event]:
        if (count := done.transmissions - done.requests) > 0:
            seen = _seen(record, f"{count} of {done.requests} requests were sent again, {done.timeouts} timed out")
            yield NfsRequestsRepeated(subject=subject, seen=seen, count=count, seconds=seconds)

    def _latency(self, subject: Entity, done: Totals, seconds: float, record: RawRecord) -> Iterator[Event]:
        if done.requests < _FEWEST:
            return
        mean, key = done.round_trip / done.requests / 1000, f"latency {subject.key}"
        was_slow = self._changes.was_bad(key)
        slow = mean > self._limit * (_BELOW if was_slow else 1.0)
        times = self._streak.count(subject.key, "slow" if slow else "fast")
        if slow != was_slow and times < BELIEVED and (slow or was_slow):
            return
        if not self._changes.is_news(key, "slow" if slow else "", record.at, bad=slow):
            return
        rate = done.requests / seconds
        execute, backlog = done.execute / done.requests / 1000, round(done.backlog / max(1, done.sends))
        waited = f"{mean * 1000:.1f} ms round trip, {execute * 1000:.1f} ms with queueing"
        seen = _seen(record, f"{waited}, {rate:.0f} requests/s, backlog {backlog}")
        if slow:
            yield NfsLatencyHigh(subject=subject, seen=seen, per_operation=mean, limit=self._limit, execute=execute, backlog=backlog)
        else:
            yield NfsLatencyNormal(subject=subject, seen=seen, per_operation=mean)


def _seen(record: RawRecord, excerpt: str) -> Seen:
    return Seen(source=record.source, excerpt=excerpt[:EXCERPT_LENGTH])
