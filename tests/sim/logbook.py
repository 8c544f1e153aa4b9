"""The one formatter of scenarios' logs: steps as they are done, changes of incidents as they are told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from controller.core.report import IncidentReport
from controller.core.state import Incident
from tests.sim.script import Step
from tests.sim.stage import SECOND

_MOST_NODES = 6


def micros(text: str) -> int:
    """Return RFC 3339 as UTC µs."""
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


class Logbook:
    """Collects lines. Incidents are numbered in the order in which they are first told."""

    def __init__(self, begin: int, nodes: Sequence[str]) -> None:
        self._begin = begin
        self._nodes = nodes
        self._lines: list[str] = []
        self._numbers: dict[str, int] = {}

    def step(self, one: Step) -> None:
        """Write that something is done."""
        self._lines.append(f"{one.at / SECOND:8.1f}  script      {' '.join(one.words)}")

    def told(self, reports: Iterable[IncidentReport]) -> None:
        """Write what is told."""
        for one in reports:
            number = self._numbers.setdefault(one.id, len(self._numbers) + 1)
            at = (micros(one.at) - self._begin) / SECOND
            change = f"{one.change.value:<10}"
            self._lines.append(f"{at:8.1f}  {change}  #{number} {one.cause} {one.entity}  {self._more(one)}")

    def text(self, left: Iterable[Incident]) -> str:
        """Return the log, with the incidents that are left at its end."""
        lines = [f"     end  #{self._numbers[one.id]} {one.cause} {one.entity} is {one.state}" for one in left if one.id in self._numbers]
        return "".join(f"{line}\n" for line in [*self._lines, *(lines or ["     end  no incident left"])])

    def _more(self, one: IncidentReport) -> str:
        parts = [self._who(one.nodes), f"{one.confidence:.1f}"]
        parts += [f"stand still {','.join(one.guests.frozen)}"] if one.guests.frozen else []
        parts += [f"at risk {','.join(one.guests.at_risk)}"] if one.guests.at_risk else []
        parts += ["HA can help"] if one.ha_can_help else []
        parts += ["planned"] if one.planned else []
        return f"[{'; '.join(parts)}]  {one.timeline[-1].text}"

    def _who(self, nodes: Sequence[str]) -> str:
        if set(nodes) == set(self._nodes):
            return f"all {len(nodes)}"
        return ",".join(nodes) if len(nodes) <= _MOST_NODES else f"{len(nodes)} of {len(self._nodes)}"
