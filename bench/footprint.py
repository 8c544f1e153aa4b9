"""What agent and controller take while nothing happens: resident memory and CPU, both sources on and a session up."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import psutil

from bench.figures import Figure
from bench.journal_source import make_journal
from bench.running import Running, wait

GROUP: Final = "footprint"
HEADING: Final = "Footprint of idle processes (agent: journald and pmxcfs sources on, session with a controller)"
MEMORY: Final = 60.0
"""MB (10^6 bytes)."""
CPU: Final = 0.5
"""Per cent of one core."""
_MB: Final = 1e6
_STILL: Final = 5.0
"""Seconds for start-up to be over."""


def measure(place: Path, entries: int, seconds: float) -> list[Figure]:
    """Return memory and CPU over ``seconds`` of idling, after the agent read a journal of at least ``entries`` entries."""
    with Running(place) as running:
        journal, pmxcfs = place / "node.journal", place / "pve"
        make_journal(journal, entries)
        (pmxcfs / "nodes" / "pve1").mkdir(parents=True)
        (pmxcfs / "storage.cfg").write_text("dir: local\n\tpath /var/lib/vz\n\tcontent iso\n")
        controller = running.controller()
        agent = running.agent("pve1", f'[journal]\nfiles = ["{journal}"]\nstart = "beginning"\n[pmxcfs]\nroot = "{pmxcfs}"\n')
        _until_still(agent.pid)
        time.sleep(_STILL)
        before = {pid: _cpu(pid) for pid in (agent.pid, controller.pid)}
        time.sleep(seconds)
        used = {pid: (_cpu(pid) - since) / seconds * 100 for pid, since in before.items()}
        return [*_figures("agent", agent.pid, used, seconds, limited=True), *_figures("controller", controller.pid, used, seconds)]


def _until_still(pid: int) -> None:
    """Wait until the journal has been read: a second without work."""
    last = [-1.0]

    def still() -> bool:
        now = _cpu(pid)
        quiet, last[0] = now - last[0] < 0.1, now
        return quiet

    wait(still, "idle agent", 120, pause=1.0)


def _figures(name: str, pid: int, used: dict[int, float], seconds: float, *, limited: bool = False) -> list[Figure]:
    status, mapped = _status(pid), _mapped(pid, ".journal")
    total = status["VmRSS"]
    own = (status["RssAnon"] + status["RssShmem"]) / _MB
    note = f"without {mapped / _MB:.1f} MB of mapped journal, which the kernel takes back at will; all: {total / _MB:.1f} MB"
    return [
        Figure(GROUP, f"{name}, resident", (total - mapped) / _MB, "MB", MEMORY if limited else None, "at most", note),
        Figure(GROUP, f"{name}, anonymous and shared", own, "MB", note="RssAnon + RssShmem: what nobody else uses"),
        Figure(GROUP, f"{name}, CPU", used[pid], "% of a core", CPU if limited else None, "at most", f"over {seconds:.0f} s, to 10 ms"),
    ]


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _status(pid: int) -> dict[str, int]:
    """Return the sizes in /proc/PID/status, bytes."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {fields[0].rstrip(":"): int(fields[1]) * 1024 for fields in lines if fields[-1] == "kB"}


def _mapped(pid: int, suffix: str) -> int:
    """Return how many resident bytes belong to mappings of files with a suffix."""
    found, counts = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        fields = line.split()
        if "-" in fields[0]:
            counts = fields[-1].endswith(suffix)
        elif counts and fields[0] == "Rss:":
            found += int(fields[1]) * 1024
    return found
