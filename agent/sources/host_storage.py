"""A node's iSCSI sessions and records, multipath maps and LVM volume groups, from sysfs and the small files of their programs.

One look serves all three, for they are made of the same disks. Nothing here opens a device or starts a program:

* open-iscsi's node database (/var/lib/iscsi/nodes, before Debian 13 /etc/iscsi/nodes): `TARGET/ADDRESS,PORT,TPGT[/INTERFACE]`. Of each
  file one line is kept, ``node.startup``: beside it stand the CHAP secrets.
* multipathd runs when its unit's control group is populated (cgroup v2, cgroup.events); its process is hidden from the service.
* LVM: udev's database of each disk (/run/udev/data), the PVs that ``pvscan`` saw come (/run/lvm/pvs_online), and
  /etc/lvm/backup, which knows also groups without any active volume, but as this node last saw them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from agent.sources.host_files import Tree
from agent.sources.sysfs import Fields, blocks, device, disks, maps, sessions
from agent.sources.uevents import Uevents

_DATABASES: Final = ("var/lib/iscsi/nodes", "etc/iscsi/nodes")
_STARTUP: Final = "node.startup"
_UDEV: Final = frozenset({"ID_SERIAL", "ID_FS_TYPE", "ID_FS_UUID", "LVM_VG_NAME_COMPLETE", "LVM_VG_NAME_INCOMPLETE"})
_CGROUPS: Final = "sys/fs/cgroup"
_MOST: Final = 1024
"""Most entries that are read of a directory that programs or people fill."""


class BlockStorage:
    """What ``iscsi``, ``multipath`` and ``volumes`` are made of below ``root``, read again and again. For one thread at a time.

    Which disks, maps and volumes there are is read anew ``every`` seconds after the kernel or udev told of any device, else four times as
    seldom (:mod:`agent.sources.uevents`); what changes without a word of theirs, in each look.
    """

    def __init__(self, root: Path, every: float = 0.0) -> None:
        self._uevents, self._sys = Uevents(root, every), Tree(root / "sys")
        self._blocks: list[Fields] = []
        self._disks: list[Fields] = []
        self._maps: list[Fields] = []
        self._udev: dict[str, Fields] = {}
        self._denied: set[str] = set()

    def look(self, tree: Tree) -> dict[str, dict[str, Any]]:
        """Return the three, all as rows of texts. What may not be read is remembered in ``tree``."""
        self._uevents.heard()
        if self._uevents.due():
            self._uevents.read()
            self._scan(Tree(tree.root))
        else:
            self._disks = [self._again(row) for row in self._disks]
        tree.denied |= self._denied
        shared = {"disks": self._disks, "serials": {dev: known["ID_SERIAL"] for dev, known in self._udev.items() if "ID_SERIAL" in known}}
        return {
            "iscsi": {
                **shared,
                "initiator": tree.text("etc/iscsi/initiatorname.iscsi"),
                "sessions": (met := list(sessions(self._sys))),
                "records": list(records(tree)),
            },
            "multipath": {**shared, "sessions": met, "maps": [self._with_legs(one) for one in self._maps], "unit": _unit(tree)},
            "volumes": {
                **shared,
                "blocks": self._blocks,
                "udev": {dev: known for dev, known in self._udev.items() if known.get("ID_FS_TYPE") == "LVM2_member"},
                "online": {name: tree.text(f"run/lvm/pvs_online/{name}", 4096) for name in tree.names("run/lvm/pvs_online")[:_MOST]},
                "backups": {name: tree.text(f"etc/lvm/backup/{name}") for name in tree.names("etc/lvm/backup")[:_MOST]},
            },
        }

    def _scan(self, tree: Tree) -> None:
        self._blocks, self._disks = blocks(self._sys), list(disks(self._sys))
        self._maps = list(maps(self._sys, self._blocks))
        self._udev = {one["dev"]: _udev(tree, one["dev"]) for one in self._blocks if one["dev"]}
        self._denied = tree.denied

    def _again(self, row: Fields) -> Fields:
        return {**row, **self._state(device(row))}

    def _state(self, place: str) -> Fields:
        """Return what of a disk changes without a message."""
        return {name: self._sys.text(f"{place}/{name}") for name in ("state", "wwid")}

    def _with_legs(self, row: Fields) -> dict[str, Any]:
        """Add what the disks of a map say of themselves: also of those that hang on no session, such as SAS."""
        name = next(one["name"] for one in self._blocks if one.get("dm") == row["map"])
        return {**row, "states": {leg: self._state(f"class/block/{name}/slaves/{leg}/device") for leg in row["disks"].split()}}


def _udev(tree: Tree, dev: str) -> Fields:
    found = {}
    for line in tree.text(f"run/udev/data/b{dev}").splitlines():
        name, _, value = line.removeprefix("E:").partition("=")
        if line.startswith("E:") and name in _UDEV:
            found[name] = value
    return found


def _unit(tree: Tree) -> str:
    """Return ``populated 1`` and the like; ``none`` when there is no such unit, and nothing when no unit is known at all."""
    events = tree.text(f"{_CGROUPS}/system.slice/multipathd.service/cgroup.events")
    return events or ("none" if "system.slice" in tree.names(_CGROUPS) else "")


def records(tree: Tree) -> Iterator[Fields]:
    """Yield the records of open-iscsi's node database: ``target``, ``portal`` (``address,port,tag``), ``startup``."""
    for database in _DATABASES:
        for target in tree.names(database)[:_MOST]:
            for portal in tree.names(f"{database}/{target}")[:_MOST]:
                record = f"{database}/{target}/{portal}"
                interfaces = tree.names(record)
                file = f"{record}/{interfaces[0]}" if interfaces else record
                yield {"target": target, "portal": portal, "startup": _startup(tree.text(file))}


def _startup(record: str) -> str:
    lines = (line.partition("=") for line in record.splitlines())
    return next(islice((value.strip() for name, _, value in lines if name.strip() == _STARTUP), 1), "")
