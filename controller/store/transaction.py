"""What one round of the engine wants stored, all or nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from controller.core.report import IncidentReport

EventRow = tuple[str, str, str, int, int, bytes]
"""An event as the log takes it: ``"event"``, node, kind, when it was observed and when it is stored (UTC µs), its envelope's bytes
as they came. A plain tuple, for there are thousands in a transaction."""


@dataclass(frozen=True, slots=True)
class RejectRow:
    """Bytes in a stream that are no event: kept, so that nothing is lost and somebody can look."""

    node: str
    stream: str
    seq: int
    at: int
    data: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Sequences ``first`` to ``last`` of a stream that will never come."""

    node: str
    stream: str
    first: int
    last: int
    at: int
    reason: str


@dataclass(frozen=True, slots=True)
class Advance:
    """A stream is durable up to ``acked``."""

    node: str
    stream: str
    acked: int
    boot_id: str
    at: int


@dataclass(frozen=True, slots=True)
class StateRow:
    """A record of the core: its new value, or None when it is gone."""

    table: str
    key: str
    value: bytes | None


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """Something to tell: to whom, which change of which incident, as JSON, under which idempotency key."""

    performer: str
    incident: str
    number: int
    payload: str
    key: str


@dataclass(slots=True)
class Transaction:
    """All rows of one round; ``at`` is its time (UTC µs)."""

    at: int
    events: list[EventRow] = field(default_factory=list)
    rejects: list[RejectRow] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    advances: list[Advance] = field(default_factory=list)
    state: list[StateRow] = field(default_factory=list)
    incidents: list[IncidentReport] = field(default_factory=list)
    outbox: list[OutboxRow] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to store."""
        return not (self.events or self.rejects or self.gaps or self.advances or self.state or self.incidents or self.outbox)
