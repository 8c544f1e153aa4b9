"""What watching a healthy Ceph cluster costs an agent, beside `ceph health` in a shell loop.

The cluster is real (:mod:`tests.ceph.cluster`), and so are two agents, one with Ceph and one without: what the first takes more is what
Ceph costs. The loop asks what a shell script asks that watches Ceph, as often as the agent does, on the same cluster right afterwards.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Final, NamedTuple

from agent.sources.librados import CephError
from bench.figures import Figure, shown
from bench.journal_source import make_journal
from bench.process import MB, cpu, cpu_of_ended_children, mapped, proportional, sizes, until_still
from bench.running import BenchError, NotHereError, Running, wait
from tests.ceph.cluster import CephCluster, missing
from tests.ceph.layout import CLIENT
from tests.stored import Stored

GROUP: Final = "ceph"
HEADING: Final = "Agent beside a healthy Ceph cluster (3 monitors, 2 managers, 6 OSDs on this machine), and the same agent without Ceph"
CPU: Final = 0.5
"""Per cent of one core that watching Ceph may take."""
MEMORY: Final = 15.0
"""MB (10^6 bytes) that it may take."""
_PACE: Final = 2
"""Seconds between two questions for health: the agent's default."""
_WARM: Final = 40.0
"""Seconds until the first looks of every kind are over, maps and load included."""
_STORAGES: Final = "dir: local\n\tpath /var/lib/vz\n\tcontent iso\n\nrbd: vms\n\tpool rbd\n\tcontent images\n"


class _Taken(NamedTuple):
    """What one agent takes."""

    share: float
    """Per cent of a core."""
    resident: float
    """MB, without the mapped journal, which the kernel takes back at will."""
    proportional: float
    """MB, each page divided by the processes that have it: Ceph's daemons and QEMU have the same libraries."""
    own: float
    """MB that no other process uses."""
    threads: int


def measure(place: Path, seconds: float) -> list[Figure]:
    """Return what Ceph costs an agent over ``seconds``, and what the loop costs over as many.

    :raises NotHereError: where Ceph is not installed.
    """
    if reason := missing():
        raise NotHereError(f"it takes a Ceph cluster: {reason}")
    place.mkdir(parents=True)
    try:
        with CephCluster(place / "c") as cluster:
            beside, without = _agents(place, cluster, seconds)
            loop, once = _loop(cluster, seconds), _once(cluster)
            cluster.wait_healthy(1)
    except CephError as error:
        raise BenchError(str(error)) from error
    more = beside.share - without.share
    over = f"over {seconds:.0f} s, to 10 ms"
    shares = f"{shown(beside.share)} % with Ceph, {shown(without.share)} % without; {over}"
    size = f"{shown(beside.resident)} MB with Ceph, {shown(without.resident)} MB without; threads: {beside.threads}, {without.threads}"
    return [
        Figure(GROUP, "CPU more", more, "% of a core", CPU, "at most", shares),
        Figure(
            GROUP,
            "memory more (PSS)",
            beside.proportional - without.proportional,
            "MB",
            note="librados' libraries shared with the cluster's daemons, as on any node that has OSDs or guests on RBD",
        ),
        Figure(GROUP, "resident more", beside.resident - without.resident, "MB", MEMORY, "at most", size),
        Figure(GROUP, "anonymous and shared more", beside.own - without.own, "MB", note="RssAnon + RssShmem: what nobody else uses"),
        Figure(GROUP, f"`ceph health` each {_PACE} s, CPU", loop, "% of a core", note=f"shell loop, {over}; each up to {shown(once)} MB"),
        Figure(GROUP, "agent ÷ loop, CPU", more / loop, note="the agent asks for OSDs, pools and monitors beside, and follows the log"),
    ]


def _agents(place: Path, cluster: CephCluster, seconds: float) -> tuple[_Taken, _Taken]:
    """Return what an agent that watches the cluster takes, and one that does not."""
    journal, pmxcfs = place / "node.journal", place / "pve"
    make_journal(journal, 1000)
    (pmxcfs / "nodes" / "pve1").mkdir(parents=True)
    (pmxcfs / "storage.cfg").write_text(_STORAGES)
    common = f'[journal]\nfiles = ["{journal}"]\nstart = "beginning"\n[pmxcfs]\nroot = "{pmxcfs}"\n'
    with Running(place / "faultline") as running:
        running.controller()
        layout = cluster.layout
        both = [
            running.agent("pve1", f'{common}[ceph]\nconf = "{layout.conf}"\nkeyring = "{layout.client_keyring()}"\n').pid,
            running.agent("pve2", f"{common}[ceph]\nenabled = false\n").pid,
        ]
        stored = Stored(running.database)
        wait(lambda: any(one.kind == "ceph.quorum.formed" for one in stored.since(0)[0]), "agent that has told of the cluster")
        time.sleep(_WARM)
        for pid in both:
            until_still(pid, "idle agent")
        before = [cpu(pid) for pid in both]
        time.sleep(seconds)
        beside, without = (_taken(pid, since, seconds) for pid, since in zip(both, before, strict=True))
    return beside, without


def _taken(pid: int, since: float, seconds: float) -> _Taken:
    share, size = (cpu(pid) - since) / seconds * 100, sizes(pid)
    resident = (size["VmRSS"] - mapped(pid, ".journal")) / MB
    return _Taken(
        share,
        resident,
        proportional(pid, ".journal") / MB,
        (size["RssAnon"] + size["RssShmem"]) / MB,
        len([*Path(f"/proc/{pid}/task").iterdir()]),
    )


def _health(cluster: CephCluster) -> list[str]:
    return ["ceph", "-c", str(cluster.layout.conf), "-n", CLIENT, "health"]


def _loop(cluster: CephCluster, seconds: float) -> float:
    """Return the share of a core that the loop takes with all that it starts, in per cent."""
    script = f"while :; do {shlex.join(_health(cluster))} >/dev/null & sleep {_PACE}; wait; done"
    loop = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    try:
        time.sleep(3 * _PACE)
        before = cpu_of_ended_children(loop.pid)
        time.sleep(seconds)
        return (cpu_of_ended_children(loop.pid) - before) / seconds * 100
    finally:
        os.killpg(loop.pid, signal.SIGKILL)
        loop.wait()


def _once(cluster: CephCluster) -> float:
    """Return the most memory, in MB, that `ceph health` has while it runs."""
    asking = subprocess.Popen(_health(cluster), stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(asking.pid, 0)
    asking.returncode = os.waitstatus_to_exitcode(status)
    if asking.returncode:
        raise BenchError(f"`ceph health` ended with {asking.returncode}")
    return used.ru_maxrss * 1024 / MB
