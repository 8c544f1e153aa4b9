"""What HA maintenance of a node covers: the node, and its Ceph daemons; never another node's, nor a quorum."""

from __future__ import annotations

import pytest

from controller.core.correlate import Heard
from controller.core.evidence import Answer, Reading
from controller.core.intake import meant
from controller.core.state import CoreState
from events.base import Event, Seen, Source
from events.ceph import CephMonUnreachable, CephSilence
from events.cluster import HaNodeMaintenance
from events.definitions import CephHostDefined
from events.envelope import Envelope
from tests.sim import facts as make
from tests.sim.channel import Arrival
from tests.sim.plan import CLUSTER
from tests.sim.trial import Engine

SECOND = 1_000_000
START = 1_795_000_000 * SECOND
FSID = "4b5c8c0a-ff60-454b-a1b4-9747aa737d19"
NODES = ("pve1", "pve2", "pve3")
SEEN = Seen(source=Source.PMXCFS)
BUCKETS = {"pve1": "r1", "pve2": "r2", "pve3": "r2"}
FACTS = (
    make.nodes(*NODES),
    make.ceph(FSID, *(("abc"[number - 1] if node == "pve1" else node, f"10.0.3.{number}") for number, node in enumerate(NODES, 1))),
    *(make.networks(node, f"10.0.3.{number}/24") for number, node in enumerate(NODES, 1)),
    *(
        CephHostDefined(subject=f"ceph-host/{FSID}/{node}", seen=SEEN, osds=(2 * number, 2 * number + 1), within=BUCKETS[node])
        for number, node in enumerate(NODES)
    ),
)
"""Three nodes in two racks; pve1's monitor is called ``a``."""


def engine(*away: str) -> Engine:
    """Return a core that knows the cluster and that these nodes are in HA maintenance."""
    found = Engine(CoreState(CLUSTER))
    events: list[Event] = [*FACTS, *(HaNodeMaintenance(subject=f"node/{node}", seen=SEEN, active=True) for node in away)]
    for seq, event in enumerate(events, 1):
        found.take(Arrival(START + seq, Envelope(CLUSTER, "pve2", "boot", "s", seq, START + seq, seq, event)))
    return found


def is_meant(entity: str, aspect: str, *away: str, via: str = "") -> bool:
    """Tell whether that something is bad is planned while these nodes are in maintenance."""
    return meant(engine(*away).state, Reading(entity, aspect, Answer.BAD, via=via)).planned


@pytest.mark.parametrize(
    ("entity", "aspect", "via"),
    [
        ("node/pve1", "member", ""),
        (f"ceph-mon/{FSID}/a", "up", ""),
        (f"ceph-mon/{FSID}/a", "reach", ""),
        (f"ceph-mon/{FSID}/10.0.3.1", "reach", ""),
        (f"ceph-osd/{FSID}/1", "up", f"ceph-host/{FSID}/pve1"),
        (f"ceph-osd/{FSID}/1", "up", "kernel"),
        (f"ceph-host/{FSID}/pve1", "up", f"ceph-host/{FSID}/r1"),
        (f"ceph-host/{FSID}/r1", "up", ""),
    ],
)
def test_a_nodes_daemons_are_planned_with_it(entity: str, aspect: str, via: str) -> None:
    """Its monitor, whatever that is called, its OSDs, its host and a rack that is it alone are planned while it is in maintenance only."""
    assert is_meant(entity, aspect, "pve1", via=via)
    assert not is_meant(entity, aspect, "pve2", via=via)
    assert not is_meant(entity, aspect, via=via)


def test_a_rack_is_planned_when_all_of_it_is() -> None:
    """A rack of two nodes is down by more than the maintenance of one."""
    assert not is_meant(f"ceph-host/{FSID}/r2", "up", "pve2")
    assert is_meant(f"ceph-host/{FSID}/r2", "up", "pve2", "pve3")


@pytest.mark.parametrize("aspect", ["quorum", "active", "check", "redundancy"])
def test_nothing_of_the_cluster_as_a_whole_is_planned(aspect: str) -> None:
    """Lost quorum, inactive groups and checks are no node's."""
    assert not is_meant(f"ceph/{FSID}", aspect, *NODES)


def test_what_is_unknown_is_not_planned() -> None:
    """A monitor or OSD of which nobody knows where it runs is nobody's maintenance."""
    assert not is_meant(f"ceph-mon/{FSID}/x", "up", *NODES)
    assert not is_meant(f"ceph-osd/{FSID}/99", "up", *NODES, via="kernel")


@pytest.mark.parametrize(("away", "planned"), [(("pve1",), {True}), (("pve1", "pve3"), {False})], ids=["one", "most"])
def test_monitors_of_nodes_in_maintenance_are_planned_and_their_quorum_is_not(away: tuple[str, ...], planned: set[bool]) -> None:
    """One silent monitor of a node in maintenance calls nobody; most of them are a lost quorum, which was never meant."""
    core = engine(*away)
    names = {"pve1": "a", "pve3": "pve3"}
    for second in range(40):
        at = START + (60 + second) * SECOND
        core.take(Arrival(at, Heard("pve2")))
        for seq, node in enumerate(away if second == 10 else (), 100):
            subject = f"ceph-mon/{FSID}/{names[node]}"
            event = CephMonUnreachable(subject=subject, seen=Seen(source=Source.CEPH), how=CephSilence.REFUSED)
            core.take(Arrival(at + seq, Envelope(CLUSTER, "pve2", "boot", "s", seq, at + seq, seq, event)))

    assert {one.cause for one in core.history} == {"ceph-mon-quorum"}
    assert {one.planned for one in core.history} == planned
