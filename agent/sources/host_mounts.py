"""A node's mounts as two texts, read without touching any of them: the kernel's table and /etc/fstab."""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import Any, Final

from agent.sources.host_files import Tree

MOUNTINFO: Final = "proc/self/mountinfo"
TABLE: Final = 1 << 22
"""Most bytes of the table that are read: 20,000 mounts."""


def mounts(tree: Tree) -> dict[str, Any]:
    """Return the texts ``mountinfo`` (proc_pid_mountinfo(5)) and ``fstab`` (fstab(5)). The values may hold passwords."""
    return {"mountinfo": tree.text(MOUNTINFO, TABLE), "fstab": tree.text("etc/fstab")}


class MountTable:
    """The table of mounts of a host or a copied tree, read again only when it may be another. For one thread at a time.

    The kernel says when its own changed: poll(2) on an open /proc/self/mountinfo finds an exceptional condition (proc_pid_mountinfo(5)).
    """

    def __init__(self, root: Path) -> None:
        self._tree, self._live = Tree(root), root == Path("/")
        self._poller = select.poll()
        self._fd = -1
        self._text = ""

    def text(self) -> str:
        """Return the table; the same object as before while it is the same."""
        if self._fd < 0 or self._poller.poll(0):
            if self._live and self._fd < 0:
                self._watch()
            read = self._tree.text(MOUNTINFO, TABLE)  # after the kernel was asked: what comes meanwhile is told at the next question
            if self._live and not read:
                self.close()  # no descriptor is free, for one: what was read last holds, and the next question reads anew
            elif read != self._text:
                self._text = read
        return self._text

    def close(self) -> None:
        """Watch no more."""
        held, self._fd = self._fd, -1
        if held >= 0:
            os.close(held)

    def _watch(self) -> None:
        try:
            self._fd = os.open(f"/{MOUNTINFO}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # no descriptor is free: read it each time
            return
        self._poller = select.poll()
        self._poller.register(self._fd, select.POLLPRI)
