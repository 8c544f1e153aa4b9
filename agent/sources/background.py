"""Calls that may never return, several beside each other, never two of one name; nobody waits for them.

:class:`agent.sources.deadline.OneAtATime` blocks its caller until a deadline. A loop that has more to do starts its calls here, waits on
:meth:`Background.fileno` among other things, and collects what ended. Each name has one thread for all its calls; one that hangs keeps that
thread, however often it is asked for.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, NamedTuple


class Ended(NamedTuple):
    """A call that ended: its name, and either its value or what it raised."""

    name: str
    value: Any
    error: Exception | None


class Background:
    """Runs calls, each name's in a thread of its own called ``<prefix>-<name>``. For one calling thread."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._running: set[str] = set()
        self._calls: dict[str, queue.SimpleQueue[Callable[[], Any] | None]] = {}
        self._ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()

    def start(self, name: str, function: Callable[[], Any]) -> bool:
        """Start a call; False, and nothing happens, while the one of that name before has not ended."""
        if name in self._running:
            return False
        self._running.add(name)
        if name not in self._calls:
            calls = self._calls[name] = queue.SimpleQueue()
            threading.Thread(target=self._work, args=(name, calls), name=f"{self._prefix}-{name}"[:64], daemon=True).start()
        self._calls[name].put(function)
        return True

    def keep(self, names: Collection[str]) -> None:
        """End the threads of all other names but those whose call has not ended: a name that nobody asks for any more costs nothing."""
        for name in self._calls.keys() - set(names) - self._running:
            self._calls.pop(name).put(None)

    def close(self) -> None:
        """Give up; a call that hangs is left behind, and what it returns is dropped."""
        for calls in self._calls.values():
            calls.put(None)
        with self._lock:
            held, self._bell = self._bell, -1
        os.close(held)

    def fileno(self) -> int:
        """Return what becomes readable when a call has ended."""
        return self._bell

    def collect(self) -> list[Ended]:
        """Return the calls that ended since this was called last, in that order."""
        if not self._running:  # asked far more often than anything is started
            return []
        found = []
        with self._lock:
            with suppress(BlockingIOError):
                os.eventfd_read(self._bell)
            with suppress(queue.Empty):
                while True:
                    found.append(self._ended.get_nowait())
        self._running -= {one.name for one in found}
        return found

    def _work(self, name: str, calls: queue.SimpleQueue[Callable[[], Any] | None]) -> None:
        while (function := calls.get()) is not None:
            try:
                ended = Ended(name, function(), None)
            except Exception as error:  # noqa: BLE001  # the edge of the thread: whoever collects gets it
                ended = Ended(name, None, error)
            with self._lock:  # so that nobody takes it and leaves the bell ringing
                self._ended.put(ended)
                if self._bell >= 0:
                    os.eventfd_write(self._bell, 1)
