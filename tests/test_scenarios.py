"""Every folder of tests/scenarios gives its expected log, to the letter.

A missing ``log.expect`` is written and fails the test, so that a new one is read before it is committed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sim.script import run

SCENARIOS = sorted(folder for folder in (Path(__file__).parent / "scenarios").iterdir() if folder.is_dir())


@pytest.mark.parametrize("folder", SCENARIOS, ids=lambda folder: folder.name)
def test_scenario_gives_its_expected_log(folder: Path) -> None:
    """The same faults at the same times are told in the same words."""
    log = run(folder)
    expected = folder / "log.expect"
    if not expected.exists():
        expected.write_text(log)
        pytest.fail(f"{expected.name} was missing and has been written: read it")
    assert log == expected.read_text()


@pytest.mark.parametrize("folder", SCENARIOS, ids=lambda folder: folder.name)
def test_scenario_says_what_it_shows(folder: Path) -> None:
    """Each scenario has a README of one sentence."""
    assert (folder / "README").read_text().strip().endswith(".")
