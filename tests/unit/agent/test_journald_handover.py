import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from agent.record import Batch
from agent.sources import handover
from agent.sources.errors import JournalMissingError
from agent.sources.handover import batches
from agent.sources.journal_reader import Place
from agent.sources.journald import JournalSource
from tests.journals import Entry, recorded, sent_by, write


@pytest.fixture(scope="module")
def wanted() -> list[Entry]:
    return sent_by(recorded("pve1"), "kernel")


class CountingSource(JournalSource):
    """A journal source that tells how often it was asked for a batch with records."""

    reads = 0

    def read_batch(self, max_records: int = 512, timeout: float = 1.0) -> Batch | None:
        """Count."""
        batch = super().read_batch(max_records, timeout)
        self.reads += bool(batch)
        return batch


def thread_names() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


async def until(condition: Callable[[], bool], seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:  # noqa: ASYNC110  # threads set no asyncio.Event
        await asyncio.sleep(0.01)
    return condition()


async def gone(name: str) -> bool:
    return await until(lambda: name not in thread_names())


async def test_batches_arrive_while_the_file_grows(wanted: list[Entry], tmp_path: Path) -> None:
    """Records come through the event loop in order, also those that are appended later; the thread ends with the consumer."""
    path = write(tmp_path / "a.journal", wanted[:50])
    count = 0
    async with aclosing(batches(JournalSource(Place(directory=tmp_path), start="beginning"), "test-journal", 20)) as stream:
        async for batch in stream:
            count += len(batch.records)
            if count == 50 and batch.records:
                write(path, wanted[50:60])
            if count == 60:
                break
    assert await gone("test-journal")


async def test_reading_stops_while_the_consumer_is_stuck(wanted: list[Entry], tmp_path: Path) -> None:
    """Nothing is read ahead of a consumer that does not ask."""
    write(tmp_path / "a.journal", wanted[:100])
    source = CountingSource(Place(directory=tmp_path), start="beginning")
    async with aclosing(batches(source, "test-stuck", 10)) as stream:
        for asked in (1, 2, 3):
            await anext(stream)
            await asyncio.sleep(0.1)
            assert source.reads == asked


async def test_files_that_are_not_followed_end(wanted: list[Entry], tmp_path: Path) -> None:
    """The stream of a journal that is only read once ends by itself."""
    write(tmp_path / "a.journal", wanted[:30])
    source = JournalSource(Place(directory=tmp_path), start="beginning", follow=False)
    async with aclosing(batches(source, "test-once", 7)) as stream:
        assert sum([len(batch.records) async for batch in stream]) == 30
    assert await gone("test-once")


async def test_errors_reach_the_consumer(tmp_path: Path) -> None:
    """An error of the source is raised to the consumer with its type, and the thread ends."""
    async with aclosing(batches(JournalSource(Place(directory=tmp_path / "none")), "test-error")) as stream:
        with pytest.raises(JournalMissingError):
            await anext(stream)
    assert await gone("test-error")


async def test_cancelled_consumer(wanted: list[Entry], tmp_path: Path) -> None:
    """A consumer that is cancelled while it waits wakes the thread at once."""
    write(tmp_path / "a.journal", wanted[:1])
    source = JournalSource(Place(directory=tmp_path), start="now")

    async def consume() -> None:
        async with aclosing(batches(source, "test-cancel")) as stream:
            async for _ in stream:
                pass

    task = asyncio.create_task(consume())
    assert await until(lambda: "test-cancel" in thread_names())
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone("test-cancel")
    assert time.monotonic() - started < 0.5  # not when its read times out


class HangingSource:
    """A source whose read never returns, as on a disk that does not answer."""

    ended = False

    def __init__(self) -> None:
        self.release = threading.Event()

    def read_batch(self, max_records: int, timeout: float) -> Batch | None:  # noqa: ARG002
        """Hang."""
        self.release.wait(30)
        return None

    def wake(self) -> None:
        """Cannot be woken."""

    def close(self) -> None:
        """Hold nothing."""


async def test_hanging_source_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping takes a bounded time even when the thread hangs."""
    monkeypatch.setattr(handover, "_STOP", 0.2)
    source = HangingSource()
    stream = batches(source, "test-hang")
    waiting = asyncio.ensure_future(anext(stream))
    assert await until(lambda: "test-hang" in thread_names())
    started = time.monotonic()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert time.monotonic() - started < 5
    source.release.set()
    assert await gone("test-hang")
