"""Seconds from a change of storage.cfg on another node to its event in the controller's log, and what watching costs meanwhile.

/etc/pve is a FUSE file system that behaves like pmxcfs: a change made elsewhere is reported to nobody. Agent and controller are
the real programs with their default settings. Mounting takes root; without it there are no figures.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random
from typing import Final

import psutil

from bench.figures import Figure, middle, percentile
from bench.running import BenchError, Running, wait
from tests.fuse_pmxcfs import Pmxcfs, can_mount

GROUP: Final = "pmxcfs"
HEADING: Final = "A change of storage.cfg on another node, and an agent that watches /etc/pve"
LIMIT: Final = 1.5
CPU_LIMIT: Final = 0.5
_NODE: Final = "pve1"
_LOOK: Final = 0.005
_START: Final = 1_795_000_000


class _Cluster:
    """The files of a small cluster, as pmxcfs would serve them."""

    def __init__(self, mountpoint: Path) -> None:
        self._count = 1
        self.served = Pmxcfs(mountpoint, self._files())

    def _files(self) -> dict[str, bytes]:
        nodes = {name: {"id": number, "online": 1, "ip": f"10.0.0.{number}"} for number, name in enumerate(("pve1", "pve2", "pve3"), 1)}
        cluster = {"name": "bench", "version": 3, "nodes": 3, "quorate": 1}
        counters = {"starttime": _START, "clinfo": 1, "vmlist": 1, "storage.cfg": self._count, "ha/rules.cfg": 1, "kvstore": {}}
        return {
            ".version": json.dumps(counters).encode(),
            ".members": json.dumps({"nodename": _NODE, "version": 3, "cluster": cluster, "nodelist": nodes}).encode(),
            ".vmlist": b'{"version": 1}',
            "storage.cfg": b"nfs: nas\n\tserver 10.0.1.%d\n\texport /export/pve\n\n" % (self._count % 250 + 1),
        }

    def change(self) -> float:
        """Change storage.cfg as another node does; return the monotonic time right before."""
        self._count += 1
        began = time.monotonic()
        self.served.files |= self._files()
        return began


def measure(place: Path, changes: int) -> list[Figure]:
    """Return the times of so many changes, and the agent's cost of looking once a second."""
    if not can_mount():
        print("bench: mounting a FUSE file system takes root: skipped", file=sys.stderr)
        return []
    place.mkdir(parents=True)
    (mountpoint := place / "pve").mkdir()
    dice, taken = Random(1), list[float]()
    with ExitStack() as stack:
        cluster = _Cluster(mountpoint)
        stack.callback(cluster.served.stop)
        running = stack.enter_context(Running(place / "run"))
        running.controller()
        agent = psutil.Process(running.agent(_NODE, f'[journal]\nenabled = false\n[pmxcfs]\nroot = "{mountpoint}"\n').pid)
        log = stack.enter_context(closing(sqlite3.connect(f"{running.database.as_uri()}?mode=ro", uri=True, isolation_level=None)))
        wait(lambda: _count(log, "storage.defined"), "definition of a storage")
        used, since = sum(agent.cpu_times()[:2]), time.monotonic()
        time.sleep(min(20.0, 2.0 * changes))
        idle = (sum(agent.cpu_times()[:2]) - used) / (time.monotonic() - since) * 100
        for _ in range(changes):
            time.sleep(dice.uniform(0, 1))  # at any moment between two looks
            before = _count(log, "storage.config.changed")
            began = cluster.change()
            wait(lambda before=before: _count(log, "storage.config.changed") > before, "event of the change", 30, _LOOK)  # type: ignore[misc]
            taken.append(time.monotonic() - began)
        if _count(log, "storage.undefined"):
            raise BenchError("a storage was taken for removed")
    note = f"{changes} changes at any moment between two looks, committed at the controller"
    return [
        Figure(GROUP, "change to event, p50", middle(taken), "s", note=note),
        Figure(
            GROUP, "change to event, p99", percentile(taken, 0.99), "s", limit=LIMIT, sense="at most", note=f"largest {max(taken):.2f} s"
        ),
        Figure(
            GROUP, "agent's CPU while nothing changes", idle, "%", limit=CPU_LIMIT, sense="at most", note="of one core, a look a second"
        ),
    ]


def _count(log: sqlite3.Connection, kind: str) -> int:
    return int(log.execute("SELECT count(*) FROM log WHERE kind = ?", (kind,)).fetchone()[0])
