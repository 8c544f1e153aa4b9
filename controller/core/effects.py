"""What the core wants done. Whoever runs it does these, in order; the core itself does nothing."""

from __future__ import annotations

from dataclasses import dataclass

from controller.core.report import IncidentReport


@dataclass(frozen=True, slots=True)
class Tell:
    """People and machines must be told of an incident's change; it must be stored in the same transaction as the state."""

    report: IncidentReport
    first: bool = False
    """Whether nobody was called for it before: it was planned until now, or is new. Who wants to hear of what opens wants this."""


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Call ``step`` with a :class:`controller.core.correlate.Tick` at this time at the latest, UTC microseconds."""

    at: int


Effect = Tell | WakeAt
