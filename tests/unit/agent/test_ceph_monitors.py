"""What is said of monitors: which this node hears, and when their answers are believed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.classify.ceph import CephClassifier
from agent.record import RawRecord
from events.base import Event, Source

FSID = "2a882841-48a3-11f1-838c-d00d99b60350"
SECOND = 1_000_000
WELL = {"health": {"status": "HEALTH_OK", "checks": {}, "mutes": []}}


def record(look: str, at: int, found: dict[str, Any]) -> RawRecord:
    """Return a record as the Ceph source yields it, at seconds."""
    body = {"cluster": "ceph", "fsid": FSID, **found}
    return RawRecord(Source.CEPH, at * SECOND, at * SECOND, "boot", {"look": f"{look}@ceph", "found": json.dumps(body)})


def monitors(at: int, **outcomes: str) -> RawRecord:
    """Return what listening to named monitors gave."""
    return record("monitors", at, {"monitors": [{"name": name, "address": "127.0.0.1", "outcome": one} for name, one in outcomes.items()]})


def kinds(events: list[Event]) -> list[str]:
    """Return the kinds of events."""
    return [event.kind for event in events]


def test_monitors_of_one_address_are_counted_each() -> None:
    """Three monitors without names on one address that all answer are no minority: their quorum is believed."""
    made = CephClassifier("pve1")
    rows = [{"name": "", "address": "127.0.0.1", "outcome": "accepted"}] * 3
    assert made.classify(record("monitors", 1, {"monitors": rows})) == []

    assert "ceph.quorum.formed" in kinds(made.classify(record("health", 2, WELL)))


def test_a_monitor_that_was_left_alone_is_not_believed() -> None:
    """What one of three monitors answers says nothing of a quorum while the others refuse, and does as soon as most are heard."""
    made = CephClassifier("pve1")
    for at in (1, 2):
        made.classify(monitors(at, a="accepted", b="refused", c="refused"))
    assert "ceph.quorum.formed" not in kinds(made.classify(record("health", 3, WELL)))

    assert "ceph.quorum.formed" in kinds(made.classify(monitors(4, a="accepted", b="accepted", c="refused")))


@pytest.mark.parametrize("others", ["refused", "no-answer", "mute"])
def test_an_unanswered_question_and_a_minority_are_a_lost_quorum(others: str) -> None:
    """Once a question is not answered while most monitors are silent, the quorum is lost at once."""
    made = CephClassifier("pve1")
    for at in (1, 2):
        made.classify(monitors(at, a="accepted", b=others, c=others))
    made.classify(record("health", 3, {"silent": "quorum_status: timed out"}))

    assert "ceph.quorum.lost" in kinds(made.classify(monitors(4, a="accepted", b=others, c=others)))
