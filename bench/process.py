"""What a process takes: CPU time, resident memory, and what of it is mapped from files of a kind."""

from __future__ import annotations

from collections.abc import Iterator
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
    return sum(size for path, size in _mappings(pid, "Rss:") if path.endswith(suffix))


def proportional(pid: int, without: str) -> int:
    """Return the bytes of a process with each page divided by the processes that have it (PSS), but for files with a suffix."""
    return sum(size for path, size in _mappings(pid, "Pss:") if not path.endswith(without))


def _mappings(pid: int, what: str) -> Iterator[tuple[str, int]]:
    """Yield each mapping's path and one of its sizes in /proc/PID/smaps, bytes."""
    path = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        fields = line.split()
        if "-" in fields[0]:
            path = fields[-1]
        elif fields[0] == what:
            yield path, int(fields[1]) * 1024


def until_still(pid: int, what: str) -> None:
    """Wait until a process has been started up and read what there is: a second without work."""
    last = [-1.0]

    def still() -> bool:
        now = cpu(pid)
        quiet, last[0] = now - last[0] < 0.1, now
        return quiet

    wait(still, what, 120, pause=1.0)
