"""The events that the agent makes of the recorded journals, in the batches in which its pipeline would spool them.

All three recordings pass for one node's, one after the other: its agent is the one that is measured. Each repetition is later
than the one before; the last ends about now, so that the controller takes them for the backlog of an agent that was away.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import msgpack

from agent.classify.journald import JournalClassifier
from agent.record import RawRecord
from agent.sources.recorded import read_recorded
from agent.spool import Observed
from events.codec import encode
from events.envelope import Envelope
from tests.journals import NODES, recording

NODE: Final = "pve1"
CLUSTER: Final = "bench"
_RECORDS: Final = 512
"""Records that the agent's journal source hands on at once."""
_LATER: Final = 2_000_000_000
"""Microseconds between two recordings; each lasts 23 minutes."""


@dataclass(frozen=True, slots=True)
class Append:
    """What one append of the pipeline takes."""

    events: tuple[Observed, ...]
    cursor: str | None
    memory: dict[str, Any]


def repeated(events: int) -> list[Append]:
    """Return appends with at least so many events, at the recordings' own density: about sixty events of 512 records."""
    once = list(_once())
    many: list[Append] = []
    made = number = 0
    while made < events:
        many += [_later(one, number * _LATER * len(NODES)) for one in once]
        made += sum(len(one.events) for one in once)
        number += 1
    back = many[-1].events[-1].at - time.time_ns() // 1000
    return [_later(one, -back) for one in many]


def envelopes(appends: list[Append]) -> list[tuple[Any, ...]]:
    """Return the same events' envelopes as plain values: packing one gives the bytes that travel and are stored."""
    observed = (one for append in appends for one in append.events)
    packed = (
        encode(Envelope(CLUSTER, NODE, one.boot_id, "0" * 32, number, one.at, one.monotonic, one.event))
        for number, one in enumerate(observed, 1)
    )
    return [msgpack.unpackb(data, use_list=False) for data in packed]


def later(appends: list[Append]) -> list[Append]:
    """Return the same once more, as it would happen behind them."""
    by = appends[-1].events[-1].at - appends[0].events[0].at + 1
    return [_later(one, by) for one in appends]


def filled(appends: list[Append]) -> Iterator[Append]:
    """Yield the same events as the pipeline appends them in a storm, when nearly each of the 512 records that it takes is an event."""
    events: list[Observed] = []
    for one in appends:
        events += one.events
        if len(events) >= _RECORDS or one is appends[-1]:
            yield Append(tuple(events), one.cursor, one.memory)
            events = []


def _later(append: Append, by: int) -> Append:
    return replace(append, events=tuple(replace(one, at=one.at + by) for one in append.events))


def _once() -> Iterator[Append]:
    classifier = JournalClassifier(NODE)
    for number, node in enumerate(NODES):
        records = list(read_recorded(recording(node), print))
        for at in range(0, len(records), _RECORDS):
            some = records[at : at + _RECORDS]
            events = tuple(one for record in some for one in _classified(classifier, record, number * _LATER))
            if events:
                yield Append(events, some[-1].cursor, classifier.memory())


def _classified(classifier: JournalClassifier, record: RawRecord, by: int) -> Iterator[Observed]:
    shifted = replace(record, at=record.at + by)
    return (Observed(event, shifted.at, shifted.monotonic, shifted.boot_id) for event in classifier.classify(shifted))
