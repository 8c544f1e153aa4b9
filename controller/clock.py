"""The controller's clock: the world's, or for rehearsals one that begins elsewhere and runs faster."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import datetime

Clock = Callable[[], int]
"""Returns UTC µs."""


def utc() -> int:
    """Return UTC µs."""
    return time.time_ns() // 1000


class Steps:
    """Tells by how many µs the world's clock was set, or this machine slept, since it was asked last; negative when it was set back.

    That is by how much it moved more than the monotonic clock, which nobody sets and which stands still while the machine sleeps.
    """

    def __init__(self) -> None:
        self._last = self._apart()

    def __call__(self) -> int:
        """Return it."""
        before, self._last = self._last, self._apart()
        return self._last - before

    @staticmethod
    def _apart() -> int:
        return (time.time_ns() - time.monotonic_ns()) // 1000


def rehearsal(text: str) -> Clock:
    """Return a clock from ``RFC3339@SPEED[@BEGUN]``: it runs SPEED times as fast, from that time on.

    It showed the given time at BEGUN (Unix seconds; default: now), so that several programs can rehearse by one clock.

    :raises ValueError: when the text is something else.
    """
    start, *parts = text.split("@")
    moment, numbers = datetime.fromisoformat(start), [float(part) for part in parts]
    if len(numbers) not in {1, 2} or moment.tzinfo is None or not 0 < numbers[0] <= 1000 or not all(map(math.isfinite, numbers)):
        raise ValueError("expected a time with zone and a speed, such as 2026-11-23T02:51:00Z@20")
    origin, factor = int(moment.timestamp() * 1_000_000), numbers[0]
    begun = numbers[1] if len(numbers) == 2 else time.time()
    shift = time.time() - time.monotonic()  # a step of the world's clock must not move a rehearsal
    return lambda: origin + int((time.monotonic() + shift - begun) * factor * 1_000_000)
