"""What a process takes: CPU time, resident memory, and what of it is mapped from files of a kind."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psutil

from bench.running import wait

MB: Final = 1e6


def cpu(pid: int) -> float:
    """Return the seconds of CPU that a process has used, to 10 ms."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def cpu_of_ended_children(pid: int) -> float:
    """Return the seconds of CPU that those children of a process used which have ended and were waited for."""
    times = psutil.Process(pid).cpu_times()
    return float(times.children_user + times.children_system)


def sizes(pid: int) -> dict[str, int]:
    """Return the sizes in /proc/PID/status, bytes."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {fields[0].rstrip(":"): int(fields[1]) * 1024 for fields in lines if fields[-1] == "kB"}


def mapped(pid: int, suffix: str) -> int:
    """Return how many resident bytes belong to mappings of files with a suffix."""
    found, counts = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        fields = line.split()
        if "-" in fields[0]:
            counts = fields[-1].endswith(suffix)
        elif counts and fields[0] == "Rss:":
            found += int(fields[1]) * 1024
    return found


def until_still(pid: int, what: str) -> None:
    """Wait until a process has been started up and read what there is: a second without work."""
    last = [-1.0]

    def still() -> bool:
        now = cpu(pid)
        quiet, last[0] = now - last[0] < 0.1, now
        return quiet

    wait(still, what, 120, pause=1.0)
