"""``python -m tests.lab.cost``: what the agent takes on a node with ten storages and forty paths, beside a loop that asks multipathd.

Processors are emulated here, and slow. The share that a real one would see follows from how long the same piece of Python takes in
the guest and on this host; both are printed. The yardstick is `multipathd show maps json` each 5 s, which is the least that
anybody who watches paths does. `make bench` prints the same (:mod:`bench.storages`).
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
_LOOP: Final = f"while :; do {LOOP} >/dev/null; sleep 5; done"
_PIECE: Final = "import time; began = time.process_time(); sum(hash(str(n)) & 1 for n in range(300000)); print(time.process_time() - began)"


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


def slowness(node: Guest) -> float:
    """Return how many times as long as on this host a piece of Python takes in a guest."""
    here = min(float(subprocess.run(["python3", "-c", _PIECE], capture_output=True, text=True, check=True).stdout) for _ in range(3))
    there = min(float(node.check(f'python3 -c "{_PIECE}"', 120)) for _ in range(3))
    return there / here


class Cost(NamedTuple):
    """What was measured over ``seconds`` each. Shares are per cent of an emulated core, ``slowness`` times as slow as one of this host."""

    seconds: float
    slowness: float
    agent: float
    loop: float
    """Of the loop and the client that it starts, without multipathd's own share."""
    memory: float
    """MB of the agent."""
    threads: int

    @property
    def about(self) -> float:
        """The agent's share of a core like this host's."""
        return self.agent / self.slowness


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
    factor = slowness(node)
    before = weigh(node)
    time.sleep(seconds)
    now = weigh(node)
    node.spawn(_LOOP, "loop")
    time.sleep(seconds)
    used = int(node.check("systemctl show -P CPUUsageNSec loop")) / 1e9
    return Cost(seconds, factor, now.share(before), used / seconds * 100, now.memory, now.threads)


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
        f"{PATHS} paths, {STORAGES} storages, {cost.seconds:.0f} s each; an emulated core is {cost.slowness:.1f} times as slow\n"
        f"agent: {cost.agent:.2f} % of an emulated core, about {cost.about:.2f} % of a real one; {cost.memory:.1f} MB,"
        f" {cost.threads} threads\n"
        f"`{LOOP}` each 5 s: {cost.loop:.2f} % of an emulated core, about {cost.loop / cost.slowness:.2f} % of a real one,"
        " without multipathd's own share\n"
        f"agent / loop: {cost.agent / cost.loop:.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
