"""How well faults are named, on generated clusters with known truth, by this engine and by others on the same events.

python -m bench.localize [--trials N] [--seed S] [--jobs 2] [--only CONDITION …] [--engines NAME …] [--verbs VERB …]
[--nodes LEAST MOST] [--wrong N] [--json] [--plot FILE.svg] [--write FILE.md]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.localize import document, plot
from bench.localize.baselines.catalog import BASELINES
from bench.localize.conditions import CONDITIONS, Condition
from bench.localize.figures import reliability, summed
from bench.localize.running import run
from bench.localize.table import Progress, show
from bench.localize.trials import OURS
from tests.sim.channel import Channel
from tests.sim.verbs import VERBS

_LOSSES: Final = (0.0, 0.05, 0.1, 0.2, 0.3)
_ALARMS: Final = (0.0, 0.01, 0.02, 0.05, 0.1)
_USUAL: Final = ("clean", "noisy", "pairs", "single-node")


def main() -> int:
    """Run and print; return 0."""
    chosen = _arguments()
    engines = [name for name in (OURS, *BASELINES) if name in chosen.engines]
    found = {}
    for condition in CONDITIONS:
        if condition.name in chosen.only:
            wanted = replace(condition, verbs=tuple(chosen.verbs), sizes=tuple(chosen.nodes))
            began = time.perf_counter()
            progress = (lambda _: None) if chosen.json else Progress(condition.name, engines[0])
            found[condition.name] = results = run(wanted, chosen.trials, chosen.seed, chosen.jobs, engines, progress)
            if not chosen.json:
                show(condition.name, results, engines, time.perf_counter() - began, chosen.wrong)
    if chosen.json:
        print(
            json.dumps(
                {
                    name: {engine: {**asdict(summed(results, engine)), "reliability": reliability(results, engine)} for engine in engines}
                    for name, results in found.items()
                },
                indent=2,
            )
        )
    if chosen.plot:
        _plot(chosen, engines)
    if chosen.write:
        beside = str(chosen.plot.relative_to(chosen.write.parent)) if chosen.plot else ""
        document.write(chosen.write, found, engines, beside, datetime.now(UTC).date())
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.localize", description="Measures how well faults are named.")
    parser.add_argument("--trials", type=int, default=1000, help="for each condition")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    names = [one.name for one in CONDITIONS]
    parser.add_argument("--only", nargs="+", choices=names, default=_USUAL, metavar="CONDITION", help=", ".join(names))
    parser.add_argument(
        "--engines", nargs="+", choices=[OURS, *BASELINES], default=[OURS], metavar="NAME", help=", ".join([OURS, *BASELINES])
    )
    parser.add_argument("--all", action="store_const", const=[OURS, *BASELINES], dest="engines", help="all engines")
    parser.add_argument("--verbs", nargs="+", choices=[one.name for one in VERBS], default=[], metavar="VERB")
    parser.add_argument("--nodes", nargs=2, type=int, default=[3, 64], metavar=("LEAST", "MOST"))
    parser.add_argument("--wrong", type=int, default=0, metavar="N", help="print N trials that were named wrong")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="also measure accuracy against loss and false alarms")
    parser.add_argument("--plot-trials", type=int, default=100, metavar="N", help="trials for each point of the plot")
    parser.add_argument("--write", type=Path, metavar="FILE.md", help="write the document of this run")
    return parser.parse_args()


def _plot(chosen: argparse.Namespace, engines: list[str]) -> None:
    def curves(channels: dict[float, Channel]) -> plot.Curves:
        taken = {
            share: run(
                Condition("plot", channel=channel, verbs=tuple(chosen.verbs), sizes=tuple(chosen.nodes)),
                chosen.plot_trials,
                chosen.seed,
                chosen.jobs,
                engines,
            )
            for share, channel in channels.items()
        }
        return {engine: [(share, summed(results, engine).cause) for share, results in taken.items()] for engine in engines}

    plot.write(
        chosen.plot,
        [
            ("reports lost", curves({share: Channel(loss=share) for share in _LOSSES})),
            ("probes that report falsely", curves({share: Channel(alarms=share) for share in _ALARMS})),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
