"""LVM lines that reach the journal: pvscan by udev and vgchange units (lvm2 2.03.16, 2.03.31: tools/pvscan.c, lib/metadata, lib/cache)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agent.classify.line import Line, Rule, rule
from events.base import Event
from events.block import LvmPvDuplicate, LvmVgComplete, LvmVgConflict, LvmVgMissing
from events.entity import Entity, EntityKind


def _vg(match: re.Match[str]) -> Entity:
    return Entity(EntityKind.VG, match["vg"].strip('"'))


def _complete(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield LvmVgComplete(subject=_vg(match), seen=line.seen(), device=match["device"])


def _incomplete(line: Line, match: re.Match[str]) -> Iterator[Event]:
    missing = match.groupdict().get("missing")
    yield LvmVgMissing(subject=_vg(match), seen=line.seen(), reason="incomplete", missing=int(missing) if missing else None)


def _missing_pv(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield LvmVgMissing(subject=_vg(match), seen=line.seen(), reason="physical volume missing")


def _not_found(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield LvmVgMissing(subject=_vg(match), seen=line.seen(), reason="not found")


def _duplicate(line: Line, match: re.Match[str]) -> Iterator[Event]:
    subject = Entity(EntityKind.NODE, line.node)
    yield LvmPvDuplicate(subject=subject, seen=line.seen(), pv=match["pv"], device=match["device"])


def _conflict(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield LvmVgConflict(subject=_vg(match), seen=line.seen(), reason=line.text[:256])


LVM: Final[tuple[Rule, ...]] = (
    rule("LVM-04", "PV ", r"PV (?P<device>\S+) online, VG (?P<vg>\S+) is complete\.", _complete),
    rule("LVM-04", "PV ", r"PV \S+ online, VG (?P<vg>\S+) incomplete \(need (?P<missing>\d+)\)\.", _incomplete),
    rule("LVM-01", "WARNING: VG ", r"WARNING: VG (?P<vg>\S+) is missing PV \S+?(?: \(last written to [^)]*\))?\.", _missing_pv),
    rule("LVM-05", "WARNING: Not using", r"WARNING: Not using device (?P<device>\S+) for PV (?P<pv>[^\s.]+)\.", _duplicate),
    rule("LVM-07", "Volume group ", r"Volume group \"(?P<vg>[^\"]+)\" not found\.?", _not_found),
    rule("LVM-11", "WARNING: VG name ", r"WARNING: VG name (?P<vg>\S+) is used by VGs .*", _conflict),
    rule("LVM-12", "Cannot access VG ", r"Cannot access VG (?P<vg>\S+) with system ID .*", _conflict),
)
