"""What outgrows its cause: I/O that stands still and serious checks are told, whatever else is down, and whatever was planned."""

from __future__ import annotations

from itertools import count

import pytest

from controller.core.report import Change, IncidentReport
from events.base import Event, Seen, Source
from events.ceph import (
    CephCheckRaised,
    CephHostDown,
    CephMonDown,
    CephNearFull,
    CephOsdDown,
    CephOsdUp,
    CephPgsActive,
    CephPgsDegraded,
    CephPgsInactive,
)
from events.envelope import Envelope
from faultline.timeline import Timeline
from tests.sim import facts as make

SECOND = 1_000_000
T0 = 1_795_000_000 * SECOND
FSID = "4b5c8c0a-ff60-454b-a1b4-9747aa737d19"
SEEN = Seen(source=Source.CEPH, excerpt="seen")
NODES = ("pve1", "pve2", "pve3")
GUESTS = ("101", "102", "103")
OF_OSD = "ceph-osd-down"
Span = tuple[float, float, Event]
"""From when to when (seconds) a node says something, each minute anew."""


def osd(number: int, host: str, *, planned: bool = False) -> Event:
    """Return that an OSD is down."""
    return CephOsdDown(subject=f"ceph-osd/{FSID}/{number}", seen=SEEN, host=host, planned=planned)


def osd_up(number: int, host: str) -> Event:
    """Return that an OSD is up."""
    return CephOsdUp(subject=f"ceph-osd/{FSID}/{number}", seen=SEEN, host=host)


def host(name: str, *, planned: bool = False) -> Event:
    """Return that all OSDs of a host are down."""
    return CephHostDown(subject=f"ceph-host/{FSID}/{name}", seen=SEEN, planned=planned)


def check(code: str, *, muted: bool = False) -> Event:
    """Return that a serious health check was raised."""
    return CephCheckRaised(
        subject=f"ceph/{FSID}", seen=SEEN, code=code, severity="HEALTH_ERR", summary=code.lower(), serious=True, muted=muted
    )


INACTIVE = CephPgsInactive(subject=f"ceph/{FSID}", seen=SEEN, pgs=8)
ACTIVE = CephPgsActive(subject=f"ceph/{FSID}", seen=SEEN)
DEGRADED = CephPgsDegraded(subject=f"ceph/{FSID}", seen=SEEN, pgs=33)


def told(*spans: Span, until: float = 400) -> list[IncidentReport]:
    """Return all reports on what three nodes say, each its own half second later; a guest on Ceph runs on each of them."""
    timeline, numbers = Timeline("prod", NODES), count(1)
    facts = [
        make.nodes(*NODES),
        make.ceph(FSID, *((node, f"10.0.3.{number}") for number, node in enumerate(NODES, 1))),
        make.storage("vm", "rbd", pool="vm"),
        *(make.guest(100 + number, node, "vm") for number, node in enumerate(NODES, 1)),
    ]
    said: list[tuple[float, str, Event]] = [(-60.0, NODES[0], fact) for fact in facts]
    for begin, end, event in spans:
        times = [begin, *(begin + 60 * turn for turn in range(1, 400) if begin + 60 * turn < end)]
        said += [(at + 0.5 * number, node, event) for at in times for number, node in enumerate(NODES)]
    reports: list[IncidentReport] = []
    for at, node, event in sorted(said, key=lambda one: one[:2]):
        when = T0 + round(at * SECOND)
        reports += timeline.feed(Envelope("prod", node, "boot", "s", next(numbers), when, when, event))
    return [*reports, *timeline.advance(T0 + round(until * SECOND))]


def once(at: float, event: Event) -> Span:
    """Return something that is said once."""
    return at, at, event


def names(reports: list[IncidentReport]) -> set[tuple[str, str]]:
    """Return cause and last part of the entity of each incident."""
    return {(one.cause, one.entity.rpartition("/")[2]) for one in reports}


def of(reports: list[IncidentReport], name: str) -> list[IncidentReport]:
    """Return the reports on one thing."""
    return [one for one in reports if one.entity.endswith(f"/{name}")]


def called(reports: list[IncidentReport]) -> set[str]:
    """Return the entities for which people are called."""
    return {one.entity.rpartition("/")[2] for one in reports if not one.planned}


def test_the_osd_that_stops_io_is_as_grave_as_stopped_io() -> None:
    """The second of two OSDs stops I/O: told anew, critical, with guests that stand still; the first is not."""
    reports = told((0, 300, osd(1, "pve1")), (60, 300, osd(4, "pve2")), (64, 300, INACTIVE), until=299)

    assert names(reports) == {(OF_OSD, "1"), (OF_OSD, "4")}
    assert [(one.change, one.severity, one.guests.frozen) for one in of(reports, "1")] == [(Change.OPENED, "major", ())]
    assert [(one.change, one.severity, one.guests.frozen) for one in of(reports, "4")] == [
        (Change.OPENED, "major", ()),
        (Change.REVISED, "critical", GUESTS),
    ]


def test_io_that_goes_on_again_takes_the_gravity_away() -> None:
    """When placement groups serve again while an OSD is still down, its guests are at risk only, and it is major again."""
    reports = told((0, 200, osd(1, "pve1")), (1, 90, INACTIVE), once(100, ACTIVE), once(200, osd_up(1, "pve1")))
    last = reports[-1]

    assert "critical" in {one.severity for one in reports}
    assert (last.change, last.severity, last.guests.frozen, last.guests.at_risk) == (Change.RESOLVED, "major", (), GUESTS)


def test_io_that_comes_and_goes_is_told_once_in_a_while() -> None:
    """Placement groups that stop and serve again every half minute are one message in three minutes, not one each time."""
    spans = [once(10 + 30 * turn, INACTIVE) for turn in range(5)]
    spans += [once(25 + 30 * turn, ACTIVE) for turn in range(5)]
    reports = told((0, 200, osd(1, "pve1")), *spans, until=180)

    assert [one.change for one in reports] == [Change.OPENED, Change.REVISED]


@pytest.mark.parametrize("kind", ["osds", "hosts"])
def test_a_planned_fault_that_stops_io_calls(kind: str) -> None:
    """Under noout all that is down is planned: the one by which I/O stands still calls people all the same, the one before it does not."""
    first, second = (
        (osd(1, "pve1", planned=True), osd(4, "pve2", planned=True))
        if kind == "osds"
        else (host("pve1", planned=True), host("pve2", planned=True))
    )
    reports = told((0, 300, first), (60, 300, second), (64, 300, INACTIVE), until=299)
    later = of(reports, "4" if kind == "osds" else "pve2")

    assert called(reports) == {"4" if kind == "osds" else "pve2"}
    assert [(one.change, one.planned, one.severity) for one in later] == [
        (Change.OPENED, True, "minor"),
        (Change.REVISED, False, "critical"),
    ]
    assert later[-1].guests.frozen == GUESTS


def test_groups_that_peer_call_nobody() -> None:
    """A planned stop by which groups are inactive for a second stays planned."""
    reports = told((0, 100, osd(1, "pve1", planned=True)), once(5, INACTIVE), once(6.2, ACTIVE), once(100, osd_up(1, "pve1")))

    assert reports
    assert called(reports) == set()


@pytest.mark.parametrize("code", ["PG_DAMAGED", "MDS_ALL_DOWN", "MDS_DAMAGE", "MON_DISK_CRIT", "OSD_SCRUB_ERRORS", "WHAT_NOBODY_KNOWS"])
def test_a_serious_check_that_no_osd_can_bring_about_is_told_beside_it(code: str) -> None:
    """Damage, metadata servers, monitors and what is unknown are no part of an OSD that was stopped in order."""
    reports = told((0, 300, osd(1, "pve1", planned=True)), (30, 300, check(code)), until=299)

    assert names(reports) == {(OF_OSD, "1"), ("unexplained", FSID)}
    assert called(reports) == {FSID}


@pytest.mark.parametrize("code", ["OBJECT_UNFOUND", "PG_RECOVERY_FULL", "REQUEST_STUCK"])
def test_a_serious_check_that_an_osd_brings_about_belongs_to_it_and_calls(code: str) -> None:
    """What may follow from an OSD is no incident of its own; if the OSD was stopped in order, people are called for it now."""
    unplanned = told((0, 300, osd(1, "pve1")), (30, 300, check(code)), until=299)
    planned = told((0, 300, osd(1, "pve1", planned=True)), (30, 300, check(code)), until=299)

    assert names(unplanned) == names(planned) == {(OF_OSD, "1")}
    assert [(one.change, one.planned) for one in planned] == [(Change.OPENED, True), (Change.REVISED, False)]
    assert code in planned[-1].timeline[-1].text


@pytest.mark.parametrize(("code", "of_host"), [("MDS_ALL_DOWN", True), ("FS_DEGRADED", True), ("MDS_DAMAGE", False)])
def test_metadata_servers_end_with_their_host(code: str, of_host: bool) -> None:
    """A host that is down takes its metadata servers with it, and no damage comes of that."""
    reports = told((0, 300, host("pve1")), (0, 300, osd(1, "pve1")), (5, 300, check(code)), until=299)

    assert (("unexplained", FSID) not in names(reports)) is of_host


def test_a_monitors_check_belongs_to_the_monitor() -> None:
    """A monitor whose disk is full is down for that reason: one incident."""
    mon = CephMonDown(subject=f"ceph-mon/{FSID}/pve1", seen=SEEN, spare=0)
    reports = told((0, 300, mon), (5, 300, check("MON_DISK_CRIT")), until=299)

    assert names(reports) == {("ceph-mon-quorum", "pve1")}


def test_a_muted_check_calls_nobody() -> None:
    """A serious check that somebody muted is listed, and neither it nor what it follows from calls."""
    spans = [(30.0, 300.0, check(code, muted=True)) for code in ("PG_DAMAGED", "OBJECT_UNFOUND")]
    reports = told((0, 300, osd(1, "pve1", planned=True)), *spans, until=299)

    assert reports
    assert called(reports) == set()


@pytest.mark.parametrize("begin", [4, 900], ids=["since-the-fault", "later"])
def test_io_that_stands_still_after_the_osds_are_back_is_told_by_itself(begin: float) -> None:
    """Copies are made for hours after an OSD is back; groups that serve nothing two minutes later are no part of that."""
    back = 60
    spans = ((0, back, osd(1, "pve1")), once(back, osd_up(1, "pve1")), (1, 2000, DEGRADED), (begin, 2000, INACTIVE))
    reports = told(*spans, until=1900)
    alone = [one for one in reports if one.cause == "ceph-pg-inactive"]

    assert [(one.change, one.severity, one.guests.frozen) for one in alone] == [(Change.OPENED, "critical", GUESTS)]
    assert names(reports) == {(OF_OSD, "1"), ("ceph-pg-inactive", FSID)}


def test_groups_that_peer_when_an_osd_is_back_belong_to_it() -> None:
    """What is inactive for less than two minutes after an OSD is back is its end, and no incident."""
    back = 60
    spans = ((0, back, osd(1, "pve1")), once(back, osd_up(1, "pve1")), (1, 300, DEGRADED), (back + 3, 100, INACTIVE), once(110, ACTIVE))

    assert names(told(*spans, until=250)) == {(OF_OSD, "1")}


def test_stopped_io_does_not_follow_from_osds_that_are_nearly_full() -> None:
    """What is nearly full serves as before: placement groups that serve nothing are told beside it."""
    near = CephNearFull(subject=f"ceph-osd/{FSID}/1", seen=SEEN, percent=86)

    assert ("ceph-pg-inactive", FSID) in names(told((0, 300, near), (60, 300, INACTIVE), until=299))
