"""``python -m tests.lab.cost``: what the agent takes on a node with ten storages and forty paths, beside a loop that asks multipathd.

Processors are emulated here, and slow, but not at everything alike: some 11 times at arithmetic, 13 to 17 times at what an agent at rest
does (a thread wakes with cold caches, asks the kernel for small files, says something over a connection), and fifty to eighty times at
starting a program. So two pieces are timed in the guest and on this host, one of each kind, and the shares that a real processor would
see follow from them (`docs/decisions/011-*`). The yardstick is `multipathd show maps json` each 5 s, which is the least that anybody who
watches paths does. `make bench` prints the same (:mod:`bench.storages`).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console

from tests.lab import image
from tests.lab.agents import Faultline
from tests.lab.guest import Guest
from tests.lab.image import LabError
from tests.lab.scenarios import FIRST
from tests.lab.site import PORTALS, PVE, SERVER, STORAGE_CFG, TARGET, Site, targetcli, write
from tests.lab.weight import weigh

CPU: Final = 0.5
"""Per cent of one core."""
MEMORY: Final = 60.0
"""MB (10^6 bytes)."""
_LUNS: Final = 20
PATHS: Final = len(PORTALS) * _LUNS
STORAGES: Final = 10
LOOP: Final = "multipathd show maps json"
_WARM: Final = 180.0
_PIECE: Final = 60.0
"""Seconds that a piece takes at most in a guest."""
_LOOP: Final = f"while :; do {LOOP} >/dev/null; sleep 5; done"
_AT_REST: Final = """
import json, os, queue, socket, threading, time
attribute, bell = os.open("/sys/kernel/uevent_seqnum", os.O_RDONLY), queue.SimpleQueue()
rows = [{"dev": f"8:{n}", "address": f"2:0:0:{n}", "state": "running", "wwid": f"naa.6001405{n:025}"} for n in range(40)]
with socket.create_server(("127.0.0.1", 0)) as server:
    here = socket.create_connection(server.getsockname())
    there, _ = server.accept()

def answer():
    while asked := there.recv(100):
        there.sendall(asked)

def rounds(number):
    for _ in range(number):
        try:
            bell.get(timeout=1.0)
        except queue.Empty:
            pass
        for _ in rows:
            os.pread(attribute, 4096, 0).decode().strip()
        with open("/proc/self/status", "rb") as file:
            file.read()
        json.dumps(rows) == json.dumps(rows)
        here.sendall(bytes(44))
        here.recv(100)

threading.Thread(target=answer, daemon=True).start()
rounds(5)
began = time.process_time()
rounds(20)
print(time.process_time() - began, flush=True)
os._exit(0)
"""
"""What a look at rest does: a thread that has waited for a second reads forty attributes, compares them and asks a server."""
_STARTING: Final = """
import resource, subprocess
def used():
    sums = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sums.ru_utime + sums.ru_stime
before = used()
for _ in range(40):
    subprocess.run(["stat", "--cached=never", "/"], capture_output=True, check=True)
print(used() - before)
"""
"""What a look at the mounts starts."""


def enlarge(site: Site) -> None:
    """Give the site twenty LUNs and ten storages, eight of them NFS."""
    tpg = f"/iscsi/{TARGET}/tpg1"
    lines = []
    for lun in range(len(site.wwids), _LUNS):
        lines += [
            f"/backstores/fileio create lun{lun} /var/tmp/lun{lun}.img 16M",
            f"{tpg}/luns create /backstores/fileio/lun{lun} lun={lun}",
        ]
    site.nas.check(f"for n in $(seq 2 {_LUNS - 1}); do truncate -s 16M /var/tmp/lun$n.img; done\n{targetcli(lines)}", 300)
    node = site.nodes[FIRST]
    node.check(
        "iscsiadm -m session --rescan >/dev/null; udevadm settle\n"
        f"for try in $(seq 240); do [ $(ls /dev/mapper | grep -c ^36) = {_LUNS} ] && exit 0; sleep 1; done; exit 1",
        400,
    )
    more = "".join(
        f"\nnfs: more{number}\n\texport /export/vm\n\tpath /mnt/pve/more{number}\n\tserver {SERVER}\n\tcontent images\n"
        for number in range(6)
    )
    names = " ".join(f"more{number}" for number in range(6))
    node.check(f"for one in {names}; do mkdir -p /mnt/pve/$one; mount -t nfs -o vers=4.2 {SERVER}:/export/vm /mnt/pve/$one; done", 120)
    write(node, f"{PVE}/storage.cfg", STORAGE_CFG.replace("@LUN@", f"scsi-{site.wwids[0]}") + more)
    node.check(f"chown root:www-data {PVE}/storage.cfg; chmod 640 {PVE}/storage.cfg")


def slowness(node: Guest, piece: str, name: str) -> float:
    """Return how many times as much processor time as on this host a piece of Python takes in a guest."""
    with tempfile.TemporaryDirectory() as directory:
        (file := Path(directory) / f"{name}.py").write_text(piece)
        node.push(file, f"/run/{file.name}")
        here = float(subprocess.run(["python3", file], capture_output=True, text=True, check=True, timeout=120).stdout)
    # In the background: a question that is under way keeps the guest busy with saying so.
    node.spawn(f"python3 /run/{name}.py > /run/{name}.tmp && mv /run/{name}.tmp /run/{name}.out", name)
    time.sleep(_PIECE)
    return float(node.check(f"cat /run/{name}.out")) / here


class Cost(NamedTuple):
    """What was measured over ``seconds`` each. Shares are per cent of an emulated core."""

    seconds: float
    slowness: float
    """How many times as slow as one of this host that core is at what an agent at rest does."""
    starting: float
    """And how many times at starting programs."""
    agent: float
    children: float
    """Of the programs that the agent starts."""
    loop: float
    """Of the loop and the client that it starts, without multipathd's own share."""
    memory: float
    """MB of the agent."""
    threads: int

    @property
    def about(self) -> float:
        """The agent's share of a core like this host's, with that of what it starts."""
        return self.agent / self.slowness + self.children / self.starting

    @property
    def about_loop(self) -> float:
        """The loop's: it is nothing but starts."""
        return self.loop / self.starting


def measure(place: Path, seconds: float) -> Cost:
    """Set a NAS and a node up below a directory and return what the agent takes there.

    :raises LabError: when the laboratory cannot do it.
    """
    with Site(image.build(), place, 1) as site, Faultline(place, site.nodes):
        return _measure(site, seconds)


def _measure(site: Site, seconds: float) -> Cost:
    node = site.nodes[FIRST]
    enlarge(site)
    node.check("systemctl stop load")
    time.sleep(_WARM)
    resting, starting = slowness(node, _AT_REST, "resting"), slowness(node, _STARTING, "starting")
    before = weigh(node)
    time.sleep(seconds)
    now = weigh(node)
    node.spawn(_LOOP, "loop")
    time.sleep(seconds)
    used = int(node.check("systemctl show -P CPUUsageNSec loop")) / 1e9
    shares = now.share(before), now.started_share(before)
    return Cost(seconds, resting, starting, *shares, used / seconds * 100, now.memory, now.threads)


def problems(cost: Cost) -> list[str]:
    """Return what is too much."""
    found = [] if cost.about <= CPU else [f"about {cost.about:.2f} % of a core, limit {CPU} %"]
    return found if cost.memory <= MEMORY else [*found, f"{cost.memory:.1f} MB, limit {MEMORY:g} MB"]


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="for each of the two")
    chosen = parser.parse_args()
    console = Console(width=170)
    with tempfile.TemporaryDirectory(prefix="faultline-lab-") as directory:
        try:
            cost = measure(Path(directory), chosen.seconds)
            found = problems(cost)
            console.print(_told(cost), highlight=False)
        except LabError as error:
            found = [str(error)]
    for one in found:
        console.print(f"NOT AS IT MUST BE: {one}", markup=False, highlight=False)
    return 1 if found else 0


def _told(cost: Cost) -> str:
    return (
        f"{PATHS} paths, {STORAGES} storages, {cost.seconds:.0f} s each; an emulated core is {cost.slowness:.1f} times as slow,"
        f" {cost.starting:.0f} times at starting programs\n"
        f"agent: {cost.agent:.2f} + {cost.children:.2f} % of an emulated core, about {cost.about:.2f} % of a real one;"
        f" {cost.memory:.1f} MB, {cost.threads} threads\n"
        f"`{LOOP}` each 5 s: {cost.loop:.2f} % of an emulated core, about {cost.about_loop:.2f} % of a real one,"
        " without multipathd's own share\n"
        f"agent / loop: {cost.about / cost.about_loop:.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
