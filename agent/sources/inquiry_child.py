"""Program that reads page 83 of disks, one INQUIRY each: names of nodes in /dev come in on lines, `name hexdigits` goes out for each.

It is started by :mod:`agent.sources.inquiry` as a bare interpreter, so it imports nothing of ours. INQUIRY takes no data from the medium,
changes nothing, and does not take away a unit attention that is meant for others (SPC-4 §6.6).

The kernel's own time limit of 30 s is set on the command. A shorter one would do harm: a SCSI command that times out makes the kernel
stop all I/O of that host adapter and repair it (drivers/scsi/scsi_error.c). Whoever waits for the answer has the shorter patience.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from array import array
from typing import Final

_SG_IO: Final = 0x2285
_FROM_DEVICE: Final = -3
_TIMEOUT: Final = 30_000
"""Milliseconds."""
_COMMAND: Final = bytes((0x12, 0x01, 0x83, 0, 252, 0))
"""INQUIRY, vital product data, page 83, room for 252 bytes: old devices know only one byte of length."""
_HEADER: Final = struct.Struct("@iiBBHIPPPIIiPBBBBHHiII")
"""``struct sg_io_hdr`` (include/scsi/sg.h)."""


def inquire(path: str) -> bytes:
    """Return page 83 of a disk, empty when it refuses. Blocks, at worst for ever.

    :raises OSError: when the node cannot be opened or knows no SG_IO.
    """
    command, data, sense = array("B", _COMMAND), array("B", bytes(_COMMAND[4])), array("B", bytes(32))
    places = (data.buffer_info()[0], command.buffer_info()[0], sense.buffer_info()[0])
    request = (ord("S"), _FROM_DEVICE, len(command), len(sense), 0, len(data), *places, _TIMEOUT, 0, 0, 0)
    header = bytearray(_HEADER.pack(*request, *(0,) * 9))
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _SG_IO, header)
    finally:
        os.close(fd)
    status, host, driver, rest = (_HEADER.unpack(header)[at] for at in (13, 17, 18, 19))
    return data.tobytes()[: len(data) - rest] if not (status or host or driver) and 0 <= rest <= len(data) else b""


def main() -> None:
    """Answer until nobody asks any more. What cannot be asked has no digits."""
    for line in sys.stdin:
        for path in line.split():
            try:
                page = inquire(path)
            except OSError:
                page = b""
            sys.stdout.write(f"{path} {page.hex()}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
