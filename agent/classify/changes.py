"""What was last said of each thing: so that a source that looks every second publishes changes, and a full picture now and then.

Nothing of it outlives the agent: after a start everything is said once, for the controller may hold what is true no more.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

REPEAT_BAD, REPEAT_OK = 60_000_000, 300_000_000
"""Microseconds after which what was said is said again; what is broken more often, so that a controller may forget what is not renewed."""


class Changes:
    """Remembers what was said of each key, and when (UTC µs)."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[str, bool, int]] = {}

    @property
    def keys(self) -> list[str]:
        """Return the keys of all that was said."""
        return list(self._said)

    def is_news(self, key: str, words: str, at: int, *, bad: bool) -> bool:
        """Tell whether ``words`` shall be said of ``key`` now, and remember that they are."""
        before = self._said.get(key)
        if before is not None and before[:2] == (words, bad) and 0 <= at - before[2] < (REPEAT_BAD if bad else REPEAT_OK):
            return False
        self._said[key] = (words, bad, at)
        return True

    def is_change(self, key: str, words: str, at: int, *, bad: bool) -> bool:
        """As :meth:`is_news`, for what is well only when these are other words: of many things, whose health is not worth repeating."""
        before = self._said.get(key)
        if before is not None and not bad and before[:2] == (words, False):
            return False
        return self.is_news(key, words, at, bad=bad)

    def was_bad(self, key: str) -> bool:
        """Tell whether the last word on ``key`` was a bad one."""
        before = self._said.get(key)
        return before is not None and before[1]

    def keep(self, keys: Collection[str]) -> list[str]:
        """Forget all other keys and return them: those things are not there any more."""
        gone = [key for key in self._said if key not in keys]
        for key in gone:
            del self._said[key]
        return gone


class Streak:
    """Counts how often in a row the same was seen of each key: one answer may be an accident, two are not."""

    def __init__(self) -> None:
        self._runs: dict[str, tuple[str, int]] = {}

    def count(self, key: str, words: str) -> int:
        """Take in what was seen now and return how often in a row it has been, from 1."""
        before, times = self._runs.get(key, ("", 0))
        times = times + 1 if before == words else 1
        self._runs[key] = (words, times)
        return times

    def times(self, key: str) -> int:
        """Return how often in a row the latest was seen; 0 for what was not."""
        return self._runs.get(key, ("", 0))[1]

    def keep(self, keys: Collection[str]) -> None:
        """Forget all other keys."""
        self._runs = {key: run for key, run in self._runs.items() if key in keys}


BELIEVED: Final = 2
"""Times in a row after which something bad is believed, where one failure may be an accident."""
