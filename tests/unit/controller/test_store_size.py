import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from controller.store import reading, retention
from controller.store.retention import Retention
from controller.store.store import Store
from controller.store.transaction import OutboxRow, Transaction

MANY = 100_000


@pytest.fixture
async def full(tmp_path: Path) -> AsyncIterator[Store]:
    """Return a store with many notices, as after a day's outage of a receiver in the worst of storms: ten changes an incident."""
    store = await Store.open(tmp_path / "faultline.db")
    rows = [OutboxRow("webhook:chat", f"fl-{n // 10}", n % 10 + 1, "{}", f"chat:{n}") for n in range(MANY)]
    await store.commit(Transaction(at=1, outbox=rows))
    yield store
    await store.close()


async def plan(store: Store, work: Callable[[sqlite3.Connection], Any]) -> list[str]:
    """Return how SQLite does what some work asks for: the steps of its query plans."""

    def explained() -> list[str]:
        asked: list[str] = []
        connection = store._connection
        connection.set_trace_callback(asked.append)
        work(connection)
        connection.set_trace_callback(None)
        queries = [sql for sql in asked if sql.startswith(("SELECT", "DELETE"))]
        return [str(row[3]) for sql in queries for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]

    return await store._run(explained)


async def test_many_notices_are_not_read_to_find_the_next(full: Store) -> None:
    """What to tell next is found in an index alone; only the few rows that are handed out are read."""
    steps = await plan(full, lambda connection: reading.pending(connection, "webhook:chat", 32))

    assert any("COVERING INDEX outbox_pending" in step for step in steps)
    assert not [step for step in steps if step.startswith("SCAN outbox")]
    begin = time.monotonic()
    found = await full.pending("webhook:chat", 32)
    assert time.monotonic() - begin < 1
    assert [(row.incident, row.number) for row in found] == [(f"fl-{n}", 1) for n in range(32)]


async def test_retention_reads_no_more_than_it_drops(full: Store) -> None:
    """Looking for what is old reads neither the whole outbox nor the whole log."""
    steps = await plan(full, lambda connection: retention.prune(connection, Retention(1, 1), 1_000))

    assert any("INDEX outbox_told" in step for step in steps)
    assert not [step for step in steps if step in ("SCAN outbox", "SCAN log")], steps
