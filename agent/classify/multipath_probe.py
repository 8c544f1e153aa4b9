"""Records of :mod:`agent.sources.multipath` to events: each map's redundancy, each path, where it leads, and multipathd itself.

* A path works when the kernel's disk runs **and** multipathd does not call it failed: either sees some faults first.
* A map should have as many paths as it was ever seen with. That number is kept over a restart: a path that is missing now shows only
  there. After a day with fewer paths that all work, fewer are expected: somebody took one away on purpose.
* A path leads to another LUN when none of its names is its map's WWID, whatever multipath says of it (row I3).
* A map with one path that never had more is told once as ``multipath.map.single``: no alarm, for nothing failed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from agent.classify.changes import BELIEVED, Changes
from agent.classify.multipath_paths import Firsts, Row, conflicts, fault, leads_to, names_of, said_of, settled
from agent.record import RawRecord
from events.base import EXCERPT_LENGTH, Event, Seen
from events.block import ScsiLunConfirmed, ScsiLunRemapped
from events.entity import Entity, EntityKind
from events.multipath import (
    MultipathDaemonFailed,
    MultipathDaemonStarted,
    MultipathIdentityConflict,
    MultipathIdentityUnique,
    MultipathMapChanged,
    MultipathMapDegraded,
    MultipathMapLost,
    MultipathMapRestored,
    MultipathMapSingle,
    MultipathPathFailed,
    MultipathPathRestored,
    MultipathWwidChanged,
    MultipathWwidConfirmed,
)

_GIVEN_UP: Final = 86_400_000_000
"""Microseconds after which a missing path is expected no more."""
_SETTLED: Final = 120_000_000
"""Microseconds for which a map must have more paths than ever before until so many are expected of it."""
_CLOCK: Final = 60_000_000
"""Microseconds by which a clock must have been set until a time that was read from it is put right."""
_MOST: Final = 1024
"""Most maps whose number of paths is remembered."""
_TEXT: Final = 255
_WARNING: Final = "writing on destroys data: stop the guests on it"


class _Map(NamedTuple):
    """A map with its legs, as the kernel shows it."""

    wwid: str
    name: str
    legs: tuple[tuple[str, Row], ...]

    @property
    def lun(self) -> Entity:
        return Entity(EntityKind.LUN, self.wwid)


class MultipathClassifier:
    """Turns one node's multipath records, in order, into events.

    ``memory`` is what :meth:`memory` returned before, or None at the very first start: how many paths each map had.
    """

    def __init__(self, node: str, memory: dict[str, Any] | None = None) -> None:
        self._node = node
        self._expected: dict[str, tuple[int, int]] = {
            wwid: (int(most), int(since)) for wwid, (most, since) in (memory or {}).get("expected", {}).items()
        }
        """Most paths of each map, and UTC µs since when there are fewer; 0 while there are not."""
        self._fewer: dict[str, int] = {}
        """The same time in monotonic µs, of maps that were seen to lose a path since the agent was started: a clock may be set."""
        self._rising: dict[str, tuple[int, int]] = {}
        """Maps that have more paths than expected: how many, and since when (monotonic µs)."""
        self._first: int | None = None
        """When the first look was (monotonic µs)."""
        self._disks: Mapping[str, Row] | None = None
        self._maps: dict[str, _Map] = {}
        self._daemon: Mapping[str, Any] = {"maps": [], "trouble": "", "times": 0}
        self._rows: list[Row] = []
        self._told: dict[str, list[str]] = {}
        self._faults: dict[tuple[str, str], str] = {}
        self._firsts = Firsts()
        self.repeat()

    def memory(self) -> dict[str, Any]:
        """Return how many paths each map had."""
        return {"expected": {wwid: list(known) for wwid, known in self._expected.items()}}

    def repeat(self) -> None:
        """Say everything again at its next sight."""
        self._changes = Changes()
        self._single: set[str] = set()
        self._conflicts: dict[str, str] = {}

    def classify(self, record: RawRecord) -> list[Event]:
        """Return what a record changes, and now and then the full picture."""
        look = record.fields.get("look", "")
        self._first = record.monotonic if self._first is None else self._first
        if "found" not in record.fields:
            if look == "identity":
                self._told = {}
            return []
        found = json.loads(record.fields["found"])
        match look:
            case "paths":
                self._take_paths(found)
            case "daemon":
                self._take_daemon(found)
            case "identity":
                self._told = found["disks"]
        return [] if self._disks is None else list(self._judge(record))

    def _take_paths(self, found: Mapping[str, Any]) -> None:
        before, self._disks = self._disks or {}, found["disks"]
        # What the kernel read anew is newer than what the disk told.
        self._told = {
            disk: told
            for disk, told in self._told.items()
            if disk in self._disks and self._disks[disk]["names"] == before.get(disk, {}).get("names")
        }
        self._maps = {
            one["wwid"]: _Map(one["wwid"], one["map"][:_TEXT], tuple((leg, self._disks[leg]) for leg in one["legs"] if leg in self._disks))
            for one in found["maps"].values()
            if _is_name(one["wwid"]) and one["map"]
        }
        self._firsts.keep(self._disks)

    def _take_daemon(self, found: Mapping[str, Any]) -> None:
        self._daemon = found
        if not found["trouble"] or found["times"] >= BELIEVED:
            self._rows = found["maps"]

    def _judge(self, record: RawRecord) -> Iterator[Event]:
        assert self._disks is not None
        names = {disk: names_of(row, self._told.get(disk, ())) for disk, row in self._disks.items()}
        before = {disk: self._firsts.before(disk, row, names[disk]) for disk, row in self._disks.items()}
        said = said_of(self._rows)
        yield from self._judge_daemon(record)
        for one in self._maps.values():
            yield from self._judge_map(one, said, record)
            yield from self._judge_identity(one, names, before, record)
        yield from self._judge_loose(names, before, record)
        foreign = {disk for one in self._maps.values() for disk in _foreign(one, names, before)}
        # A disk that leads elsewhere is told already, and others of its target may only not have been rescanned yet.
        right = {disk: known for disk, known in names.items() if disk not in foreign and not before[disk]}
        yield from self._judge_conflicts(right, record)
        yield from self._gone(record)

    def _judge_daemon(self, record: RawRecord) -> Iterator[Event]:
        trouble, times = self._daemon["trouble"], self._daemon["times"]
        was_bad = self._changes.was_bad("daemon")
        if 0 < times < BELIEVED or not (self._maps or was_bad):
            return
        if not trouble and not self._rows and not was_bad:
            return  # not asked yet, or there is nothing to watch
        if self._changes.is_news("daemon", trouble, record.at, bad=bool(trouble)):
            node = Entity(EntityKind.NODE, self._node)
            seen = _seen(record, trouble or f"multipathd answers and knows {len(self._rows)} maps")
            yield (
                MultipathDaemonFailed(subject=node, seen=seen, reason=trouble[:_TEXT])
                if trouble
                else MultipathDaemonStarted(subject=node, seen=seen)
            )

    def _judge_map(self, one: _Map, said: Mapping[tuple[str, str], Row], record: RawRecord) -> Iterator[Event]:
        faults: dict[str, str] = {}
        for disk, row in one.legs:
            key = (one.wwid, disk)
            if settled(row):
                self._faults[key] = fault(row, said.get((disk, row["dev"]), {}))
            faults[disk] = self._faults.get(key, "")
            yield from self._say_path(one, disk, row, faults[disk], record)
        active = sum(not why for why in faults.values())
        expected = self._expect(one, record)
        yield from self._say_map(one, active, expected, faults, record)

    def _say_path(self, one: _Map, disk: str, row: Row, why: str, record: RawRecord) -> Iterator[Event]:
        if not self._changes.is_news(f"path {one.wwid} {disk} {row['dev']}", why, record.at, bad=bool(why)):
            return
        subject = Entity(EntityKind.PATH, f"{self._node}/{one.wwid}/{row['dev'] or disk}")
        kind = MultipathPathFailed if why else MultipathPathRestored
        yield kind(subject=subject, seen=_seen(record, f"{one.name}: {disk}: {why or 'works'}"), map=one.name, device=disk)

    def _expect(self, one: _Map, record: RawRecord) -> int:
        most, legs = self._expected.get(one.wwid, (0, 0))[0], len(one.legs)
        if legs > most > 0 and not self._is_settled(one, record.monotonic):
            return legs
        if legs >= most or (self._lacking(one.wwid, record) >= _GIVEN_UP and legs):
            most = legs
            self._expected[one.wwid] = (most, 0)
            self._fewer.pop(one.wwid, None)
        self._rising.pop(one.wwid, None)
        return most

    def _lacking(self, wwid: str, record: RawRecord) -> int:
        """Return for how many µs a map has had fewer paths than it should, beginning to count where nobody has."""
        most, since = self._expected[wwid]
        if wwid not in self._fewer and since:  # an agent before this one saw it: only UTC tells, and that not before the clock was set
            assert self._first is not None
            return record.at - since if record.monotonic - self._first >= _SETTLED else 0
        lasting = record.monotonic - self._fewer.setdefault(wwid, record.monotonic)
        if abs(record.at - lasting - since) > _CLOCK:
            self._expected[wwid] = (most, record.at - lasting)
        return lasting

    def _is_settled(self, one: _Map, now: int) -> bool:
        """Tell whether a map has had more paths than expected for long enough: while LUNs are swapped it may hold another's."""
        if self._changes.was_bad(f"identity {one.wwid}"):
            self._rising.pop(one.wwid, None)
            return False
        count, since = self._rising.get(one.wwid, (0, 0))
        if count != len(one.legs):
            self._rising[one.wwid] = (len(one.legs), now)
            return False
        return now - since >= _SETTLED

    def _say_map(self, one: _Map, active: int, expected: int, faults: Mapping[str, str], record: RawRecord) -> Iterator[Event]:
        well = 0 < active >= expected
        if self._changes.is_news(f"map {one.wwid}", f"{active}/{expected}", record.at, bad=not well):
            reasons = [f"{disk}: {why}" for disk, why in sorted(faults.items()) if why]
            missing = [f"{expected - len(faults)} not there any more"] if len(faults) < expected else []
            seen = _seen(record, "; ".join([f"{one.name}: {active} of {expected} paths work", *missing, *reasons]))
            if not active:
                yield MultipathMapLost(subject=one.lun, seen=seen, map=one.name, expected=expected or None)
            elif not well:
                yield MultipathMapDegraded(subject=one.lun, seen=seen, map=one.name, active=active, expected=expected)
            else:
                yield MultipathMapRestored(subject=one.lun, seen=seen, map=one.name, active=active)
        if expected == 1 and one.wwid not in self._single:
            self._single.add(one.wwid)
            yield MultipathMapSingle(subject=one.lun, seen=_seen(record, f"{one.name} has one path: {', '.join(faults)}"), map=one.name)
        elif expected > 1:
            self._single.discard(one.wwid)

    def _judge_identity(
        self, one: _Map, names: Mapping[str, tuple[str, ...]], before: Mapping[str, str], record: RawRecord
    ) -> Iterator[Event]:
        foreign = _foreign(one, names, before)
        key = f"identity {one.wwid}"
        if foreign:
            found = " ".join(dict.fromkeys(names[disk][0] for disk in foreign))[:_TEXT]
            devices = ", ".join(foreign)[:_TEXT]
            if self._changes.is_news(key, f"{devices}: {found}", record.at, bad=True):
                seen = _seen(record, f"{devices} of {one.name} now leads to {found}, not to {one.wwid}; {_WARNING}")
                yield MultipathWwidChanged(subject=one.lun, seen=seen, device=devices, expected=one.wwid, found=found)
            return
        right = [disk for disk, _ in one.legs if leads_to(names[disk], one.wwid)]
        back = self._changes.was_bad(key) and any(names[disk] for disk, _ in one.legs)
        if (right or back) and self._changes.is_news(key, "", record.at, bad=False):
            seen = _seen(record, f"{', '.join(disk for disk, _ in one.legs)} of {one.name} lead to {one.wwid}")
            yield MultipathWwidConfirmed(subject=one.lun, seen=seen, map=one.name)

    def _judge_loose(self, names: Mapping[str, tuple[str, ...]], before: Mapping[str, str], record: RawRecord) -> Iterator[Event]:
        """Judge disks without a map by what they were first."""
        legs = {disk for one in self._maps.values() for disk, _ in one.legs}
        for disk in (disk for disk in names if disk not in legs):
            was, now = before[disk], names[disk]
            key = f"disk {disk}"
            if was and self._changes.is_news(key, now[0], record.at, bad=True):
                seen = _seen(record, f"{disk} now leads to {now[0]}, not to {was}; {_WARNING}")
                yield ScsiLunRemapped(subject=Entity(EntityKind.LUN, was), seen=seen, before=was, now=now[0])
            elif now and not was and self._changes.was_bad(key) and self._changes.is_news(key, "", record.at, bad=False):
                yield ScsiLunConfirmed(subject=Entity(EntityKind.LUN, now[0]), seen=_seen(record, f"{disk} leads to {now[0]} again"))

    def _judge_conflicts(self, names: Mapping[str, tuple[str, ...]], record: RawRecord) -> Iterator[Event]:
        assert self._disks is not None
        found = dict(conflicts(self._disks, names))
        for wwid, reason in found.items():
            if self._changes.is_news(f"conflict {wwid}", reason, record.at, bad=True):
                subject = Entity(EntityKind.LUN, wwid)
                name = self._maps[wwid].name if wwid in self._maps else wwid
                yield MultipathIdentityConflict(subject=subject, seen=_seen(record, reason), map=name, reason=reason[:_TEXT])
        # Only what this source said is taken back: multipathd's lines tell of conflicts that sysfs does not show.
        for wwid in sorted(self._conflicts.keys() - found.keys()):
            self._changes.is_news(f"conflict {wwid}", "", record.at, bad=False)
            yield MultipathIdentityUnique(subject=Entity(EntityKind.LUN, wwid), seen=_seen(record, f"no more: {self._conflicts[wwid]}"))
        self._conflicts = found

    def _gone(self, record: RawRecord) -> Iterator[Event]:
        """Take back what was said of maps that are not there any more; a lost path leads nowhere."""
        assert self._disks is not None
        self._rising = {wwid: known for wwid, known in self._rising.items() if wwid in self._maps}
        kept = [f"path {one.wwid} {disk} {row['dev']}" for one in self._maps.values() for disk, row in one.legs]
        kept += [f"{about} {wwid}" for about in ("map", "identity") for wwid in self._maps]
        kept += ["daemon", *(f"disk {disk}" for disk in self._disks), *(f"conflict {wwid}" for wwid in self._conflicts)]
        wrong = {wwid for wwid in self._expected if wwid not in self._maps and self._changes.was_bad(f"identity {wwid}")}
        for key in self._changes.keep(set(kept)):
            about, _, wwid = key.partition(" ")
            if about == "map":
                seen = _seen(record, "the map is gone")
                yield MultipathMapChanged(subject=Entity(EntityKind.LUN, wwid), seen=seen, map=wwid, change="removed")
            elif about == "identity" and wwid in wrong:
                seen = _seen(record, "the map is gone, and with it the paths that led elsewhere")
                yield MultipathWwidConfirmed(subject=Entity(EntityKind.LUN, wwid), seen=seen)
        self._faults = {key: why for key, why in self._faults.items() if key[0] in self._maps}
        self._forget(record)

    def _forget(self, record: RawRecord) -> None:
        """Remember the paths of a map that is gone for a day: it may be back after a failure."""
        gone = [wwid for wwid in self._expected if wwid not in self._maps]
        over = [wwid for wwid in gone if self._lacking(wwid, record) >= _GIVEN_UP]
        for wwid in {*over, *list(self._expected)[:-_MOST]}:
            del self._expected[wwid]
            self._fewer.pop(wwid, None)


def _foreign(one: _Map, names: Mapping[str, tuple[str, ...]], before: Mapping[str, str]) -> list[str]:
    """Return the legs of a map that lead to another LUN."""
    verdicts = ((disk, leads_to(names[disk], one.wwid)) for disk, _ in one.legs)
    return [disk for disk, right in verdicts if right is False or (right is None and before[disk])]


def _is_name(wwid: str) -> bool:
    return 0 < len(wwid) <= 128 and wwid.isascii() and wwid.isprintable() and " " not in wwid


def _seen(record: RawRecord, excerpt: str) -> Seen:
    return Seen(source=record.source, excerpt=excerpt[:EXCERPT_LENGTH])
