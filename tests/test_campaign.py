"""Random faults with known truth: the right cause and entity, once each, and nothing else."""

from __future__ import annotations

import os

import pytest

from tests.sim.campaign import Campaign

RUNS = 2000 if os.environ.get("FAULTLINE_LONG") else 120


def wrong(runs: range, pause: tuple[int, int], together: float) -> list[str]:
    """Return what was named wrong, missed or invented, with the seed that shows it."""
    found = []
    for seed in runs:
        result = Campaign(seed).run(pause, together)
        found += [f"seed {seed}: {match.fault.cause}: {match.problem}" for match in result.matches if match.problem]
        found += [f"seed {seed}: invented {one}" for one in result.spurious]
    return found


def test_faults_one_after_the_other_are_all_named() -> None:
    """With more than the longest flap window between them every fault is one incident of its own."""
    assert wrong(range(RUNS), (200, 300), 0.0) == []


def test_two_faults_at_once_are_two_incidents() -> None:
    """An NFS fault in the middle of an iSCSI fault takes nothing away from either."""
    assert wrong(range(RUNS), (200, 300), 0.7) == []


@pytest.mark.parametrize("seed", [7, 21])
def test_same_seed_same_run(seed: int) -> None:
    """A campaign is a function of its seed, so what it finds can be found again."""
    runs = [Campaign(seed), Campaign(seed)]
    for run in runs:
        run.run((60, 120), 0.5)

    assert runs[0].told == runs[1].told
