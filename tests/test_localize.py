"""The short form of `make bench-localize`: every engine judges the same trials, and the document tells what came of it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from bench.localize import document
from bench.localize.baselines.catalog import BASELINES
from bench.localize.conditions import BY_NAME
from bench.localize.figures import reliability, summed
from bench.localize.running import run
from bench.localize.trials import OURS

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
