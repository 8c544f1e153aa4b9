"""Every folder of tests/scenarios gives its expected log, to the letter, and says nothing but its truth.

A missing ``log.expect`` is written and fails the test, so that a new one is read before it is committed;
``python -m tests.sim.scenario --write`` writes all of them anew.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.sim.scenario import folders, run
from tests.sim.script import read

SCENARIOS = list(folders())


@pytest.mark.parametrize("folder", SCENARIOS, ids=lambda folder: folder.name)
def test_scenario_gives_its_expected_log_and_nothing_but_the_truth(folder: Path) -> None:
    """The same faults at the same times are told in the same words: each by its name, once, as long as it lasts, and nothing else."""
    outcome = run(read(folder))
    expected = folder / "log.expect"
    if not expected.exists():
        expected.write_text(outcome.log)
        pytest.fail(f"{expected.name} was missing and has been written: read it")

    assert outcome.problems == []
    assert outcome.log == expected.read_text()


@pytest.mark.parametrize("folder", SCENARIOS, ids=lambda folder: folder.name)
def test_scenario_gives_the_same_log_when_its_state_went_through_the_store(folder: Path) -> None:
    """All that decides is stored: whenever the core's state is written to the database and read again, nothing is told otherwise."""
    script = read(folder)
    moment = Random(f"store {folder.name}").randrange(script.until)

    assert run(script, moment).log == (folder / "log.expect").read_text()


@pytest.mark.parametrize("folder", SCENARIOS, ids=lambda folder: folder.name)
def test_scenario_says_what_it_shows(folder: Path) -> None:
    """Each scenario has a README of one sentence."""
    assert (folder / "README").read_text().strip().endswith(".")
