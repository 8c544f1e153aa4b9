"""What the kernel's Ceph client says of OSDs, beside what the cluster's maps say."""

from __future__ import annotations

from controller.core.correlate import Heard
from controller.core.report import IncidentReport
from controller.core.state import CoreState
from events.base import Event, Seen, Source
from events.ceph import CephOsdDown
from events.codec import decode, encode
from events.entity import Entity, EntityKind
from events.envelope import Envelope
from tests.sim.channel import Arrival
from tests.sim.plan import CLUSTER
from tests.sim.trial import Engine

FSID = "2a882841-48a3-11f1-838c-d00d99b60350"
SECOND = 1_000_000
START = 1_795_000_000 * SECOND


def down(source: Source, *, planned: bool = False) -> Event:
    """Return that osd.6 is down, as a source says it."""
    host = "" if source is Source.JOURNALD else "pve3"
    return CephOsdDown(subject=Entity(EntityKind.CEPH_OSD, f"{FSID}/6"), seen=Seen(source=source), host=host, planned=planned)


def told(*events: Event) -> list[IncidentReport]:
    """Return the reports on what two nodes say at one moment, half a minute later."""
    engine = Engine(CoreState(CLUSTER))
    for number, node in enumerate(("pve1", "pve2")):
        engine.take(Arrival(START, Heard(node)))
        for seq, event in enumerate(events, 1):
            sent = Envelope(CLUSTER, node, f"boot-{node}", "s", seq, START + seq, seq, event)
            engine.take(Arrival(START + number * 1000 + seq, decode(encode(sent))))
    for at in range(START + SECOND, START + 30 * SECOND, 2 * SECOND):
        for node in ("pve1", "pve2"):
            engine.take(Arrival(at, Heard(node)))
    return engine.history


def test_the_kernel_alone_names_the_osd() -> None:
    """Where no agent may ask the cluster, what the kernel prints is an incident all the same."""
    reports = told(down(Source.JOURNALD))

    assert {(one.cause, one.entity) for one in reports} == {("ceph-osd-down", f"ceph-osd/{FSID}/6")}


def test_map_and_kernel_are_one_incident() -> None:
    """Two witnesses of one OSD make one incident."""
    reports = told(down(Source.CEPH), down(Source.JOURNALD))

    assert len({one.id for one in reports}) == 1


def test_the_kernel_calls_nobody_for_what_was_meant() -> None:
    """A planned stop stays planned although the kernel prints it like any other."""
    reports = told(down(Source.CEPH, planned=True), down(Source.JOURNALD))

    assert reports
    assert all(one.planned for one in reports)
