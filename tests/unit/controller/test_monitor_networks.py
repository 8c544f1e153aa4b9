"""Ceph's monitors as things that nodes reach over a network, or not: through the facts a monitor has an address, and so a network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controller.core.evidence import ROOT, Answer
from controller.core.inference.scene import Scene
from controller.core.inference.verdict import judge
from controller.core.state import Cell
from controller.core.timings import Timings
from tests.sim.facts import ceph, core, networks

FSID = "2a882841-48a3-11f1-838c-d00d99b60350"
NODES = ("pve1", "pve2", "pve3", "pve4")
MONITORS = NODES[:3]
PUBLIC = "10.0.3.0/24"
SECOND = 1_000_000
ONSET, NOW = 100 * SECOND, 112 * SECOND


def cell(node: str, monitor: str, *, lost: bool, silent: bool = True) -> Cell:
    """Return whether a node hears a monitor, seen 12 seconds after the onset where it does."""
    answer, at = (Answer.BAD, ONSET) if lost else (Answer.OK, 0)
    fields: dict[str, Any] = {"silent": silent, "broke": at} if lost else {}
    return Cell(node, f"ceph-mon/{FSID}/{monitor}", "reach", "", ROOT, answer, at, at, notices=9, was_ok=True, **fields)


def scene(cells: Iterable[Cell]) -> Scene:
    """Return what four nodes see, three of which are monitors; all facts are known."""
    facts = [networks(node, f"10.0.0.{number}/24", f"10.0.3.{number}/24") for number, node in enumerate(NODES, 1)]
    listed = ceph(FSID, *((node, f"10.0.3.{number}:6789") for number, node in enumerate(MONITORS, 1)), public=PUBLIC)
    found = list(cells)
    return Scene(
        NOW,
        [one for one in found if one.answer is Answer.BAD],
        [one for one in found if one.answer is Answer.OK],
        frozenset(NODES),
        topology=core(*facts, listed).topology,
    )


def named(found: Scene) -> list[tuple[str, str]]:
    """Return the causes and entities of all verdicts."""
    return [(one.cause.value, one.entity) for one in judge(found, Timings())]


def pairs(*lost: tuple[str, str]) -> list[Cell]:
    """Return all nodes' words on all monitors, these pairs lost."""
    return [cell(node, monitor, lost=(node, monitor) in lost) for node in NODES for monitor in MONITORS]


def test_a_monitor_has_the_address_that_its_cluster_lists() -> None:
    """Name and port do not matter; one that is known by its address alone is that address."""
    found = scene([])

    assert found.host(f"ceph-mon/{FSID}/pve2") == "10.0.3.2"
    assert found.host(f"ceph-mon/{FSID}/10.0.9.9") == "10.0.9.9"


def test_a_monitor_stands_in_the_network_of_its_address() -> None:
    """Where it is silent; one that refuses was reached."""
    found = scene([])

    assert found.network(cell("pve4", "pve1", lost=True)) == PUBLIC
    assert found.network(cell("pve4", "pve1", lost=True, silent=False)) == ""


def test_a_network_that_all_nodes_lost_explains_its_monitors() -> None:
    """Each monitor is heard by its own node only: they run, and what is between them does not."""
    lost = [(node, monitor) for node in NODES for monitor in MONITORS if node != monitor]

    assert named(scene(pairs(*lost))) == [("storage-subnet-down", f"subnet/{PUBLIC}")]


def test_a_node_that_lost_its_way_explains_whom_it_hears_no_more_and_who_misses_it() -> None:
    """A monitor's node that is cut off is one fault, although it still hears itself."""
    lost = [("pve1", "pve2"), ("pve1", "pve3"), *((node, "pve1") for node in NODES[1:])]

    assert named(scene(pairs(*lost))) == [("node-storage-network", "node/pve1")]


def test_monitors_that_refuse_everybody_are_no_networks_matter() -> None:
    """All of them stopped: their quorum is lost."""
    cells = [cell(node, monitor, lost=True, silent=False) for node in NODES for monitor in MONITORS]

    assert named(scene(cells)) == [("ceph-mon-quorum", f"ceph/{FSID}")]
