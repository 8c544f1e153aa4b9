"""A node's mounts as two texts, read without touching any of them: the kernel's table and /etc/fstab."""

from __future__ import annotations

from typing import Any, Final

from agent.sources.host_files import Tree

MOUNTINFO: Final = "proc/self/mountinfo"
TABLE: Final = 1 << 22
"""Most bytes of the table that are read: 20,000 mounts."""


def mounts(tree: Tree) -> dict[str, Any]:
    """Return the texts ``mountinfo`` (proc_pid_mountinfo(5)) and ``fstab`` (fstab(5)). The values may hold passwords."""
    return {"mountinfo": tree.text(MOUNTINFO, TABLE), "fstab": tree.text("etc/fstab")}
