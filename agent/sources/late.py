"""A call that may never return: whoever asks for it waits so long and no longer, and what comes late is there when it is asked for again.

Beside :class:`agent.sources.deadline.OneAtATime`, which drops what comes late: a connection to a cluster must not be dropped but used or
closed. One call at a time, and a thread only while one is under way: a file system that hangs for a day costs one thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Late(Generic[T]):
    """Calls ``call`` in a thread called ``name``. For one asking thread."""

    def __init__(self, name: str, call: Callable[[], T]) -> None:
        self._name, self._call = name, call
        self._done = threading.Condition()
        self._running = False
        self._ended: list[tuple[T | None, Exception | None]] = []
        """What the last call came to, until it is asked for."""

    @property
    def pending(self) -> bool:
        """Whether a call is under way, or has ended and was not asked for."""
        with self._done:
            return self._running or bool(self._ended)

    def ask(self, seconds: float) -> T:
        """Return what the function returns, or raise what it raises: the call under way or ended before, else one that begins now.

        :raises TimeoutError: it does not return within ``seconds``.
        """
        with self._done:
            if not self._running and not self._ended:
                self._running = True
                threading.Thread(target=self._work, name=self._name[:64], daemon=True).start()
            if not self._done.wait_for(lambda: self._ended, seconds):
                raise TimeoutError("the call did not return in time")
            value, error = self._ended.pop()
        if error is not None:
            raise error
        return value  # type: ignore[return-value]  # no error, so it is a T

    def _work(self) -> None:
        ended: tuple[T | None, Exception | None]
        try:
            ended = (self._call(), None)
        except Exception as error:  # noqa: BLE001  # the edge of the thread: whoever asks gets it
            ended = (None, error)
        with self._done:
            self._running = False
            self._ended.append(ended)
            self._done.notify_all()
