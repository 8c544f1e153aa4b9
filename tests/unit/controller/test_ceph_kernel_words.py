"""What the kernel's Ceph client says of OSDs, beside what the cluster's maps say."""

from __future__ import annotations

from itertools import count, product

import pytest

from controller.core.correlate import Heard
from controller.core.report import Change, IncidentReport
from controller.core.state import CoreState
from events.base import Event, Seen, Source
from events.ceph import CephOsdDown, CephOsdMoved, CephOsdUp
from events.codec import decode, encode
from events.entity import Entity, EntityKind
from events.envelope import Envelope
from tests.sim.channel import Arrival
from tests.sim.logbook import micros
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


HOUR = 3600


def played(*said: tuple[float, str, Event], until: float) -> list[IncidentReport]:
    """Return the reports on what nodes say at these seconds; all of them are heard all the time."""
    engine, numbers = Engine(CoreState(CLUSTER)), count(1)
    beats = [(float(at), node, None) for at in range(0, int(until), 4) for node in ("pve1", "pve2")]
    for at, node, event in sorted([*said, *beats], key=lambda one: one[:2]):
        when = START + round(at * SECOND)
        sent = (
            Heard(node) if event is None else decode(encode(Envelope(CLUSTER, node, f"boot-{node}", "s", next(numbers), when, when, event)))
        )
        engine.take(Arrival(when, sent))
    return engine.history


def up(source: Source) -> Event:
    """Return that osd.6 is up."""
    host = "" if source is Source.JOURNALD else "pve3"
    return CephOsdUp(subject=Entity(EntityKind.CEPH_OSD, f"{FSID}/6"), seen=Seen(source=source), host=host)


def removed() -> Event:
    """Return that the cluster has no osd.6 any more."""
    return CephOsdMoved(subject=Entity(EntityKind.CEPH_OSD, f"{FSID}/6"), seen=Seen(source=Source.CEPH), to="removed", host="pve3")


def test_the_kernels_word_ends_by_itself() -> None:
    """A kernel whose client is gone says nothing more: an hour after its last word there is no incident left."""
    reports = played((0, "pve1", down(Source.JOURNALD)), until=HOUR + 120)

    assert [one.change for one in reports] == [Change.OPENED, Change.RECOVERING, Change.RESOLVED]
    assert reports[1].at > reports[0].opened_at
    assert _seconds(reports[1]) >= HOUR


def test_a_kernel_that_says_so_again_is_believed_for_longer() -> None:
    """What is said again within the hour lasts from then on."""
    again = played((0, "pve1", down(Source.JOURNALD)), (1800, "pve1", down(Source.JOURNALD)), until=HOUR + 1800 + 120)

    assert [_seconds(one) >= HOUR + 1800 for one in again if one.change is Change.RECOVERING] == [True]


@pytest.mark.parametrize("how", ["up", "removed"])
def test_the_maps_word_outranks_every_kernels(how: str) -> None:
    """An OSD that is up again or was removed by the map's word, of whatever node, is bad for no kernel any more."""
    end = up(Source.CEPH) if how == "up" else removed()
    said = [
        (float(number), node, down(source))
        for number, (node, source) in enumerate(product(("pve1", "pve2"), (Source.CEPH, Source.JOURNALD)))
    ]
    reports = played(*said, (100, "pve1", end), (100.5, "pve2", end), until=400)

    assert len({one.id for one in reports}) == 1
    assert [_seconds(one) < 160 for one in reports if one.change is Change.RESOLVED] == [True]


def test_one_nodes_map_outranks_another_nodes_kernel() -> None:
    """A node that may not ask the cluster learns from the others that its kernel's word is over."""
    reports = played((0, "pve2", down(Source.JOURNALD)), (0, "pve1", down(Source.CEPH)), (100, "pve1", up(Source.CEPH)), until=400)

    assert [_seconds(one) < 160 for one in reports if one.change is Change.RESOLVED] == [True]


def test_a_kernels_later_word_outranks_the_map() -> None:
    """What a kernel says after the map called the OSD up is news."""
    reports = played((0, "pve1", up(Source.CEPH)), (100, "pve2", down(Source.JOURNALD)), until=200)

    assert {one.cause for one in reports} == {"ceph-osd-down"}


def _seconds(report: IncidentReport) -> float:
    return (micros(report.at) - START) / SECOND
