"""Which faults explain what several nodes see: small scenes, judged."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from controller.core.causes import Cause
from controller.core.evidence import SECOND, VOLUMES, Answer
from controller.core.facts import Facts
from controller.core.inference.alone import LASTING, SAID_AGAIN
from controller.core.inference.scene import Scene, coherent
from controller.core.inference.verdict import Verdict, judge
from controller.core.state import Cell
from controller.core.timings import Timings
from controller.core.topology.topology import Topology
from events.base import Seen, Source
from events.entity import Entity
from events.nfs import NfsNameResolved
from tests.sim.facts import networks

NODES = [f"pve{number}" for number in range(1, 9)]
LATER = 100 * SECOND
A, B = "nfs-server/10.1.0.1", "nfs-server/10.1.0.2"
"""Two servers of one network."""
FAR = "nfs-server/10.2.0.1"
"""One of another."""
TARGET = "iscsi-target/iqn.2005-10.org.example:one"


def cell(
    node: str, entity: str, answer: Answer, *, at: int = 0, aspect: str = "reach", via: str = "", notices: int = 3, **fields: object
) -> Cell:
    """Return a probed cell whose answer began ``at`` seconds."""
    moment = at * SECOND
    return Cell(node, entity, aspect, via, 0, answer, moment, moment, broke=moment, notices=notices, silent=True, **fields)  # type: ignore[arg-type]


def bad(nodes: Iterable[str], entity: str, **fields: object) -> list[Cell]:
    """Return bad cells of these nodes."""
    return [cell(node, entity, Answer.BAD, **fields) for node in nodes]  # type: ignore[arg-type]


def well(nodes: Iterable[str], entity: str, **fields: object) -> list[Cell]:
    """Return cells that were well long before."""
    return [cell(node, entity, Answer.OK, **{"at": -1000, **fields}) for node in nodes]  # type: ignore[arg-type]


def verdicts(
    *cells: list[Cell], now: int = LATER, alive: Iterable[str] = NODES, heard: dict[str, int] | None = None, named_too: str = ""
) -> list[Verdict]:
    """Judge all these cells ``now``."""
    everything = [one for group in cells for one in group]
    broken = [one for one in everything if one.answer is Answer.BAD]
    others = [one for one in everything if one.answer is Answer.OK]
    facts = Facts()
    for number, node in enumerate(NODES, 11):
        facts.take(networks(node, f"10.1.0.{number}/24", f"10.2.0.{number}/24"), 0)
    if named_too:
        server = Entity.parse(f"nfs-server/{named_too}")
        facts.take(NfsNameResolved(subject=server, seen=Seen(source=Source.NFS), addresses=("10.1.0.1",)), 0)
    return judge(Scene(now, broken, others, frozenset(alive), heard or {}, Topology(facts)), Timings())


def named(found: list[Verdict]) -> set[tuple[str, str]]:
    """Return causes and entities."""
    return {(one.cause.value, one.entity) for one in found}


def test_what_all_lost_is_the_things_own_fault() -> None:
    """A server that no node reaches is down, and no node's network is blamed."""
    assert named(verdicts(bad(NODES, A), well(NODES, FAR))) == {("nfs-server-down", A)}


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_what_few_lost_is_theirs(lost: int) -> None:
    """A server that most nodes still reach is not down: the nodes that lost it lost their way."""
    found = verdicts(bad(NODES[:lost], A), well(NODES[lost:], A))

    assert named(found) == {("node-storage-network", f"node/{node}") for node in NODES[:lost]}


def test_one_missing_report_makes_no_difference() -> None:
    """When seven of eight nodes lost a server, the eighth one's report was lost; seven broken networks are unlikely."""
    assert named(verdicts(bad(NODES[:7], A), well(NODES[7:], A))) == {("nfs-server-down", A)}


def test_a_silent_agent_is_no_witness() -> None:
    """What a silent node said before speaks for nobody: then the only node that speaks has lost a server by that server's fault."""
    silent = verdicts(bad(["pve1"], A), well(["pve2"], A), alive=["pve1"])
    speaking = verdicts(bad(["pve1"], A), well(["pve2"], A))

    assert named(silent) == {("nfs-server-down", A)}
    assert named(speaking) == {("node-storage-network", "node/pve1")}


def test_a_network_is_named_when_all_in_it_is_lost() -> None:
    """Two servers of one network lost by everybody are that network's fault; servers of two networks are two faults."""
    assert named(verdicts(bad(NODES, A), bad(NODES, B), well(NODES, FAR))) == {("storage-subnet-down", "subnet/10.1.0.0/24")}
    assert named(verdicts(bad(NODES, A), bad(NODES, FAR), well(NODES, B))) == {("nfs-server-down", A), ("nfs-server-down", FAR)}


def test_a_nodes_one_network_is_told_from_all_of_them() -> None:
    """A node that lost all in one network and keeps the other lost that one; the scope says so."""
    others = NODES[1:]
    (one,) = verdicts(bad(["pve1"], A), bad(["pve1"], B), well(["pve1"], FAR), well(others, A), well(others, B), well(others, FAR))
    (both,) = verdicts(bad(["pve1"], A), bad(["pve1"], B), bad(["pve1"], FAR), well(others, A), well(others, B), well(others, FAR))

    assert (one.cause, one.entity, one.scope) == (Cause.NODE_STORAGE_NETWORK, "node/pve1", "subnet/10.1.0.0/24")
    assert (both.cause, both.entity, both.scope) == (Cause.NODE_STORAGE_NETWORK, "node/pve1", "")


def test_two_faults_at_once_are_both_named() -> None:
    """A server that is down for all and another node's lost network are two faults, although one node reports both."""
    others = NODES[1:]
    found = verdicts(bad(NODES, A), bad(["pve1"], FAR), bad(["pve1"], B), well(others, FAR), well(others, B))

    assert ("nfs-server-down", A) in named(found)
    assert ("node-storage-network", "node/pve1") in named(found)
    assert len(found) == 2


def test_an_old_fault_does_not_become_part_of_a_new_one() -> None:
    """A node that lost a server minutes before all others did had a fault of its own."""
    found = verdicts(bad(["pve1"], A, at=0), bad(NODES[1:], A, at=300), now=400 * SECOND)

    assert named(found) == {("node-storage-network", "node/pve1"), ("nfs-server-down", A)}


def test_one_address_is_one_fault() -> None:
    """An NFS server that is an iSCSI portal too is one fault when both are gone."""
    portal = "iscsi-portal/10.1.0.1:3260"
    found = verdicts(bad(NODES, A), bad(NODES, portal, aspect="session", via=TARGET), well(NODES, B))

    assert named(found) == {("nfs-server-down", A)}


def test_a_portal_is_told_from_its_target() -> None:
    """One of two portals lost by all is that portal; both are the target."""
    first, second = "iscsi-portal/10.1.0.1:3260", "iscsi-portal/10.2.0.1:3260"
    ways = {"aspect": "session", "via": TARGET}

    assert named(verdicts(bad(NODES, first, **ways), well(NODES, second, **ways))) == {("iscsi-portal-down", first)}
    assert named(verdicts(bad(NODES, first, **ways), bad(NODES, second, **ways))) == {("iscsi-target-down", TARGET)}


def test_what_may_still_be_reported_is_waited_for() -> None:
    """While another node may well report the same yet, a single node is not blamed; when its time is over, it is."""
    signs = bad(["pve1"], A, repeated=True), well(["pve2"], A)
    (early,) = verdicts(*signs, now=5 * SECOND // 2)
    (late,) = verdicts(*signs, now=4 * SECOND)

    assert early.stable_at == 3 * SECOND
    assert late.stable_at <= 4 * SECOND
    assert (late.cause, late.entity) == (Cause.NODE_STORAGE_NETWORK, "node/pve1")


def test_what_has_become_unlikely_is_not_waited_for() -> None:
    """Of seven nodes that must notice within three seconds one would have in the first two: nobody waits for the third."""
    signs = bad(["pve1"], A), bad(["pve1"], B), well(NODES[1:], A), well(NODES[1:], B)
    (found,) = verdicts(*signs, now=2 * SECOND)

    assert found.stable_at == Timings().settle
    assert (found.cause, found.entity) == (Cause.NODE_STORAGE_NETWORK, "node/pve1")


def test_a_lone_word_must_last_and_one_that_its_own_node_contradicts_is_said_again() -> None:
    """One node's one word lasts first; while its mounts still work or its portal answers it must come twice."""
    portal, session = "iscsi-portal/10.1.0.9:3260", cell("pve1", "iscsi-portal/10.1.0.9:3260", Answer.OK, aspect="session", via=TARGET)
    (alone,) = verdicts(bad(["pve1"], A))
    (contradicted,) = verdicts(bad(["pve1"], portal), [session])
    (repeated,) = verdicts(bad(["pve1"], portal, repeated=True), [session])

    assert alone.stable_at == LASTING
    assert contradicted.stable_at == SAID_AGAIN
    assert repeated.stable_at < SAID_AGAIN
    assert contradicted.confidence < repeated.confidence


def test_two_lone_words_of_different_times_are_two_accidents_and_not_one_sign() -> None:
    """Two nodes that each say once, a minute apart, that a portal is silent although their sessions live, are waited for as one is."""
    portal, sessions = "iscsi-portal/10.1.0.9:3260", {"aspect": "session", "via": TARGET, "notices": 7}
    living = [
        *well(NODES, portal, **sessions),
        *well(NODES, "iscsi-portal/10.1.0.8:3260", **sessions),
        *well(NODES[2:], portal),
    ]
    apart = verdicts(bad(["pve1"], portal), bad(["pve2"], portal, at=60), living)
    together = verdicts(bad(["pve1"], portal), bad(["pve2"], portal, at=2), living)

    assert named(apart) == named(together) == {("path-redundancy-lost", portal)}
    assert apart[0].stable_at == SAID_AGAIN
    assert together[0].stable_at < LASTING


def test_a_word_that_another_fault_is_the_reason_of_bears_out_nothing() -> None:
    """A node's lone word is no surer for another node's loss of that thing beside several others."""
    found = verdicts(
        bad(["pve1"], A), bad(["pve2"], A, at=1), bad(["pve2"], B, at=1), bad(["pve2"], FAR, at=1), well(NODES[2:], A), well(["pve1"], B)
    )

    assert {one.entity: one.stable_at for one in found}["node/pve1"] == LASTING


def test_what_broke_long_before_a_lone_word_bears_it_out_no_more() -> None:
    """A portal that is silent beside its living session is waited for also where a volume group of that node is missing for a minute."""
    portal = "iscsi-portal/10.1.0.9:3260"
    session = cell("pve1", portal, Answer.OK, aspect="session", via=TARGET)
    group = bad(["pve1"], "vg/one", aspect="vg", repeated=True, at=-60)
    for one in group:
        one.layer = VOLUMES

    found = {one.cause: one.stable_at for one in verdicts(bad(["pve1"], portal), [session], group)}

    assert SAID_AGAIN in found.values()


def test_one_monitor_that_a_node_alone_does_not_hear_is_told_when_it_says_so_again() -> None:
    """A node that hears another monitor of Ceph through the same network says twice that one is silent; one that hears none, once."""
    first, second = "ceph-mon/one/10.1.0.1", "ceph-mon/one/10.1.0.2"
    (one,) = verdicts(bad(["pve8"], first, notices=9), well(["pve8"], second, notices=9))
    (none,) = verdicts(bad(["pve8"], first, notices=9), bad(["pve8"], second, notices=9))

    assert one.stable_at == SAID_AGAIN
    assert none.stable_at < 2 * LASTING


def test_a_late_word_on_an_export_belongs_to_its_servers_trouble() -> None:
    """Handles that are stale on two exports of a server stay one fault when one node's word on one of them comes a minute later."""
    exports = [f"nfs-export/10.1.0.1:/{name}" for name in ("a", "b")]
    stale = [bad(NODES[:3], one, aspect="handle", notices=13) for one in exports]
    late = bad(NODES[3:4], exports[0], aspect="handle", notices=13, at=60)

    assert named(verdicts(*stale, late)) == {("nfs-stale-handle", A)}


def test_what_cannot_change_is_told_at_once() -> None:
    """When everybody has reported it there is nothing to wait for beyond the least time."""
    (found,) = verdicts(bad(NODES, A), now=1 * SECOND)

    assert found.stable_at == Timings().settle


def test_who_was_not_heard_since_is_a_weak_witness() -> None:
    """A node that was not heard since the fault began speaks less for the server than one that was."""
    signs = bad(["pve1"], A), well(["pve2"], A)
    (heard,) = verdicts(*signs, alive=["pve1", "pve2"], heard={"pve2": LATER})
    (unheard,) = verdicts(*signs, alive=["pve1", "pve2"], heard={"pve2": 0})

    assert heard.confidence > unheard.confidence


def test_confidence_and_rivals_are_those_of_the_signs() -> None:
    """The more nodes contradict a rival, the surer the verdict; each rival says why it was set aside."""
    sure, less = (verdicts(bad(["pve1"], A, repeated=True), well(NODES[1:more], A))[0] for more in (8, 2))

    assert sure.confidence > less.confidence
    assert {one.reason for one in sure.alternatives if one.entity == A} == {f"contradicted by {', '.join(NODES[1:7])}: still well there"}
    assert sum(one.confidence for one in sure.alternatives) + sure.confidence == pytest.approx(1, abs=0.05)


def test_the_order_of_cells_makes_no_difference() -> None:
    """The same signs in any order give the same verdicts, to the letter."""
    signs = [*bad(NODES, A), *bad(["pve1"], FAR), *well(NODES[1:], FAR), *well(NODES, B)]

    assert verdicts(signs) == verdicts(signs[::-1])


def test_signs_of_one_time_belong_together() -> None:
    """Cells of watching observers that went bad minutes apart are of two faults; what is only heard of in use fits any."""
    minutes = [cell("pve1", A, Answer.BAD, at=0), cell("pve2", A, Answer.BAD, at=5), cell("pve3", A, Answer.BAD, at=300)]
    lines = [Cell("pve4", A, "reach", "mounts", 0, Answer.BAD, 0, 0, broke=200 * SECOND)]

    assert [[one.node for one in group] for group in coherent([*minutes, *lines])] == [["pve1", "pve2", "pve4"], ["pve3"]]


def test_a_server_by_name_and_by_address_is_one() -> None:
    """Storages that name one machine in two ways lose it in one incident, which is called by its address."""
    alias = "nfs-server/nas.example"
    both = verdicts(bad(NODES, A), bad(NODES, alias), named_too="nas.example")
    own = verdicts(bad(["pve1"], A), bad(["pve1"], alias), well(NODES[1:], A), well(NODES[1:], alias), named_too="nas.example")
    alone = verdicts(bad(NODES, alias), named_too="nas.example")

    assert named(both) == {("nfs-server-down", A)}
    assert named(own) == {("node-storage-network", "node/pve1")}
    assert named(alone) == {("nfs-server-down", alias)}


def test_a_handle_that_is_stale_for_some_was_denied_to_them() -> None:
    """An export that is another one now is so for everybody; where others still use it, the server turned these nodes away."""
    export = "nfs-export/10.1.0.1:/export/vm"
    line = bad(["pve1"], A, aspect="handle")
    everybody = verdicts(bad(NODES, export, aspect="handle"), line)
    some = verdicts(bad(["pve1"], export, aspect="handle"), line, well(NODES[1:], export, aspect="handle"))

    assert named(everybody) == {("nfs-stale-handle", export)}
    assert named(some) == {("nfs-export-denied", export)}


def test_a_server_that_answers_and_whose_disks_hang_is_down() -> None:
    """Mounts of all nodes that hang are the server's fault also when it still answers the call that does nothing."""
    export = "nfs-export/10.1.0.1:/export/vm"
    found = verdicts(bad(NODES, A, via=export, notices=13), [cell(node, A, Answer.OK, at=99) for node in NODES])

    assert named(found) == {("nfs-server-down", A)}


def test_a_target_is_down_when_no_portal_of_it_is_reached_though_its_sessions_have_not_noticed() -> None:
    """Probes see a silent target before its sessions time out: it is named at once, not as each of its portals."""
    portals = [f"iscsi-portal/10.{number}.0.1:3260" for number in (1, 2)]
    lost = [one for portal in portals for one in bad(NODES, portal, at=100)]
    sessions = [one for portal in portals for one in well(NODES, portal, aspect="session", via=TARGET, notices=7)]

    assert named(verdicts(lost, sessions, now=LATER + 3 * SECOND)) == {("iscsi-target-down", TARGET)}
    only = [one for one in lost if one.entity == portals[0]]
    assert named(verdicts(only, sessions, now=LATER + 20 * SECOND)) == {("iscsi-portal-down", portals[0])}


def test_mounts_that_answer_are_not_waited_for_where_the_server_itself_is_asked() -> None:
    """What is known of a server within 3 s from asking it is not held up by the mounts, which are looked at each 10 s."""
    others = NODES[1:]
    mounts = well(others, A, via="nfs-export/10.1.0.1:/export/vm", notices=13)
    (found,) = verdicts(bad(["pve1"], A, at=100), well(others, A), mounts, now=LATER + 5 * SECOND)

    assert (found.cause.value, found.entity, found.due) == ("node-storage-network", "node/pve1", None)
    assert found.stable_at <= LATER + 5 * SECOND
