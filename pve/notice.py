"""What a tolerant parser left out of a file, and where."""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_NOTICES: Final = 100
"""A file that is something else altogether gives one notice per line; that many say enough."""


class Notice(NamedTuple):
    """A line that was left out. ``line`` counts from 1; ``text`` never quotes a value, which may be a secret."""

    line: int
    text: str


class Notices:
    """Collects notices up to :data:`MAX_NOTICES`."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: list[Notice] = []

    def add(self, line: int, text: str) -> None:
        """Add one, unless there are enough."""
        if len(self._found) < MAX_NOTICES:
            self._found.append(Notice(line, text))

    def all(self) -> tuple[Notice, ...]:
        """Return what was collected, in order."""
        return tuple(self._found)
