"""The one loop that owns the core: deliveries, heartbeats and time in; one transaction out, then the acknowledgement.

Rules: nobody else touches the core's state. What the core wants told is written in the same transaction as the state that wants
it, and an agent is acknowledged only after that. A full disk holds the transaction and everything behind it, so the agents'
spools keep what cannot be stored; nothing is dropped here. An event that the core cannot take in, a defect, is stored as those are that
cannot be read: unacknowledged it would come again after each restart, and end the controller for ever. What it had changed by then stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgpack
import structlog

from controller.core.correlate import Heard, Tick, look_when_due, step, take
from controller.core.effects import Effect, Tell
from controller.core.evidence import SECOND
from controller.core.report import Change
from controller.core.set_back import turn_to
from controller.core.state import CoreState
from controller.core.timings import Timings
from controller.errors import TemporaryError, described
from controller.ingest import Delivery, Reject
from controller.store.errors import StoreUnusableError
from controller.store.store import Store
from controller.store.transaction import Advance, Gap, OutboxRow, RejectRow, StateRow, Transaction
from events.envelope import Envelope
from events.errors import CodecError

log = structlog.get_logger()

MOST_EVENTS: Final = 4000
"""Events taken into one transaction: large enough that a storm costs few syncs, small enough to keep an ack within a second."""
WAITING: Final = 64
"""Deliveries that may wait for the engine; more wait in the agents' spools, where they are durable."""
IDLE: Final = 1.0
"""Longest time between two looks at the clock, seconds."""
RETRY: Final = 1.0
"""Between attempts to commit on a full disk, seconds."""


@dataclass(slots=True)
class _Waiting:
    """A delivery and who waits for it to be durable."""

    delivery: Delivery
    done: asyncio.Future[int]


@dataclass(slots=True)
class _Work:
    """What one round took in."""

    deliveries: list[_Waiting] = field(default_factory=list)
    heard: dict[str, int] = field(default_factory=dict)


class Engine:
    """Runs the core over a store. ``performers`` maps a notifier's name to the changes that it wants told.

    ``now`` returns UTC microseconds; ``stepped`` by how many of them it jumped since it was asked last (negative: was set back).
    """

    def __init__(
        self,
        store: Store,
        cluster: str,
        timings: Timings,
        performers: Mapping[str, Sequence[Change]],
        now: Callable[[], int],
        stepped: Callable[[], int] = lambda: 0,
    ) -> None:
        self.state = CoreState(cluster)
        self._store = store
        self._timings = timings
        self._performers = performers
        self._now = now
        self._stepped = stepped
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(WAITING)
        self._heard: dict[str, int] = {}
        self._commits = 0
        self._committed = asyncio.Condition()

    async def load(self) -> None:
        """Take up the state that was stored last, and look at it at once: time has passed."""
        rows = await self._store.load_state()
        try:
            self.state.load((table, key, msgpack.unpackb(value)) for table, key, value in rows)
        except (LookupError, TypeError, ValueError, msgpack.UnpackException, CodecError) as error:
            raise StoreUnusableError(
                f"{self._store.path}: holds what this version does not know ({described(error)}): go back to the version that wrote it"
            ) from error
        self._wake(self._now())

    def _wake(self, now: int) -> None:
        """Begin after a time in which nobody could be heard, because nobody listened: agents get their full time to report."""
        turn_to(self.state, now)
        for node in self.state.nodes.values():
            if node.heard:
                self.state.heard[node.name] = now
                self.state.awaited.add(node.name)
        self.state.awaited_until = now + self._timings.await_agents
        self.state.look_at = now

    async def accept(self, delivery: Delivery) -> int:
        """Take a delivery; return the sequence up to which its stream is durable."""
        waiting = _Waiting(delivery, asyncio.get_running_loop().create_future())
        await self._queue.put(waiting)
        return await waiting.done

    def heard(self, node: str, clock: int = 0) -> None:
        """Note that a node's agent lives; ``clock`` is what its clock said when it wrote (UTC µs), 0 when it did not say."""
        self._heard[node] = clock or self._heard.get(node, 0)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            work = await self._gather()
            transaction = self._apply(work)
            if not transaction.empty:
                await self._commit(transaction)
            for waiting in work.deliveries:
                if not waiting.done.done():
                    waiting.done.set_result(waiting.delivery.last)
            if not transaction.empty:
                async with self._committed:
                    self._commits += 1
                    self._committed.notify_all()

    @property
    def stored(self) -> Callable[[], Awaitable[None]]:
        """What a stream or a notifier sleeps on, a new one for each: it returns when more was committed since it last returned.

        Commits are counted, so one that comes between a reader's look and its sleep ends that sleep at once.
        """
        seen = self._commits

        async def wait() -> None:
            nonlocal seen
            async with self._committed:
                await self._committed.wait_for(lambda: self._commits > seen)
                seen = self._commits

        return wait

    async def _gather(self) -> _Work:
        """Wait for a delivery or for the core's next deadline, then take all that is there."""
        work = _Work()
        wait = IDLE
        if self.state.look_at is not None:
            wait = min(IDLE, max(0.0, (self.state.look_at - self._now()) / 1_000_000))
        try:
            async with asyncio.timeout(wait):
                work.deliveries.append(await self._queue.get())
        except TimeoutError:
            pass
        count = sum(len(one.delivery.items) for one in work.deliveries)
        while count < MOST_EVENTS and not self._queue.empty():
            waiting = self._queue.get_nowait()
            work.deliveries.append(waiting)
            count += len(waiting.delivery.items)
        work.heard, self._heard = self._heard, {}
        return work

    def _apply(self, work: _Work) -> Transaction:
        now = self._now()
        transaction, effects = Transaction(at=now), list[Effect]()
        if abs(ahead := self._stepped()) >= SECOND:
            log.warning("time jumped: the clock was set, or this machine slept", seconds=round(ahead / SECOND, 1))
            if ahead > 0:
                self._wake(now)
        for node in sorted({*work.heard, *(one.delivery.node for one in work.deliveries)}):
            effects += step(self.state, Heard(node, work.heard.get(node, 0)), now, self._timings)[1]
        for waiting in work.deliveries:
            effects += self._deliver(waiting.delivery, now, transaction)
        effects += step(self.state, Tick(), now, self._timings)[1]
        for effect in effects:
            if isinstance(effect, Tell):
                self._tell(effect, transaction)
        for table, key, record in self.state.take_changes():
            transaction.state.append(StateRow(table, key, None if record is None else msgpack.packb(record)))
        return transaction

    def _deliver(self, delivery: Delivery, now: int, transaction: Transaction) -> list[Effect]:
        effects: list[Effect] = []
        node, stream = delivery.node, delivery.stream
        for seq, data, item in delivery.items:
            taken = self._take(item, now)
            if isinstance(taken, Reject):
                transaction.rejects.append(RejectRow(node, stream, seq, now, data, taken.reason))
                log.warning("event cannot be read, kept as it is", node=node, stream=stream, seq=seq, reason=taken.reason)
                continue
            transaction.events.append(("event", node, taken.event.kind, taken.observed_at, now, data))
            if more := look_when_due(self.state, now, self._timings):
                effects += more
        if delivery.gap is not None:
            transaction.gaps.append(Gap(node, stream, *delivery.gap, now, "the agent's spool had dropped them"))
            log.warning("events are lost for good", node=node, stream=stream, first=delivery.gap[0], last=delivery.gap[1])
        transaction.advances.append(Advance(node, stream, delivery.last, delivery.boot_id, now))
        return effects

    def _take(self, item: Envelope | Reject, now: int) -> Envelope | Reject:
        """Have the core take in an event, and return it; a reject when it is none, or when the core fails with it."""
        if isinstance(item, Envelope):
            try:
                take(self.state, item, now, self._timings)
            except Exception as error:  # the edge of an event
                log.exception("the core fails with an event, which should be reported", event_kind=item.event.kind)
                return Reject(f"the controller fails with it: {described(error)}")
        return item

    def _tell(self, effect: Tell, transaction: Transaction) -> None:
        report = effect.report
        transaction.incidents.append(report)
        payload = report.model_dump_json()
        for performer, changes in self._performers.items():
            # What was planned and is not any more has opened for those who were never told of it.
            is_wanted = report.change in changes or (effect.first and Change.OPENED in changes)
            if is_wanted and not report.planned:
                key = f"{performer}:{report.id}:{report.number}"
                transaction.outbox.append(OutboxRow(performer, report.id, report.number, payload, key))
        log.info("incident", change=report.change.value, id=report.id, cause=report.cause, entity=report.entity, nodes=list(report.nodes))

    async def _commit(self, transaction: Transaction) -> None:
        said = False
        while True:
            try:
                await self._store.commit(transaction)
            except TemporaryError as error:
                if not said:
                    log.warning("cannot store, holding everything until it works again", error=str(error))
                    said = True
                await asyncio.sleep(RETRY)
            else:
                if said:
                    log.info("storing works again")
                return
