"""VPD page 83: the designators of a SCSI logical unit, in the names that multipath gives them.

A disk says on that page which logical unit it leads to (SPC-4 §7.8.6). The kernel reads the page when a disk appears and when it is
rescanned, never in between (drivers/scsi/scsi.c, scsi_attach_vpd), and shows its copy as ``device/vpd_pg83``, readable for everybody.

A unit has several designators, and kernel, udev and multipath do not choose the same one. Two disks are told apart by all of them: a disk
leads to a map's LUN when any of its names is the map's WWID. Forms: multipath-tools libmultipath/discovery.c (parse_vpd_pg83).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

LONGEST: Final = 4096
"""Bytes of a page that are looked at. Real ones have 50 to 500."""
_HEADER: Final = 4
_PAGE: Final = 0x83
_MOST: Final = 16
"""Most names of one unit."""
_T10, _EUI, _NAA, _NAME = 1, 2, 3, 8
"""Designator types."""
_SCSI_NAME: Final = re.compile(r"(eui|naa)\.([0-9A-Fa-f]{16,32})")
_NAA_BYTES: Final = {2: 8, 3: 8, 5: 8, 6: 16}
"""Length in bytes by the kind of NAA identifier; others are not valid."""
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]{2,128}")


def names(page: bytes) -> tuple[str, ...]:
    """Return the names of a logical unit on its page 83, each once; none when it is no such page. Never raises.

    `3` and 16 or 32 hex digits for NAA identifiers, `2` and hex digits for EUI-64, `1` and a text for the T10 vendor form.
    """
    found = dict.fromkeys(name for kind, value in _designators(page) if (name := _name(kind, value)) and _PRINTABLE.fullmatch(name))
    return tuple(found)[:_MOST]


def read(path: str) -> bytes:
    """Return a page that the kernel holds, or a copy of it; empty when there is none, or the disk vanished."""
    # Not blocking: in a copied tree anything may lie there.
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        with suppress(OSError):
            return os.read(fd, LONGEST)
        return b""
    finally:
        os.close(fd)


def _designators(page: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of each designator that names the unit, not its port or target."""
    if len(page) < _HEADER or page[1] != _PAGE:
        return
    at, end = _HEADER, min(len(page), _HEADER + int.from_bytes(page[2:4], "big"))
    while at + _HEADER <= end:
        value = page[at + _HEADER : at + _HEADER + page[at + 3]]
        if len(value) < page[at + 3] or at + _HEADER + len(value) > end:
            return
        if page[at + 1] & 0x30 == 0:
            yield page[at + 1] & 0x0F, value
        at += _HEADER + len(value)


def _name(kind: int, value: bytes) -> str:
    if kind == _NAA:
        return f"3{value.hex()}" if value and _NAA_BYTES.get(value[0] >> 4) == len(value) else ""
    if kind == _EUI:
        return f"2{value.hex()}" if len(value) in (8, 12, 16) else ""
    text = value.rstrip(b"\0").decode("ascii", "replace")
    if kind == _NAME and (match := _SCSI_NAME.fullmatch(text)):
        return ("3" if match[1] == "naa" else "2") + match[2].lower()
    if kind == _T10 and len(value) >= 8:
        return "1" + re.sub(" +", "_", text)
    return ""
