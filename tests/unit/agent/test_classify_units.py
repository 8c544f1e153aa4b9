"""Services that systemd stopped, as the recording's own journals tell them."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.classify.journald import JournalClassifier
from agent.classify.units import STOPPED
from agent.record import RawRecord
from agent.sources.recorded import read_recorded
from agent.sources.wanted import UNIT_STOPPED
from controller.core.facts import Facts
from controller.core.happenings import happenings
from events.base import Source
from events.cluster import NodeUnitStopped

RECORDED = Path(__file__).parents[2] / "samples" / "recorded" / "three-nodes-1"


@pytest.mark.parametrize("node", ["pve1", "pve2", "pve3"])
def test_restart_of_recording(node: str) -> None:
    """The restart of multipathd, which each node of the recording had, is told once, as a restart, and is what happened just before."""
    classifier = JournalClassifier(node)
    records = read_recorded(RECORDED / f"{node}.export.xz", lambda _: None)
    found = [(record.at, event) for record in records for event in classifier.classify(record) if isinstance(event, NodeUnitStopped)]
    assert [(event.unit, event.restarts, str(event.subject)) for _, event in found] == [("multipathd.service", True, f"node/{node}")]
    at, event = found[0]
    assert [one.text for one in happenings(event, node, at, Facts())] == [f"multipathd.service of {node} was restarted"]


@pytest.mark.parametrize(
    ("unit", "told"),
    [
        ("ceph-osd@12.service", True),
        ("nfs-server.service", True),
        ("networking.service", True),
        ("user@0.service", False),
        ("iscsid.service.d", False),
        ("", False),
    ],
)
def test_which_units(unit: str, told: bool) -> None:
    """Only what storage depends on is told; what is stopped for good is no restart."""
    record = RawRecord(Source.JOURNALD, 1, 1, "b", {"MESSAGE_ID": STOPPED, "UNIT": unit, "JOB_TYPE": "stop", "MESSAGE": "Stopped."})
    found = [event for event in JournalClassifier("pve1").classify(record) if isinstance(event, NodeUnitStopped)]
    assert [(event.unit, event.restarts) for event in found] == ([(unit, False)] if told else [])


def test_one_identity() -> None:
    """What the source reads and what the classifier knows is one message."""
    assert STOPPED == UNIT_STOPPED
