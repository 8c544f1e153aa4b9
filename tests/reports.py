"""Real incidents and events, for tests of whoever stores and tells them: what a replay of the recordings gives."""

from __future__ import annotations

from functools import lru_cache

from controller.core.report import Change, IncidentReport
from controller.store.transaction import EventRow
from events.codec import encode
from faultline.replay import Replay
from tests.journals import NODES, recording


@lru_cache(maxsize=1)
def told() -> tuple[IncidentReport, ...]:
    """Return every change of every incident of the recordings, in order."""
    return tuple(Replay({node: recording(node) for node in NODES}).incidents())


def one_incident() -> list[IncidentReport]:
    """Return the changes of the incident that has the most, first to last: opened to resolved."""
    ids = [report.id for report in told()]
    most = max(dict.fromkeys(ids), key=ids.count)
    changes = [report for report in told() if report.id == most]
    assert (changes[0].change, changes[-1].change) == (Change.OPENED, Change.RESOLVED)
    return changes


@lru_cache(maxsize=1)
def events() -> tuple[EventRow, ...]:
    """Return the events of the recordings in order of time, as ingest hands them to the store."""
    envelopes = Replay({node: recording(node) for node in NODES}).events()
    return tuple(("event", one.node, one.event.kind, one.observed_at, one.observed_at, encode(one)) for one in envelopes)
