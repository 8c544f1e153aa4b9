import json
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from controller.store.database import open_readonly
from controller.store.retention import STEP, Retention
from controller.store.store import Store
from controller.store.transaction import OutboxRow, Transaction
from controller.stream.follow import with_hole
from controller.stream.record import record

FOREVER = 10**15


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Return an open, empty store."""
    opened = await Store.open(tmp_path / "faultline.db")
    yield opened
    await opened.close()


async def fill(store: Store, count: int, stored_at: int, observed_at: int | None = None) -> None:
    """Store events."""
    at = stored_at if observed_at is None else observed_at
    await store.commit(Transaction(at=stored_at, events=[("event", "pve1", "k", at, stored_at, b"\x00")] * count))


async def cursors(store: Store) -> list[int]:
    """Return all cursors of the log."""
    return [row.cursor for row in await store.log_after(0, 1_000_000)]


async def until_done(store: Store, retention: Retention, now: int) -> list[int]:
    """Prune until nothing more goes, as the controller does; return the steps' sizes."""
    steps: list[int] = []
    while dropped := await store.prune(retention, now):
        steps.append(dropped)
        assert len(steps) < 100, "pruning does not come to an end"
    return steps


async def test_old_rows_go_in_small_steps(store: Store) -> None:
    """What is older than the age goes, at most a step at a time; what is younger stays."""
    await fill(store, 2 * STEP + 10, stored_at=1_000)
    await fill(store, 7, stored_at=2_000)

    assert await until_done(store, Retention(age=500, rows=FOREVER), now=2_400) == [STEP, STEP, 10]
    assert await cursors(store) == list(range(2 * STEP + 11, 2 * STEP + 18))


async def test_age_is_by_our_clock(store: Store) -> None:
    """A node whose clock is years off neither loses its events early nor keeps everybody's for ever."""
    await fill(store, 3, stored_at=1_000, observed_at=FOREVER)
    await fill(store, 3, stored_at=1_000)
    await fill(store, 3, stored_at=2_000, observed_at=0)

    assert await until_done(store, Retention(age=500, rows=FOREVER), now=2_400) == [6]
    assert await cursors(store) == [7, 8, 9]


async def test_bound_in_rows_holds(store: Store) -> None:
    """The log has at most as many rows as allowed, the newest ones."""
    await fill(store, 50, stored_at=1)

    assert await until_done(store, Retention(age=FOREVER, rows=20), now=2) == [30]
    assert await cursors(store) == list(range(31, 51))


async def test_unread_rows_outlive_their_age(store: Store) -> None:
    """A stream that stands still keeps what it has not read, however old; what all streams have read goes."""
    await fill(store, 50, stored_at=1)
    await store.save_sink_cursor("jsonl", 10)
    await store.save_sink_cursor("xpub", 50)

    assert await until_done(store, Retention(age=5, rows=1000), now=1000) == [10]
    assert (await cursors(store))[0] == 11


async def test_bound_takes_unread_rows_and_their_reader_is_told(store: Store) -> None:
    """Beyond the bound unread rows go too; the stream that had still to read them is told which, once, and no other stream is."""
    await fill(store, 50, stored_at=1)
    await store.save_sink_cursor("jsonl", 10)
    await store.save_sink_cursor("xpub", 40)

    assert await until_done(store, Retention(age=FOREVER, rows=20), now=2) == [30]
    late, well = with_hole(10, await store.log_after(10, 100)), with_hole(40, await store.log_after(40, 100))
    gap = record(late[0], "pve")
    assert {key: gap[key] for key in ("type", "cursor", "first_cursor", "last_cursor")} == {
        "type": "gap",
        "cursor": 30,
        "first_cursor": 11,
        "last_cursor": 30,
    }
    assert [row.cursor for row in late[1:]] == list(range(31, 51))
    assert [row.type for row in well] == ["event"] * 10


async def test_cursors_are_never_given_twice(store: Store) -> None:
    """After everything was pruned, and over a restart, the next row has the next cursor: no reader takes it for read."""
    await fill(store, 5, stored_at=1)
    await until_done(store, Retention(age=1, rows=FOREVER), now=1000)
    again = await Store.open(store.path)
    await fill(again, 1, stored_at=1000)

    assert await cursors(again) == [6]
    await again.close()


async def test_what_was_told_is_kept_as_long_and_what_was_not_for_ever(store: Store) -> None:
    """The record of what was told goes with its age; what is still to tell never does."""

    def row(number: int) -> OutboxRow:
        return OutboxRow("webhook:chat", "fl-1", number, json.dumps({}), f"key-{number}")

    await store.commit(Transaction(at=1, outbox=[row(1), row(2)]))
    await store.mark_sent(1, 2, "HTTP 204")
    await store.prune(Retention(age=100, rows=FOREVER), now=50)
    assert kept(store) == [("sent",), ("pending",)]

    await store.prune(Retention(age=100, rows=FOREVER), now=500)
    assert kept(store) == [("pending",)]


def kept(store: Store) -> list[Any]:
    """Return the states of the outbox's rows."""
    with closing(open_readonly(store.path)) as connection:
        return connection.execute("SELECT state FROM outbox ORDER BY id").fetchall()


async def test_streams_that_are_no_longer_configured_hold_nothing_back(store: Store) -> None:
    """A stream that was taken out of the configuration is forgotten, and its unread rows may go."""
    await fill(store, 10, stored_at=1)
    await store.save_sink_cursor("jsonl", 0)
    await store.save_sink_cursor("xpub", 10)
    await store.keep_sinks({"xpub"})

    assert await store.sink_cursor("jsonl") is None
    assert await until_done(store, Retention(age=5, rows=FOREVER), now=1000) == [10]
