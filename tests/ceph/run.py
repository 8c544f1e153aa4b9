"""``python -m tests.ceph.run``: break a real Ceph cluster in every way that is known, and print what Faultline made of it.

``--short``: what continuous integration plays. ``--only NAME``: these scenarios. ``--history``: all events and reports of each scenario,
else only of those that went wrong. Ends with 0 when each fault was told as it was: right cause, right entity, one incident, resolved;
and what was meant called nobody. Takes root, for a node is cut off with nftables.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tests.ceph.agents import Watched
from tests.ceph.cluster import CephCluster, missing
from tests.ceph.cut import no_cuts
from tests.ceph.live import SHORT, Stage, table
from tests.ceph.scenarios import SCENARIOS, scenario


def main(arguments: list[str] | None = None) -> int:
    """Run scenarios."""
    parser = argparse.ArgumentParser(prog="python -m tests.ceph.run", description=__doc__)
    parser.add_argument("--short", action="store_true", help="the scenarios of continuous integration")
    parser.add_argument("--only", action="append", default=[], choices=[one.name for one in SCENARIOS], metavar="NAME")
    parser.add_argument("--history", action="store_true", help="print all events and reports")
    chosen = parser.parse_args(arguments)
    if reason := missing() or no_cuts():
        sys.stderr.write(f"ceph: {reason}\n")
        return 1
    names = chosen.only or (SHORT if chosen.short else [one.name for one in SCENARIOS])
    console, began, outcomes = Console(width=170), time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="flc") as place, CephCluster(Path(place) / "c") as cluster:
        console.print(f"HEALTH_OK after {time.monotonic() - began:.0f} s: {', '.join(cluster.ask('versions')['overall'])}", highlight=False)
        with Watched(cluster, Path(place) / "w") as watched:
            stage = Stage(watched)
            for name in names:
                outcome = stage.play(scenario(name))
                outcomes.append(outcome)
                problems = outcome.problems()
                console.print(f"{time.monotonic() - began:5.0f} s  {name}: {'; '.join(problems) or 'ok'}", highlight=False)
                if problems or chosen.history:
                    console.print("\n".join(outcome.history()), highlight=False, markup=False, soft_wrap=True)
    console.print(table(outcomes))
    console.print(f"{len(outcomes)} scenarios in {time.monotonic() - began:.0f} s")
    return 1 if any(one.problems() for one in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
