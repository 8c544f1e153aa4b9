"""How late the event loop is: whatever blocks it, a call that touches storage above all, delays everything that waits on it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

_INTERVAL: Final = 1.0
"""Seconds between two beats: each is a waking of the processor."""
_KEPT: Final = 120
"""Beats that are remembered: two minutes'."""


class Pulse:
    """Beats, and remembers how late each beat of the last two minutes was."""

    def __init__(self, interval: float = _INTERVAL) -> None:
        self._interval = interval
        self._late: deque[float] = deque(maxlen=_KEPT)

    @property
    def p99(self) -> float:
        """Return the lateness that one beat in a hundred exceeds, seconds; 0 before the first."""
        ordered = sorted(self._late)
        return ordered[len(ordered) * 99 // 100] if ordered else 0.0

    async def run(self) -> None:
        """Beat until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._interval
            await asyncio.sleep(self._interval)
            self._late.append(max(0.0, loop.time() - due))
