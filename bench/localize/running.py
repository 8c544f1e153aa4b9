"""Runs trials over several processes; the same seeds give the same trials, however many there are."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from bench.localize.conditions import Condition
from bench.localize.trials import Result, run_cluster

EACH: Final = 20
"""Trials in one cluster."""
_CLUSTERS: Final = 1_000_000
"""Seeds of clusters between two seeds of runs."""


Work = tuple[Condition, int, Sequence[int], Sequence[str]]
"""Condition, seed of the cluster, numbers of the trials, engines."""


def run(
    condition: Condition,
    trials: int,
    seed: int,
    jobs: int,
    engines: Sequence[str],
    done: Callable[[Sequence[Result]], None] = lambda _: None,
) -> list[Result]:
    """Run this many trials of a condition; a few less where clusters have nothing that can break so.

    ``done`` is given all results so far, in order of their seeds, after each cluster.
    """
    work: list[Work] = [
        (condition, seed * _CLUSTERS + begin, range(min(EACH, trials - begin)), tuple(engines)) for begin in range(0, trials, EACH)
    ]
    if jobs == 1:
        return _gathered(map(_run, work), done)
    with multiprocessing.Pool(jobs) as pool:
        return _gathered(pool.imap(_run, work), done)


def _run(work: Work) -> list[Result]:
    return run_cluster(*work)


def _gathered(parts: Iterable[list[Result]], done: Callable[[Sequence[Result]], None]) -> list[Result]:
    found: list[Result] = []
    for part in parts:
        found += part
        done(found)
    return found
