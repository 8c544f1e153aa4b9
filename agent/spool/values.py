"""What goes into the spool, what can be asked of it, and what can go wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.errors import AgentError, PermanentError, TemporaryError
from events.base import Event


class SpoolError(AgentError):
    """Root of the spool's errors."""


class SpoolFullError(SpoolError, TemporaryError):
    """The disk under the spool is full or fails. Nothing was written: keep what you have and try again."""


class SpoolDamagedError(SpoolError, PermanentError):
    """The spool's file is damaged: it must be moved aside, and a new one begun."""


class SpoolForeignError(SpoolError, PermanentError):
    """The file is whole, but not ours to write: of a newer Faultline, or another program's. It is left as it is."""


@dataclass(frozen=True, slots=True)
class Observed:
    """An event with its times: ``at`` UTC µs, ``monotonic`` µs since the boot ``boot_id``."""

    event: Event
    at: int
    monotonic: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What one source appends at once: events, and the cursor and the memory that go with them (None: as they were)."""

    source: str
    events: Sequence[Observed]
    cursor: str | None
    memory: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Limits:
    """What the spool may hold: bytes of envelopes, and µs since they were spooled. The oldest go first."""

    bytes: int
    age: int


@dataclass(frozen=True, slots=True)
class Position:
    """The stream's id, the oldest sequence still held (last + 1 when none is) and the newest."""

    stream: str
    first: int
    last: int
