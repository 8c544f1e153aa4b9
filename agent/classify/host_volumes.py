"""LVM volume groups of a node and the LUNs below them, put together without asking LVM, whose commands hang when a LUN does.

What names the disks of a group, and how far it is to be believed:

1. Active volumes: their device-mapper uuid begins with `LVM-`, their name is group and volume, their slaves are the disks
   (lib/activate/dev_manager.c). True now.
2. udev's database: what blkid saw on a disk, and the group that `lvm pvscan` found there (udev/69-dm-lvm.rules.in). True when the
   disk last appeared; the next event of the disk may forget it.
3. /run/lvm/pvs_online: what pvscan saw come and not go (lib/device/online.c). Readable for root only.
4. /etc/lvm/backup/GROUP: the group as **this node** last knew it (vgcfgbackup(8)). It alone tells of a group without active volumes,
   and which disks are missing. It may be stale: another node may have changed or removed a shared group since. The event's excerpt says
   what rests on it alone, with its date. Its names of devices are hints; one is followed only where nothing contradicts it.

A physical volume that was seen on a LUN is remembered, so that a group whose LUN is gone still names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from agent.classify.host_block import Disks

_LVM: Final = "LVM-"
_MULTIPATH: Final = "mpath-"
_NAME: Final = re.compile(r"((?:[^-]|--)+)-(?!-)")
"""Group's part of a device-mapper name: hyphens within a name are doubled, a single one stands between the names."""
_VALUE: Final = re.compile(r'(\w+) = "([^"\\]*)"')
_NUMBER: Final = re.compile(r"creation_time = (\d{1,11})\b")
_DEEPEST: Final = 16


class Physical(NamedTuple):
    """A physical volume as a backup names it: id without hyphens, and the device that it was on."""

    id: str
    hint: str


class Backup(NamedTuple):
    """What a backup says of one group; ``day`` is when it was written."""

    group: str
    volumes: tuple[Physical, ...]
    day: str


@dataclass(slots=True)
class Group:
    """What is known of a group: names of its block devices, its LUNs, and the sentence that says what is uncertain."""

    devices: set[str] = field(default_factory=set)
    luns: set[str] = field(default_factory=set)
    complete: bool = True
    whole: bool = False
    """Whether it stands here without any other disk: its volumes are active on disks that are there, or pvscan found it complete."""
    note: str = ""


def group_of(dm: str) -> str:
    """Return the group of an active volume's device-mapper name, empty when it is not one."""
    match = _NAME.match(dm)
    return match[1].replace("--", "-") if match else ""


def read_backup(text: str) -> Backup | None:
    """Read a backup as LVM writes it (lib/format_text/export.c); None when it names no group. Never raises."""
    path: list[str] = []
    group, day = "", ""
    found: dict[str, dict[str, str]] = {}
    for line in (one.strip() for one in text.split("\n")):
        if line.endswith("{"):
            path.append(line[:-1].strip())
            group = group or path[0]
        elif line.startswith("}"):
            del path[-1:]
        elif len(path) == 3 and path[1] == "physical_volumes" and (match := _VALUE.match(line)):
            found.setdefault(path[2], {})[match[1]] = match[2]
        elif not path and (match := _NUMBER.match(line)):
            day = datetime.fromtimestamp(int(match[1]), UTC).date().isoformat()
    volumes = tuple(Physical(one["id"].replace("-", ""), one.get("device", "")) for one in found.values() if one.get("id"))
    return Backup(group, volumes, day) if group and volumes else None


class Volumes:
    """One look at a node's groups. ``remembered`` are LUNs by the id of the physical volume that was seen there."""

    def __init__(self, found: Mapping[str, Any], remembered: Mapping[str, str]) -> None:
        self._found = found
        self._disks = Disks(found)
        self._blocks: dict[str, Mapping[str, str]] = {row["name"]: row for row in found["blocks"]}
        multipath = [row for row in self._blocks.values() if row.get("uuid", "").startswith(_MULTIPATH)]
        # pvscan may have seen a disk before multipath took it: the map stands for its paths.
        map_of = {path: row["name"] for row in multipath for path in row["slaves"].split()}
        self._by_number = {row["dev"]: map_of.get(name, name) for name, row in self._blocks.items() if row["dev"]}
        self._by_mapping = {row["dm"]: name for name, row in self._blocks.items() if row.get("dm")}
        self._by_id: dict[str, str] = {}
        self._identified: set[str] = set()
        self._remembered = remembered
        self.seen: dict[str, str] = {}
        """LUNs by the id of the physical volume on them: what is to be remembered."""

    def groups(self) -> dict[str, Group]:
        """Return all groups by name."""
        groups: dict[str, Group] = {}
        for group, device in (*self._active(), *self._of_udev(), *self._online()):
            groups.setdefault(group, Group()).devices.add(device)
        self._incomplete(groups)
        self._whole(groups)
        for text in self._found["backups"].values():
            if (backup := read_backup(text)) is not None:
                self._back(groups.setdefault(backup.group, Group()), backup)
        for known in groups.values():
            known.luns |= {lun for device in known.devices for lun in self._luns(device)}
        return groups

    def _active(self) -> Iterator[tuple[str, str]]:
        for row in self._blocks.values():
            if row.get("uuid", "").startswith(_LVM) and (group := group_of(row["dm"])):
                below = (name for name in row["slaves"].split() if not self._is_volume(name))
                yield from ((group, name) for name in below)

    def _is_volume(self, name: str) -> bool:
        return self._blocks.get(name, {}).get("uuid", "").startswith(_LVM)

    def _of_udev(self) -> Iterator[tuple[str, str]]:
        for number, known in self._found["udev"].items():
            device = self._by_number.get(number)
            if device is None:
                continue
            if identity := known.get("ID_FS_UUID", "").replace("-", ""):
                self._identify(identity, device)
            if group := known.get("LVM_VG_NAME_COMPLETE") or known.get("LVM_VG_NAME_INCOMPLETE"):
                yield group.strip("'"), device

    def _online(self) -> Iterator[tuple[str, str]]:
        for identity, text in self._found["online"].items():
            number, *rest = text.split("\n")
            device = self._by_number.get(number.strip())
            group = next((line.removeprefix("vg:").strip() for line in rest if line.startswith("vg:")), "")
            if device is not None:
                self._identify(identity, device)
                yield from ((group, device),) if group else ()

    def _identify(self, identity: str, device: str) -> None:
        self._by_id.setdefault(identity, device)
        self._identified.add(device)

    def _incomplete(self, groups: dict[str, Group]) -> None:
        """Take pvscan's word on groups of which a disk came, but the last one did not."""
        told = list(self._found["udev"].values())
        complete = {one.get("LVM_VG_NAME_COMPLETE", "").strip("'") for one in told}
        for group in {one.get("LVM_VG_NAME_INCOMPLETE", "").strip("'") for one in told} - complete:
            if group in groups:
                groups[group].complete = False

    def _whole(self, groups: Mapping[str, Group]) -> None:
        """Tell which groups need no disk beside those that are seen now, wherever they lay before."""
        complete = {one.get("LVM_VG_NAME_COMPLETE", "").strip("'") for one in self._found["udev"].values()}
        active: dict[str, set[str]] = {}
        for name, device in self._active():
            active.setdefault(name, set()).add(device)
        for name, group in groups.items():
            # The kernel goes on to name a disk below a volume that was taken away under it: then only memory knows its LUN.
            group.whole = name in complete or (name in active and active[name] <= self._blocks.keys())

    def _back(self, group: Group, backup: Backup) -> None:
        """Take in a backup: which disks are there, which are missing and where they were."""
        missing = []
        for volume in backup.volumes:
            device = self._by_id.get(volume.id) or self._hinted(volume.hint)
            if device is None:
                missing.append(volume)
                continue
            if not group.devices:
                group.note = f"by its backup of {backup.day}"
            group.devices.add(device)
            for lun in self._luns(device):
                self.seen[volume.id] = lun
        # More disks than the backup misses were found in use: then it is the backup that is old.
        if not missing or len(group.devices) >= len(backup.volumes):
            return
        group.complete = False
        group.note = f"{len(missing)} of {len(backup.volumes)} disks missing by its backup of {backup.day}"
        for volume in missing:
            if volume.id in self._remembered:
                self.seen[volume.id] = self._remembered[volume.id]
                group.luns.add(self._remembered[volume.id])

    def _hinted(self, hint: str) -> str | None:
        """Return the device of a hint: a map that is there and on which udev saw no other physical volume."""
        device = self._by_mapping.get(hint.removeprefix("/dev/mapper/"))
        if device is None or device in self._identified:
            return None
        known = self._found["udev"].get(self._blocks[device]["dev"])
        return device if known is not None and not self._is_volume(device) else None

    def _luns(self, device: str) -> set[str]:
        """Return the LUNs below a block device, through partitions, encryption and RAID; none for a local disk."""
        luns: set[str] = set()
        level, seen = [device], {device}
        for _ in range(_DEEPEST):
            below: list[str] = []
            for name in level:
                row = self._blocks.get(name, {})
                if row.get("uuid", "").startswith(_MULTIPATH):
                    luns.add(row["uuid"].removeprefix(_MULTIPATH))
                elif lun := self._disks.luns.get(name) or self._disks.luns.get(_disk(name)):
                    luns.add(lun)
                else:
                    below += row.get("slaves", "").split()
            level = [name for name in dict.fromkeys(below) if name not in seen]
            seen.update(level)
        return luns


def _disk(partition: str) -> str:
    """Return the name of the disk that `sdX1` is a partition of."""
    return partition.rstrip("0123456789")
