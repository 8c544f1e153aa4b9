"""What the agent weighs in a guest: processor time, memory, threads, descriptors, children, and how late its event loop is."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.lab.guest import Guest
from tests.lab.image import LabError

UNIT = "faultline-agent.service"
_SCRIPT = f"""\
pid=$(systemctl show -P MainPID {UNIT})
echo seconds $(cut -d' ' -f1 /proc/uptime)
echo ticks $(awk '{{print $14+$15}}' /proc/$pid/stat)
echo started $(awk '{{print $16+$17}}' /proc/$pid/stat)
echo rss $(awk '/^VmRSS/{{print $2}}' /proc/$pid/status)
echo journal $(awk '/journal( .deleted.)?$/{{of=1; next}} /^[0-9a-f]+-/{{of=0}} of && /^Rss:/{{n+=$2}} END{{print n+0}}' /proc/$pid/smaps)
echo threads $(awk '/^Threads/{{print $2}}' /proc/$pid/status)
echo descriptors $(ls /proc/$pid/fd | wc -l)
echo processes $(wc -l < /sys/fs/cgroup/system.slice/{UNIT}/cgroup.procs)
echo late $(systemctl show -P StatusText {UNIT} | sed -n 's/.*at most \\([0-9]*\\) ms late.*/\\1/p')
"""
_HERTZ = 100
"""Ticks of /proc/PID/stat in a second (sysconf(_SC_CLK_TCK) of every Linux that Debian builds)."""


class Weight(NamedTuple):
    """The agent at one moment. ``cpu``, that of its children that ended (``started``) and ``at`` in seconds.

    ``late`` is how late its event loop is, in ms (p99 of two minutes). ``memory`` is in MB (10^6) what is resident, without the mapped
    journal, which the kernel takes back at will.
    """

    at: float
    cpu: float
    started: float
    memory: float
    threads: int
    descriptors: int
    processes: int
    late: int

    def share(self, before: Weight) -> float:
        """Return its own processor time since another moment, per cent of one core."""
        return (self.cpu - before.cpu) / (self.at - before.at) * 100

    def started_share(self, before: Weight) -> float:
        """Return that of the children that it started, likewise."""
        return (self.started - before.started) / (self.at - before.at) * 100


def weigh(node: Guest) -> Weight:
    """Weigh the agent of a node.

    :raises LabError: when it does not run.
    """
    said = node.check(_SCRIPT)
    found = dict(re.findall(r"^(\w+) ([0-9.]+)$", said, re.MULTILINE))
    try:
        return Weight(
            at=float(found["seconds"]),
            cpu=int(found["ticks"]) / _HERTZ,
            started=int(found["started"]) / _HERTZ,
            memory=(int(found["rss"]) - int(found["journal"])) * 1024 / 1e6,
            threads=int(found["threads"]),
            descriptors=int(found["descriptors"]),
            processes=int(found["processes"]),
            late=int(found["late"]),
        )
    except KeyError as error:
        raise LabError(f"{node.name}: the agent does not run ({error}): {said}") from error
