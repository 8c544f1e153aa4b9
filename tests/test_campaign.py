"""Random faults with known truth: the right cause and entity, once each, and nothing else."""

from __future__ import annotations

import os

import pytest

from tests.sim.campaign import Campaign

RUNS = 2000 if os.environ.get("FAULTLINE_LONG") else 120
BLOCK = 20
"""Seeds of one test: what fails is found again sooner, and workers share them."""
BLOCKS = pytest.mark.parametrize("first", range(0, RUNS, BLOCK))


def wrong(runs: range, *, together: bool = False) -> list[str]:
    """Return what was named wrong, missed or invented, with the seed that shows it."""
    return [f"seed {seed}: {problem}" for seed in runs for problem in Campaign(seed).run(together=together)]


@BLOCKS
def test_faults_one_after_the_other_are_all_named(first: int) -> None:
    """With more than the longest flap window between them every fault is one incident of its own."""
    assert wrong(range(first, first + BLOCK)) == []


@BLOCKS
def test_two_faults_at_once_are_two_incidents(first: int) -> None:
    """A server's fault in the middle of an iSCSI fault takes nothing away from either."""
    assert wrong(range(first, first + BLOCK), together=True) == []


@pytest.mark.parametrize("seed", [7, 21])
def test_same_seed_same_run(seed: int) -> None:
    """A campaign is a function of its seed, so what it finds can be found again."""
    runs = [Campaign(seed), Campaign(seed)]
    for run in runs:
        run.run()

    assert runs[0].told == runs[1].told != []
