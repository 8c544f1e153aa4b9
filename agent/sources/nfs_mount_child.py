"""Program that asks mounts whether they answer: paths come in, each ended by a zero byte; a line with the errno, or 0, goes out for each.

It is started by :mod:`agent.sources.nfs_mount_probe` as a bare interpreter, so it imports nothing of ours. What it asks is what coreutils'
``stat --cached=never --format=%Z`` asks: statx(2) for the time of the last status change, from the server and not from the cache.
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Final

_HERE: Final = -100
"""AT_FDCWD (linux/fcntl.h); paths are absolute."""
_FLAGS: Final = 0x100 | 0x800 | 0x2000
"""AT_SYMLINK_NOFOLLOW, AT_NO_AUTOMOUNT, AT_STATX_FORCE_SYNC (linux/fcntl.h)."""
_CTIME: Final = 0x80
"""STATX_CTIME (linux/stat.h)."""
_SIZE: Final = 256
"""Bytes of ``struct statx`` (linux/stat.h)."""
_DIE_WITH_PARENT: Final = 1
"""PR_SET_PDEATHSIG (linux/prctl.h)."""
_CHUNK: Final = 1 << 16


def main() -> None:
    """Answer until nobody asks any more, or until the agent is gone, also while a mount does not answer."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    room, rest = ctypes.create_string_buffer(_SIZE), b""
    while more := os.read(0, _CHUNK):
        *paths, rest = (rest + more).split(b"\0")
        for path in paths:
            failed = libc.statx(_HERE, path, _FLAGS, _CTIME, room)
            os.write(1, b"%d\n" % (ctypes.get_errno() if failed else 0))


if __name__ == "__main__":
    main()
