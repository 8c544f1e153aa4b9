"""Trials summed up: shares, percentiles, calibration."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.figures import percentile
from bench.localize.trials import Result

BUCKETS: Final = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.01)
"""Bounds of confidence in the table of reliability."""
STORM: Final = 50
"""Bad events from which a trial counts as a storm."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One engine over some trials. Shares are 0 to 1, times seconds of virtual time, ``micros`` CPU µs per event."""

    trials: int
    top1: float
    cause: float
    top3: float
    both: float
    """Trials all of whose faults are named with cause."""
    precision: float
    recall: float
    incidents: float
    """For each fault."""
    compression: float
    """In storms: 1 - incidents / bad events."""
    first: tuple[float, float]
    """Time to the first word about what is named right, p50 and p99, from the first evidence."""
    stable: tuple[float, float]
    """Time to the final name."""
    false_shared: int
    micros: float


def summed(results: Sequence[Result], engine: str) -> Summary:
    """Sum up how an engine did."""
    marks = [one.marks[engine] for one in results]
    faults, incidents = sum(one.faults for one in marks) or 1, sum(one.incidents for one in marks)
    right = sum(one.right for one in marks)
    storms = [one for one in results if one.bad >= STORM]
    told, bad = sum(one.marks[engine].incidents for one in storms), sum(one.bad for one in storms)
    return Summary(
        len(marks),
        sum(one.top1 for one in marks) / faults,
        sum(one.cause for one in marks) / faults,
        sum(one.top3 for one in marks) / faults,
        sum(one.cause == one.faults for one in marks) / max(1, len(marks)),
        right / incidents if incidents else 1.0,
        right / faults,
        incidents / faults,
        1 - told / bad if bad else 1.0,
        _times([time for one in marks for time in one.first]),
        _times([time for one in marks for time in one.stable]),
        sum(one.false_shared for one in marks),
        1e6 * sum(one.seconds for one in marks) / max(1, sum(one.events for one in results)),
    )


def _times(times: Sequence[float]) -> tuple[float, float]:
    return (percentile(times, 0.5), percentile(times, 0.99)) if times else (0.0, 0.0)


def reliability(results: Sequence[Result], engine: str) -> list[tuple[float, float, int, float]]:
    """Return (least, most, incidents, share right) for each bucket of confidence."""
    sure = [one for result in results for one in result.marks[engine].sure]
    found = []
    for least, most in itertools.pairwise(BUCKETS):
        inside = [right for confidence, right in sure if least <= confidence < most]
        found.append((least, min(1.0, most), len(inside), sum(inside) / len(inside) if inside else 0.0))
    return found
