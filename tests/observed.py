"""Events for what carries them: those that the recorded journals stand for, as a pipeline hands them to the spool."""

from __future__ import annotations

from functools import cache
from itertools import cycle, islice

from agent.classify.journald import JournalClassifier
from agent.sources.recorded import read_recorded
from agent.spool import Observed
from tests.journals import NODES, recording


@cache
def _all() -> tuple[Observed, ...]:
    events: list[Observed] = []
    for node in NODES:
        classifier = JournalClassifier(node)
        for record in read_recorded(recording(node), lost=_none_is_lost):
            events += [Observed(event, record.at, record.monotonic, record.boot_id) for event in classifier.classify(record)]
    return tuple(events)


def _none_is_lost(reason: str) -> None:
    raise AssertionError(reason)


def observed(count: int) -> list[Observed]:
    """Return so many events, over and over the recorded ones."""
    return list(islice(cycle(_all()), count))
