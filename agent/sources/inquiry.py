"""Asks disks which logical unit they lead to, in a disposable process.

Why: when an array gives a LUN's number to another LUN, the kernel says `LUN assignments on this target have changed` at most, and sysfs
shows the old identity until somebody rescans. Only the disk itself tells the truth at once.

Why a process: the command is queued behind a session that recovers, and whoever waits for it cannot be killed until then (state D). So
one process of a bare interpreter asks all disks, one after the other. When it hangs it is left behind and the disk that it hangs on is
not asked until it has ended: at most one process for each dead disk, and at most eight in all. Disks that sysfs does not call `running`
are not asked in the first place.

Rights: reading /dev/sgN or /dev/sdX (group ``disk``); no capability, for INQUIRY is allowed to readers (drivers/scsi/scsi_ioctl.c,
scsi_cmd_allowed). The unit as shipped has ``PrivateDevices=yes`` and no such group, on purpose: who may read a disk may read
all guests' data. To allow it: ``PrivateDevices=no``, ``DevicePolicy=closed``, ``DeviceAllow=char-sg r``, ``SupplementaryGroups=disk``.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

_CHILD: Final = Path(__file__).with_name("inquiry_child.py")
_COMMAND: Final = (sys.executable, "-I", "-S", str(_CHILD))
_MOST_LEFT: Final = 8
"""Most processes that are left behind at a time."""
_MOST_A_LOOK: Final = 2
"""Most that are left behind in one look: it has a deadline itself."""
_CHUNK: Final = 1 << 16


class Inquiry:
    """Reads page 83 of disks below ``dev``. For one thread at a time. ``deadline``: seconds that one disk may take."""

    def __init__(self, dev: Path = Path("/dev"), deadline: float = 2.0, command: tuple[str, ...] = _COMMAND) -> None:
        self._dev, self._deadline, self._command = dev, deadline, command
        self._child: subprocess.Popen[bytes] | None = None
        self._left: dict[str, subprocess.Popen[bytes]] = {}

    def pages(self, nodes: Mapping[str, str]) -> dict[str, bytes]:
        """Return the pages of the disks that answered. ``nodes``: name in /dev to ask by, of each disk."""
        self._left = {disk: child for disk, child in self._left.items() if child.poll() is None}
        ask = {disk: f"{self._dev}/{node}" for disk, node in nodes.items() if disk not in self._left}
        found: dict[str, bytes] = {}
        for _ in range(_MOST_A_LOOK):
            if not ask or len(self._left) >= _MOST_LEFT:
                break
            found |= dict(self._round(ask))
            rest = [disk for disk in ask if disk not in found]
            if rest:
                self._leave(rest[0])
            ask = {disk: ask[disk] for disk in rest[1:]}
        return {disk: page for disk, page in found.items() if page}

    def close(self) -> None:
        """End the process; one that hangs is not waited for, it ends when its disk lets it."""
        held, self._child = self._child, None
        if held is not None:
            _end(held)
            with suppress(subprocess.TimeoutExpired):
                held.wait(1)

    def left_behind(self) -> int:
        """Return how many processes hang."""
        return len(self._left)

    def _round(self, ask: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
        """Ask one disk after the other; end at the first that does not answer in time."""
        child = self._child = self._child or self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        for disk, path in ask.items():
            try:
                os.write(child.stdin.fileno(), f"{path}\n".encode())
            except OSError:  # it died
                return
            line = _line(child.stdout.fileno(), time.monotonic() + self._deadline)
            if line is None:
                return
            yield disk, _page(line)

    def _leave(self, disk: str) -> None:
        held, self._child = self._child, None
        if held is not None:
            _end(held)
            self._left[disk] = held

    def _start(self) -> subprocess.Popen[bytes]:
        null = subprocess.DEVNULL
        pipe = subprocess.PIPE
        return subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=null, bufsize=0)  # noqa: S603  # our own file


def _line(fd: int, end: float) -> bytes | None:
    """Return one line; None when none came in time, or the process ended."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    line = b""
    while not line.endswith(b"\n"):
        if len(line) > _CHUNK or not poller.poll(max(0.0, end - time.monotonic()) * 1000):
            return None
        more = os.read(fd, _CHUNK)
        if not more:
            return None
        line += more
    return line


def _page(line: bytes) -> bytes:
    try:
        return bytes.fromhex(line.partition(b" ")[2].decode("ascii"))
    except ValueError:
        return b""


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill without waiting: in state D it dies when its disk answers."""
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    child.kill()
