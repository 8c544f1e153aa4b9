"""One look's working place: the state, the time, what must be done. Lifecycle and matching both work at it."""

from __future__ import annotations

from typing import Final

from controller.core.describe import report
from controller.core.effects import Effect, Tell
from controller.core.evidence import SECOND, Answer
from controller.core.incident import Trigger, advance
from controller.core.report import Change
from controller.core.state import Cell, CoreState, Incident
from controller.core.timings import Timings

SOON: Final = SECOND // 4
"""Between two looks while a verdict waits for evidence, microseconds."""
_MOST_MOMENTS = 100
"""Most entries of an incident's history: what flaps for weeks must not grow its reports for weeks."""


class Desk:
    """State and time of one look, and the few changes that incidents go through."""

    def __init__(self, state: CoreState, now: int, timings: Timings) -> None:
        self.state = state
        self.now = now
        self.timings = timings
        self.effects: list[Effect] = []
        self.next: int | None = None

    def again(self, at: int) -> None:
        """Ask for another look, never before the next microsecond."""
        at = max(at, self.now + 1)
        self.next = at if self.next is None else min(self.next, at)

    def hold(self, until: int) -> None:
        """Hold a verdict back until then; more evidence may settle it sooner.

        Of 64 nodes each may yet report at a moment of its own: looks at all of these would cost seconds.
        """
        self.state.holds = True
        self.again(max(until, self.now + SOON))

    def bad(self, keys: list[str]) -> list[Cell]:
        """Return those of some cells that are bad now."""
        cells = self.state.cells
        return [cells[key] for key in keys if key in cells and cells[key].answer is Answer.BAD]

    def resolve(self, incident: Incident, trigger: Trigger, text: str) -> None:
        """End an incident and tell it."""
        self.move(incident, trigger)
        incident.resolved_at = self.now
        self.tell(incident, Change.RESOLVED, text)

    def move(self, incident: Incident, trigger: Trigger) -> None:
        """Advance an incident's state by the table."""
        incident.state = advance(incident.state, trigger)
        self.state.touch("incidents", incident.id)

    def note(self, incident: Incident, change: str, text: str) -> None:
        """Add to an incident's history without telling anybody."""
        incident.timeline.append((self.now, change, text))
        if len(incident.timeline) > _MOST_MOMENTS:
            del incident.timeline[_MOST_MOMENTS // 4]  # how it began and what happened lately stay
        self.state.touch("incidents", incident.id)

    def tell(self, incident: Incident, change: Change, text: str) -> None:
        """Tell a change of an incident, and add it to its history."""
        incident.number += 1
        incident.changed_at = self.now
        first, incident.called = not (incident.planned or incident.called), incident.called or not incident.planned
        self.note(incident, change.value, text)
        self.effects.append(Tell(report(self.state, incident, change, self.now), first))
