"""The store as the event loop sees it: every call runs in the one thread that owns the connection."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from controller.store import reading
from controller.store.database import open_database, translated
from controller.store.errors import StoreUnusableError
from controller.store.reading import LogRow, PendingRow
from controller.store.retention import Retention, prune
from controller.store.transaction import Transaction
from controller.store.writing import write

T = TypeVar("T")


def _open(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    except OSError as error:
        raise StoreUnusableError(f"{path}: its directory cannot be made: {error.strerror or error}") from error
    return open_database(path)


class Store:
    """An open database. Use :meth:`open`; all methods may be called from the event loop at any time.

    All raise :class:`controller.store.errors.StoreBusyError` when the disk fails them for now.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self.path = path
        self._connection = connection
        self._thread = thread

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open the database and bring its schema up to date.

        :raises StoreUnusableError: when the file is no database of this version.
        """
        thread = ThreadPoolExecutor(1, "store")
        try:
            connection = await asyncio.get_running_loop().run_in_executor(thread, _open, path)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(path, connection, thread)

    async def close(self) -> None:
        """Finish what runs and close."""
        await self._run(self._connection.close)
        self._thread.shutdown()

    async def _run(self, work: Callable[[], T]) -> T:
        def translate() -> T:
            with translated(self.path):
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._thread, translate)

    async def commit(self, transaction: Transaction) -> int:
        """Write a transaction durably, all or nothing; return the log's newest cursor."""

        def work() -> int:
            write(self._connection, transaction)
            return reading.last_cursor(self._connection)

        return await self._run(work)

    async def acked(self, node: str, stream: str) -> int:
        """Return the sequence up to which a stream is durable, 0 for an unknown one."""
        return await self._run(lambda: reading.acked(self._connection, node, stream))

    async def load_state(self) -> list[tuple[str, str, bytes]]:
        """Return the core's records as (table, key, msgpack value)."""
        return await self._run(lambda: reading.core_state(self._connection))

    async def log_after(self, cursor: int, limit: int) -> list[LogRow]:
        """Return rows of the log behind a cursor, oldest first."""
        return await self._run(lambda: reading.log_after(self._connection, cursor, limit))

    async def last_cursor(self) -> int:
        """Return the newest cursor."""
        return await self._run(lambda: reading.last_cursor(self._connection))

    async def sink_cursor(self, name: str) -> int | None:
        """Return how far a sink has read, None for one that never did."""
        return await self._run(lambda: reading.sink_cursor(self._connection, name))

    async def save_sink_cursor(self, name: str, cursor: int) -> None:
        """Remember how far a sink has read."""
        await self._execute("INSERT OR REPLACE INTO sinks (name, cursor) VALUES (?, ?)", (name, cursor))

    async def keep_sinks(self, names: set[str]) -> None:
        """Forget sinks that are no longer configured: they must not hold back retention."""
        known = [row[0] for row in await self._run(lambda: self._connection.execute("SELECT name FROM sinks").fetchall())]
        for name in known:
            if name not in names:
                await self._execute("DELETE FROM sinks WHERE name = ?", (name,))

    async def keep_performers(self, names: set[str]) -> None:
        """Give up what waits for notifiers that are no longer configured: told months later it would only mislead."""
        waiting = "SELECT DISTINCT performer FROM outbox WHERE state = 'pending'"
        known = [row[0] for row in await self._run(lambda: self._connection.execute(waiting).fetchall())]
        for name in known:
            if name not in names:
                gone = "UPDATE outbox SET state = 'dead', last_error = 'no longer configured' WHERE state = 'pending' AND performer = ?"
                await self._execute(gone, (name,))

    async def pending(self, performer: str, limit: int) -> list[PendingRow]:
        """Return what a performer has still to tell: of each incident only the oldest change."""
        return await self._run(lambda: reading.pending(self._connection, performer, limit))

    async def mark_sent(self, row: int, at: int, response: str) -> None:
        """Note that something was told, and the answer."""
        await self._execute(
            "UPDATE outbox SET state = 'sent', sent_at = ?, response = ?, attempts = attempts + 1 WHERE id = ?", (at, response[:500], row)
        )

    async def mark_failed(self, row: int, next_at: int, error: str) -> None:
        """Note a failed attempt and when to try again."""
        await self._execute(
            "UPDATE outbox SET attempts = attempts + 1, next_at = ?, last_error = ? WHERE id = ?", (next_at, error[:500], row)
        )

    async def mark_dead(self, row: int, error: str) -> None:
        """Note that something will never be told; it stays as a dead letter."""
        await self._execute("UPDATE outbox SET state = 'dead', attempts = attempts + 1, last_error = ? WHERE id = ?", (error[:500], row))

    async def prune(self, retention: Retention, now: int) -> int:
        """Drop one step of what is too old or too much; return how many rows of the log went."""
        return await self._run(lambda: prune(self._connection, retention, now))

    async def _execute(self, sql: str, arguments: tuple[object, ...]) -> None:
        await self._run(lambda: self._connection.execute(sql, arguments))
