"""Whether devices came, went or changed, by the kernel's count of its own messages about them.

The kernel counts its uevents in /sys/kernel/uevent_seqnum (kernel/ksysfs.c): one for each device that is added or removed, and for each
device-mapper device whose table is another (drivers/md/dm-ioctl.c). While the count stands still the shape of sysfs does, so that what was
read of it holds; states and WWIDs of disks change without a message. One file instead of some hundreds is read then.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from agent.sources.host_files import Kept

_COUNT: Final = "kernel/uevent_seqnum"
_SETTLE: Final = 5.0
"""Seconds for which a message counts as new: only after it the kernel unlinks the legs of an old table, and udev writes its database."""
_STILL: Final = 10
"""How many times as seldom all is read anew while nothing comes, goes or changes."""


class Uevents:
    """What moved since the latest full reading. For one thread at a time.

    ``every`` is the pace of full readings, seconds. Where the count cannot be read, as in a copied tree, everything counts as moving.
    """

    def __init__(self, sys: Path, every: float) -> None:
        self._kept, self._every = Kept(sys), every
        self._count = ""
        self._moved = self._read = -every * _STILL

    def heard(self) -> bool:
        """Tell whether something moved since the last call, or some seconds before it."""
        count, now = self._kept.text(_COUNT), time.monotonic()
        if not count or count != self._count:
            self._count, self._moved = count, now
        return now - self._moved < _SETTLE

    def read(self) -> None:
        """Take note that all is read now."""
        self._read = time.monotonic()

    def due(self) -> bool:
        """Tell whether all shall be read anew: after ``every`` seconds, or ten times as many while nothing was heard."""
        moved = self._moved > self._read - _SETTLE
        return time.monotonic() - self._read >= (self._every if moved else self._every * _STILL)
