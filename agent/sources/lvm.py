"""Looks at what the volume groups of storage.cfg are made of, without asking LVM: its commands read disks, and hang when one does.

One look, ``groups``: the groups that storage.cfg wants on this node, and what :mod:`agent.sources.host_storage` reads of disks, block
devices, udev's database and, where the agent may read them, LVM's own files (/run/lvm/pvs_online, /etc/lvm/backup: root only in Debian).
All of that is read anew when a block device or a file of LVM's comes or goes, and each 30 s while the kernel or udev tells of any device,
else each two minutes; the state and WWID of each SAN disk in every look. A picture is yielded twice: that something is missing is believed
at its second sight.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from agent.sources.configured import Configured
from agent.sources.host_files import Kept, Tree
from agent.sources.host_storage import BlockStorage
from agent.sources.looking import Found, Look
from agent.sources.sysfs import LVM, Fields, device
from agent.sources.uevents import Uevents
from pve.storage_cfg import Storage

_SCAN: Final = 30.0
"""Seconds after which all is read anew, though nothing came or went: a device was told of since (:mod:`agent.sources.uevents`)."""
_AGAIN: Final = 2.0
"""Seconds until the next look after one in which a disk did not run or a name had changed."""
_REPEAT: Final = 20.0
"""Seconds after which a picture that has been the same for long is yielded again."""
_WAIT: Final = 2.0
"""Seconds that the first look waits for storage.cfg."""
_GROUP: Final = len(LVM) + 32
"""Length of the part of a logical volume's uuid that names its group."""
_TYPES: Final = ("lvm", "lvmthin")
_FILES: Final = ("run/lvm/pvs_online", "etc/lvm/backup")
Row = dict[str, Any]


def lvm_looks(configured: Configured, *, root: Path = Path("/"), interval: float = 5.0, deadline: float = 10.0) -> list[Look]:
    """Return the look ``groups``."""
    return [Look("groups", Groups(configured, root).look, interval, min(_AGAIN, interval), deadline, again=_REPEAT, sights=2)]


class Groups:
    """Volume groups that storage.cfg wants, and all that may be a part of them. For one thread at a time."""

    def __init__(self, configured: Configured, root: Path = Path("/"), scan: float = _SCAN) -> None:
        self._configured, self._root = configured, root
        self._uevents, self._kept = Uevents(root, scan), Kept(root / "sys")
        self._stale = True
        self._first = True
        self._shape: object = None
        self._volumes: Row = {}
        self._denied: list[str] = []
        self._last: Found | None = None

    def look(self) -> Found:
        """Return ``wanted`` (``vg``, ``base``, ``shared``), ``denied`` files, and ``volumes`` as the host's source reads them."""
        if self._first:
            self._configured.wait(_WAIT)
            self._first = False
        wanted = [_wanted(one) for one in self._configured.storages(*_TYPES) if one.values.get("vgname")]
        if not wanted:
            return Found({"wanted": [], "denied": [], "volumes": None})
        tree = Tree(self._root)
        self._uevents.heard()
        changed = (shape := self._read_shape(tree)) != self._shape
        if changed or self._stale or self._uevents.due():
            self._uevents.read()
            self._scan(tree)
            self._shape, self._stale = shape, False
        else:
            lost = self._kept.lost
            again = [self._again(row) for row in self._volumes["disks"]]
            if self._kept.lost != lost:
                self._stale = True  # a disk went, and another may have its name already
            if self._last is not None and wanted == self._last.picture["wanted"] and again == self._volumes["disks"] and not self._last.bad:
                return self._last
            self._volumes = {**self._volumes, "disks": again}
        restless = any(row["state"] != "running" for row in self._volumes["disks"])
        self._last = Found({"wanted": wanted, "denied": self._denied, "volumes": self._volumes}, bad=changed or restless)
        return self._last

    @staticmethod
    def _read_shape(tree: Tree) -> object:
        return [tree.names(path) for path in ("sys/class/block", *_FILES)]

    def _scan(self, tree: Tree) -> None:
        self._volumes = BlockStorage(self._root).look(tree)["volumes"]
        self._volumes["blocks"] = without_likes(self._volumes["blocks"])
        self._denied = sorted(tree.denied)
        self._kept.keep([f"{device(row)}/{name}" for row in self._volumes["disks"] for name in ("state", "wwid")])

    def _again(self, row: Fields) -> Fields:
        """Return a disk with what may have changed."""
        place = device(row)
        return {**row, "state": self._kept.text(f"{place}/state"), "wwid": self._kept.text(f"{place}/wwid")}


def _wanted(one: Storage) -> Row:
    """Return a storage's group, and the LUN on which Proxmox VE made it, as it writes that (`iscsi-store:0.0.1.scsi-3600…`)."""
    base = str(one.values.get("base", ""))
    return {"storage": one.id, "vg": str(one.values["vgname"]), "base": base, "shared": one.shared}


def without_likes(rows: list[Fields]) -> list[Fields]:
    """Leave out volumes of one group that lie on the same disks as another and below none: a node may have a thousand."""
    below = {name for row in rows for name in row.get("slaves", "").split()}
    kept: dict[object, Fields] = {}
    for row in rows:
        is_volume = row.get("uuid", "").startswith(LVM) and row["name"] not in below
        kept.setdefault((row["uuid"][:_GROUP], row["slaves"]) if is_volume else row["name"], row)
    return list(kept.values())
