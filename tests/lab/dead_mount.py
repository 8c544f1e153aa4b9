"""``python -m tests.lab.dead_mount``: a hard NFS mount is dead for an hour, 20 writers hang in it, and the agent must not notice at all.

Ends with 0 when its event loop stayed in time, threads, processes, descriptors and memory stayed flat, it ended within 5 s of SIGTERM while
the mount was still dead, and what it had left in the mount was gone after the repair.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from rich.console import Console

from tests.lab import faults, image
from tests.lab.agents import Faultline
from tests.lab.faults import do
from tests.lab.guest import Guest
from tests.lab.image import LabError
from tests.lab.scenarios import FIRST
from tests.lab.site import Site
from tests.lab.weight import UNIT, Weight, weigh

LATE: Final = 50
"""Milliseconds that the event loop may be late, p99 of two minutes, asked each minute."""
STOP: Final = 5.0
"""Seconds from SIGTERM to the end."""
MEMORY: Final = 2.0
"""MB by which its memory may grow: what an allocator holds back, and less than a leak of a hundred bytes for each look would make."""
_WARM: Final = 210.0
"""Seconds until a started agent weighs what it weighs, and what it says of its loop is of no minute of its start."""
_WRITER: Final = "dd if=/dev/zero of=/mnt/pve/nas-vm/dead{number} bs=64k count=1 oflag=direct 2>/dev/null & "


def measure(site: Site, minutes: float, writers: int, console: Console) -> list[str]:
    """Return what was not as it must be."""
    node, problems = site.nodes[FIRST], list[str]()
    time.sleep(_WARM)
    before = weigh(node)
    console.print(f"before    {_line(before)}", highlight=False)
    fault = faults.server_silent()
    do(site, fault.begin)
    node.spawn("".join(_WRITER.format(number=number) for number in range(writers)) + "wait", "writers")
    end, last = time.monotonic() + minutes * 60, before
    while time.monotonic() < end:
        time.sleep(60)
        now = weigh(node)
        console.print(
            f"{(now.at - before.at) / 60:5.0f} min {_line(now)}, {now.share(last) + now.started_share(last):.2f} % of a core",
            highlight=False,
        )
        problems += _worse(before, now)
        last = now
    problems += _hanging(node, writers)
    began = time.monotonic()
    node.check(f"systemctl stop {UNIT}", 60)
    stopped = time.monotonic() - began
    console.print(f"SIGTERM to end: {stopped:.1f} s", highlight=False)
    if stopped > STOP:
        problems.append(f"ended {stopped:.1f} s after SIGTERM, limit {STOP:g} s")
    do(site, fault.end)
    site.healthy(300)
    if left := node.run("pgrep -c -u faultline").out.strip().replace("0", ""):
        problems.append(f"{left} processes of the agent are left after the repair")
    return list(dict.fromkeys(problems))


def _line(one: Weight) -> str:
    return (
        f"{one.memory:.1f} MB, {one.threads} threads, {one.processes} processes, {one.descriptors} descriptors,"
        f" loop at most {one.late} ms late (p99)"
    )


def _worse(before: Weight, now: Weight) -> list[str]:
    found = []
    if now.late > LATE:
        found.append(f"the event loop was {now.late} ms late, limit {LATE} ms")
    if now.memory > before.memory + MEMORY:
        found.append(f"memory grew from {before.memory:.1f} to {now.memory:.1f} MB")
    for name, most in (("threads", 0), ("processes", 2), ("descriptors", 4)):  # a child for each of two mounts, with two descriptors
        was, is_now = getattr(before, name), getattr(now, name)
        if is_now > was + most:
            found.append(f"{name} grew from {was} to {is_now}")
    return found


def _hanging(node: Guest, writers: int) -> list[str]:
    count = int(node.run("ps -eo stat=,comm= | grep -c '^D.* dd$'").out.strip() or 0)
    return [] if count >= writers else [f"only {count} of {writers} writers hang: the test shows nothing"]


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--writers", type=int, default=20)
    chosen = parser.parse_args()
    console = Console(width=160)
    with tempfile.TemporaryDirectory(prefix="faultline-lab-") as directory:
        try:
            place = Path(directory)
            with Site(image.build(), place, 1) as site, Faultline(place, site.nodes):
                problems = measure(site, chosen.minutes, chosen.writers, console)
        except LabError as error:
            problems = [str(error)]
    for one in problems:
        console.print(f"NOT AS IT MUST BE: {one}", markup=False, highlight=False)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
