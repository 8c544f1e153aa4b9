"""The spool as the event loop sees it: one thread owns the file, and appends that wait while a commit runs share the next one."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, Self, TypeVar

import structlog

from agent.errors import described
from agent.spool.file import SpoolFile, translate
from agent.spool.values import Entry, Limits, Observed, Position, SpoolDamagedError, SpoolError

T = TypeVar("T")
log = structlog.get_logger()

_GROUP: Final = 64
"""Most appends in one commit."""
_CLOSE: Final = 4.0
"""Seconds given to the thread to finish. One that hangs in the kernel is left behind."""


@dataclass(slots=True)
class _Append:
    entry: Entry
    done: asyncio.Future[int]


@dataclass(slots=True)
class _Call:
    work: Callable[[SpoolFile], Any]
    done: asyncio.Future[Any]


class Spool:
    """An open spool. Use :meth:`open`; call it from the event loop that opened it.

    All calls that wait raise :class:`SpoolFullError` when the disk fails them for now and :class:`SpoolDamagedError` when the
    file turned out to be damaged; nothing was changed then.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._requests: SimpleQueue[_Append | _Call | None] = SimpleQueue()
        self._appended = asyncio.Event()
        self._file: SpoolFile
        self._thread: threading.Thread

    @classmethod
    async def open(cls, path: Path, name: tuple[str, str], limits: Limits, now: Callable[[], int], controllers: Sequence[str]) -> Self:
        """Open or create a spool.

        ``name`` is (cluster, node) of the envelopes, ``now`` returns UTC µs, and ``controllers`` are the names that must
        acknowledge before anything is forgotten.

        :raises SpoolFullError: when the disk fails, or another process uses the file.
        :raises SpoolForeignError: when the file is of a newer version or another program's.
        :raises SpoolDamagedError: when the file is damaged.
        """
        spool = cls()
        opened: asyncio.Future[None] = spool._loop.create_future()
        arguments = (path, opened, lambda: SpoolFile(path, name, limits, now))
        spool._thread = threading.Thread(target=spool._run, args=arguments, name="spool", daemon=True)
        spool._thread.start()
        await opened
        await spool.configure(controllers)
        return spool

    async def close(self) -> None:
        """Finish what is queued and close."""
        self._requests.put(None)
        await asyncio.to_thread(self._thread.join, _CLOSE)

    async def append(self, source: str, events: Sequence[Observed], cursor: str | None, memory: dict[str, Any] | None) -> int:
        """Make events durable together with their source's cursor and memory; return the last sequence.

        When it is cancelled the events may be there or not, and the cursor with them.
        """
        done: asyncio.Future[int] = self._loop.create_future()
        return await self._ask(_Append(Entry(source, events, cursor, memory), done), done)

    async def read_after(self, seq: int, count: int, size: int) -> list[tuple[int, bytes]]:
        """Return envelopes behind a sequence, oldest first: at most ``count``, at most ``size`` bytes but at least one."""
        return await self._call(lambda file: file.read_after(seq, count, size))

    async def acknowledge(self, controller: str, seq: int) -> None:
        """Note that a controller has everything up to ``seq``; forget what all controllers have."""
        await self._call(lambda file: file.acknowledge(controller, seq))

    async def configure(self, controllers: Sequence[str]) -> None:
        """Set which controllers count."""
        await self._call(lambda file: file.configure(controllers))

    async def cursor(self, source: str) -> str | None:
        """Return where a source goes on."""
        return await self._call(lambda file: file.cursor(source))

    async def memory(self, source: str) -> dict[str, Any] | None:
        """Return a classifier's memory."""
        return await self._call(lambda file: file.memory(source))

    async def position(self) -> Position:
        """Return what the spool holds."""
        return await self._call(SpoolFile.position)

    async def renew(self, stream: str, reason: str) -> None:
        """Go on as another stream, unless it is another one than ``stream`` already."""
        await self._call(lambda file: file.renew(stream, reason))
        self._appended.set()

    async def tell(self, reason: str) -> None:
        """Append the event that something may be missing."""
        await self._call(lambda file: file.tell(reason))
        self._appended.set()

    @property
    def stream(self) -> str:
        """The stream's id."""
        return self._file.head.stream

    @property
    def last(self) -> int:
        """The newest durable sequence."""
        return self._file.head.last

    async def appended(self, stream: str, seq: int) -> None:
        """Wait until there is a sequence behind ``seq``, or the stream is another one."""
        while self.stream == stream and self.last <= seq:
            self._appended.clear()
            await self._appended.wait()

    @property
    def alive(self) -> bool:
        """Whether the writing thread lives."""
        return self._thread.is_alive()

    async def _call(self, work: Callable[[SpoolFile], T]) -> T:
        done: asyncio.Future[T] = self._loop.create_future()
        return await self._ask(_Call(work, done), done)

    async def _ask(self, request: _Append | _Call, done: asyncio.Future[T]) -> T:
        if not self.alive:
            raise SpoolDamagedError("the spool's thread has ended")
        self._requests.put(request)
        return await done

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self, path: Path, opened: asyncio.Future[None], opening: Callable[[], SpoolFile]) -> None:
        try:
            self._file = opening()
        except (sqlite3.Error, OSError, SpoolError) as error:
            self._finish(opened, None, translate(path, error))
            return
        self._finish(opened, None, None)
        current: list[_Append | _Call] = []
        try:
            while self._take(current):
                self._serve(current)
        except BaseException:
            # A bug: whoever waits must not wait for ever.
            self._abandon(current)
            raise
        finally:
            self._file.close()

    def _take(self, current: list[_Append | _Call]) -> bool:
        """Wait for the next request; take the appends that follow it along. Return False at the end."""
        current.clear()
        if (request := self._requests.get()) is None:
            return False
        current.append(request)
        while isinstance(current[-1], _Append) and len(current) < _GROUP:
            try:
                following = self._requests.get_nowait()
            except Empty:
                break
            if following is None:
                self._requests.put(None)
                break
            current.append(following)
        return True

    def _serve(self, current: list[_Append | _Call]) -> None:
        """Commit the appends as one; answer the call behind them, if there is one."""
        appends = [one for one in current if isinstance(one, _Append)]
        if appends:
            results = self._try(appends, lambda file: file.append([one.entry for one in appends]))
            for one, last in zip(appends, results or (), strict=False):
                self._finish(one.done, last, None)
            if results:
                self._later(self._appended.set)
        if isinstance(call := current[-1], _Call):
            calls = [call]
            results = self._try(calls, lambda file: [call.work(file)])
            if results is not None:
                self._finish(call.done, results[0], None)

    def _try(self, requests: Sequence[_Append | _Call], work: Callable[[SpoolFile], list[T]]) -> list[T] | None:
        try:
            return work(self._file)
        except (sqlite3.Error, OSError, SpoolError) as error:
            failure = translate(self._file.path, error)
        except Exception as error:  # the edge of a request: what one asks for by a defect must not end the thread, and with it all sources
            log.exception("the spool cannot do what it was asked for by a defect, which should be reported")
            failure = SpoolError(f"{self._file.path}: defect of the agent: {described(error)}")
        for one in requests:
            self._finish(one.done, None, failure)
        return None

    def _abandon(self, current: Sequence[_Append | _Call]) -> None:
        waiting = list(current)
        while not self._requests.empty():
            if (request := self._requests.get()) is not None:
                waiting.append(request)
        for one in waiting:
            self._finish(one.done, None, SpoolDamagedError("the spool's thread has ended"))

    def _finish(self, done: asyncio.Future[T], result: T | None, error: SpoolError | None) -> None:
        def settle() -> None:
            if done.done():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)  # type: ignore[arg-type]  # without an error there is a result

        self._later(settle)

    def _later(self, call: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop is closed: nobody is left to be told
            self._requests.put(None)
