"""The short form of `make bench-localize`: every engine judges the same trials, and the document tells what came of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from bench.localize import document
from bench.localize.baselines.catalog import BASELINES
from bench.localize.conditions import BY_NAME
from bench.localize.figures import reliability, summed
from bench.localize.running import run
from bench.localize.table import Progress
from bench.localize.trials import OURS, run_cluster

ENGINES = [OURS, *BASELINES]
TRIALS = 24


def test_faults_of_small_clusters_are_named_and_the_document_says_so(tmp_path: Path) -> None:
    """Nine in ten single faults are named with their cause, no baseline names more, and all engines stand in the document."""
    condition = BY_NAME["clean"]
    results = run(condition, TRIALS, 7, 1, ENGINES)
    sums = {engine: summed(results, engine) for engine in ENGINES}

    assert len(results) > TRIALS // 2
    assert sums[OURS].cause >= 0.9
    assert all(sums[OURS].cause >= sums[engine].cause for engine in BASELINES)
    assert sum(count for _, _, count, _ in reliability(results, OURS)) >= len(results) * 0.9

    document.write(tmp_path / "benchmark.md", {"clean": results}, ENGINES, "", date(2026, 11, 29))
    text = (tmp_path / "benchmark.md").read_text()
    assert all(f"\n| {engine} | " in text for engine in ENGINES)
    assert "<!-- results -->" not in text


def test_the_same_seed_gives_the_same_trials() -> None:
    """Two runs of one seed tell the same of every trial, but for the time that they took."""
    condition = BY_NAME["noisy"]
    first, again = (
        [(one.seed, one.verb, one.events, one.marks[OURS].problem) for one in run(condition, 6, 3, 1, [OURS])] for _ in range(2)
    )

    assert first == again


@pytest.mark.parametrize(("cluster", "trial"), [(5000045580, 8), (5000048540, 3)])
def test_a_target_with_two_users_is_not_called_down_when_one_of_them_is_cut_off(cluster: int, trial: int) -> None:
    """Two of fifty thousand faults of single nodes were once told as the target's own until the other user must have noticed."""
    (result,) = run_cluster(replace(BY_NAME["single-node"], sizes=(3, 4)), cluster, range(trial, trial + 1), (OURS,))

    assert result.marks[OURS].problem == ""
    assert not result.marks[OURS].false_shared


def test_a_run_that_is_stopped_half_way_has_said_what_its_first_trials_came_to(capsys: pytest.CaptureFixture[str]) -> None:
    """Progress counts a prefix of the trials: how many, which one was last, how many are right, how many told a false shared fault."""
    found = run(BY_NAME["single-node"], 40, 7, 1, [OURS], Progress("single-node", OURS, each=20))
    lines = capsys.readouterr().out.splitlines()

    assert len(lines) == len(found) // 20 == 2
    assert lines[0].startswith(
        "single-node: 20 trials up to 7000000.19, faultline: 20 with all faults named right, 0 with a false shared one"
    )
