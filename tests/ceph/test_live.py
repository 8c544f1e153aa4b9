"""A real Ceph cluster, three real agents, a real controller: what is told of each fault."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rich.console import Console

from tests.ceph.agents import Watched
from tests.ceph.live import SHORT, Outcome, Stage, table
from tests.ceph.scenarios import scenario

pytestmark = [pytest.mark.ceph, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def stage(watched: Watched) -> Iterator[tuple[Stage, list[Outcome]]]:
    """Yield a stage, and the outcomes so far; print them at the end for people who read how soon."""
    outcomes: list[Outcome] = []
    yield Stage(watched), outcomes
    Console(width=170).print(table(outcomes))


@pytest.mark.parametrize("name", SHORT)
def test_a_fault_is_told_as_it_was(stage: tuple[Stage, list[Outcome]], name: str) -> None:
    """Each fault is one incident with the right cause and entity, resolved after its repair; what was meant calls nobody."""
    player, outcomes = stage
    outcome = player.play(scenario(name))
    outcomes.append(outcome)
    assert outcome.problems() == [], "\n".join(outcome.history())
