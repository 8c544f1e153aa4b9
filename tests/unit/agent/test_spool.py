from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from agent.errors import TemporaryError
from agent.spool import Limits, Observed, Position, Spool, SpoolDamagedError, SpoolError, SpoolFullError
from events.agent import AgentJournalLost, AgentSpoolDropped
from events.codec import decode
from events.envelope import Envelope
from tests.observed import observed

ROOMY = Limits(bytes=64 * 1024 * 1024, age=10**12)
HOUR = 3_600_000_000
EVERYTHING = (10**6, 2**40)
"""Count and bytes that no test reaches."""

Opener = Callable[..., Awaitable[Spool]]


class Clock:
    """A clock that stands still until a test moves it. UTC µs."""

    def __init__(self) -> None:
        self.now = 1_795_000_000_000_000

    def __call__(self) -> int:
        """Return what it shows."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return the clock that the spools of a test go by."""
    return Clock()


@pytest.fixture
async def opened(tmp_path: Path, clock: Clock) -> AsyncIterator[Opener]:
    """Return what opens the test's spool; all are closed at the end."""
    spools: list[Spool] = []

    async def opener(limits: Limits = ROOMY, controllers: tuple[str, ...] = ("one",)) -> Spool:
        spools.append(await Spool.open(tmp_path / "spool" / "spool.db", ("lab", "pve1"), limits, clock, controllers))
        return spools[-1]

    yield opener
    for spool in spools:
        await spool.close()


async def held(spool: Spool) -> list[Envelope]:
    """Return everything that a spool holds."""
    return [decode(data) for _, data in await everything(spool)]


async def everything(spool: Spool) -> list[tuple[int, bytes]]:
    """Return (sequence, bytes) of everything that a spool holds, over the holes."""
    rows: list[tuple[int, bytes]] = []
    while more := await spool.read_after(rows[-1][0] if rows else 0, *EVERYTHING):
        rows += more
    return rows


async def test_events_become_envelopes_in_order(opened: Opener) -> None:
    """Each event gets the next sequence of the spool's own stream, and keeps its times, its boot and its content."""
    spool, events = await opened(), observed(700)

    assert await spool.append("journald", events[:300], "c1", None) == 300
    assert await spool.append("journald", events[300:], "c2", None) == 700
    assert await held(spool) == [
        Envelope("lab", "pve1", one.boot_id, spool.stream, seq, one.at, one.monotonic, one.event) for seq, one in enumerate(events, 1)
    ]


async def test_cursor_and_memory_go_with_the_events(opened: Opener) -> None:
    """What was appended together is there together after the spool was closed and opened; each source has its own."""
    spool = await opened()
    await spool.append("journald", observed(3), "c1", {"boots": {"b": 1}})
    await spool.append("pmxcfs", (), None, {"config": b"\0\xff"})
    await spool.append("journald", observed(2), "c2", {"boots": {"b": 2}})
    stream, rows = spool.stream, await everything(spool)
    await spool.close()

    again = await opened()
    assert (again.stream, again.last, await everything(again)) == (stream, 5, rows)
    assert (await again.cursor("journald"), await again.memory("journald")) == ("c2", {"boots": {"b": 2}})
    assert (await again.cursor("pmxcfs"), await again.memory("pmxcfs")) == (None, {"config": b"\0\xff"})
    assert (await again.cursor("nfs"), await again.memory("nfs")) == (None, None)


async def test_none_leaves_cursor_and_memory_as_they_were(opened: Opener) -> None:
    """An append without cursor and memory, such as of the agent's own events, changes neither."""
    spool = await opened()
    await spool.append("journald", observed(1), "c1", {"a": 1})
    await spool.append("journald", observed(1), None, None)

    assert (await spool.cursor("journald"), await spool.memory("journald")) == ("c1", {"a": 1})


async def test_sequences_go_on_when_everything_was_forgotten(opened: Opener) -> None:
    """A sequence is never used twice, also after all was acknowledged and the spool was opened anew."""
    spool = await opened()
    await spool.append("journald", observed(5), "c", None)
    await spool.acknowledge("one", 5)
    assert await spool.position() == Position(spool.stream, 6, 5)
    await spool.close()

    again = await opened()
    assert await again.append("journald", observed(1), "c", None) == 6
    assert await again.position() == Position(again.stream, 6, 6)


async def test_reading_is_bounded(opened: Opener) -> None:
    """A read returns at most so many envelopes and bytes, but one if there is any, however large."""
    spool = await opened()
    await spool.append("journald", observed(100), "c", None)
    rows = await everything(spool)

    assert await spool.read_after(0, 7, 2**40) == rows[:7]
    assert await spool.read_after(90, 500, 2**40) == rows[90:]
    assert await spool.read_after(10, 500, sum(len(data) for _, data in rows[10:15])) == rows[10:15]
    assert await spool.read_after(10, 500, 1) == rows[10:11]
    assert await spool.read_after(100, 500, 2**40) == []


async def test_appends_that_wait_share_a_commit(opened: Opener) -> None:
    """Many appends at once cost few syncs: they are committed in groups, each with its own sequence as the answer."""
    spool, statements = await opened(), list[str]()
    spool._file._connection.set_trace_callback(statements.append)
    results = await asyncio.gather(*(spool.append("journald", observed(1), None, None) for _ in range(200)))

    assert sorted(results) == list(range(1, 201))
    assert statements.count("COMMIT") <= 1 + 200 // 64 + 1


async def test_waiting_for_news_ends_with_the_next_event(opened: Opener) -> None:
    """Whoever waits for what comes behind a sequence is woken by the append, not by a timer."""
    spool = await opened()
    waiting = [asyncio.create_task(spool.appended(spool.stream, seq)) for seq in (0, 1)]
    await spool.append("journald", observed(1), None, None)
    await asyncio.wait_for(waiting[0], 5)
    assert not waiting[1].done()
    await spool.append("journald", observed(1), None, None)
    await asyncio.wait_for(waiting[1], 5)


async def test_events_stay_until_every_controller_has_them(opened: Opener) -> None:
    """The slowest controller decides what is forgotten, and an acknowledgement never goes back."""
    spool = await opened(controllers=("one", "two"))
    await spool.append("journald", observed(10), "c", None)

    await spool.acknowledge("one", 8)
    assert (await spool.position()).first == 1
    await spool.acknowledge("two", 5)
    assert (await spool.position()).first == 6
    await spool.acknowledge("two", 3)
    await spool.acknowledge("one", 10)
    assert (await spool.position()).first == 6


async def test_what_was_never_sent_cannot_be_acknowledged(opened: Opener) -> None:
    """A controller that acknowledges more than there is does not make later events vanish."""
    spool = await opened()
    await spool.append("journald", observed(2), "c", None)
    await spool.acknowledge("one", 10**9)
    await spool.append("journald", observed(2), "c", None)

    assert [seq for seq, _ in await everything(spool)] == [3, 4]


async def test_controllers_may_come_and_go(opened: Opener) -> None:
    """A new controller gets what is still held; one that is not configured any more holds nothing back."""
    spool = await opened()
    await spool.append("journald", observed(10), "c", None)
    await spool.acknowledge("one", 4)
    await spool.configure(("one", "new"))
    await spool.acknowledge("one", 10)
    assert (await spool.position()).first == 5

    await spool.configure(("one",))
    await spool.acknowledge("one", 10)
    assert (await spool.position()).first == 11


async def test_a_full_spool_drops_the_oldest_and_says_which(opened: Opener) -> None:
    """Beyond its bytes the oldest events go; each is either held or named by an event, and the file's bytes stay bounded."""
    limits = Limits(bytes=100_000, age=10**12)
    spool = await opened(limits)
    for _ in range(20):
        await spool.append("journald", observed(100), "c", None)
    rows = await everything(spool)
    drops = [one.event for one in (decode(data) for _, data in rows) if isinstance(one.event, AgentSpoolDropped)]

    assert drops
    assert sum(len(data) for _, data in rows) == spool._file.head.bytes <= limits.bytes
    assert drops[-1].last == rows[0][0] - 1
    assert [seq for seq, _ in rows] == list(range(rows[0][0], spool.last + 1))
    assert all(drop.reason == "the spool was full" and drop.first <= drop.last for drop in drops)
    assert all(later.first == earlier.last + 1 for earlier, later in pairwise(drops))


async def test_old_events_are_dropped_and_named(opened: Opener, clock: Clock) -> None:
    """What waited longer than the spool's age goes with the next append, by the time when it was spooled: not a moment earlier."""
    spool = await opened(Limits(bytes=2**30, age=HOUR))
    await spool.append("journald", observed(5), "c", None)  # these were observed at quite another time
    clock.now += HOUR // 2
    await spool.append("journald", observed(3), "c", None)
    clock.now += HOUR // 2
    await spool.append("journald", observed(1), "c", None)
    assert (await spool.position()).first == 1

    clock.now += 1
    await spool.append("journald", (), "later", None)
    envelopes = await held(spool)
    dropped = envelopes[-1].event
    assert [one.seq for one in envelopes] == [6, 7, 8, 9, 10]
    assert isinstance(dropped, AgentSpoolDropped)
    assert (dropped.first, dropped.last, dropped.reason) == (1, 5, "older than the spool keeps them")


async def test_reading_stops_at_a_hole(opened: Opener) -> None:
    """One batch never spans sequences that were dropped: the receiver counts on."""
    spool = await opened()
    await spool.append("journald", observed(9), "c", None)
    spool._file._connection.execute("DELETE FROM spool WHERE seq = 4")

    assert [seq for seq, _ in await spool.read_after(0, *EVERYTHING)] == [1, 2, 3]
    assert [seq for seq, _ in await spool.read_after(3, *EVERYTHING)] == [5, 6, 7, 8, 9]


async def test_an_event_that_cannot_be_written_is_replaced(opened: Opener) -> None:
    """An event that no envelope can hold does not stop those around it: in its place stands one that says what is lost."""
    spool, good = await opened(), observed(2)
    bad = Observed(good[0].event, 2**70, 0, "b")
    assert await spool.append("journald", [good[0], bad, good[1]], "c", None) == 3

    first, second, third = await held(spool)
    assert (first.event, third.event) == (good[0].event, good[1].event)
    assert isinstance(second.event, AgentJournalLost)
    assert good[0].event.kind in second.event.reason


async def test_what_it_is_asked_for_by_a_defect_ends_nothing(opened: Opener) -> None:
    """A memory that cannot be stored fails its own append, of which nothing is kept, and the spool goes on for all others."""
    spool, good = await opened(), observed(2)
    with capture_logs() as logs, pytest.raises(SpoolError, match="TypeError") as raised:
        await spool.append("nfs", good[:1], "c1", {"seen": {1, 2}})
    assert not isinstance(raised.value, SpoolDamagedError)
    assert [one["log_level"] for one in logs] == ["error"]
    assert await spool.append("nfs", good[1:], "c2", None) == 1
    assert [one.event for one in await held(spool)] == [good[1].event]
    assert await spool.cursor("nfs") == "c2"


async def test_a_spool_that_went_back_in_time_goes_on_as_another_stream(opened: Opener) -> None:
    """Renewed, a spool holds the same events under a new stream, numbered from 1, and says so; every controller gets all of them."""
    spool, events = await opened(), observed(6)
    await spool.append("journald", events, "c", {"a": 1})
    await spool.acknowledge("one", 2)
    old = spool.stream
    waiting = asyncio.create_task(spool.appended(old, 6))
    await spool.renew(old, "restored from a backup")
    await asyncio.wait_for(waiting, 5)
    envelopes = await held(spool)

    assert spool.stream != old
    assert [one.seq for one in envelopes] == [1, 2, 3, 4, 5]
    assert {one.stream for one in envelopes} == {spool.stream}
    assert [one.event for one in envelopes[:4]] == [one.event for one in events[2:]]
    assert isinstance(envelopes[4].event, AgentJournalLost)
    assert await spool.cursor("journald") == "c"
    await spool.renew(old, "a second session noticed it too")
    assert len(await everything(spool)) == 5


async def test_one_spool_has_one_agent(opened: Opener) -> None:
    """A second agent on the same file is told so, and does no harm."""
    first = await opened()
    await first.append("journald", observed(1), "c", None)

    with pytest.raises(SpoolFullError, match="does another agent run") as caught:
        await opened()
    assert isinstance(caught.value, TemporaryError)
    assert await first.append("journald", observed(1), "c", None) == 2


async def test_closing_finishes_what_was_asked(opened: Opener) -> None:
    """Appends that were asked for before the spool was closed are durable."""
    spool = await opened()
    asked = [asyncio.ensure_future(spool.append("journald", observed(1), None, None)) for _ in range(10)]
    await asyncio.sleep(0)
    await spool.close()

    assert await asyncio.gather(*asked) == list(range(1, 11))
    assert not spool.alive
    assert (await opened()).last == 10
