"""A CRUSH rack is one failure domain: however its hosts are reported, and however they come back, it is one incident."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count

import pytest

from controller.core.evidence import ROOT, Answer
from controller.core.facts import Facts
from controller.core.inference.ceph import hosts_in, parts
from controller.core.report import Change, IncidentReport
from controller.core.state import Cell
from events.base import Event, Seen, Source
from events.ceph import CephHostDown, CephHostUp, CephOsdDown, CephOsdUp, CephPgsClean, CephPgsDegraded
from events.definitions import CephHostDefined, CephHostGone
from events.envelope import Envelope
from faultline.timeline import Timeline

SECOND = 1_000_000
T0 = 1_795_000_000 * SECOND
FSID = "4b5c8c0a-ff60-454b-a1b4-9747aa737d19"
SEEN = Seen(source=Source.CEPH, excerpt="seen")
OSDS = {"hA": (0, 1), "hB": (2, 3), "hC": (4, 5), "hD": (6, 7)}
RACKS = {"hA": "r1", "hB": "r2", "hC": "r2", "hD": "r1"}
NODES = ("pve1", "pve2", "pve3")
Said = list[tuple[float, str, Event]]


def osd(number: int, host: str, *, down: bool) -> Event:
    """Return that an OSD is down, or up."""
    return (CephOsdDown if down else CephOsdUp)(subject=f"ceph-osd/{FSID}/{number}", seen=SEEN, host=host)


def bucket(name: str, within: str, *, down: bool) -> Event:
    """Return that all OSDs of a CRUSH bucket are down, or that some are up."""
    return (CephHostDown if down else CephHostUp)(subject=f"ceph-host/{FSID}/{name}", seen=SEEN, within=within)


def seen_by(node: str, late: float, spans: Mapping[str, tuple[float, float]], back: float, buckets: float) -> Said:
    """Return what a node tells of hosts that are down from a second to another.

    It is ``late`` by so much to tell that they are down, ``back`` that they are up, and tells whole hosts and racks ``buckets`` after OSDs.
    """
    said: Said = []
    racks: dict[str, list[str]] = {}
    for host, (begin, end) in spans.items():
        racks.setdefault(RACKS[host], []).append(host)
        said += [(begin + late, node, osd(number, host, down=True)) for number in OSDS[host]]
        said += [(end + back, node, osd(number, host, down=False)) for number in OSDS[host]]
        said.append((begin + late + buckets, node, bucket(host, RACKS[host], down=True)))
        said.append((end + back + 0.01, node, bucket(host, RACKS[host], down=False)))
    for rack, hosts in racks.items():
        if {host for host in RACKS if RACKS[host] == rack} == set(hosts):
            said.append((max(spans[host][0] for host in hosts) + late + buckets, node, bucket(rack, "", down=True)))
            said.append((min(spans[host][1] for host in hosts) + back + 0.01, node, bucket(rack, "", down=False)))
    return said


def told(said: Said, *, known: bool = True, until: float = 300) -> list[IncidentReport]:
    """Return all reports on what nodes tell; hosts' racks are known beforehand, or by the signs alone."""
    timeline, numbers = Timeline("c", NODES), count(1)
    facts = [CephHostDefined(subject=f"ceph-host/{FSID}/{host}", seen=SEEN, osds=OSDS[host], within=RACKS[host]) for host in OSDS]
    before: Said = [(-60.0, NODES[0], fact) for fact in facts if known]

    def play() -> Iterator[IncidentReport]:
        for at, node, event in sorted([*before, *said], key=lambda one: one[:2]):
            when = T0 + round(at * SECOND)
            yield from timeline.feed(Envelope("c", node, "boot", "s", next(numbers), when, when, event))
        yield from timeline.advance(T0 + round(until * SECOND))

    return list(play())


def names(reports: list[IncidentReport]) -> list[str]:
    """Return what each incident is named at its end, by the name of its host or rack."""
    return sorted(report.entity.rpartition("/")[2] for report in {report.id: report for report in reports}.values())


def changes(reports: list[IncidentReport]) -> list[Change]:
    """Return what was told, in order."""
    return [report.change for report in reports]


ONCE = [
    [Change.OPENED, Change.RECOVERING, Change.RESOLVED],
    [Change.OPENED, Change.REVISED, Change.RECOVERING, Change.RESOLVED],
]
"""What is told of a fault; nodes that report it as well may be told once more."""
SKEWS = [-10, -5, -2, -0.5, 0, 0.5, 2, 5, 10]


@pytest.mark.parametrize("known", [True, False], ids=["known", "by-signs"])
@pytest.mark.parametrize("back", [0.5, 2, 5, 9])
@pytest.mark.parametrize("late", [2.5, 4, 7])
def test_a_rack_that_some_report_later_is_over_when_it_is_over_for_all(late: float, back: float, known: bool) -> None:
    """Who joins in soon after a rack was told is part of it at once: nothing is opened or reopened when others see it end sooner."""
    spans = {"hB": (0.0, 9.0), "hC": (0.0, 9.0)}
    lateness = dict(zip(NODES, ((0.0, 0.0), (late, back), (late, back / 2)), strict=True))
    reports = told([one for node, (down, up) in lateness.items() for one in seen_by(node, down, spans, up, 0.05)], known=known)

    assert names(reports) == ["r2"]
    assert changes(reports) in ONCE


@pytest.mark.parametrize("buckets", [0.01, 3.0], ids=["racks-at-once", "racks-later"])
@pytest.mark.parametrize("skew", SKEWS)
def test_hosts_of_a_rack_that_end_one_after_the_other_are_one_incident(skew: float, buckets: float) -> None:
    """A host's incident becomes its rack's by one revision when the rack's other host ends as well."""
    spans = {"hB": (max(0.0, -skew), 60.0), "hC": (max(0.0, skew), 60.0)}
    reports = told([one for number, node in enumerate(NODES) for one in seen_by(node, number * 0.4, spans, number * 0.3, buckets)])

    assert names(reports) == ["r2"]
    assert len({report.id for report in reports}) == 1
    assert changes(reports).count(Change.REVISED) <= 2
    assert Change.REOPENED not in changes(reports)


@pytest.mark.parametrize("lasts", [7.0, 15.0, 60.0])
@pytest.mark.parametrize("skew", SKEWS)
def test_what_is_still_down_of_a_rack_that_comes_back_stays_the_racks(skew: float, lasts: float) -> None:
    """While one host of a rack is up again sooner than the other nothing new is told, whenever the nodes see it."""
    spans = {"hB": (0.0, lasts + max(0.0, -skew)), "hC": (0.0, lasts + max(0.0, skew))}
    lateness = dict(zip(NODES, ((0.0, 0.0), (2.6, 1.5), (3.1, 0.7)), strict=True))
    said = [one for node, (down, up) in lateness.items() for one in seen_by(node, down, spans, up, 0.05)]
    cluster = f"ceph/{FSID}"
    said += [(3.0, node, CephPgsDegraded(subject=cluster, seen=SEEN, pgs=33)) for node in NODES]
    said += [(lasts + 12, node, CephPgsClean(subject=cluster, seen=SEEN)) for node in NODES]
    reports = told(said)

    assert names(reports) == ["r2"]
    assert changes(reports) in ONCE


def test_hosts_of_one_rack_that_end_minutes_apart_are_the_racks_incident_in_the_end() -> None:
    """A host that is told is revised to its rack when the other host ends two minutes later; nothing else is opened."""
    spans = {"hB": (0.0, 300.0), "hC": (120.0, 300.0)}
    reports = told([one for node in NODES for one in seen_by(node, 0.2, spans, 0.2, 0.05)], until=600)

    assert [report.entity.rpartition("/")[2] for report in reports if report.change in {Change.OPENED, Change.REVISED}] == ["hB", "r2"]
    assert names(reports) == ["r2"]


def test_hosts_of_different_racks_are_two_incidents() -> None:
    """Where neither rack is down as a whole its host is named."""
    spans = {"hA": (0.0, 30.0), "hB": (0.0, 30.0)}

    assert names(told([one for node in NODES for one in seen_by(node, 0.2, spans, 0.2, 0.05)])) == ["hA", "hB"]


def test_one_host_of_a_rack_is_named_itself_and_reopened_when_it_ends_again() -> None:
    """A host that ends, is well for half a minute and ends again is one incident, its own, and its rack is not named."""
    said = [one for begin in (0.0, 75.0) for one in seen_by("pve1", 0.1, {"hB": (begin, begin + 40.0)}, 0.1, 0.05)]
    reports = told(said)

    assert names(reports) == ["hB"]
    assert Change.REOPENED in changes(reports)


@pytest.mark.parametrize("order", [NODES, NODES[::-1]], ids=["first-to-last", "last-to-first"])
def test_a_rack_that_is_dissolved_while_it_comes_back_ends_with_its_last_host(order: tuple[str, ...]) -> None:
    """Hosts that are moved out of a rack, and the rack that is removed, leave nothing behind that would be told as a fault later."""
    spans = {"hB": (0.0, 12.0), "hC": (0.0, 12.0)}
    said = [one for number, node in enumerate(NODES) for one in seen_by(node, number * 0.3, spans, 0, 0.05)]
    rack = f"ceph-host/{FSID}/r2"
    said = [(at, node, event) for at, node, event in said if not (isinstance(event, CephHostUp) and str(event.subject) == rack)]
    said = [(at + 2.0 * order.index(node) * (at >= 12), node, event) for at, node, event in said]
    for number, node in enumerate(order):
        moved = 12.1 + 2.0 * number
        said.append((moved, node, CephHostGone(subject=rack, seen=SEEN)))
        said += [(moved, node, CephHostDefined(subject=f"ceph-host/{FSID}/{host}", seen=SEEN, osds=OSDS[host])) for host in spans]
    reports = told(said, until=60)

    assert names(reports) == ["r2"]
    assert changes(reports) in ONCE


def test_a_bucket_above_racks_holds_the_hosts_of_its_racks() -> None:
    """What is part of what comes from the hosts' own words and, above racks, from the signs of racks; a circle ends."""
    facts = Facts()
    for host, osds in OSDS.items():
        facts.take(CephHostDefined(subject=f"ceph-host/{FSID}/{host}", seen=SEEN, osds=osds, within=RACKS[host]), 0)
    signs = [
        Cell("pve1", f"ceph-host/{FSID}/{name}", "up", f"ceph-host/{FSID}/{within}", ROOT, Answer.BAD, 0, 0)
        for name, within in (("r1", "east"), ("east", "east"))
    ]
    above = parts(facts, FSID, signs)

    assert {name: sorted(hosts_in(f"ceph-host/{FSID}/{name}", above)) for name in ("r1", "r2", "east", "hB", "west")} == {
        "r1": [f"ceph-host/{FSID}/hA", f"ceph-host/{FSID}/hD"],
        "r2": [f"ceph-host/{FSID}/hB", f"ceph-host/{FSID}/hC"],
        "east": [f"ceph-host/{FSID}/hA", f"ceph-host/{FSID}/hD"],
        "hB": [f"ceph-host/{FSID}/hB"],
        "west": [],
    }
