"""How much of a picture fits into one event: a node may have more of everything than an envelope may carry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

from events.base import Frozen

ROOM: Final = 40 * 1024
"""Bytes for an event's longest list, measured as JSON: an envelope may have 64 KiB (events.codec) and carries a little more."""

Row = TypeVar("Row", bound=Frozen)


def fitting(rows: Iterable[Row], most: int, room: int = ROOM) -> tuple[Row, ...]:
    """Return the first rows that fit: at most ``most`` of them and ``room`` bytes. What matters most must come first."""
    kept: list[Row] = []
    for row in rows:
        room -= len(row.model_dump_json(exclude_defaults=True).encode()) + 1
        if room < 0 or len(kept) == most:
            break
        kept.append(row)
    return tuple(kept)
