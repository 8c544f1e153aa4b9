"""A sink follows the log by its own durable cursor: read, write, remember. At least once, in order, never a silent hole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import structlog

from controller.errors import PermanentError, TemporaryError, described
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


async def follow(sink: Sink, store: Store, wait: Callable[[], Awaitable[None]], pause: float = _PAUSE) -> None:
    """Feed a sink until cancelled; ``wait`` returns when more was stored. A sink that never ran begins at now."""
    cursor = saved = await _begin(sink, store, pause)
    said = ""
    while True:
        try:
            rows = await store.log_after(cursor, _TAKE)
            if rows:
                await sink.write(with_hole(cursor, rows))
                cursor = rows[-1].cursor
            if cursor != saved:
                # Apart from the write: what was written is not written again because its cursor cannot be stored now.
                await store.save_sink_cursor(sink.name, cursor)
                saved = cursor
        except Exception as error:  # noqa: BLE001  # the edge of a sink's work: what one cannot write must not end all others
            if described(error) != said:
                said = described(error)
                _say(sink.name, cursor, error)
            await asyncio.sleep(pause)
            continue
        if said:
            log.info("stream goes on", sink=sink.name)
            said = ""
        if not rows:
            try:
                async with asyncio.timeout(_LOOK):
                    await wait()
            except TimeoutError:
                pass


def _say(sink: str, cursor: int, error: Exception) -> None:
    """Say why a sink stands still."""
    if isinstance(error, TemporaryError):
        log.warning("stream stands still until it can write again", sink=sink, reason=str(error))
    elif isinstance(error, PermanentError):
        log.error("stream stands still: what it has still to write cannot be read", sink=sink, behind=cursor, reason=str(error))
    else:
        log.error("stream stands still by a defect, which should be reported", sink=sink, behind=cursor, exc_info=error)


async def _begin(sink: Sink, store: Store, pause: float) -> int:
    while True:
        try:
            cursor = await store.sink_cursor(sink.name)
            if cursor is None:
                cursor = await store.last_cursor()
                await store.save_sink_cursor(sink.name, cursor)
        except TemporaryError:
            await asyncio.sleep(pause)
        else:
            return cursor


def with_hole(cursor: int, rows: list[LogRow]) -> list[LogRow]:
    """Return rows read behind a cursor, with a ``gap`` before them when retention took what this reader had still to read.

    The log's cursors have no holes of their own, so a missing one was there and is gone.
    """
    first, last = cursor + 1, rows[0].cursor - 1
    if first > last:
        return rows
    facts = {"first_cursor": first, "last_cursor": last, "reason": "more unread rows than the store may keep"}
    return [LogRow(last, "gap", "", "retention", rows[0].at, json.dumps(facts).encode()), *rows]
