"""Drain the outbox: one task for each notifier, so that a receiver that hangs delays nobody else.

At least once, in order of each incident's changes, with a growing pause after failures. What is delivered stays in the outbox as
the record of who was told what and when; what could not be delivered in time stays as a dead letter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

import structlog

from controller.core.report import IncidentReport
from controller.errors import TemporaryError
from controller.notify.base import DeliveryError, Message, Notifier, TemporaryDeliveryError
from controller.store.reading import PendingRow
from controller.store.store import Store

log = structlog.get_logger()

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds after the first failure, and at most. Full jitter between half and all of it: receivers come back to a trickle."""
_TAKE: Final = 32
_LOOK: Final = 5.0
"""Seconds between looks without a wake-up: the net under a lost one."""


class Drain:
    """Delivers one notifier's rows. ``now`` returns UTC µs; ``wait`` returns when something was stored."""

    def __init__(
        self,
        name: str,
        notifier: Notifier,
        store: Store,
        give_up_after: float,
        now: Callable[[], int],
        wait: Callable[[], Awaitable[None]],
        chance: Random,
    ) -> None:
        self.name = name
        self._notifier = notifier
        self._store = store
        self._give_up_after = int(give_up_after * 1_000_000)
        self._now = now
        self._wait = wait
        self._chance = chance
        self._said = ""

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            try:
                pause = await self.once()
            except TemporaryError as error:  # the store: nothing can be marked, so nothing is sent
                log.warning("outbox cannot be read or written", error=str(error))
                pause = _LOOK
            if pause > 0:
                try:
                    async with asyncio.timeout(pause):
                        await self._wait()
                except TimeoutError:
                    pass

    async def once(self) -> float:
        """Deliver what is due; return the seconds until more is due (0: look again at once)."""
        rows = await self._store.pending(self.name, _TAKE)
        due = [row for row in rows if row.next_at <= self._now()]
        for row in due:
            await self._deliver(row)
        if due:
            return 0.0
        nearest = min((row.next_at for row in rows), default=None)
        return _LOOK if nearest is None else min(_LOOK, max(0.01, (nearest - self._now()) / 1_000_000))

    async def _deliver(self, row: PendingRow) -> None:
        message = Message(IncidentReport.model_validate_json(row.payload), row.payload, row.key, self._now())
        try:
            answer = await self._notifier.send(message)
        except TemporaryDeliveryError as error:
            await self._again(row, error)
        except DeliveryError as error:
            await self._give_up(row, str(error))
        else:
            await self._store.mark_sent(row.id, self._now(), answer)
            if self._said:
                log.info("delivering again", notifier=self.name)
                self._said = ""

    async def _again(self, row: PendingRow, error: TemporaryDeliveryError) -> None:
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(row.attempts, 16)) * self._chance.uniform(0.5, 1.0)
        if error.retry_after is not None:
            pause = max(pause, error.retry_after)
        next_at = self._now() + int(pause * 1_000_000)
        if next_at - row.created_at > self._give_up_after:
            await self._give_up(row, f"given up after {row.attempts + 1} attempts: {error}")
            return
        if str(error) != self._said:
            log.warning("cannot deliver, trying again", notifier=self.name, incident=row.incident, reason=str(error))
            self._said = str(error)
        await self._store.mark_failed(row.id, next_at, str(error))

    async def _give_up(self, row: PendingRow, reason: str) -> None:
        log.error("dead letter", notifier=self.name, incident=row.incident, change=row.number, reason=reason)
        await self._store.mark_dead(row.id, reason)
