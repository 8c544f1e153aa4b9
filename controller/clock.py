"""The controller's clock: the world's, or for rehearsals one that begins elsewhere and runs faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

Clock = Callable[[], int]
"""Returns UTC µs."""


def utc() -> int:
    """Return UTC µs."""
    return time.time_ns() // 1000


def rehearsal(text: str) -> Clock:
    """Return a clock from ``RFC3339@SPEED``: it shows that time now and runs SPEED times as fast.

    :raises ValueError: when the text is something else.
    """
    start, at, speed = text.rpartition("@")
    moment = datetime.fromisoformat(start)
    if not at or moment.tzinfo is None or not 0 < float(speed) <= 1000:
        raise ValueError("expected a time with zone and a speed, such as 2026-11-23T02:51:00Z@20")
    begin, origin, factor = time.monotonic(), int(moment.timestamp() * 1_000_000), float(speed)
    return lambda: origin + int((time.monotonic() - begin) * factor * 1_000_000)
