"""Calls that may never return, each with a deadline, and never more than one of them at a time.

For file systems whose server may hang (FUSE): the call runs in a thread of its own. One that passes its deadline is
abandoned, not repeated: until it returns, every further call fails at once or at its own deadline, so a server that hangs
for a day costs one thread.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class OneAtATime(Generic[T]):
    """Runs calls one after the other in a thread called ``name``. For one calling thread."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], T] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()
        self._outstanding = False
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def call(self, function: Callable[[], T], seconds: float) -> T:
        """Return what the function returns; raises what it raises.

        :raises TimeoutError: when it, or one abandoned before it, does not return within ``seconds``. It is not called, or
            its result is dropped.
        """
        deadline = time.monotonic() + seconds
        if self._outstanding:
            self._next_result(deadline)  # of the abandoned call: too old to be of use
        self._outstanding = True
        self._calls.put(function)
        result, error = self._next_result(deadline)
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # no error, so it is a T

    def close(self) -> None:
        """Let the thread end once its call returns."""
        self._calls.put(None)

    def _next_result(self, deadline: float) -> tuple[T | None, Exception | None]:
        try:
            result = self._results.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError("the call did not return in time") from None
        self._outstanding = False
        return result

    def _work(self) -> None:
        while (function := self._calls.get()) is not None:
            try:
                self._results.put((function(), None))
            except Exception as error:  # noqa: BLE001  # the edge of the thread: the caller gets it
                self._results.put((None, error))
