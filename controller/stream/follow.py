"""A sink follows the log by its own durable cursor: read, write, remember. At least once, in order, never a silent hole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import structlog

from controller.errors import TemporaryError
from controller.store.reading import LogRow
from controller.store.store import Store

log = structlog.get_logger()

_TAKE: Final = 1000
_LOOK: Final = 5.0
"""Seconds between looks without a wake-up."""
_PAUSE: Final = 2.0
"""Seconds before a failed write is tried again."""


class Sink(Protocol):
    """Where rows of the log go."""

    name: str

    async def write(self, rows: Sequence[LogRow]) -> None:
        """Write rows, durably where the sink can be durable.

        :raises TemporaryError: when nothing or not all could be written; the rows come again.
        """


async def follow(sink: Sink, store: Store, wait: Callable[[], Awaitable[None]]) -> None:
    """Feed a sink until cancelled. A sink that never ran begins at now."""
    cursor, said = await _begin(sink, store), False
    while True:
        try:
            rows = await store.log_after(cursor, _TAKE)
            if rows:
                await sink.write(rows)
                await store.save_sink_cursor(sink.name, rows[-1].cursor)
                cursor = rows[-1].cursor
        except TemporaryError as error:
            if not said:
                log.warning("stream stands still until it can write again", sink=sink.name, reason=str(error))
                said = True
            await asyncio.sleep(_PAUSE)
            continue
        if said:
            log.info("stream goes on", sink=sink.name)
            said = False
        if not rows:
            try:
                async with asyncio.timeout(_LOOK):
                    await wait()
            except TimeoutError:
                pass


async def _begin(sink: Sink, store: Store) -> int:
    while True:
        try:
            cursor = await store.sink_cursor(sink.name)
            if cursor is None:
                cursor = await store.last_cursor()
                await store.save_sink_cursor(sink.name, cursor)
        except TemporaryError:
            await asyncio.sleep(_PAUSE)
        else:
            return cursor
