import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from controller.store.database import open_readonly
from controller.store.errors import StoreBusyError, StoreUnusableError
from controller.store.reading import LogRow
from controller.store.retention import Retention
from controller.store.store import Store
from controller.store.transaction import Gap, RejectRow, Transaction
from controller.stream.follow import follow
from controller.stream.jsonl import FileError, JsonlSink
from tests.reports import events, one_incident


def sink(path: Path) -> JsonlSink:
    """Return a sink for the cluster ``pve`` that never rotates."""
    return JsonlSink(path, 10**9, 3, "pve")


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects in a file, those of its whole lines: it is being written."""
    return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def cursors(path: Path) -> list[int]:
    """Return the cursors in a file."""
    return [line["cursor"] for line in lines(path)]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Return an open, empty store."""
    opened = await Store.open(tmp_path / "faultline.db")
    yield opened
    await opened.close()


class Recorder:
    """A sink that keeps what it gets, and may fail."""

    name = "recorder"

    def __init__(self) -> None:
        self.got: list[LogRow] = []
        self.failing: Exception | None = None
        self.refused = 0

    async def write(self, batch: Any) -> None:
        """Keep rows."""
        if self.failing is not None:
            self.refused += 1
            raise self.failing
        self.got += batch

    @property
    def cursors(self) -> list[int]:
        """Return the cursors of what it got."""
        return [row.cursor for row in self.got]


class Stored:
    """Wakes who waits for more, as the engine does."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Wait until something was stored."""
        await self._event.wait()
        self._event.clear()

    async def put(self, store: Store, count: int) -> None:
        """Store events and wake."""
        await store.commit(Transaction(at=1, events=[("event", "pve1", "k", 1, 1, b"\x00")] * count))
        self._event.set()


async def until(condition: Any, seconds: float = 10.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


async def stop(task: asyncio.Task[None]) -> None:
    """End a task."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def place(store: Store) -> int | None:
    """Return the cursor that the only sink has saved, asked over another connection: the store's own belongs to its thread."""
    with closing(open_readonly(store.path)) as connection:
        row = connection.execute("SELECT cursor FROM sinks").fetchone()
        return None if row is None else int(row[0])


async def begun(store: Store, to: Any, stored: Stored) -> asyncio.Task[None]:
    """Start following and wait until it has begun."""
    task = asyncio.create_task(follow(to, store, stored.wait, pause=0.02))
    await until(lambda: place(store) is not None)
    return task


async def test_follows_the_log_in_order_and_at_once(store: Store) -> None:
    """A new sink begins at now; then it gets every row, in order, without waiting for its next look."""
    stored, to = Stored(), Recorder()
    await stored.put(store, 10)
    task = await begun(store, to, stored)
    for count in (1, 2500, 3):
        last = 10 + len(to.got) + count
        await stored.put(store, count)
        await until(lambda last=last: to.cursors[-1:] == [last], seconds=3)
    await stop(task)

    assert to.cursors == list(range(11, 2515))


async def test_goes_on_where_it_was(store: Store) -> None:
    """After a restart a sink gets what was stored meanwhile, and again at most what it had not finished."""
    stored, to = Stored(), Recorder()
    task = await begun(store, to, stored)
    await stored.put(store, 5)
    await until(lambda: place(store) == 5)
    await stop(task)
    await stored.put(store, 5)
    task = await begun(store, to, stored)
    await until(lambda: len(to.got) == 10)
    await stop(task)

    assert to.cursors == list(range(1, 11))


@pytest.mark.parametrize("failing", [FileError("no room"), KeyError("nobody expected this"), StoreUnusableError("malformed")])
async def test_failing_sink_is_retried_and_keeps_its_place(store: Store, failing: Exception) -> None:
    """While a sink cannot write, be it by a defect, its cursor stays, so that retention keeps its rows; then it gets all of them."""
    stored, to = Stored(), Recorder()
    task = await begun(store, to, stored)
    to.failing = failing
    await stored.put(store, 5)
    await until(lambda: to.refused > 3)
    assert await store.sink_cursor("recorder") == 0
    to.failing = None
    await until(lambda: len(to.got) == 5)
    await stop(task)

    assert to.cursors == [1, 2, 3, 4, 5]


async def test_another_reason_is_said_again(store: Store) -> None:
    """A sink that stands still for another reason than before says so once: an administrator who made room must see what is left."""
    stored, to = Stored(), Recorder()
    with capture_logs() as logs:
        task = await begun(store, to, stored)
        for number, failing in enumerate((FileError("no room"), KeyError("nobody expected this")), 1):
            to.failing = failing
            await stored.put(store, 1)
            await until(lambda number=number: to.refused > 3 * number)
        await stop(task)
    said = [(one["log_level"], one["event"].partition(",")[0]) for one in logs]

    assert said == [("warning", "stream stands still until it can write again"), ("error", "stream stands still by a defect")]


async def test_unsaved_cursor_repeats_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store cannot save a cursor, what was written is not written again and again."""
    stored, to, tries = Stored(), Recorder(), 0
    task = await begun(store, to, stored)
    save = store.save_sink_cursor

    async def busy(name: str, cursor: int) -> None:
        nonlocal tries
        tries += 1
        if tries < 5:
            raise StoreBusyError("database or disk is full")
        await save(name, cursor)

    monkeypatch.setattr(store, "save_sink_cursor", busy)
    await stored.put(store, 5)
    await until(lambda: tries >= 5)
    await until(lambda: place(store) == 5)
    await stop(task)

    assert to.cursors == [1, 2, 3, 4, 5]


async def test_hole_is_told_as_a_gap(store: Store, tmp_path: Path) -> None:
    """When retention took rows that the file still had to get, a line says exactly which are missing, before what follows."""
    stored, path = Stored(), tmp_path / "events.jsonl"
    one = sink(path)
    task = await begun(store, one, stored)
    await stored.put(store, 5)
    await until(lambda: place(store) == 5)
    await stop(task)
    await stored.put(store, 30)
    while await store.prune(Retention(age=10**15, rows=10), now=2):
        pass
    task = await begun(store, one, stored)
    await until(lambda: cursors(path)[-1] == 35)
    await stop(task)
    one.close()
    gap = lines(path)[5]

    assert (gap["type"], gap["first_cursor"], gap["last_cursor"], gap["cluster"]) == ("gap", 6, 25, "pve")
    assert cursors(path) == [*range(1, 6), 25, *range(26, 36)]


async def test_everything_that_is_stored_gets_into_the_file(store: Store, tmp_path: Path) -> None:
    """One transaction's events, rejects, gaps and incidents are lines of the file, in the order of the log."""
    stored, path = Stored(), tmp_path / "events.jsonl"
    one = sink(path)
    task = await begun(store, one, stored)
    transaction = Transaction(at=1, events=list(events()), incidents=one_incident())
    transaction.rejects.append(RejectRow("pve1", "s", 1, 1, b"\x00", "nothing"))
    transaction.gaps.append(Gap("pve1", "s", 2, 3, 1, "the spool was full"))
    last = await store.commit(transaction)
    stored._event.set()
    await until(lambda: path.exists() and cursors(path)[-1:] == [last])
    await stop(task)
    one.close()

    assert [line["type"] for line in lines(path)] == [*["event"] * len(events()), "reject", "gap", *["incident"] * len(one_incident())]
    assert cursors(path) == list(range(1, last + 1))
