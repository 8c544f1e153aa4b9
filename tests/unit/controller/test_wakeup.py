import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from controller.clock import utc
from controller.core.timings import Timings
from controller.engine import Engine
from controller.errors import TemporaryError
from controller.ingest import Delivery
from controller.store.reading import LogRow
from controller.store.store import Store
from controller.stream.follow import follow
from events.codec import decode
from events.envelope import Envelope
from tests.reports import events

AT_ONCE = 4.0
"""Seconds; a stream finds what it was not woken for by its look every five seconds."""
PATIENCE = 20.0
"""Seconds for what would otherwise never come."""


class Kept:
    """A sink that keeps the cursors it was given, and fails once when told to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cursors: list[int] = []
        self.fail = False

    async def write(self, rows: Sequence[LogRow]) -> None:
        """Keep rows, or fail."""
        if self.fail:
            self.fail = False
            raise TemporaryError("told to")
        self.cursors += [row.cursor for row in rows]


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Engine, Store]]:
    """Return an engine that works on an empty store."""
    events()  # made once, which takes seconds that no promise is about
    store = await Store.open(folder / "faultline.db")
    engine = Engine(store, "pve", Timings(), {}, utc)
    task = asyncio.create_task(engine.run())
    yield engine, store
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await store.close()


def delivery(number: int) -> Delivery:
    """Return a delivery of one real event."""
    data = events()[number % len(events())][-1]
    envelope = decode(data)
    assert isinstance(envelope, Envelope)
    return Delivery(envelope.node, "stream", "boot", ((number, data, envelope),), number)


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something is so, which must be at once."""
    deadline = time.monotonic() + AT_ONCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen at once"
        await asyncio.sleep(0.001)


async def test_commit_before_the_sleep_ends_it(tmp_path: Path) -> None:
    """What is committed after a reader looked and before it sleeps wakes it: there is no moment at which that is missed."""
    async with running(tmp_path) as (engine, _), asyncio.timeout(PATIENCE):
        first, second = engine.stored, engine.stored
        await engine.accept(delivery(1))
        await first()
        await second()
        await engine.accept(delivery(2))
        await engine.accept(delivery(3))
        await first()


async def test_nothing_new_is_no_reason_to_wake(tmp_path: Path) -> None:
    """Who has seen all commits sleeps until the next one, and one commit does not wake it twice."""
    async with running(tmp_path) as (engine, _):
        wait = engine.stored
        await engine.accept(delivery(1))
        await wait()
        sleeper = asyncio.ensure_future(wait())
        done, _ = await asyncio.wait([sleeper], timeout=0.1)
        assert not done
        await engine.accept(delivery(2))
        await asyncio.wait_for(sleeper, PATIENCE)


async def test_sleep_that_ran_out_misses_nothing(tmp_path: Path) -> None:
    """A sleep that is cut short by its own deadline counts as not slept: the next one ends with the first unseen commit."""
    async with running(tmp_path) as (engine, _):
        wait = engine.stored
        with suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await wait()
        await engine.accept(delivery(1))
        await asyncio.wait_for(wait(), PATIENCE)


async def test_streams_have_every_commit_at_once(tmp_path: Path) -> None:
    """Streams get each commit within a fraction of their look, in order and once, whatever the moment it came at."""
    sinks = [Kept("one"), Kept("two")]
    async with running(tmp_path) as (engine, store):
        for sink in sinks:
            await store.save_sink_cursor(sink.name, 0)
        tasks = [asyncio.create_task(follow(sink, store, engine.stored, pause=0.01)) for sink in sinks]
        for number in range(1, 201):
            sinks[0].fail = number % 20 == 0
            await engine.accept(delivery(number))
            for _ in range(number % 7):  # each time another moment of the readers' round
                await asyncio.sleep(0)
        last = await store.last_cursor()
        await eventually(lambda: all(sink.cursors[-1:] == [last] for sink in sinks))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    for sink in sinks:
        assert sink.cursors == list(range(1, last + 1))
