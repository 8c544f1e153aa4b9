"""What the laboratory's agents said while real storage broke, run through the core again: every fault is one incident, rightly named.

`tests/samples/lab/<name>/` is a run of `tests/lab/run.py`: `events.jsonl.xz` holds each event with the time at which the controller had
it, `truth.jsonl` what was broken.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.core.report import IncidentReport
from events.envelope import Envelope
from events.vocabulary import build
from faultline.scoring import Score, read_truth, score
from faultline.timeline import Timeline

LAB = Path(__file__).parent / "samples" / "lab"
RUNS = sorted(path for path in LAB.iterdir() if path.is_dir())
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


def scored(run: Path) -> Score:
    """Return how the incidents of a run compare with its truth."""
    return score(read_truth(run / "truth.jsonl"), told(run))


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_every_fault_is_one_rightly_named_incident(run: Path) -> None:
    """Each fault of the laboratory is named with its cause and entity, while it lasts, and resolved after its repair."""
    result = scored(run)

    assert {f"{one.fault.cause} {one.fault.entity}": one.problem for one in result.matches if one.problem or not one.incident} == {}


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_the_same_events_give_the_same_incidents(run: Path) -> None:
    """Nothing depends on anything but the events and their times."""
    assert told(run) == told(run)
