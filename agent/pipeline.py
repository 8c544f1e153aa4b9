"""Source to classifier to spool, one task for each source.

A batch is spooled before the next is asked for, so a stuck spool stops the source and the journal keeps what is not read. A
source that fails is told as an event and started again after a pause; the same when it works again. That holds for defects of our own,
too: whoever watches storage by five sources must not go blind in all of them by what one did not expect.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from agent.errors import AgentError, TemporaryError, described
from agent.record import Batch, RawRecord
from agent.spool import Observed, Spool, SpoolDamagedError
from events.agent import AgentJournalLost, AgentSourceFailed, AgentSourceWorks
from events.base import Event, Seen, Source
from events.entity import Entity, EntityKind

log = structlog.get_logger()

CURSOR_EVERY: Final = 5.0
"""Seconds between two writes of a cursor that no event came with."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before a failed source is started again."""
SPOOL_PAUSE: Final = 1.0
"""Seconds between attempts to append to a full spool."""


class Classifier(Protocol):
    """Makes events of records; its memory is stored with the source's cursor."""

    def classify(self, record: RawRecord) -> list[Event]:
        """Return what a record stands for."""

    def memory(self) -> dict[str, Any]:
        """Return what it must know after a restart."""

    def repeat(self) -> None:
        """Say again what was said before, when it is seen the next time."""


@dataclass(frozen=True, slots=True)
class Line:
    """One source with what it needs: ``open`` starts it behind a cursor, ``classifier`` restores from a memory."""

    source: Source
    open: Callable[[str | None], AsyncIterator[Batch]]
    classifier: Callable[[dict[str, Any] | None], Classifier]


class Pipeline:
    """Runs one line. ``now`` returns (UTC µs, monotonic µs); ``boot_id`` is this boot's."""

    def __init__(self, line: Line, spool: Spool, node: str, boot_id: str, now: Callable[[], tuple[int, int]]) -> None:
        self.line = line
        self.trouble = ""
        """Why the source cannot see; empty while it can. Heartbeats carry it."""
        self.records = 0
        self.events = 0
        self._spool = spool
        self._node = node
        self._boot_id = boot_id
        self._now = now
        self._cursor_due = 0.0
        self._kept: dict[str, Any] | None = None
        """The memory that the spool has."""
        self._pause = FIRST_PAUSE
        self._repeating = False
        self._traced: set[type[Exception]] = set()
        """Kinds of defects whose trace was logged: a classifier that fails with each line of a storm must not write one for each."""
        self._following: asyncio.Task[None] | None = None

    def repeat(self) -> None:
        """Begin anew and say everything again that has a state: a controller does not know it."""
        if self._following is not None and not self._repeating:
            self._repeating = True
            self._following.cancel()

    async def run(self) -> None:
        """Run until cancelled, or until the source ends (a journal that is only read once).

        :raises SpoolDamagedError: when the spool turns out to be damaged.
        """
        while True:
            self._following = asyncio.create_task(self._follow(), name=f"follow {self.line.source.value}")
            try:
                await self._following
            except asyncio.CancelledError:
                ending = asyncio.current_task()
                if not self._repeating or (ending is not None and ending.cancelling()):
                    raise
                continue
            except SpoolDamagedError:
                raise
            except AgentError as error:
                if not isinstance(error, TemporaryError):
                    self._pause = LONGEST_PAUSE
                await self._fail(described(error))
            except Exception as error:  # the edge of the source's task: a defect in one must not blind all the others
                log.exception("source ended by a defect of the agent, which should be reported", source=self.line.source.value)
                self._pause = LONGEST_PAUSE
                await self._fail(f"defect of the agent: {described(error)}")
            else:
                return
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 2, LONGEST_PAUSE)

    async def _follow(self) -> None:
        name = self.line.source.value
        cursor = await self._spool.cursor(name)
        classifier = self.line.classifier(await self._spool.memory(name))
        if self._repeating:
            self._repeating = False
            classifier.repeat()
        async with aclosing(self.line.open(cursor)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                await self._take(classifier, batch)
                if self.trouble and batch.source is self.line.source:  # what comes before it from elsewhere proves nothing
                    await self._recover()

    async def _take(self, classifier: Classifier, batch: Batch) -> None:
        observed = [self._own(self._lost(reason)) for reason in batch.losses]
        for record in batch.records:
            observed += [Observed(event, record.at, record.monotonic, record.boot_id) for event in self._classify(classifier, record)]
        self.records += len(batch.records)
        self.events += len(observed)
        loop_time = asyncio.get_running_loop().time()
        if not observed and loop_time < self._cursor_due:
            return
        self._cursor_due = loop_time + CURSOR_EVERY
        memory = classifier.memory()
        if not observed and batch.cursor is None and memory == self._kept:
            return  # a source with a state and no news: nothing to write down
        await self._append(observed, batch.cursor, memory)
        self._kept = memory

    def _classify(self, classifier: Classifier, record: RawRecord) -> list[Event]:
        """Classify a record. One that no event can be made of must not stop all that come after it, at each start again."""
        try:
            return classifier.classify(record)
        except Exception as error:  # the edge of a record: mostly what the vocabulary refuses, at worst a defect
            reason = described(error)
            # What the vocabulary refuses needs no trace, and its full text would hold the values.
            trace = None if isinstance(error, ValueError) or type(error) in self._traced else error
            self._traced.add(type(error))
            log.error("record cannot be classified", source=self.line.source.value, cursor=record.cursor, error=reason, exc_info=trace)
            return [self._lost(f"a record could not be classified: {reason}")]

    async def _append(self, observed: Sequence[Observed], cursor: str | None, memory: dict[str, Any] | None) -> None:
        """Append, and on a full disk wait until it is done: the source stands still meanwhile."""
        said = False
        while True:
            try:
                await self._spool.append(self.line.source.value, observed, cursor, memory)
            except TemporaryError as error:
                if not said:
                    log.warning("cannot spool, holding the source", source=self.line.source.value, error=str(error))
                    said = True
                await asyncio.sleep(SPOOL_PAUSE)
            else:
                if said:
                    log.info("spooling again", source=self.line.source.value)
                return

    def _own(self, event: Event) -> Observed:
        at, monotonic = self._now()
        return Observed(event, at, monotonic, self._boot_id)

    def _lost(self, reason: str) -> Event:
        log.warning("entries may be missing", source=self.line.source.value, reason=reason)
        return AgentJournalLost(subject=Entity(EntityKind.NODE, self._node), seen=Seen(source=self.line.source), reason=reason[:256])

    async def _fail(self, reason: str) -> None:
        if self.trouble == reason:
            return
        log.warning("source failed", source=self.line.source.value, reason=reason)
        first, self.trouble = not self.trouble, reason
        if first:
            subject, source = Entity(EntityKind.NODE, self._node), self.line.source
            await self._append(
                [self._own(AgentSourceFailed(subject=subject, seen=Seen(source=Source.AGENT), source=source.value, reason=reason[:256]))],
                None,
                None,
            )

    async def _recover(self) -> None:
        log.info("source works again", source=self.line.source.value)
        self.trouble = ""
        self._pause = FIRST_PAUSE
        subject, source = Entity(EntityKind.NODE, self._node), self.line.source
        await self._append([self._own(AgentSourceWorks(subject=subject, seen=Seen(source=Source.AGENT), source=source.value))], None, None)
