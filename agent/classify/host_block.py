"""A node's iSCSI sessions and multipath maps, and the LUNs that its disks are, in the names that multipath gives them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from agent.classify.host_bounds import ROOM, fitting
from events.base import Seen
from events.entity import Entity, portal
from events.errors import EntityError
from events.host import MapPath, MultipathMap, NodeIscsi, NodeMultipath, NodeRecord, Session

_MOST: Final = 256
_MOST_PATHS: Final = 64
_IQN: Final = 223
_TEXT: Final = 255
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]{1,128}")
_HEX: Final = {"naa": "3", "eui": "2"}
_T10: Final = "1"
Row = Mapping[str, str]


def lun_id(wwid: str, serial: str = "") -> str:
    """Return a disk's WWID as multipath prints it, empty when it cannot be told.

    ``wwid`` is what the kernel says (`naa.6001…`, sysfs `wwid`, read anew by the kernel when it rescans a disk), ``serial`` udev's
    ID_SERIAL, which multipath itself takes (multipath.conf(5), uid_attribute). The kernel's is believed, for it follows a LUN that
    was exchanged. But both choose among several names of a disk, by other rules: when they chose names of different forms, only udev's
    can be multipath's. Forms: libmultipath/discovery.c (parse_vpd_pg83).
    """
    form, _, rest = wwid.partition(".")
    own = _own_id(form, rest.strip())
    usable = serial if _PRINTABLE.fullmatch(serial) else ""
    if usable and (own[:1] != usable[0] or own[:1] == _T10):  # of the T10 form udev and kernel cut the blanks differently
        return usable
    return own if _PRINTABLE.fullmatch(own) else ""


def _own_id(form: str, rest: str) -> str:
    if form in _HEX:
        return _HEX[form] + rest.lower()
    return _T10 + re.sub(" +", "_", rest) if form == "t10" and rest else ""


class Disks:
    """The SAN disks of a node by name, as :mod:`agent.sources.sysfs` found them, with their LUNs."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self.serials: Row = found["serials"]
        self._rows: dict[str, Row] = {row["disk"]: row for row in found["disks"]}
        self.luns = {name: lun for name, row in self._rows.items() if (lun := lun_id(row["wwid"], self.serials.get(row["dev"], "")))}
        self.numbers = {name: row["dev"] for name, row in self._rows.items()}

    def session(self, disk: str) -> str:
        """Return the number of the session that a disk hangs on, empty for none."""
        return self._rows[disk]["via"] if disk in self._rows else ""

    def of_session(self, number: str) -> tuple[str, ...]:
        """Return the LUNs that a session leads to, in alphabetical order."""
        return tuple(sorted({lun for name, lun in self.luns.items() if self._rows[name]["via"] == number}))


def iscsi(found: Mapping[str, Any], node: Entity, seen: Seen) -> NodeIscsi:
    """Return the event of a node's sessions and records. Portals whose address cannot be understood are left out."""
    disks = Disks(found)
    records = {(record.target, record.portal): record for record in _records(found["records"])}
    return NodeIscsi(
        subject=node,
        seen=seen,
        initiator=_initiator(found)[:_TEXT],
        sessions=fitting(_sessions(found["sessions"], disks), _MOST, ROOM),
        records=fitting((records[key] for key in sorted(records)), _MOST, ROOM // 4),
    )


def _initiator(found: Mapping[str, Any]) -> str:
    for line in found["initiator"].splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "InitiatorName":
            return str(value.strip())
    return next((row["initiator"] for row in found["sessions"] if row["initiator"].startswith(("iqn.", "eui.", "naa."))), "")


def _sessions(rows: Iterable[Row], disks: Disks) -> Iterator[Session]:
    for row in sorted(rows, key=lambda one: (len(one["session"]), one["session"])):
        if (where := _portal(row["address"], row["port"])) and 0 < len(row["target"]) <= _IQN and len(row["session"]) < 10:
            number = row["session"]
            yield Session(
                number=int(number),
                target=row["target"],
                portal=where,
                state=row["state"][:_TEXT] or "unknown",
                luns=disks.of_session(number)[:_MOST],
            )


def _records(rows: Iterable[Row]) -> Iterator[NodeRecord]:
    for row in rows:
        address, _, rest = row["portal"].partition(",")  # ADDRESS,PORT,TPGT
        where = _portal(address, rest.partition(",")[0])
        if where and 0 < len(row["target"]) <= _IQN:
            yield NodeRecord(target=row["target"], portal=where, startup=row["startup"][:_TEXT])


def _portal(address: str, port: str) -> str:
    try:
        return portal(address, port).key[:_TEXT] if address and port.isascii() and port.isdigit() else ""
    except EntityError:
        return ""


def multipath(found: Mapping[str, Any], node: Entity, seen: Seen) -> NodeMultipath:
    """Return the event of a node's multipath maps."""
    disks = Disks(found)
    portals = {row["session"]: _portal(row["address"], row["port"]) for row in found["sessions"]}
    maps = [one for row in sorted(found["maps"], key=lambda one: str(one["map"])) if (one := _map(row, disks, portals)) is not None]
    listed = fitting(maps, _MOST, ROOM)
    if len(listed) < len(maps):
        listed = fitting((_shorter(one) for one in maps), _MOST, ROOM)
    return NodeMultipath(subject=node, seen=seen, running=_RUNNING.get(found["unit"].partition("\n")[0]), maps=listed)


_RUNNING: Final = {"populated 1": True, "populated 0": False, "none": False}


def _map(row: Mapping[str, Any], disks: Disks, portals: Row) -> MultipathMap | None:
    legs = dict(zip(row["disks"].split(), row["legs"].split(), strict=False))
    paths = tuple(
        MapPath(
            device=disk[:_TEXT],
            state=row["states"][disk]["state"][:_TEXT],
            portal=portals.get(disks.session(disk), ""),
            wwid=lun_id(row["states"][disk]["wwid"], disks.serials.get(leg, "")),
        )
        for disk, leg in legs.items()
    )
    if not _PRINTABLE.fullmatch(row["wwid"]) or len(row["map"]) > _TEXT:
        return None
    return MultipathMap(wwid=row["wwid"], name=row["map"], paths=paths[:_MOST_PATHS])


def _shorter(one: MultipathMap) -> MultipathMap:
    """Leave out what the disks say of themselves where it is what the map says."""
    paths = tuple(path.model_copy(update={"wwid": ""}) if path.wwid == one.wwid else path for path in one.paths)
    return one.model_copy(update={"paths": paths})
