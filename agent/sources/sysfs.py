"""What the kernel knows of this node's iSCSI sessions, SAN disks and device-mapper maps, as sysfs shows it.

Read for two: once when the journal is opened (:func:`inventory`), and again and again by :mod:`agent.sources.host`. Kernel lines
name only session numbers, SCSI addresses and ``major:minor``. The lines that join these to portals, targets and LUNs were logged at
login, maybe months ago; sysfs has the joins while the sessions live. Reading it touches no device: attributes of
``/sys/class/iscsi_*`` (drivers/scsi/scsi_transport_iscsi.c), ``/sys/class/block/dm-*/dm`` (Documentation/ABI/testing/sysfs-block-dm)
and ``…/device/wwid`` are answered from memory.

Fields of a row, by ``what``:

* ``session``: ``session`` (number), ``target``, ``address``, ``port``, ``state``, ``initiator``;
* ``disk``: ``address`` (host:channel:target:lun), ``disk`` (``sdX``), ``dev`` (``major:minor``), ``wwid`` (empty when the kernel does
  not know it), ``state``, ``via`` (number of its session; empty for Fibre Channel);
* ``map``: ``map``, ``wwid``, ``legs`` (``major:minor``, between blanks), ``disks`` (their names);
* ``block``: ``name``, ``dev`` (empty for logical volumes), ``slaves`` of what lies on others and, of device-mapper, ``dm`` (its name)
  and ``uuid``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from agent.sources.host_files import Tree

SYS: Final = Path("/sys")
_MULTIPATH: Final = "mpath-"
"""Beginning of a map's dm uuid when multipathd made it; the rest is the WWID."""
LVM: Final = "LVM-"
"""Beginning of the dm uuid of a logical volume."""
_OF_GUESTS: Final = ("fd", "loop", "nbd", "ram", "rbd", "sr", "zd", "zram")
"""Block devices that are left out: without a medium of their own, or, like ZFS volumes and mapped RBD images, disks of guests."""

Fields = dict[str, str]


def inventory(root: Path = SYS) -> list[Fields]:
    """Return rows of all sessions, SAN disks and multipath maps. Blocks, briefly; what vanishes meanwhile is left out.

    ``root`` is the directory that stands for /sys.
    """
    tree = Tree(root)
    return [*sessions(tree), *(one for one in disks(tree) if one["via"]), *maps(tree, blocks(tree))]


def sessions(sys: Tree) -> Iterator[Fields]:
    """Yield a row for each iSCSI session."""
    for name in sys.names("class/iscsi_session"):
        number = name.removeprefix("session")
        session, connection = f"class/iscsi_session/{name}", f"class/iscsi_connection/connection{number}:0"
        found = {
            "what": "session",
            "session": number,
            "target": sys.text(f"{session}/targetname"),
            # What is configured, not what a redirecting target moved us to: storage.cfg and iscsid's lines name this one.
            "address": sys.text(f"{connection}/persistent_address"),
            "port": sys.text(f"{connection}/persistent_port"),
            "state": sys.text(f"{session}/state"),
            "initiator": sys.text(f"{session}/initiatorname"),
        }
        if number.isdecimal() and found["target"] and found["address"] and found["port"].isdecimal():
            yield found


def disks(sys: Tree) -> Iterator[Fields]:
    """Yield a row for each disk of an iSCSI session or a Fibre Channel target (drivers/scsi/scsi_transport_fc.c)."""
    for name in sys.names("class/iscsi_session"):
        for target in sys.names(f"class/iscsi_session/{name}/device"):
            if target.startswith("target"):
                yield from _disks(sys, f"class/iscsi_session/{name}/device/{target}", name.removeprefix("session"))
    for target in sys.names("class/fc_transport"):
        yield from _disks(sys, f"class/fc_transport/{target}/device", "")


def _disks(sys: Tree, target: str, session: str) -> Iterator[Fields]:
    for address in sys.names(target):
        for disk in sys.names(f"{target}/{address}/block") if address.count(":") == 3 else ():
            device = f"{target}/{address}"
            yield {
                "what": "disk",
                "address": address,
                "disk": disk,
                "dev": sys.text(f"{device}/block/{disk}/dev"),
                "wwid": sys.text(f"{device}/wwid"),
                "state": sys.text(f"{device}/state"),
                "via": session,
            }


def device(row: Fields) -> str:
    """Return the directory below /sys of a disk of :func:`disks`: by session or target, for its name may be another's in a moment."""
    address = row["address"]
    target = f"target{address.rpartition(':')[0]}"
    above = f"iscsi_session/session{row['via']}/device/{target}" if row["via"] else f"fc_transport/{target}/device"
    return f"class/{above}/{address}"


def blocks(sys: Tree) -> list[Fields]:
    """Return a row for each block device and partition, without those that hold only guests' data."""
    return [_block(sys, name) for name in sys.names("class/block") if not name.startswith(_OF_GUESTS)]


def _block(sys: Tree, name: str) -> Fields:
    device = f"class/block/{name}"
    found = {"what": "block", "name": name, "dev": ""}
    if name.startswith("dm-"):
        found |= {"dm": sys.text(f"{device}/dm/name"), "uuid": sys.text(f"{device}/dm/uuid")}
    if not found.get("uuid", "").startswith(LVM):  # a node may have a thousand of them
        found["dev"] = sys.text(f"{device}/dev")
    if name.startswith(("dm-", "md")):
        found["slaves"] = " ".join(sys.names(f"{device}/slaves"))
    return found


def maps(sys: Tree, found: Iterable[Fields]) -> Iterator[Fields]:
    """Yield a row for each multipath map among the rows of :func:`blocks`."""
    for block in found:
        if block.get("uuid", "").startswith(_MULTIPATH) and block.get("dm"):
            legs = [(sys.text(f"class/block/{block['name']}/slaves/{disk}/dev"), disk) for disk in block["slaves"].split()]
            known = [(leg, disk) for leg, disk in legs if leg]
            yield {
                "what": "map",
                "map": block["dm"],
                "wwid": block["uuid"].removeprefix(_MULTIPATH),
                "legs": " ".join(leg for leg, _ in known),
                "disks": " ".join(disk for _, disk in known),
            }
