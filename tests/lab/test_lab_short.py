"""The laboratory in its short form: a NAS and a node in emulated machines, the agent under its unit, five faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from tests.lab import image
from tests.lab.agents import Faultline
from tests.lab.guest import Guest
from tests.lab.image import LabError
from tests.lab.run import Laboratory, table
from tests.lab.scenarios import FIRST, scenarios
from tests.lab.site import Site

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Yield a NAS and a node that uses it."""
    with Site(image.build(), tmp_path_factory.mktemp("lab"), nodes=1) as one:
        yield one


@pytest.fixture(scope="module")
def node(site: Site) -> Guest:
    """Return the node."""
    return site.nodes[FIRST]


def test_a_command_that_fails_says_what_it_said(node: Guest) -> None:
    """What goes wrong in a guest is told with its exit code and its own words, not lost."""
    assert node.run("echo good; echo bad >&2; exit 3") == (3, "good\n", "bad\n")
    with pytest.raises(LabError, match="bad words"):
        node.check("echo bad words >&2; false")


def test_a_command_that_hangs_is_left_behind(node: Guest) -> None:
    """A command has its deadline, and the guest takes the next one."""
    with pytest.raises(LabError, match="has not ended"):
        node.run("sleep 60", 1)
    assert node.check("echo here") == "here\n"


def test_a_frozen_machine_answers_nothing_and_comes_back(node: Guest) -> None:
    """Freezing stops a machine's processors, thawing lets them go on where they were."""
    node.freeze()
    try:
        with pytest.raises(LabError):
            node.run("true", 2)
    finally:
        node.thaw()
    assert node.check("echo here") == "here\n"


def test_every_fault_is_seen_and_cleared(site: Site, tmp_path: Path) -> None:
    """A stopped server, a denied export, a silent portal, a rotated secret and swapped LUNs are seen, and so is their repair."""
    with Faultline(tmp_path, site.nodes) as faultline:
        outcomes = Laboratory(site, faultline, Console()).run(one for one in scenarios(site) if one.short)
    assert {one.scenario.row for one in outcomes} == {"N1", "N4", "I1", "I2", "I3"}
    # How soon is printed for people to read; `make lab` judges it. A machine that emulates others may be busy.
    Console(width=150).print(table(outcomes))
    assert {one.scenario.title: found for one in outcomes if (found := one.problems(timed=False))} == {}
