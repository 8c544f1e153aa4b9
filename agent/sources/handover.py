"""A blocking source in a thread of its own, its batches in the event loop.

Journal and pmxcfs are read with calls that block, on a sick disk for minutes. Each gets one dedicated thread. The thread
reads only when the consumer asked for a batch: while the consumer is stuck (a full spool), nothing is read on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final, Protocol

from agent.record import Batch

_POLL: Final = 10.0
"""Longest blocking read, seconds. Sources are woken when they shall stop; each return for nothing is a waking of the processor."""
_STOP: Final = 2.0
"""How long a stopping consumer waits for the thread, seconds. One that hangs in the kernel is left behind."""


class BlockingSource(Protocol):
    """What yields batches by blocking."""

    @property
    def ended(self) -> bool:
        """Return whether no batch will ever come again."""

    def read_batch(self, max_records: int, timeout: float) -> Batch | None:
        """Return the next batch, or None when none came within ``timeout`` seconds."""

    def wake(self) -> None:
        """Make a waiting read return soon. Callable from any thread."""

    def close(self) -> None:
        """Give up what it holds; called in the reading thread."""


async def batches(source: BlockingSource, name: str, max_records: int = 512) -> AsyncGenerator[Batch, None]:
    """Yield a source's batches, read in a thread called ``name``. Use with :func:`contextlib.aclosing`.

    :raises AgentError: whatever the source raises; the source is closed then.
    """
    reading = _Reading(source, max_records)
    threading.Thread(target=reading.run, name=name, daemon=True).start()
    try:
        while (batch := await reading.take()) is not None:
            yield batch
    finally:
        await reading.stop()


class _Reading:
    """One slot between a thread and the event loop, filled on demand."""

    def __init__(self, source: BlockingSource, max_records: int) -> None:
        self._source, self._max_records = source, max_records
        self._loop = asyncio.get_running_loop()
        self._asked = threading.Semaphore(0)
        self._stopping = False
        self._ended = asyncio.Event()
        self._slot: asyncio.Future[Batch | None] = self._loop.create_future()

    async def take(self) -> Batch | None:
        """Ask for a batch and wait for it; None when the source ended."""
        self._slot = self._loop.create_future()
        self._asked.release()
        return await self._slot

    async def stop(self) -> None:
        """Stop the thread and wait a bounded time for it."""
        self._stopping = True
        with suppress(OSError, ValueError):  # it closed itself a moment ago
            self._source.wake()
        self._asked.release()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), _STOP)

    def run(self) -> None:
        """Read, in the thread, whenever a batch is asked for, until the source ends or fails or is not wanted any more."""
        try:
            while self._asked.acquire() and (batch := self._read()) is not None:
                self._call(self._give, batch, None)
            self._call(self._give, None, None)
        except Exception as error:  # noqa: BLE001  # the edge of the thread: whatever it is belongs to the consumer
            self._call(self._give, None, error)
        finally:
            self._source.close()
            self._call(self._ended.set)

    def _read(self) -> Batch | None:
        while not self._stopping:
            batch = self._source.read_batch(self._max_records, _POLL)
            if batch is not None or self._source.ended:
                return batch
        return None

    def _give(self, batch: Batch | None, error: Exception | None) -> None:
        if self._slot.done():  # the consumer was cancelled; the batch stays unread for the next run, by its cursor
            return
        if error is not None:
            self._slot.set_exception(error)
        else:
            self._slot.set_result(batch)

    def _call(self, function: object, *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(function, *arguments)  # type: ignore[arg-type]
