"""Everything that is measured, side by side in one run, and printed as one table with the limits that we set ourselves.

A figure that misses its limit says so and is no failure: machines differ, and other work on this one shows. What is compared
alternates within the run, so ratios bear that better than rates.

    python -m bench.run [--quick] [--format table|json] [--only GROUP ...]
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench import ceph_cost, classifying, config_change, core_cost, flow, footprint, latency, storages, storm, topology
from bench.figures import Figure, print_json, print_table
from bench.running import BenchError, NotHereError

_FULL: Final[dict[str, Callable[[Path], list[Figure]]]] = {
    flow.GROUP: lambda place: flow.measure(place, 50_000, 7),
    classifying.GROUP: lambda place: classifying.measure(place, 200_000, 5),
    footprint.GROUP: lambda place: footprint.measure(place, 60_000, 20),
    storm.GROUP: lambda place: storm.measure(place, 50_000, 60),
    latency.GROUP: lambda place: latency.measure(place, 4, 25),
    config_change.GROUP: lambda place: config_change.measure(place, 60),
    topology.GROUP: lambda place: topology.measure(place, topology.SIZES, 5),
    core_cost.GROUP: lambda place: core_cost.measure(place, core_cost.SIZES, 3),
    ceph_cost.GROUP: lambda place: ceph_cost.measure(place, 120),
    storages.GROUP: lambda place: storages.measure(place, 180),
}
_QUICK: Final[dict[str, Callable[[Path], list[Figure]]]] = {
    flow.GROUP: lambda place: flow.measure(place, 20_000, 2),
    classifying.GROUP: lambda place: classifying.measure(place, 30_000, 2),
    footprint.GROUP: lambda place: footprint.measure(place, 5_000, 5),
    storm.GROUP: lambda place: storm.measure(place, 4_000, 5),
    latency.GROUP: lambda place: latency.measure(place, 2, 2),
    config_change.GROUP: lambda place: config_change.measure(place, 4),
    topology.GROUP: lambda place: topology.measure(place, (4, 8), 1),
    core_cost.GROUP: lambda place: core_cost.measure(place, (4, 8), 1),
}
"""Without what starts emulated machines or a Ceph cluster: that takes minutes."""
_GROUPS: Final = (flow, classifying, footprint, storm, latency, config_change, topology, core_cost, ceph_cost, storages)
_HEADINGS: Final = {one.GROUP: one.HEADING for one in _GROUPS}


def main() -> int:
    """Measure and print; return 0 unless something broke."""
    parser = argparse.ArgumentParser(prog="bench.run", description="Measures Faultline on this machine.")
    parser.add_argument("--quick", action="store_true", help="under a minute, with few repetitions: to see that it runs")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--only", nargs="+", choices=list(_FULL), default=list(_FULL), metavar="GROUP", help=", ".join(_FULL))
    chosen = parser.parse_args()
    measures = _QUICK if chosen.quick else _FULL
    for group in [one for one in chosen.only if one not in measures]:
        print(f"bench: {_HEADINGS[group]}\nbench: left out: it takes too long for --quick", file=sys.stderr)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="faultline-bench-") as directory:
        for group in measures:
            if group in chosen.only:
                print(f"bench: {_HEADINGS[group]}", file=sys.stderr)
                try:
                    figures += measures[group](Path(directory) / group)
                except NotHereError as error:
                    print(f"bench: left out: {error}", file=sys.stderr)
                except BenchError as error:
                    print(f"bench: {error}", file=sys.stderr)
                    return 1
    if chosen.format == "json":
        print_json(figures, _machine())
    else:
        print_table(figures, _HEADINGS)
    return 0


def _machine() -> dict[str, object]:
    return {"python": platform.python_version(), "kernel": platform.release(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}


if __name__ == "__main__":
    sys.exit(main())
