"""Hosts that an administrator moves into racks and out of them, as agents' looks at maps and log show them: events, then incidents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import pytest

from agent.classify.ceph import CephClassifier
from agent.record import RawRecord
from controller.core.report import IncidentReport
from events.base import Event, Source
from events.ceph import CephHostDown, CephHostUp, CephOsdDown, CephOsdMoved, CephOsdUp
from events.definitions import CephHostDefined, CephHostGone
from events.envelope import Envelope
from faultline.timeline import Timeline

SECOND: Final = 1_000_000
START: Final = 1_795_000_000 * SECOND
FSID: Final = "4b5c8c0a-ff60-454b-a1b4-9747aa737d19"
NODES: Final = ("pve1", "pve2", "pve3")
Tree = Mapping[str, tuple[str, ...]]
OSDS: Final = {"hA": (0, 1), "hB": (2, 3), "hC": (4, 5)}
IDS: Final = {"default": -1, "hA": -2, "hB": -3, "hC": -4, "r1": -5, "r2": -6}
FLAT: Final[Tree] = {"default": ("hA", "hB", "hC")}
RACKS: Final[Tree] = {"default": ("r1", "r2"), "r1": ("hA",), "r2": ("hB", "hC")}
MOVES: Final[tuple[Tree, ...]] = (FLAT, FLAT, RACKS, RACKS, FLAT)


def tree(buckets: Tree, *down: int, out: tuple[int, ...] = ()) -> dict[str, Any]:
    """Return what a look at the maps finds."""
    types = {"default": "root", "r1": "rack", "r2": "rack"}
    rows: list[dict[str, Any]] = [
        {"id": osd, "name": f"osd.{osd}", "type": "osd", "status": "down" if osd in down else "up", "reweight": float(osd not in out)}
        for osds in OSDS.values()
        for osd in osds
    ]
    rows += [{"id": IDS[host], "name": host, "type": "host", "children": list(osds)} for host, osds in OSDS.items()]
    for name, inside in buckets.items():
        rows.append({"id": IDS[name], "name": name, "type": types[name], "children": [IDS[one] for one in inside]})
    return {"look": "map", "tree": rows}


def failed(*osds: int) -> dict[str, Any]:
    """Return what the monitors say of OSDs that their peers do not reach."""
    host = {osd: name for name, inside in OSDS.items() for osd in inside}
    lines = [f"osd.{osd} failed (root=default,rack=r2,host={host[osd]}) (connection refused reported by osd.0)" for osd in osds]
    return {"look": "log", "lines": [{"text": line} for line in lines]}


def said(classifier: CephClassifier, at: float, found: Mapping[str, Any]) -> list[Event]:
    """Return what an agent tells of a look."""
    when = START + round(at * SECOND)
    inside = {"cluster": "ceph", "fsid": FSID, **found}
    return classifier.classify(RawRecord(Source.CEPH, when, when, "boot", {"look": f"{found['look']}@ceph", "found": json.dumps(inside)}))


def told(looks: Mapping[float, Mapping[str, Any]], apart: float) -> list[IncidentReport]:
    """Return the reports on looks that all nodes take, each by so much later than the one before."""
    timeline, reports = Timeline("c", NODES), list[IncidentReport]()
    moments = sorted((at + apart * number * (at > 0), node, at) for at in looks for number, node in enumerate(NODES))
    classifiers = {node: CephClassifier(node) for node in NODES}
    for sequence, (moment, node, at) in enumerate(moments, 1):
        when = START + round(moment * SECOND)
        for number, event in enumerate(said(classifiers[node], moment, looks[at])):
            reports += timeline.feed(Envelope("c", node, "boot", "s", sequence * 1000 + number, when, when, event))
    return [*reports, *timeline.advance(START + 600 * SECOND)]


def test_a_host_that_is_moved_is_defined_anew() -> None:
    """Where a host stands is told when it is moved, and once; a rack that was removed is told as well."""
    classifier = CephClassifier("pve1")
    first, still, moved, after, back = (said(classifier, at, tree(one)) for at, one in enumerate(MOVES))

    def places(events: list[Event]) -> list[tuple[str, str]]:
        return [(str(one.subject).rpartition("/")[2], one.within) for one in events if isinstance(one, CephHostDefined)]

    assert places(first) == [("hA", ""), ("hB", ""), ("hC", "")]
    assert places(moved) == [("hA", "r1"), ("hB", "r2"), ("hC", "r2")]
    assert places(still) == places(after) == []
    assert places(back) == places(first)
    assert [str(one.subject).rpartition("/")[2] for one in back if isinstance(one, CephHostGone)] == ["r1", "r2"]


def test_each_time_that_an_osd_is_taken_out_or_in_is_told() -> None:
    """That an OSD was moved before does not keep the next move from being told."""
    classifier = CephClassifier("pve1")
    looks = [said(classifier, at, tree(FLAT, out=out)) for at, out in enumerate([(), (3,), (), (3,)])]

    assert [one.to for events in looks for one in events if isinstance(one, CephOsdMoved)] == ["out", "in", "out"]


def test_a_host_that_is_moved_while_it_is_down_is_down_where_it_stands() -> None:
    """What was said of a host in its rack ends when it is moved out of it, whether it is still down or up again."""
    classifier = CephClassifier("pve1")
    said(classifier, 0, tree(RACKS))
    said(classifier, 1, failed(2, 3))
    said(classifier, 2, tree(RACKS, 2, 3))
    moved = [one for one in said(classifier, 3, tree(FLAT, 2, 3)) if isinstance(one, CephHostGone | CephHostDown)]
    up = [one for one in said(classifier, 4, tree(RACKS)) if isinstance(one, CephHostUp)]

    assert [(type(one), str(one.subject).rpartition("/")[2], one.within) for one in moved] == [
        (CephHostGone, "hB", "r2"),
        (CephHostDown, "hB", ""),
        (CephHostGone, "r1", ""),
        (CephHostGone, "r2", ""),
    ]
    assert [(str(one.subject).rpartition("/")[2], one.within) for one in up if str(one.subject).endswith("hB")] == [("hB", "")]


def test_maps_that_were_asked_for_before_an_osd_failed_do_not_bring_it_back() -> None:
    """After the line that an OSD failed the first look at the maps may be older; a second one, or a line that it booted, is not."""
    classifier = CephClassifier("pve1")
    states = CephOsdDown | CephOsdUp | CephHostDown | CephHostUp

    def all_said(at: float, found: Mapping[str, Any]) -> list[str]:
        return [type(one).__name__ for one in said(classifier, at, found) if isinstance(one, states)]

    all_said(0, tree(RACKS))
    all_said(1, tree(RACKS))

    assert all_said(2, failed(2, 3)) == ["CephOsdDown"] * 2
    assert all_said(3, tree(RACKS)) == ["CephHostDown"]  # both are down by the lines, whatever these maps say
    assert all_said(4, tree(RACKS, 2, 3)) == []
    assert all_said(5, tree(RACKS)) == ["CephOsdUp", "CephOsdUp", "CephHostUp"]
    assert all_said(6, failed(2)) == ["CephOsdDown"]
    assert all_said(7, tree(RACKS)) == []
    assert all_said(8, tree(RACKS)) == ["CephOsdUp"]
    assert all_said(9, failed(2)) == ["CephOsdDown"]
    assert all_said(10, {"look": "log", "lines": [{"text": "osd.2 [v2:10.0.0.1:6800/1,v1:10.0.0.1:6801/1] boot"}]}) == []
    assert all_said(11, tree(RACKS)) == ["CephOsdUp"]


@pytest.mark.parametrize("apart", [0.02, 0.4, 1.2])
@pytest.mark.parametrize("late", [1.0, 2.05, 4.0, 9.0])
@pytest.mark.parametrize("dissolved", [False, True], ids=["stays", "dissolved"])
def test_a_rack_of_which_the_last_osd_is_reported_late_is_one_incident(late: float, apart: float, dissolved: bool) -> None:
    """Of hosts that were moved into a rack just before, one is down as a whole before the other: the rack is named, and nothing else.

    So it went on a real cluster: the first look at the maps knew one host and where both stand, and told only the former.
    """
    looks = {
        -60.0: tree(FLAT),
        0.24: failed(2, 4, 5),
        0.36: tree(RACKS, 2, 4, 5),
        1.28: failed(3),
        1.28 + late: tree(RACKS, 2, 3, 4, 5),
        60.0: tree(FLAT if dissolved else RACKS),
    }
    reports = told(looks, apart)

    assert {(report.cause, report.entity) for report in reports} == {("ceph-host-down", f"ceph-host/{FSID}/r2")}
    assert len({report.id for report in reports}) == 1
    assert [report.change.value for report in reports if report.change.value != "revised"] == ["opened", "recovering", "resolved"]
