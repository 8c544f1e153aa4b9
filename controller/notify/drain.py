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
from controller.errors import TemporaryError, described
from controller.notify.base import DeliveryError, Message, Notifier, TemporaryDeliveryError
from controller.store.reading import PendingRow
from controller.store.store import Store

log = structlog.get_logger()

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Bound of the pause in seconds after the first failure, and at most. The pause is anything up to it (full jitter), so that a
receiver that comes back meets a trickle, not all at once."""
_SHORTEST_PAUSE: Final = 0.1
_LONGEST_WISH: Final = 3600.0
"""Seconds that a receiver may have us wait (the webhook's Retry-After). What is due later was put off before the clock was set back."""
FEWEST: Final = 10
"""Attempts before a notice is given up, four minutes of them: a clock that was set forward has not tried for a day."""
RETRY: Final = 1.0
"""Seconds between attempts to write to a store that has no room."""
_TAKE: Final = 32
_LOOK: Final = 5.0
"""Seconds between looks without a wake-up: the net under a lost one."""


class Drain:
    """Delivers one notifier's rows.

    ``give_up_after`` and ``retry`` (between attempts to write to the store) in seconds; ``now`` returns UTC µs; ``wait`` returns
    when something was stored.
    """

    def __init__(
        self,
        name: str,
        notifier: Notifier,
        store: Store,
        give_up_after: float,
        now: Callable[[], int],
        wait: Callable[[], Awaitable[None]],
        chance: Random,
        retry: float = RETRY,
    ) -> None:
        self.name = name
        self._notifier = notifier
        self._store = store
        self._give_up_after = int(give_up_after * 1_000_000)
        self._now = now
        self._wait = wait
        self._chance = chance
        self._retry = retry
        self._said = ""

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            try:
                pause = await self.once()
            except TemporaryError as error:
                log.warning("outbox cannot be read", notifier=self.name, error=str(error))
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
        now = self._now()
        due = [row for row in rows if not now < row.next_at <= now + int(_LONGEST_WISH * 1_000_000)]
        for row in due:
            await self._deliver(row)
        if due:
            return 0.0
        nearest = min((row.next_at for row in rows), default=None)
        return _LOOK if nearest is None else min(_LOOK, max(0.01, (nearest - self._now()) / 1_000_000))

    async def _deliver(self, row: PendingRow) -> None:
        try:
            report = IncidentReport.model_validate_json(row.payload)
        except ValueError as error:  # another version wrote it, and this one does not know all its fields
            await self._give_up(row, f"cannot be read: {error}")
            return
        try:
            answer = await self._notifier.send(Message(report, row.payload, row.key, self._now()))
        except TemporaryDeliveryError as error:
            await self._again(row, error)
        except DeliveryError as error:
            await self._give_up(row, str(error))
        except Exception as error:  # the edge of a delivery: one that fails by a defect must not end the controller again and again
            log.exception("a delivery failed by a defect, which should be reported", notifier=self.name, incident=row.incident)
            await self._again(row, TemporaryDeliveryError(f"defect of the controller: {described(error)}"))
        else:
            at = self._now()
            await self._noted(lambda: self._store.mark_sent(row.id, at, answer))
            if self._said:
                log.info("delivering again", notifier=self.name)
                self._said = ""

    async def _noted(self, write: Callable[[], Awaitable[None]]) -> None:
        """Write down how an attempt ended, however long the store takes: a delivery that is not noted would be repeated."""
        said = False
        while True:
            try:
                await write()
            except TemporaryError as error:
                if not said:
                    log.warning("cannot note a delivery, holding all others", notifier=self.name, error=str(error))
                    said = True
                await asyncio.sleep(self._retry)
            else:
                return

    async def _again(self, row: PendingRow, error: TemporaryDeliveryError) -> None:
        now = self._now()
        if now - row.created_at >= self._give_up_after and row.attempts + 1 >= FEWEST:
            await self._give_up(row, f"given up after {row.attempts + 1} attempts: {error}")
            return
        pause = max(_SHORTEST_PAUSE, error.retry_after or 0.0, self._chance.uniform(0.0, backoff(row.attempts)))
        if str(error) != self._said:
            log.warning("cannot deliver, trying again", notifier=self.name, incident=row.incident, reason=str(error))
            self._said = str(error)
        await self._noted(lambda: self._store.mark_failed(row.id, now + int(pause * 1_000_000), str(error)))

    async def _give_up(self, row: PendingRow, reason: str) -> None:
        log.error("dead letter", notifier=self.name, incident=row.incident, change=row.number, reason=reason[:500])
        await self._noted(lambda: self._store.mark_dead(row.id, reason))


def backoff(attempts: int) -> float:
    """Return the bound of the pause in seconds after this many earlier attempts."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempts, 16))
