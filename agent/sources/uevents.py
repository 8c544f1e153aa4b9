"""Whether devices came, went or changed, by the kernel's count of its own messages about them and by udev's database.

The kernel counts its uevents in /sys/kernel/uevent_seqnum (kernel/ksysfs.c): one for each device that is added or removed, and for each
device-mapper device whose table is another (drivers/md/dm-ioctl.c). udev replaces a device's file in /run/udev/data, maybe minutes
later, by renaming another, which the directory's time shows. While both stand still the shape of sysfs does, nearly always: what few
things change without a word (members of an md array) are seen a few minutes later. States and WWIDs of disks are not of this kind. Two
questions to the kernel stand for some hundreds then.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from agent.sources.host_files import Tree

_COUNT: Final = "sys/kernel/uevent_seqnum"
_DATABASE: Final = "run/udev/data"
_SETTLE: Final = 5.0
"""Seconds for which a message counts as new: the kernel unlinks the legs of an old table only after it."""
_STILL: Final = 4
"""How many times as seldom all is read anew while nothing comes, goes or changes."""


class Uevents:
    """What moved below ``root`` since the latest full reading. For one thread at a time; holds nothing open.

    ``every`` is the pace of full readings, seconds. Where the count cannot be read, as in a copied tree, everything counts as moving.
    """

    def __init__(self, root: Path, every: float) -> None:
        self._tree, self._database, self._every = Tree(root), f"{root}/{_DATABASE}", every
        self._latest: tuple[str, int] = "", 0
        self._moved = self._read = -every * _STILL

    def heard(self) -> bool:
        """Tell whether something moved within the last seconds."""
        latest, now = (self._tree.text(_COUNT), self._database_time()), time.monotonic()
        if not latest[0] or latest != self._latest:
            self._latest, self._moved = latest, now
        return now - self._moved < _SETTLE

    def read(self) -> None:
        """Take note that all is read now."""
        self._read = time.monotonic()

    def due(self) -> bool:
        """Tell whether all shall be read anew: after ``every`` seconds, or four times as many while nothing was heard."""
        moved = self._moved > self._read - _SETTLE
        return time.monotonic() - self._read >= (self._every if moved else self._every * _STILL)

    def _database_time(self) -> int:
        try:
            return os.stat(self._database).st_mtime_ns  # noqa: PTH116 - Path is slow
        except OSError:
            return 0
