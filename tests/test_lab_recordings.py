"""What the laboratory's agents said while real storage broke, run through the core again: every fault is rightly named.

`tests/samples/lab/<name>/` is a run of `tests/lab/run.py`: `events.jsonl.xz` holds each event with the time at which the controller had
it, `truth.jsonl` what was broken.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.core.report import Change, IncidentReport
from events.envelope import Envelope
from events.vocabulary import build
from faultline.scoring import Fault, read_truth
from faultline.timeline import Timeline

LAB = Path(__file__).parent / "samples" / "lab"
RUNS = sorted(path for path in LAB.iterdir() if path.is_dir())
LATE = timedelta(seconds=10)
"""The run repairs a fault as soon as it has been named; a verdict that settles later is no worse."""
REPAIR = timedelta(seconds=60)
"""What a repair takes, with all that it stirs up."""
GRACE = 300_000_000
"""Microseconds that pass behind the last event."""


def events(run: Path) -> Iterator[tuple[int, Envelope]]:
    """Yield each event with the time at which it was stored, UTC µs."""
    with lzma.open(run / "events.jsonl.xz", "rt", encoding="utf-8") as file:
        for line in file:
            row: dict[str, Any] = json.loads(line)
            event = build(row.pop("kind"), row.pop("body"))
            yield row.pop("stored_at"), Envelope(**row, event=event)


def told(run: Path) -> list[IncidentReport]:
    """Return all that the core tells of a run."""
    rows = list(events(run))
    timeline = Timeline("lab", sorted({envelope.node for _, envelope in rows}))
    found = [report for at, envelope in rows for report in timeline.feed(envelope, at)]
    return [*found, *timeline.advance(rows[-1][0] + GRACE)]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_every_fault_is_named(run: Path) -> None:
    """Each fault of the laboratory is named with its cause and entity while it lasts, or as soon as a verdict can be stable."""
    reports = told(run)
    named = {(fault.cause, fault.entity, fault.start): any(_names(report, fault) for report in reports) for fault in truth(run)}

    assert [fault for fault, is_named in named.items() if not is_named] == []


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_nothing_is_invented_and_all_ends(run: Path) -> None:
    """Nothing is told but of a fault or of its repair, which takes sessions and maps away for a moment; and all of it ends."""
    reports, faults = told(run), truth(run)
    last = {report.id: report for report in reports}
    invented = [
        report
        for report in reports
        if report.change is Change.OPENED and not any(one.start <= _at(report) <= one.end + REPAIR for one in faults)
    ]

    assert [(report.cause, report.entity, report.at) for report in invented] == []
    assert {report.state for report in last.values()} == {"resolved"}
    assert len(last) <= len(faults) + 3  # two LUNs are swapped, and their repair takes both maps away


def truth(run: Path) -> list[Fault]:
    """Return what was broken."""
    return read_truth(run / "truth.jsonl")


def _names(report: IncidentReport, fault: Fault) -> bool:
    if (report.cause, report.entity) != (fault.cause, fault.entity) or report.change in {Change.RECOVERING, Change.RESOLVED}:
        return False
    return fault.start <= _at(report) <= fault.end + LATE


def _at(report: IncidentReport) -> datetime:
    return datetime.fromisoformat(report.at)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_the_same_events_give_the_same_incidents(run: Path) -> None:
    """Nothing depends on anything but the events and their times."""
    assert told(run) == told(run)
