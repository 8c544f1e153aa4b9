from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import agent.pipeline
from agent.classify.journald import JournalClassifier
from agent.errors import PermanentError, TemporaryError
from agent.pipeline import Line, Pipeline
from agent.record import Batch, RawRecord
from agent.sources.recorded import read_recorded
from agent.spool import Limits, Spool, SpoolDamagedError, SpoolFullError
from events.agent import AgentJournalLost, AgentSourceFailed, AgentSourceWorks
from events.base import Event, Source
from events.codec import decode
from events.envelope import UnknownEvent
from tests.journals import recording
from tests.observed import observed

Step = Batch | Exception
RECORDS = list(read_recorded(recording("pve1"), print))


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    """Return an empty spool."""
    spool = await Spool.open(tmp_path / "spool.db", ("lab", "pve1"), Limits(2**30, 10**15), lambda: 1, ("main",))
    yield spool
    await spool.close()


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_PAUSE", "LONGEST_PAUSE", "SPOOL_PAUSE"):
        monkeypatch.setattr(agent.pipeline, name, 0.01)


class Prepared:
    """A source that yields and raises what a test prepared; each opening takes the next part. ``opened`` are the cursors asked for."""

    def __init__(self, *openings: Iterable[Step]) -> None:
        self._openings = iter(openings)
        self.opened: list[str | None] = []

    async def __call__(self, cursor: str | None) -> AsyncIterator[Batch]:
        """Open it."""
        self.opened.append(cursor)
        for step in next(self._openings):
            if isinstance(step, Exception):
                raise step
            yield step


def batch(first: int, last: int, *losses: str) -> Batch:
    """Return a batch of recorded entries with a cursor that tells the last."""
    return Batch(Source.JOURNALD, tuple(RECORDS[first:last]), f"c{last}", losses)


def pipeline(
    spool: Spool, source: Callable[[str | None], AsyncIterator[Batch]], classifier: Callable[[Any], Any] | None = None
) -> Pipeline:
    """Return a pipeline from a source."""
    line = Line(Source.JOURNALD, source, classifier or (lambda memory: JournalClassifier("pve1", memory)))
    return Pipeline(line, spool, "pve1", "b007", lambda: (5, 6))


async def spooled(spool: Spool) -> list[Event | UnknownEvent]:
    """Return the events that a spool holds."""
    return [decode(data).event for _, data in await spool.read_after(0, 10**6, 2**40)]


def classified(count: int) -> list[Event]:
    """Return the events of the first recorded entries."""
    classifier = JournalClassifier("pve1")
    return [event for record in RECORDS[:count] for event in classifier.classify(record)]


async def test_records_become_spooled_events(spool: Spool) -> None:
    """Every event of every record is spooled in order, with its record's time and boot, the cursor behind it and the memory."""
    await pipeline(spool, Prepared([batch(0, 500), batch(500, 800)])).run()
    envelopes = [decode(data) for _, data in await spool.read_after(0, 10**6, 2**40)]

    assert [one.event for one in envelopes] == classified(800)
    assert len(envelopes) > 50
    assert [(one.observed_at, one.boot_id) for one in envelopes] == [(one.at, one.boot_id) for one in observed(len(envelopes))]
    assert await spool.cursor("journald") == "c800"
    assert await spool.memory("journald") is not None


async def test_a_restart_goes_on_where_the_spool_is(spool: Spool) -> None:
    """A new pipeline opens the source behind the last batch and gives the classifier its memory back: as if it had never stopped."""
    await pipeline(spool, Prepared([batch(0, 551)])).run()
    source = Prepared([batch(551, 800)])
    await pipeline(spool, source).run()

    assert source.opened == ["c551"]
    assert await spooled(spool) == classified(800)


async def test_a_source_that_fails_is_told_and_tried_again(spool: Spool) -> None:
    """However often it fails in a row, one event says that it fails and one that it works again; it goes on at its cursor."""
    openings: list[list[Step]] = [
        [batch(0, 550), TemporaryError("the disk hangs")],
        [TemporaryError("the disk hangs")],
        [PermanentError("it is gone")],
        [batch(550, 800)],
    ]
    source = Prepared(*openings)
    with capture_logs() as logs:
        await pipeline(spool, source).run()
    events = await spooled(spool)
    told = [one for one in events if isinstance(one, AgentSourceFailed | AgentSourceWorks)]

    assert source.opened == [None, "c550", "c550", "c550"]
    assert [type(one) for one in told] == [AgentSourceFailed, AgentSourceWorks]
    assert isinstance(told[0], AgentSourceFailed)
    assert (told[0].source, told[0].reason) == ("journald", "the disk hangs")
    assert [one for one in events if one not in told] == classified(800)
    assert [entry["reason"] for entry in logs if entry["event"] == "source failed"] == ["the disk hangs", "it is gone"]


async def test_what_comes_from_elsewhere_does_not_say_that_a_source_works(spool: Spool) -> None:
    """The journal's line begins with what sysfs knows; while the journal itself fails, one event says so, however often it is tried."""
    begun = Batch(Source.ISCSI, ())
    source = Prepared([begun, TemporaryError("no access")], [begun, TemporaryError("no access")], [begun, batch(0, 550)])
    await pipeline(spool, source).run()
    told = [type(one) for one in await spooled(spool) if isinstance(one, AgentSourceFailed | AgentSourceWorks)]

    assert told == [AgentSourceFailed, AgentSourceWorks]


async def test_the_trouble_shows_while_it_lasts(spool: Spool) -> None:
    """What heartbeats carry is the reason while the source is blind, and empty before and after."""
    going = asyncio.Event()

    async def source(_: str | None) -> AsyncIterator[Batch]:
        if not going.is_set():
            raise TemporaryError("no access")
        yield batch(0, 1)

    line = pipeline(spool, source)
    assert line.trouble == ""
    task = asyncio.create_task(line.run())
    async with asyncio.timeout(5):
        while not line.trouble:  # noqa: ASYNC110 - set by a task
            await asyncio.sleep(0.01)
    assert line.trouble == "no access"
    going.set()
    await asyncio.wait_for(task, 5)
    assert line.trouble == ""


async def test_losses_are_events_before_what_follows(spool: Spool) -> None:
    """What the source says it may have missed is spooled, in front of the records behind the hole."""
    await pipeline(spool, Prepared([batch(0, 550, "rotated away", "x" * 999)])).run()
    first, second, *others = await spooled(spool)

    assert isinstance(first, AgentJournalLost)
    assert isinstance(second, AgentJournalLost)
    assert (first.reason, second.reason) == ("rotated away", "x" * 256)
    assert others == classified(550)


async def test_cursors_without_events_are_written_now_and_then(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of no interest do not cost a commit each, and a batch with events always brings the newest cursor."""
    empty = [Batch(Source.JOURNALD, (), f"e{number}") for number in range(50)]
    calls: list[str | None] = []
    real = spool.append

    async def counting(source: str, events: Any, cursor: str | None, memory: Any) -> int:
        calls.append(cursor)
        return await real(source, events, cursor, memory)

    monkeypatch.setattr(spool, "append", counting)
    await pipeline(spool, Prepared([*empty, batch(0, 550), *empty])).run()
    assert calls == ["e0", "c550"]

    calls.clear()
    monkeypatch.setattr(agent.pipeline, "CURSOR_EVERY", 0.0)
    await pipeline(spool, Prepared(empty)).run()
    assert len(calls) == 50


async def test_a_full_spool_holds_the_source(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing can be spooled nothing more is read, one line says so, and then everything arrives once."""
    real, taken, failures = spool.append, list[int](), iter(range(20))

    async def failing(*arguments: Any) -> int:
        if next(failures, None) is not None:
            assert taken == [1]
            raise SpoolFullError("full")
        return await real(*arguments)

    async def source(_: str | None) -> AsyncIterator[Batch]:
        for number, (first, last) in enumerate(((0, 550), (550, 800)), 1):
            taken.append(number)
            yield batch(first, last)

    monkeypatch.setattr(spool, "append", failing)
    with capture_logs() as logs:
        await pipeline(spool, source).run()
    assert await spooled(spool) == classified(800)
    assert [entry["event"] for entry in logs] == ["cannot spool, holding the source", "spooling again"]


async def test_a_damaged_spool_ends_the_pipeline(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage of the spool is not taken for the source's: it ends the agent, and the next start begins another spool."""

    async def damaged(*_: Any) -> int:
        raise SpoolDamagedError("page 7 is no page")

    monkeypatch.setattr(spool, "append", damaged)
    with pytest.raises(SpoolDamagedError):
        await pipeline(spool, Prepared([batch(0, 550)])).run()


async def test_a_source_that_ends_by_a_defect_is_one_that_fails(spool: Spool) -> None:
    """What nobody expected is told as the source's failure, with its type, and the source goes on at its cursor: the agent lives."""
    source = Prepared([batch(0, 550), KeyError("state")], [batch(550, 800)])
    with capture_logs() as logs:
        await pipeline(spool, source).run()
    events = await spooled(spool)
    told = [one for one in events if isinstance(one, AgentSourceFailed | AgentSourceWorks)]

    assert source.opened == [None, "c550"]
    assert [type(one) for one in told] == [AgentSourceFailed, AgentSourceWorks]
    assert isinstance(told[0], AgentSourceFailed)
    assert told[0].reason == "defect of the agent: KeyError: 'state'"
    assert [one for one in events if one not in told] == classified(800)
    assert [entry["exc_info"] for entry in logs if entry["log_level"] == "error"] == [True]


def _refused() -> None:
    AgentJournalLost(subject="no entity", seen={}, reason="")


def _defect() -> None:
    raise KeyError("nobody expected this")


@pytest.mark.parametrize("breaks", [_refused, _defect])
async def test_a_record_that_breaks_the_classifier_is_passed(spool: Spool, breaks: Callable[[], None]) -> None:
    """A record of which no event can be made costs that record alone, and is told: it must not stop the node's monitor for good."""

    class Breaking(JournalClassifier):
        def classify(self, record: RawRecord) -> list[Event]:
            if record is RECORDS[2]:
                breaks()
            return super().classify(record)

    with capture_logs() as logs:
        await pipeline(spool, Prepared([batch(0, 550)]), lambda memory: Breaking("pve1", memory)).run()
    lost = [one for one in await spooled(spool) if isinstance(one, AgentJournalLost)]
    assert [entry["cursor"] for entry in logs if entry["event"] == "record cannot be classified"] == [RECORDS[2].cursor]
    assert len(lost) == 1
    assert lost[0].reason.startswith("a record could not be classified")
    assert len(await spooled(spool)) >= len(classified(550))


async def test_a_storm_of_defects_is_one_trace(spool: Spool) -> None:
    """A classifier that fails with every line writes one line for each to the log, and only once where; no text makes it fail itself."""

    class Broken(JournalClassifier):
        def classify(self, record: RawRecord) -> list[Event]:
            raise KeyError(record.source, "no such disk: \udcff")  # a text that UTF-8 does not have

    source = Prepared([batch(0, 20), RuntimeError("\udcff")], [batch(20, 30)])
    with capture_logs() as logs:
        await pipeline(spool, source, lambda memory: Broken("pve1", memory)).run()
    events = await spooled(spool)
    failed = [one for one in logs if one["event"] == "record cannot be classified"]

    assert len(failed) == sum(isinstance(one, AgentJournalLost) for one in events) == 30
    assert [one["exc_info"] is not None for one in failed] == [True] + [False] * 29
    assert [one.reason for one in events if isinstance(one, AgentSourceFailed)] == ["defect of the agent: RuntimeError: \\udcff"]


async def test_cancelling_ends_it(spool: Spool) -> None:
    """A pipeline that waits for its source ends when it is told to."""

    async def source(_: str | None) -> AsyncIterator[Batch]:
        yield batch(0, 10)
        await asyncio.Event().wait()

    task = asyncio.create_task(pipeline(spool, source).run())
    async with asyncio.timeout(5):
        while await spool.cursor("journald") != "c10":  # noqa: ASYNC110 - written by a task
            await asyncio.sleep(0.01)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
