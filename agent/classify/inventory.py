"""What lines taught about this node's sessions, disks and maps.

Kernel lines name ``connection1:0``, ``sd 2:0:0:0`` or ``8:16`` and never the portal, target or LUN behind them. Other lines
tell the joins once, at login or when a map is made; this is the memory of them. It is plain data, stored by the spool in
the same transaction as the cursor, so that a restart in the middle of a journal forgets nothing.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from events.entity import Entity, EntityKind

_WWID = re.compile(r"3[0-9a-f]{16,32}|eui\.[0-9a-f]{16,32}|nvme\..+")
"""Map names that are WWIDs already (``user_friendly_names no``): 3 + NAA identifier, or an EUI-64."""


_MOST_SESSIONS = 1024
_MOST_ATTEMPTS = 64


@dataclass(slots=True)
class SessionPeer:
    """The far end of an iSCSI session: target name and portal (``address:port``), and whether its end was told."""

    target: str
    portal: str
    closed: bool = False


@dataclass(slots=True)
class MapState:
    """What is known of a multipath map: legs as ``major:minor``, most paths ever seen active, the last count, its WWID."""

    legs: list[str] = field(default_factory=list)
    most: int = 0
    active: int | None = None
    wwid: str = ""


@dataclass(slots=True)
class Inventory:
    """Joins of one node and one boot."""

    boot_id: str = ""
    sessions: dict[int, SessionPeer] = field(default_factory=dict)
    """Also those that are gone: the kernel still speaks of a session that iscsid has given up."""
    attempts: dict[int, list[str]] = field(default_factory=dict)
    """What was said of logins of sessions that were not there yet: why each was refused."""
    disks: dict[str, str] = field(default_factory=dict)
    """``host:channel:target:lun`` to ``sdX``."""
    luns: dict[str, str] = field(default_factory=dict)
    """``host:channel:target:lun`` to the WWID that the device first identified itself with."""
    remapped: dict[str, str] = field(default_factory=dict)
    """``host:channel:target:lun`` to the foreign WWID that it leads to now."""
    maps: dict[str, MapState] = field(default_factory=dict)
    last_path_failed: bool = False
    """Whether multipathd's last word on a path was bad: it tells what a bare count of active paths means."""

    @classmethod
    def load(cls, memory: dict[str, Any] | None) -> Self:
        """Rebuild from :meth:`dump`; None is a fresh start."""
        data = dict(memory or {})
        data["sessions"] = {int(number): SessionPeer(**peer) for number, peer in data.get("sessions", {}).items()}
        data["attempts"] = {int(number): said for number, said in data.get("attempts", {}).items()}
        data["maps"] = {name: MapState(**state) for name, state in data.get("maps", {}).items()}
        return cls(**data)

    def dump(self) -> dict[str, Any]:
        """Return plain maps, lists, texts and numbers."""
        data = asdict(self)
        for table in ("sessions", "attempts"):
            data[table] = {str(number): known for number, known in data[table].items()}
        return data

    def join(self, session: int, peer: SessionPeer) -> None:
        """Take in the far end of a session. The kernel numbers sessions upwards: the lowest are the oldest."""
        self.sessions[session] = peer
        while len(self.sessions) > _MOST_SESSIONS:
            del self.sessions[min(self.sessions)]

    def close(self, session: int, peer: SessionPeer) -> bool:
        """Note a session's end. Return False when it leaves another to its far end: each interface that is bound has one of its own."""
        if session not in self.sessions:
            return True  # nothing is known of it, and of what it leaves
        self.sessions[session].closed = True
        return peer not in self.sessions.values()

    def is_attempt(self, session: int) -> bool:
        """Tell whether a session that is not known is one that is only being logged in: it is newer than all that are."""
        return bool(self.sessions) and session not in self.sessions and session > max(self.sessions)

    def attempted(self, session: int, why: str) -> None:
        """Keep why a login was refused until its end says where it went."""
        said = self.attempts.setdefault(session, [])
        if why not in said:
            said.append(why)
        while len(self.attempts) > _MOST_ATTEMPTS:
            del self.attempts[min(self.attempts)]

    def attach(self, address: str, disk: str) -> None:
        """Take in a device that appeared; what stood at its address before is forgotten, and what had its name: that is given anew."""
        gone = [other for other, name in self.disks.items() if name == disk and other != address]
        for other in (*gone, address):
            self.disks.pop(other, None)
            self.luns.pop(other, None)
            self.remapped.pop(other, None)
        self.disks[address] = disk

    def address_of(self, disk: str) -> str | None:
        """Return the SCSI address of ``sdX``."""
        return next((address for address, name in self.disks.items() if name == disk), None)

    def lun_of_disk(self, disk: str) -> Entity | None:
        """Return the LUN that ``sdX`` led to when it appeared."""
        address = self.address_of(disk)
        wwid = self.luns.get(address) if address else None
        return Entity(EntityKind.LUN, wwid) if wwid else None

    def lun_of_address(self, node: str, address: str) -> Entity:
        """Return the LUN at a SCSI address, or the device itself while its LUN is not known."""
        wwid = self.luns.get(address)
        return Entity(EntityKind.LUN, wwid) if wwid else Entity(EntityKind.SCSI_DEVICE, f"{node}/{address}")

    def lun_of_map(self, node: str, name: str) -> Entity:
        """Return the LUN behind a map, or the map itself while no leg told its WWID."""
        if _WWID.fullmatch(name):
            return Entity(EntityKind.LUN, name)
        state = self.maps.get(name)
        if state and state.wwid:
            return Entity(EntityKind.LUN, state.wwid)
        for leg in state.legs if state else ():
            disk = disk_of_number(leg)
            lun = self.lun_of_disk(disk) if disk else None
            if lun:
                return lun
        return Entity(EntityKind.MULTIPATH_MAP, f"{node}/{name}")

    def map_of_leg(self, leg: str) -> str | None:
        """Return the map that a ``major:minor`` is a leg of."""
        return next((name for name, state in self.maps.items() if leg in state.legs), None)


_SD_MAJORS = (8, 65, 66, 67, 68, 69, 70, 71, 128, 129, 130, 131, 132, 133, 134, 135)
"""Block majors of SCSI disks in order (Linux Documentation/admin-guide/devices.txt); 16 disks each, 16 minors a disk."""


def disk_of_number(number: str) -> str | None:
    """Return ``sdX`` for ``major:minor``, or None when it is no whole SCSI disk of the classic majors."""
    major, _, minor = number.partition(":")
    if not (major.isdigit() and minor.isdigit()) or int(major) not in _SD_MAJORS or int(minor) % 16 or int(minor) > 255:
        return None
    index = _SD_MAJORS.index(int(major)) * 16 + int(minor) // 16
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return f"sd{letters}"


def number_of_disk(disk: str) -> str | None:
    """Return ``major:minor`` of ``sdX``, the inverse of :func:`disk_of_number`."""
    letters = disk.removeprefix("sd")
    if not letters.isalpha() or not letters.islower() or letters == disk:
        return None
    index = 0
    for letter in letters:
        index = index * 26 + ord(letter) - ord("a") + 1
    index -= 1
    if index >= len(_SD_MAJORS) * 16:
        return None
    return f"{_SD_MAJORS[index // 16]}:{index % 16 * 16}"
