"""Looks at a node's multipath maps: what the kernel says of each path, what multipathd says, and which LUN each path leads to.

Three looks, each a record of its own:

* ``paths`` (each second): maps, their paths and all SAN disks from sysfs, which answers from memory even when every path is dead.
  What there is is read anew when a block device comes or goes, when a leg changes, and each 30 s while the kernel or udev tells of any
  device, else each two minutes; in between only each disk's state and, each 2.5 s, its WWID and the maps' legs.
* ``daemon`` (each 5 s): multipathd's verdict on each path, see :mod:`agent.sources.multipathd`. It is asked only when its unit runs, for
  with socket activation a question would start it, and starting what an administrator stopped is not ours.
* ``identity`` (each 5 s, only where rights were given): page 83 from the disk itself, see :mod:`agent.sources.inquiry`.

``blocked`` is a disk's state while its session or remote port recovers, ``resetting`` and ``connecting`` are those of an NVMe disk's
controller meanwhile. That may last a moment, so a disk that waits is looked at again soon and ``times`` says in how many looks running it
did, up to 2; ``times`` of the daemon's trouble likewise, up to 3.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from agent.sources.host_files import Kept, Tree
from agent.sources.inquiry import Inquiry
from agent.sources.looking import Found, Look
from agent.sources.multipathd import SOCKETS, DaemonError, Multipathd
from agent.sources.sysfs import Fields, blocks, device, disks, maps
from agent.sources.uevents import Uevents
from agent.sources.wwid import names, read

_SCAN: Final = 30.0
"""Seconds after which all is read anew, though no name changed, when a device was told of since: a map may have been replaced by another of
the same number."""
_IDENTITY: Final = 2.5
"""Seconds between two looks at the disks' WWIDs: they only change when somebody rescans."""
_CONFIRM: Final = 0.5
"""Seconds until the next look at disks of which one only just waits."""
_AGAIN: Final = 3.0
"""Seconds until the next question to a daemon that could not answer: time enough for one that is only started anew."""
_MARGIN: Final = 5.0
"""Seconds beyond a deadline of ours after which the frame says that a look hangs."""
_WAITING: Final = frozenset({"blocked", "resetting", "connecting"})
_UNIT: Final = "sys/fs/cgroup/system.slice/multipathd.service/cgroup.events"
Row = dict[str, Any]


def multipath_looks(
    *,
    root: Path = Path("/"),
    interval: float = 5.0,
    sysfs_interval: float = 1.0,
    deadline: float = 5.0,
    addresses: tuple[str, ...] = SOCKETS,
    inquiry: bool = False,
) -> list[Look]:
    """Return the looks ``paths``, ``daemon`` and, with ``inquiry``, ``identity``.

    ``inquiry`` asks the disks themselves, which needs the right to read /dev/sdX or /dev/sgN.
    """
    kernel, daemon = Paths(root), Daemon(root, Multipathd(addresses, deadline))
    looks = [
        Look("paths", kernel.look, sysfs_interval, min(_CONFIRM, sysfs_interval), deadline + _MARGIN),
        Look("daemon", daemon.look, interval, min(_AGAIN, interval), deadline + _MARGIN),
    ]
    if inquiry:
        take = partial(identities, kernel, Inquiry(root / "dev", deadline))
        looks.append(Look("identity", take, interval, interval, 3 * deadline + _MARGIN))
    return looks


class _Disk(NamedTuple):
    """A disk's directory below /sys, and what of it does not change while it is there."""

    path: str
    fields: Fields


class Paths:
    """The kernel's multipath maps and SAN disks. For one thread at a time, except :meth:`running`."""

    def __init__(self, root: Path = Path("/"), scan: float = _SCAN, identity: float = _IDENTITY) -> None:
        self._sys, self._identity = Tree(root / "sys"), identity
        self._uevents, self._kept = Uevents(root, scan), Kept(root / "sys")
        self._states: dict[str, str] = {}
        self._last = Found({})
        self._identity_due = 0.0
        self._stale = True
        self._devices: list[str] = []
        self._legs: list[list[str]] = []
        self._maps: dict[str, Row] = {}
        self._disks: dict[str, _Disk] = {}
        self._names: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._blocked: dict[str, int] = {}
        self._running: dict[str, str] = {}

    def look(self) -> Found:
        """Return ``maps`` by `dm-N` (``map``, ``wwid``, ``legs``) and ``disks`` by name.

        Of a disk: ``dev``, ``address``, ``via`` (number of its session), ``state``, ``times`` (waiting), ``wwid`` as the kernel writes
        it and ``names`` as multipath does.
        """
        closely, heard = time.monotonic() >= self._identity_due, self._uevents.heard()
        if self._stale or self._uevents.due() or self._has_changed(heard, closely):
            self._uevents.read()
            self._scan()
            self._devices, self._legs = self._sys.names("class/block"), self._read_legs()
            self._stale, closely = False, True
        if closely:
            self._identity_due = time.monotonic() + self._identity
            for name, disk in self._disks.items():
                self._identify(name, disk)
        lost = self._kept.lost
        states = {name: self._kept.text(f"{disk.path}/state") for name, disk in self._disks.items()}
        if self._kept.lost != lost:
            self._stale = True  # a disk went, and another may have its name already
        if not closely and states == self._states and _WAITING.isdisjoint(states.values()):
            return self._last
        self._states = states
        found = {name: self._disk(name, disk) for name, disk in self._disks.items()}
        self._running = {name: self._disks[name].path for name, row in found.items() if row["state"] == "running"}
        picture = {"maps": self._maps, "disks": found}
        if picture != self._last.picture:
            self._last = Found(picture, any(row["times"] == 1 for row in found.values()), empty=not (self._maps or found))
        return self._last

    def running(self) -> dict[str, str]:
        """Return the nodes in /dev by which to ask the disks that ran at the last look, by disk. Callable from any thread."""
        return {disk: next(iter(self._sys.names(f"{path}/scsi_generic")), disk) for disk, path in self._running.items()}

    def _has_changed(self, heard: bool, closely: bool) -> bool:
        """Tell whether the disks or, where looked at closely, the maps are others than before.

        New legs are linked without a message of the kernel's, and old ones unlinked some time after it (drivers/md/dm.c).
        """
        return (heard and self._sys.names("class/block") != self._devices) or (closely and self._read_legs() != self._legs)

    def _read_legs(self) -> list[list[str]]:
        return [self._sys.names(f"class/block/{dm}/slaves") for dm in self._maps]

    def _scan(self) -> None:
        found = blocks(self._sys)
        by_name = {row["dm"]: row["name"] for row in found if "dm" in row}
        self._maps, self._disks, self._names = {}, {row["disk"]: self._san(row) for row in disks(self._sys)}, {}
        for row in maps(self._sys, found):
            dm, legs = by_name[row["map"]], row["disks"].split()
            self._maps[dm] = {"map": row["map"], "wwid": row["wwid"], "legs": legs}
            for leg, dev in zip(legs, row["legs"].split(), strict=True):
                if leg not in self._disks:
                    self._disks[leg] = _Disk(f"class/block/{dm}/slaves/{leg}/device", {"dev": dev, "address": "", "via": ""})
        self._blocked = {name: times for name, times in self._blocked.items() if name in self._disks}
        self._kept.keep([f"{disk.path}/{name}" for disk in self._disks.values() for name in ("state", "wwid")])

    @staticmethod
    def _san(row: Fields) -> _Disk:
        return _Disk(device(row), {name: row[name] for name in ("dev", "address", "via")})

    def _identify(self, name: str, disk: _Disk) -> None:
        wwid = self._kept.text(f"{disk.path}/wwid")
        if name not in self._names or self._names[name][0] != wwid:
            self._names[name] = (wwid, names(read(f"{self._sys.root}/{disk.path}/vpd_pg83")))

    def _disk(self, name: str, disk: _Disk) -> Row:
        state = self._states[name]
        times = self._blocked[name] = min(2, self._blocked.get(name, 0) + 1) if state in _WAITING else 0
        wwid, known = self._names[name]
        return {**disk.fields, "state": state, "times": times, "wwid": wwid, "names": list(known)}


class Daemon:
    """multipathd's word on each path. For one thread at a time."""

    def __init__(self, root: Path, multipathd: Multipathd) -> None:
        self._tree, self._multipathd = Tree(root), multipathd
        self._trouble = ("", 0)
        self._last = Found({"maps": None})

    def look(self) -> Found:
        """Return ``maps`` as :meth:`Multipathd.maps`, or why there are none as ``trouble``, and for how many looks as ``times``."""
        trouble, rows = "", list[Row]()
        try:
            rows = self._ask()
        except DaemonError as error:
            trouble = str(error)
        before, times = self._trouble
        self._trouble = (trouble, min(3, times + 1 if before == trouble else 1))
        if trouble or rows is not self._last.picture["maps"]:
            self._last = Found({"maps": rows, "trouble": trouble, "times": self._trouble[1] if trouble else 0}, bad=bool(trouble))
        return self._last

    def _ask(self) -> list[Row]:
        if self._runs() is False:
            self._multipathd.close()
            raise DaemonError("multipathd does not run")
        return self._multipathd.maps()

    def _runs(self) -> bool | None:
        """Tell whether its unit has a process (cgroup v2); None where no unit can be seen at all."""
        events = self._tree.text(_UNIT)
        if events:
            return "populated 1" in events.split("\n")
        return False if "system.slice" in self._tree.names("sys/fs/cgroup") else None


def identities(kernel: Paths, inquiry: Inquiry) -> Found:
    """Return the names that the running disks themselves give, by disk; those that did not answer are left out."""
    pages = inquiry.pages(kernel.running())
    return Found({"disks": {disk: list(found) for disk, page in pages.items() if (found := names(page))}})
