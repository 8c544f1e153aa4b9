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
from typing import Any, Final

from agent.sources.host_files import Tree
from agent.sources.sysfs import Fields, blocks, disks, maps, sessions

_DATABASES: Final = ("var/lib/iscsi/nodes", "etc/iscsi/nodes")
_STARTUP: Final = "node.startup"
_UDEV: Final = frozenset({"ID_SERIAL", "ID_FS_TYPE", "ID_FS_UUID", "LVM_VG_NAME_COMPLETE", "LVM_VG_NAME_INCOMPLETE"})
_CGROUPS: Final = "sys/fs/cgroup"
_MOST: Final = 1024
"""Most entries that are read of a directory that programs or people fill."""


def storage(tree: Tree) -> dict[str, dict[str, Any]]:
    """Return what ``iscsi``, ``multipath`` and ``volumes`` are made of, all as rows of texts."""
    sys = Tree(tree.root / "sys")
    found_blocks, found_disks = blocks(sys), list(disks(sys))
    udev = {one["dev"]: _udev(tree, one["dev"]) for one in found_blocks if one["dev"]}
    shared = {"disks": found_disks, "serials": {dev: known["ID_SERIAL"] for dev, known in udev.items() if "ID_SERIAL" in known}}
    multipath = list(maps(sys, found_blocks))
    return {
        "iscsi": {
            **shared,
            "initiator": tree.text("etc/iscsi/initiatorname.iscsi"),
            "sessions": (met := list(sessions(sys))),
            "records": list(records(tree)),
        },
        "multipath": {**shared, "sessions": met, "maps": [_with_legs(sys, one, found_blocks) for one in multipath], "unit": _unit(tree)},
        "volumes": {
            **shared,
            "blocks": found_blocks,
            "udev": {dev: known for dev, known in udev.items() if known.get("ID_FS_TYPE") == "LVM2_member"},
            "online": {name: tree.text(f"run/lvm/pvs_online/{name}", 4096) for name in tree.names("run/lvm/pvs_online")[:_MOST]},
            "backups": {name: tree.text(f"etc/lvm/backup/{name}") for name in tree.names("etc/lvm/backup")[:_MOST]},
        },
    }


def _with_legs(sys: Tree, row: Fields, found: list[Fields]) -> dict[str, Any]:
    """Add what the disks of a map say of themselves: also of those that hang on no session, such as SAS."""
    name = next(one["name"] for one in found if one.get("dm") == row["map"])
    devices = {disk: f"class/block/{name}/slaves/{disk}/device" for disk in row["disks"].split()}
    states = {disk: {"state": sys.text(f"{path}/state"), "wwid": sys.text(f"{path}/wwid")} for disk, path in devices.items()}
    return {**row, "states": states}


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
