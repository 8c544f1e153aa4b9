"""When most monitors of a list are silent, their quorum is lost: one incident of the cluster, not one of each."""

from __future__ import annotations

from controller.core.correlate import Heard
from controller.core.report import IncidentReport
from controller.core.state import CoreState
from events.base import Event, Seen, Source
from events.ceph import CephClientSession, CephMonReachable, CephMonUnreachable, CephSilence
from events.codec import decode, encode
from events.definitions import CephMonitor, CephMonitorsListed
from events.entity import Entity, EntityKind
from events.envelope import Envelope
from tests.sim.channel import Arrival
from tests.sim.plan import CLUSTER
from tests.sim.trial import Engine

FSID = "2a882841-48a3-11f1-838c-d00d99b60350"
SECOND = 1_000_000
START = 1_795_000_000 * SECOND
NODES = ("pve1", "pve2", "pve3")
SEEN = Seen(source=Source.CEPH)
LISTED = CephMonitorsListed(
    subject=Entity(EntityKind.CEPH, FSID), seen=SEEN, monitors=tuple(CephMonitor(name=one, address=f"10.0.0.1:{one}") for one in "abc")
)


def heard(name: str) -> Event:
    """Return that a monitor is heard."""
    return CephMonReachable(subject=Entity(EntityKind.CEPH_MON, f"{FSID}/{name}"), seen=SEEN, address="10.0.0.1")


def refused(name: str) -> Event:
    """Return that a monitor refuses."""
    return CephMonUnreachable(subject=Entity(EntityKind.CEPH_MON, f"{FSID}/{name}"), seen=SEEN, how=CephSilence.REFUSED)


def told(silent: str, *before: Event) -> list[IncidentReport]:
    """Return the reports when these monitors refuse all nodes, 20 seconds after all were heard, one also by its address.

    ``before``: what is told a second before that.
    """
    engine, seq = Engine(CoreState(CLUSTER)), dict.fromkeys(NODES, 0)
    script = {0: [LISTED, heard("10.0.0.1"), *map(heard, "abc")], 19: [*before], 20: [refused(one) for one in silent]}
    for second in range(60):
        for number, node in enumerate(NODES):
            at = START + second * SECOND + number * 1000
            engine.take(Arrival(at, Heard(node)))
            for event in script.get(second, ()):
                seq[node] += 1
                engine.take(Arrival(at, decode(encode(Envelope(CLUSTER, node, f"boot-{node}", "s", seq[node], at, at, event)))))
    return engine.history


def test_two_of_three_silent_monitors_are_the_quorum() -> None:
    """Two of three monitors that refuse everybody are one incident, that of the cluster, from its first word on."""
    assert {(one.cause, one.entity, one.id) for one in told("bc")} == {("ceph-mon-quorum", f"ceph/{FSID}", told("bc")[0].id)}


def test_one_of_three_silent_monitors_is_that_one() -> None:
    """One monitor that refuses everybody is named itself."""
    assert {(one.cause, one.entity) for one in told("c")} == {("ceph-mon-quorum", f"ceph-mon/{FSID}/c")}


def test_what_kernels_lost_stands_in_the_reasons() -> None:
    """A kernel that lost its session with a monitor is told with the monitor's name, once, however many nodes say so; another's is not."""
    apart = tuple(CephMonitor(name=one, address=f"10.0.1.{number}:3300") for number, one in enumerate("abc", 1))
    listed = LISTED.model_copy(update={"monitors": apart})
    kernel, strange = Seen(source=Source.JOURNALD), "10.0.9.9:3300"
    lost = [CephClientSession(subject="node/pve1", seen=kernel, to="lost", address=one) for one in ("10.0.1.3:3300", strange)]
    sentence = "1 s before: the kernel of a node lost its session with mon.c at 10.0.1.3:3300."
    for silent in ("c", "bc"):
        why = [line for line in told(silent, listed, *lost)[0].why if "session" in line]
        assert why == [sentence]
