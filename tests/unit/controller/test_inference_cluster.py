"""Which faults explain what nodes see of each other and of their Ceph cluster: small scenes, judged."""

from __future__ import annotations

from typing import Any

from controller.core.evidence import PATHS, SECOND, Answer
from controller.core.facts import Facts
from controller.core.inference.scene import Scene
from controller.core.inference.verdict import Verdict, judge
from controller.core.state import Cell
from controller.core.timings import Timings
from controller.core.topology.topology import Topology
from tests.sim.facts import networks

NODES = ["pve1", "pve2", "pve3", "pve4"]
NOW = 100 * SECOND
FSID = "4b5c8c0a-ff60-454b-a1b4-9747aa737d19"
NEAR, FAR = "nfs-server/10.1.0.1", "nfs-server/10.2.0.1"


def cell(node: str, entity: str, aspect: str, answer: Answer = Answer.BAD, at: int = 10, **fields: Any) -> Cell:
    """Return a cell whose answer began ``at`` seconds."""
    moment = at * SECOND
    given = {"via": "", "layer": 0, "broke": moment if answer is Answer.BAD else 0, "notices": 3, "silent": True, **fields}
    return Cell(node=node, entity=entity, aspect=aspect, answer=answer, since=moment, seen=moment, **given)


def verdicts(*cells: Cell, now: int = NOW, heard: dict[str, int] | None = None) -> list[Verdict]:
    """Judge these cells in a cluster whose nodes stand in two networks."""
    facts = Facts()
    for number, node in enumerate(NODES, 11):
        facts.take(networks(node, f"10.1.0.{number}/24", f"10.2.0.{number}/24"), 0)
    broken = [one for one in cells if one.answer is Answer.BAD]
    well = [one for one in cells if one.answer is Answer.OK]
    return judge(Scene(now, broken, well, frozenset(NODES), heard or {}, Topology(facts)), Timings())


def named(found: list[Verdict]) -> list[tuple[str, str]]:
    """Return causes and entities."""
    return sorted((one.cause.value, one.entity) for one in found)


def test_a_dead_node_that_is_fenced_is_one_fault() -> None:
    """That HA fences a node follows from its death; a node that is fenced and still a member is named for that."""
    left = [cell(node, "node/pve4", "member") for node in NODES[:3]]
    fenced = [cell(node, "node/pve4", "fence", at=70) for node in NODES[:3]]

    assert named(verdicts(*left, *fenced)) == [("node-down", "node/pve4")]
    assert named(verdicts(*fenced)) == [("ha-fencing", "node/pve4")]


def test_a_node_that_is_heard_while_others_miss_it_may_only_lack_its_cluster_files() -> None:
    """Then pmxcfs is the second guess until the node says so itself, which is proof; a node that is not heard is down and nothing else."""
    missed = [cell(node, "node/pve4", "member") for node in NODES[:3]]
    says = cell("pve4", "node/pve4", "served", at=9)

    def guesses(*cells: Cell, at: int) -> list[str]:
        (one,) = verdicts(*cells, heard={"pve4": at * SECOND})
        return [one.cause.value, *(other.cause.value for other in one.alternatives)]

    assert guesses(*missed, at=8) == ["node-down"]
    assert guesses(*missed, at=99)[:2] == ["node-down", "pmxcfs-down"]
    assert guesses(*missed, says, at=99)[0] == "pmxcfs-down"


def test_daemons_of_a_node_without_network_are_its_networks_matter() -> None:
    """OSDs and monitors that the others give up on a node that lost its networks are no fault of their own; a well node's are."""
    lost = [cell("pve1", server, "reach") for server in (NEAR, FAR)]
    well = [cell(node, server, "reach", Answer.OK, at=90) for node in NODES[1:] for server in (NEAR, FAR)]
    host = f"ceph-host/{FSID}/pve1"
    down = [cell(node, f"ceph-osd/{FSID}/0", "up", at=33, via=host) for node in NODES[1:]]
    down += [cell(node, f"ceph-mon/{FSID}/pve1", "up", at=7) for node in NODES[1:]]

    assert named(verdicts(*lost, *well, *down)) == [("node-storage-network", "node/pve1")]
    assert "node-storage-network" not in [cause for cause, _ in named(verdicts(*well, *down))]


def test_a_node_that_hears_no_monitor_is_never_passed_over() -> None:
    """Where nothing else tells why, the monitors' quorum is named; a node that lost more of its network silently hears none by that."""
    deaf = cell("pve1", f"ceph/{FSID}", "quorum", layer=PATHS)
    lost = [cell("pve1", server, "reach") for server in (NEAR, FAR)]
    well = [cell(node, server, "reach", Answer.OK, at=90) for node in NODES[1:] for server in (NEAR, FAR)]

    assert named(verdicts(deaf)) == [("ceph-mon-quorum", f"ceph/{FSID}")]
    assert named(verdicts(deaf, *lost, *well)) == [("node-storage-network", "node/pve1")]


def test_the_only_witness_may_finish_its_heartbeat() -> None:
    """A server's fault is not told between the time in which its other user must report it and that user's next sign of life."""
    lost = cell("pve1", NEAR, "reach")
    witness = cell("pve2", NEAR, "reach", Answer.OK, at=1)
    now = lost.broke + 3 * SECOND + SECOND // 10

    (early,) = verdicts(lost, witness, now=now, heard={"pve2": now - SECOND})
    (later,) = verdicts(lost, witness, now=now + SECOND, heard={"pve2": now + SECOND})

    assert early.stable_at > now
    assert named([later]) == [("node-storage-network", "node/pve1")]
