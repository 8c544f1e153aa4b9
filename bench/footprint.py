"""What agent and controller take while nothing happens: resident memory and CPU, both sources on and a session up."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from bench.figures import Figure
from bench.journal_source import make_journal
from bench.process import MB, cpu, mapped, sizes, until_still
from bench.running import Running

GROUP: Final = "footprint"
HEADING: Final = "Footprint of idle processes (agent: journald and pmxcfs sources on, session with a controller)"
MEMORY: Final = 60.0
"""MB (10^6 bytes)."""
CPU: Final = 0.5
"""Per cent of one core."""
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
        until_still(agent.pid, "idle agent")
        time.sleep(_STILL)
        before = {pid: cpu(pid) for pid in (agent.pid, controller.pid)}
        time.sleep(seconds)
        used = {pid: (cpu(pid) - since) / seconds * 100 for pid, since in before.items()}
        return [*_figures("agent", agent.pid, used, seconds, limited=True), *_figures("controller", controller.pid, used, seconds)]


def _figures(name: str, pid: int, used: dict[int, float], seconds: float, *, limited: bool = False) -> list[Figure]:
    status, journal = sizes(pid), mapped(pid, ".journal")
    total = status["VmRSS"]
    own = (status["RssAnon"] + status["RssShmem"]) / MB
    note = f"without {journal / MB:.1f} MB of mapped journal, which the kernel takes back at will; all: {total / MB:.1f} MB"
    return [
        Figure(GROUP, f"{name}, resident", (total - journal) / MB, "MB", MEMORY if limited else None, "at most", note),
        Figure(GROUP, f"{name}, anonymous and shared", own, "MB", note="RssAnon + RssShmem: what nobody else uses"),
        Figure(GROUP, f"{name}, CPU", used[pid], "% of a core", CPU if limited else None, "at most", f"over {seconds:.0f} s, to 10 ms"),
    ]
