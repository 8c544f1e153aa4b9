"""The core's state through the real store: what a restarted controller knows."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgpack

from controller.core.state import CoreState
from controller.core.timings import Timings
from controller.engine import Engine
from controller.store.store import Store
from controller.store.transaction import StateRow, Transaction

Row = tuple[str, str, dict[str, object] | None]
"""Table, key, record: what :meth:`CoreState.take_changes` yields."""


class Keeping:
    """All rows that a controller has stored so far, as its store would hold them."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows: dict[tuple[str, str], Row] = {(table, key): (table, key, record) for table, key, record in rows}

    def add(self, state: CoreState) -> None:
        """Store what changed since the last call, and only that: a change that nobody noted is lost in a restart."""
        for row in state.take_changes():
            self.rows[row[:2]] = row


def through_store(state: CoreState, keeping: Keeping, at: int) -> CoreState:
    """Return what a controller that is started at ``at`` (UTC µs) knows of a state that another one stored."""
    keeping.add(state)
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_through(Path(folder) / "controller.db", keeping, state.cluster, at))


async def _through(path: Path, keeping: Keeping, cluster: str, at: int) -> CoreState:
    rows = [StateRow(table, key, None if record is None else msgpack.packb(record)) for table, key, record in keeping.rows.values()]
    store = await Store.open(path)
    try:
        await store.commit(Transaction(at=at, state=rows))
    finally:
        await store.close()
    store = await Store.open(path)
    try:
        engine = Engine(store, cluster, Timings(), {}, lambda: at)
        await engine.load()
    finally:
        await store.close()
    return engine.state
