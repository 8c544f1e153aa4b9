"""Recorded journals in, incidents out: no service, no root, no network.

Each node's records go through the agent's own classifier, then all nodes' events in order of time through the controller's own
core. Between them stands the real codec.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.classify.journald import JournalClassifier
from agent.errors import AgentError
from agent.record import RawRecord
from agent.sources.recorded import read_recorded
from controller.core.report import IncidentReport
from events.envelope import Envelope
from faultline.errors import InputError
from faultline.timeline import Timeline

GRACE = 120_000_000
"""Microseconds that pass after the last wanted line: what had recovered by then gets the time to stay well."""
STREAM = "replay"
"""Stream id of replayed events."""


@dataclass(slots=True)
class Counts:
    """What a replay read: records that passed the source's filter, and events made of them, by node."""

    records: int = 0
    events: int = 0


class Replay:
    """One replay of recorded journals, ``journals`` being node name to file (export format, also ``.xz``, or native).

    ``facts`` say what the cluster is made of; they count as known before the first line.
    """

    def __init__(self, journals: Mapping[str, Path], cluster: str = "replay", facts: Iterable[Envelope] = ()) -> None:
        self.journals = dict(journals)
        self.cluster = cluster
        self.counts = {node: Counts() for node in journals}
        self.timeline = Timeline(cluster, sorted(journals))
        self.last = 0
        self._facts = tuple(facts)
        self.losses: list[str] = []
        """What could not be read, one sentence each."""

    def events(self) -> Iterator[Envelope]:
        """Yield all nodes' events in order of time.

        :raises InputError: when a file is missing or is no journal; names it.
        """
        streams = [self._of_node(node, path) for node, path in sorted(self.journals.items())]
        return heapq.merge(*streams, key=lambda one: (one.observed_at, one.node, one.seq))

    def incidents(self) -> Iterator[IncidentReport]:
        """Yield every change of every incident, in order."""
        facts = self._facts
        for envelope in self.events():
            for fact in facts:
                yield from self.timeline.feed(fact._replace(observed_at=envelope.observed_at))
            facts = ()
            yield from self.timeline.feed(envelope)
        yield from self.timeline.advance(self.last + GRACE)

    def _of_node(self, node: str, path: Path) -> Iterator[Envelope]:
        classifier, counts, before = JournalClassifier(node), self.counts[node], 0
        for record in self._records(path):
            counts.records += 1
            self.last = max(self.last, record.at)
            for event in classifier.classify(record):
                counts.events += 1
                # A clock that was set back must not reorder one node's own lines.
                before = max(before, record.at)
                yield Envelope(self.cluster, node, record.boot_id, STREAM, counts.events, before, record.monotonic, event)

    def _records(self, path: Path) -> Iterator[RawRecord]:
        try:
            yield from read_recorded(path, self.losses.append)
        except AgentError as error:
            raise InputError(str(error)) from error
