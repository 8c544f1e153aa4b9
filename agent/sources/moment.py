"""When something was seen, on the time bases that journald uses: what is polled has no time of its own."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

UNKNOWN: Final = "unknown"
"""Id of a boot that the kernel does not show."""


class Moment(NamedTuple):
    """When something was seen: UTC µs since 1970, µs since boot, id of that boot."""

    at: int
    monotonic: int
    boot_id: str


def host_moment() -> Moment:
    """Read this host's clocks."""
    return Moment(time.time_ns() // 1000, time.monotonic_ns() // 1000, boot_id())


@cache
def boot_id() -> str:
    """Return the id of this boot as journald writes it, or :data:`UNKNOWN`."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip().replace("-", "")
    except OSError:
        return UNKNOWN


def utc_offset() -> int:
    """Return by how many minutes this host's local time is ahead of UTC now."""
    return time.localtime().tm_gmtoff // 60
