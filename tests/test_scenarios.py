"""Every folder of tests/scenarios gives its expected log, to the letter, and says nothing but its truth.

A missing ``log.expect`` is written and fails the test, so that a new one is read before it is committed;
``python -m tests.sim.scenario --write`` writes all of them anew.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Final

import pytest

from controller.core.causes import Cause
from tests.sim.scenario import folders, run
from tests.sim.script import read

SCENARIOS = list(folders())
LEAST: Final = 144
"""Scenarios that Proxmox VE's own HA manager has; there are to be more here."""


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


def test_there_are_more_scenarios_than_proxmox_ha_has() -> None:
    """The aim was to have more of them than the simulator that this one learnt from."""
    assert len(SCENARIOS) > LEAST


@pytest.mark.parametrize("cause", list(Cause))
def test_every_cause_is_the_truth_of_a_scenario(cause: Cause) -> None:
    """Nothing that an incident may say was never said by one, with a fault behind it."""
    assert any(claim.name[0] == cause for folder in SCENARIOS for claim in read(folder).claims)
