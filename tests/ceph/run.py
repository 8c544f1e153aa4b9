"""``python -m tests.ceph.run``: break a real Ceph cluster in every way that is known, and print what Faultline made of it.

``--short``: what continuous integration plays. ``--only NAME``: these scenarios. ``--history``: all events and reports of each scenario,
else only of those that went wrong. ``--release trixie``: cluster, agents and controller all run inside a root of that Debian release
(:mod:`tests.ceph.root`), with its Ceph, its Python and its libraries.

Ends with 0 when each fault was told as it was: right cause, right entity, one incident, resolved; and what was meant called nobody.
Takes root, for a node is cut off with nftables.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from tests.ceph import root
from tests.ceph.agents import Watched
from tests.ceph.cluster import CephCluster, missing
from tests.ceph.cut import no_cuts
from tests.ceph.live import SHORT, Stage, table
from tests.ceph.scenarios import SCENARIOS, scenario
from tests.lab.image import LabError


def main(arguments: list[str] | None = None) -> int:
    """Run scenarios."""
    parser = argparse.ArgumentParser(prog="python -m tests.ceph.run", description=__doc__)
    parser.add_argument("--short", action="store_true", help="the scenarios of continuous integration")
    parser.add_argument("--only", action="append", default=[], choices=[one.name for one in SCENARIOS], metavar="NAME")
    parser.add_argument("--history", action="store_true", help="print all events and reports")
    parser.add_argument("--release", choices=root.SUITES, help="a Debian release to run all of it in")
    chosen = parser.parse_args(arguments)
    if chosen.release:
        return _inside(chosen)
    if reason := missing() or no_cuts():
        sys.stderr.write(f"ceph: {reason}\n")
        return 1
    names = chosen.only or (SHORT if chosen.short else [one.name for one in SCENARIOS])
    console, began, outcomes = Console(width=170), time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="flc") as place, CephCluster(Path(place) / "c") as cluster:
        console.print(f"HEALTH_OK after {time.monotonic() - began:.0f} s: {', '.join(cluster.ask('versions')['overall'])}", highlight=False)
        console.print(f"agents and controller: Python {platform.python_version()}, {_libraries()}", highlight=False)
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


def _inside(chosen: argparse.Namespace) -> int:
    """Run the same inside a root of another release. What is mounted and started for it ends with it, however it ends."""
    words = [f"--{name}" for name in ("short", "history") if getattr(chosen, name)] + [f"--only={name}" for name in chosen.only]
    try:
        return root.run(chosen.release, ["python3", "-m", "tests.ceph.run", *words])
    except LabError as error:
        sys.stderr.write(f"ceph: {error}\n")
        return 1


def _libraries() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("pydantic", "pyzmq", "msgpack", "structlog"))


if __name__ == "__main__":
    sys.exit(main())
