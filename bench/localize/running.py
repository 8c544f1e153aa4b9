"""Runs trials over several processes; the same seeds give the same trials, however many there are."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from typing import Final

from bench.localize.conditions import Condition
from bench.localize.trials import Result, run_cluster

EACH: Final = 20
"""Trials in one cluster."""
_CLUSTERS: Final = 1_000_000
"""Seeds of clusters between two seeds of runs."""


def run(condition: Condition, trials: int, seed: int, jobs: int, engines: Sequence[str]) -> list[Result]:
    """Run this many trials of a condition; a few less where clusters have nothing that can break so."""
    work = [(condition, seed * _CLUSTERS + begin, range(min(EACH, trials - begin)), tuple(engines)) for begin in range(0, trials, EACH)]
    if jobs == 1:
        return [one for part in work for one in run_cluster(*part)]
    with multiprocessing.Pool(jobs) as pool:
        return [one for part in pool.starmap(run_cluster, work, chunksize=1) for one in part]
