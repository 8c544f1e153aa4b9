"""What the kernel knows of this node's iSCSI sessions, their disks and multipath maps, read once when the journal is opened.

Kernel lines name only session numbers, SCSI addresses and ``major:minor``. The lines that join these to portals, targets and LUNs
were logged at login, maybe months ago; sysfs has the joins while the sessions live. Reading it touches no device: attributes of
``/sys/class/iscsi_*`` (drivers/scsi/scsi_transport_iscsi.c), ``/sys/block/dm-*/dm`` (Documentation/ABI/testing/sysfs-block-dm)
and ``…/device/wwid`` are answered from memory.

Fields of a record, by ``what``: ``session`` has ``session``, ``target``, ``address``, ``port`` and ``state``; ``disk`` has ``address``,
``disk`` and ``wwid`` (empty when the kernel does not know it); ``map`` has ``map``, ``wwid`` and ``legs`` (``major:minor``, between
blanks).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

SYS: Final = Path("/sys")
_MULTIPATH: Final = "mpath-"
"""Beginning of a map's dm uuid when multipathd made it; the rest is the WWID."""

Fields = dict[str, str]


def inventory(root: Path = SYS) -> list[Fields]:
    """Return records of all sessions, their disks and all multipath maps. Blocks, briefly; what vanishes meanwhile is left out."""
    return [*_sessions(root), *_disks(root), *_maps(root)]


def _text(file: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return file.read_text(encoding="utf-8").strip()
    return ""


def _sessions(root: Path) -> Iterator[Fields]:
    for session in sorted((root / "class" / "iscsi_session").glob("session*")):
        number = session.name.removeprefix("session")
        connection = root / "class" / "iscsi_connection" / f"connection{number}:0"
        found = {
            "what": "session",
            "session": number,
            "target": _text(session / "targetname"),
            # What is configured, not what a redirecting target moved us to: storage.cfg and iscsid's lines name this one.
            "address": _text(connection / "persistent_address"),
            "port": _text(connection / "persistent_port"),
            "state": _text(session / "state"),
        }
        if number.isdigit() and found["target"] and found["address"] and found["port"].isdigit():
            yield found


def _disks(root: Path) -> Iterator[Fields]:
    for block in sorted((root / "class" / "iscsi_session").glob("session*/device/target*/*/block/*")):
        device = block.parents[1]
        yield {"what": "disk", "address": device.name, "disk": block.name, "wwid": _text(device / "wwid")}


def _maps(root: Path) -> Iterator[Fields]:
    for dm in sorted((root / "block").glob("dm-*")):
        uuid, name = _text(dm / "dm" / "uuid"), _text(dm / "dm" / "name")
        if uuid.startswith(_MULTIPATH) and name:
            legs = [_text(slave / "dev") for slave in sorted((dm / "slaves").glob("*"))]
            yield {"what": "map", "map": name, "wwid": uuid.removeprefix(_MULTIPATH), "legs": " ".join(leg for leg in legs if leg)}
