"""Records of :mod:`agent.sources.lvm` to events: whether each volume group that storage.cfg wants is on this node, and all of it.

What is known of a group comes from :mod:`agent.classify.host_volumes`, whose sources differ in what they tell. From them each group's LUNs
are known, and then it is the LUNs that are looked for. LUNs that are only remembered count while nothing shows that the group stands
without them: a shared group may be moved to other LUNs by another node, which tells this one nothing.

* **missing**: a LUN of it is not on this node, leads elsewhere or has no disk that runs; or LVM itself found it incomplete;
* **missing, never seen here**: a shared group, while each SAN disk of the node is known to be something else. Believed only a while
  after the start, for sessions are logged in late in a boot;
* **complete**: all its LUNs are there, or its volumes are active;
* nothing is said while nothing is known: without root's rights a group without active volumes shows on no file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from agent.classify.changes import BELIEVED, Changes, Streak
from agent.classify.host_block import Disks
from agent.classify.host_volumes import Group, Volumes
from agent.record import RawRecord
from events.base import EXCERPT_LENGTH, Event, Seen
from events.block import LvmVgComplete, LvmVgMissing
from events.entity import Entity, EntityKind

_LATE: Final = 120_000_000
"""Microseconds after the first look before a group that was not seen since is called missing: Proxmox VE logs in to targets when its
pvestatd runs for the first time."""
_DEAD: Final = frozenset({"offline", "transport-offline", "cancel", "deleted"})
"""States of a disk that takes no I/O (drivers/scsi/scsi_sysfs.c). A blocked one may go on at once; that it does not is told of its path."""
_BASE: Final = re.compile(r"[\w.-]+:\S*\bscsi-([\x21-\x7e]{2,128})")
_MULTIPATH: Final = "mpath-"
_TEXT: Final = 255
_MOST: Final = 1024
_NAME: Final = re.compile(r"[A-Za-z0-9+_.-]{1,127}")
"""A group's name (lvm(8), VALID NAMES)."""


class _Verdict(NamedTuple):
    """What is to be said of a group; ``missing`` None when how many is not known, ``reason`` empty when it is complete."""

    reason: str
    missing: int | None = None
    note: str = ""
    late: bool = False
    """Whether this may be so since the node was only just started."""


class _Picture:
    """One look: groups, and which LUNs are there."""

    def __init__(self, found: Mapping[str, Any], remembered: Mapping[str, str]) -> None:
        look = Volumes(found, remembered)
        self.groups = look.groups()
        self.seen = look.seen
        self._blocks = found["blocks"]
        self._udev = found["udev"]
        self._luns = Disks(found).luns
        self._states: dict[str, list[str]] = {}
        states = {row["disk"]: row["state"] for row in found["disks"]}
        for disk, lun in self._luns.items():
            self._states.setdefault(lun, []).append(states[disk])
        maps = (row for row in self._blocks if row.get("uuid", "").startswith(_MULTIPATH))
        self._legs = {row["uuid"].removeprefix(_MULTIPATH): row["slaves"].split() for row in maps}

    def trouble(self, lun: str) -> str:
        """Return why a LUN cannot be used, empty when it can."""
        states = self._states.get(lun)
        if states is None:
            return "" if self._stands(lun) else f"LUN {lun} is not on this node"
        return f"no disk of LUN {lun} runs" if all(state in _DEAD for state in states) else ""

    def _stands(self, lun: str) -> bool:
        """Tell whether a map stands for disks whose LUN is not known: other transports than iSCSI and FC have no rows."""
        return any(leg not in self._luns for leg in self._legs.get(lun, ()))

    def unaccounted(self) -> bool:
        """Tell whether there is a LUN or a physical volume of which nobody knows the group."""
        known = {lun for group in self.groups.values() for lun in group.luns}
        devices = {name for group in self.groups.values() for name in group.devices}
        numbers = {row["dev"]: row["name"] for row in self._blocks if row["dev"]}
        return bool({*self._states, *self._legs} - known) or any(numbers[dev] not in devices for dev in self._udev if dev in numbers)


class LvmClassifier:
    """Turns one node's LVM records, in order, into events.

    ``memory`` is what :meth:`memory` returned before, or None at the very first start: on which LUNs physical volumes and groups were.
    """

    def __init__(self, node: str, memory: dict[str, Any] | None = None) -> None:
        del node  # a group's name is the same on all nodes; the envelope says whose word this is
        state = memory or {}
        self._volumes: dict[str, str] = dict(state.get("volumes", {}))
        self._luns: dict[str, list[str]] = {vg: list(luns) for vg, luns in state.get("groups", {}).items()}
        self._first: int | None = None
        """When the first look was, in monotonic µs: the clock may be set while a node boots."""
        self._met: set[str] = set()
        self._streak = Streak()
        self.repeat()

    def memory(self) -> dict[str, Any]:
        """Return the LUNs by physical volume and by group."""
        return {"volumes": dict(self._volumes), "groups": {vg: list(luns) for vg, luns in self._luns.items()}}

    def repeat(self) -> None:
        """Say everything again at its next sight."""
        self._changes = Changes()

    def classify(self, record: RawRecord) -> list[Event]:
        """Return what a record changes, and now and then the full picture."""
        if record.fields.get("look") != "groups" or "found" not in record.fields:
            return []
        found = json.loads(record.fields["found"])
        wanted = _by_group(found["wanted"])
        self._streak.keep(wanted)
        self._changes.keep(wanted)
        self._luns = {vg: luns for vg, luns in self._luns.items() if vg in wanted}
        if not wanted:
            return []
        self._first = record.monotonic if self._first is None else self._first
        picture = _Picture(found["volumes"], self._volumes)
        self._volumes = dict(list(picture.seen.items())[:_MOST])
        return [event for vg, rows in wanted.items() for event in self._say(vg, self._judge(vg, rows, picture), record)]

    def _judge(self, vg: str, rows: list[Mapping[str, Any]], picture: _Picture) -> _Verdict | None:
        known = picture.groups.get(vg)
        bases = {match[1] for row in rows if (match := _BASE.fullmatch(row["base"]))}
        # Where Proxmox VE once made the group is the last resort: it may have been moved since.
        luns = sorted({*self._luns.get(vg, ()), *(known.luns if known else ())} or bases)
        if known is not None and known.whole and known.complete:
            luns = sorted(known.luns)  # another node may have moved it: where it lay before is nobody's concern
        troubles = [why for lun in luns if (why := picture.trouble(lun))]
        if troubles:
            return _Verdict("; ".join(troubles), len(troubles), late=vg not in self._met)
        if known is not None and not known.complete:
            return _Verdict(f"incomplete{': ' * bool(known.note)}{known.note}", late=vg not in self._met)
        if luns or (known is not None and known.devices):
            self._meet(vg, luns, known)
            return _Verdict("", note=_where(known, luns))
        if any(row["shared"] for row in rows) and not picture.unaccounted():
            return _Verdict("not found: each disk that might hold it holds something else, or there is none", late=True)
        return None

    def _meet(self, vg: str, luns: list[str], known: Group | None) -> None:
        self._met.add(vg)
        if known is not None and known.devices and not known.note:
            self._luns[vg] = sorted(known.luns)  # active: what it is made of now, and not what it once was
        elif luns:
            self._luns[vg] = luns

    def _say(self, vg: str, verdict: _Verdict | None, record: RawRecord) -> Iterator[Event]:
        if verdict is None:
            return
        times = self._streak.count(vg, verdict.reason)
        assert self._first is not None
        if verdict.reason and (times < BELIEVED or (verdict.late and record.monotonic - self._first < _LATE)):
            return
        if not self._changes.is_news(vg, verdict.reason, record.at, bad=bool(verdict.reason)):
            return
        subject = Entity(EntityKind.VG, vg)
        seen = Seen(source=record.source, excerpt=f"{vg}: {verdict.reason or verdict.note}"[:EXCERPT_LENGTH])
        if verdict.reason:
            yield LvmVgMissing(subject=subject, seen=seen, reason=verdict.reason[:_TEXT], missing=verdict.missing)
        else:
            yield LvmVgComplete(subject=subject, seen=seen, device=verdict.note[:_TEXT])


def _by_group(wanted: list[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in wanted:
        if _NAME.fullmatch(row["vg"]):
            groups.setdefault(row["vg"], []).append(row)
    return groups


def _where(known: Group | None, luns: list[str]) -> str:
    return ", ".join(sorted(known.devices)) if known is not None and known.devices else ", ".join(f"LUN {lun}" for lun in luns)
