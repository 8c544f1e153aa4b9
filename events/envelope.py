"""The envelope: who saw an event, when, and where it stands in that observer's stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from events.base import Event, State

SCHEMA_MAJOR = 1
"""Changes when old readers would misread: they then refuse with :class:`events.errors.MajorVersionError`."""
SCHEMA_MINOR = 0
"""Changes when kinds or fields are added: old readers keep and pass on what they do not know."""


@dataclass(frozen=True, slots=True)
class UnknownEvent:
    """An event of a kind, or with values, that this version does not know. Kept whole and passed on, never judged."""

    kind: str
    body: dict[str, Any]

    @property
    def state(self) -> State:
        """Unknown events say neither good nor bad."""
        return State.INFO


@dataclass(frozen=True, slots=True)
class Identity:
    """Names one event for ever: no two events have the same, and a repeated one is the same event again."""

    node: str
    stream: str
    seq: int

    def __str__(self) -> str:
        """Return ``node/stream/seq``."""
        return f"{self.node}/{self.stream}/{self.seq}"


NOTHING: Mapping[str, Any] = MappingProxyType({})
"""No fields of a newer version, which is the usual case."""


class Envelope(NamedTuple):
    """One event as it travels and is stored.

    Units: ``observed_at`` is UTC in microseconds since 1970, ``monotonic`` the observer's clock since its boot in
    microseconds. ``seq`` counts from 1 without gaps within a ``stream``; a stream lives as long as one spool.
    """

    cluster: str
    node: str
    boot_id: str
    stream: str
    seq: int
    observed_at: int
    monotonic: int
    event: Event | UnknownEvent
    minor: int = SCHEMA_MINOR
    extra: Mapping[str, Any] = NOTHING
    """Fields of the event that a newer minor version added; passed on unchanged."""
    tail: tuple[Any, ...] = ()
    """Elements of the envelope that a newer minor version added; passed on unchanged."""

    @property
    def identity(self) -> Identity:
        """Return what deduplication goes by."""
        return Identity(self.node, self.stream, self.seq)
