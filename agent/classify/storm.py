"""Storms of equal lines: a rejected login repeats every two seconds per path for ever, a failed path every five.

The first says everything; later equal ones are counted and let through once per :data:`QUIET`, so that evidence which
must be renewed is, and a controller reads one event instead of thousands of lines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Self

from events.base import Event, State

QUIET: Final = 30_000_000
"""Microseconds during which an equal event is not repeated."""
_LONG: Final = {"iscsi.login.rejected": 60_000_000}
"""The same for what repeats by the thousand."""
_MOST: Final = 4096
"""Most keys remembered; then all are forgotten, which only costs repeats."""
_OWN: Final = frozenset({"kind", "subject", "state", "seen", "repeats"})
"""Fields that do not make an event another one."""
_OF_ONE_SESSION: Final = frozenset({"session", "portal"})
"""A wrong secret is the target's matter: each new login has another session, and several portals refuse alike."""


@dataclass(slots=True)
class Storm:
    """Remembers when each distinct event was last let through, and how many were held back since."""

    last: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, memory: dict[str, Any] | None) -> Self:
        """Rebuild from :meth:`dump`; None is a fresh start."""
        return cls(**memory) if memory else cls()

    def dump(self) -> dict[str, Any]:
        """Return plain data."""
        return {"last": dict(self.last), "held": dict(self.held)}

    def admit(self, event: Event, at: int) -> Event | None:
        """Return the event when it is news, else None. ``at`` is the record's time, microseconds."""
        if event.state is State.OK:
            # Something works again: whatever breaks next is news, be it equal to what was said before.
            self.last.clear()
            self.held.clear()
            return event
        key = self._key(event)
        before = self.last.get(key)
        if before is not None and 0 <= at - before < _LONG.get(event.kind, QUIET):
            self.held[key] = self.held.get(key, 0) + 1
            return None
        if len(self.last) >= _MOST:
            self.last.clear()
        self.last[key] = at
        repeats = self.held.pop(key, 0)
        return event.model_copy(update={"repeats": repeats}) if repeats and "repeats" in type(event).model_fields else event

    @staticmethod
    def _key(event: Event) -> str:
        own = _OWN | _OF_ONE_SESSION if event.kind == "iscsi.login.rejected" else _OWN
        facts = [str(getattr(event, name)) for name in type(event).model_fields if name not in own]
        return "|".join((event.kind, str(event.subject), *facts))
