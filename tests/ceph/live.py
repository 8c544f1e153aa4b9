"""Plays scenarios on a real cluster that real agents watch, and says what the controller made of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from rich.table import Table

from agent.sources.librados import CephError
from controller.core.report import IncidentReport
from events.base import State
from events.definitions import CephHostDefined
from events.envelope import UnknownEvent
from tests.ceph.agents import Watched
from tests.ceph.scenarios import Scenario, Step, Truth
from tests.stored import Arrived, Told

SHORT: Final = (
    "osd-killed",
    "host-killed",
    "mon-killed",
    "two-mons-killed",
    "mons-cut",
    "pool-quota",
    "osds-full",
    "backfill-throttled",
    "osd-flapping",
    "muted",
    "noout-maintenance",
)
"""What continuous integration plays, in this order: no entity breaks twice in a row, for a relapse would be the same incident."""
_NAMED_WITHIN: Final = 30.0
"""Seconds that the controller has from the end of a fault's steps to the incidents that are true."""
_RESOLVED_WITHIN: Final = 75.0
"""Seconds that it has from a healthy cluster to the end of all incidents."""
_WRITES: Final = frozenset({"write", "write_all"})
_STILL: Final = 1.0
"""Seconds that a cluster must be healthy before a fault: it was calm a moment ago, and was only written to since."""
_TAIL: Final = 3.0
"""Seconds in which no second incident may come when the first is over."""
_QUIET: Final = 13.0
"""Seconds in which nothing may come when all is over: the core waits 10 s at most before it tells."""


@dataclass(slots=True)
class Outcome:
    """What came of a scenario. Times: Unix seconds, as stored by the controller."""

    scenario: Scenario
    wanted: frozenset[Truth]
    allowed: frozenset[Truth] = frozenset()
    """What may be told beside."""
    begun: float = 0.0
    repaired: float = 0.0
    seen: float | None = None
    """First event after the fault that says that something is broken."""
    named: float | None = None
    """When all incidents that are true stood."""
    resolved: float | None = None
    """When the last one was over."""
    events: list[Arrived] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    calls: int = 0
    """How often the webhook's receiver was called."""
    failed: str = ""
    """Why the scenario itself did not happen."""

    def last(self) -> dict[str, IncidentReport]:
        """Return the last report of each incident."""
        return {told.report.id: told.report for told in self.told}

    def take(self, events: Iterable[Arrived], told: Iterable[Told]) -> None:
        """Take in what was stored."""
        for event in events:
            self.events.append(event)
            if self.seen is None and self.begun and event.at >= self.begun and getattr(event.event, "state", None) == State.BAD:
                self.seen = event.at
        for one in told:
            self.told.append(one)
            reports = self.last().values()
            if self.named is None and self.wanted and {_truth(report) for report in reports} == self.wanted:
                self.named = one.at
            if all(report.state == "resolved" for report in reports):
                self.resolved = one.at

    def over(self) -> bool:
        """Tell whether every incident is resolved."""
        return all(report.state == "resolved" for report in self.last().values())

    def places(self) -> set[tuple[str, str, str]]:
        """Return by which node which CRUSH host was said to be within what."""
        found = ((one.node, one.event) for one in self.events)
        return {(node, event.subject.key.rpartition("/")[2], event.within) for node, event in found if isinstance(event, CephHostDefined)}

    def problems(self) -> list[str]:
        """Return what is wrong with it; nothing of how long it took."""
        if self.failed:
            return [f"did not happen: {self.failed}"]
        last, found = self.last(), []
        told = [truth for report in last.values() if (truth := _truth(report)) not in self.allowed]
        if sorted(told) != sorted(self.wanted):
            found.append(f"told {_list(told)} instead of {_list(self.wanted)}")
        found += [f"{report.cause} {report.entity} is still {report.state}" for report in last.values() if report.state != "resolved"]
        if self.wanted and self.seen is None:
            found.append("no event says that anything broke")
        planned = [one.report.planned for one in self.told]
        if self.scenario.quiet and (self.calls or not all(planned)):
            found.append(f"it was meant, and somebody was called {self.calls} time(s)")
        if self.wanted and not self.scenario.quiet and not self.calls:
            found.append("nobody was called")
        return found

    def history(self) -> Iterator[str]:
        """Yield what was seen and told, in order, for a person who looks for a mistake."""
        lines = [(one.at, f"{one.node} {one.kind} {one.subject} {_details(one)}") for one in self.events]
        lines += [
            (one.at, f"== {one.report.change} {one.report.id} {one.report.cause} {one.report.entity} planned={one.report.planned}")
            for one in self.told
        ]
        for at, text in sorted(lines):
            yield f"{at - self.begun:8.2f} {text}"


def _moved(steps: Iterable[Step]) -> set[tuple[str, str]]:
    """Return which CRUSH hosts steps move, and into which rack: agents that look each half minute have yet to see it."""
    racks = (step.arguments for step in steps if step.verb == "move_into_rack")
    return {(str(host), str(rack)) for rack, *hosts in racks for host in hosts}


def _truth(report: IncidentReport) -> Truth:
    return Truth(report.cause, report.entity)


def _list(truths: Iterable[Truth]) -> str:
    return ", ".join(f"{cause} of {entity}" for cause, entity in sorted(truths)) or "nothing"


def _details(one: Arrived) -> str:
    if isinstance(one.event, UnknownEvent):
        return ""
    shown = one.event.model_dump(mode="json", exclude_defaults=True, exclude={"kind", "subject", "seen", "state"})
    return " ".join(f"{name}={value}" for name, value in shown.items())[:240]


class Stage:
    """Plays scenarios one after the other, each from a healthy cluster and a controller without an open incident."""

    def __init__(self, watched: Watched) -> None:
        self._watched, self._cluster = watched, watched.cluster
        self._cursor = 0
        self._written: tuple[Step, ...] = ()
        """How what lies in the pool was written: most scenarios want the same, and none loses it."""

    def play(self, case: Scenario) -> Outcome:
        """Play a scenario, from what it prepares to the end of its last incident."""
        outcome = Outcome(case, self._of_this_cluster((*case.truth, *case.nodes.values())), self._of_this_cluster(case.lasting))
        try:
            self._play(case, outcome)
        except CephError as error:
            outcome.failed = str(error)
            self._take(outcome)
            self._cluster.recover()
            self._written = ()
            self._until(outcome, outcome.over, _RESOLVED_WITHIN)
        return outcome

    def _of_this_cluster(self, truths: Iterable[Truth]) -> frozenset[Truth]:
        return frozenset(Truth(cause, entity.format(fsid=self._cluster.layout.fsid)) for cause, entity in truths)

    def _play(self, case: Scenario, outcome: Outcome) -> None:
        self._prepare(case)
        before = Outcome(case, frozenset())  # what the preparations gave is no part of the fault
        moved = {(node, *place) for node in self._watched.site.nodes for place in _moved(case.before)}
        self._until(before, lambda: before.over() and moved <= before.places(), _RESOLVED_WITHIN)
        called, outcome.begun = len(self._watched.duty.calls), time.time()
        for step in case.fault:
            step.run(self._cluster)
        held = time.monotonic() + case.lasts
        self._until(outcome, lambda: outcome.named is not None and time.monotonic() > held, _NAMED_WITHIN if outcome.wanted else case.lasts)
        outcome.repaired = time.time()
        for step in case.repair:
            step.run(self._cluster)
        self._cluster.wait_calm()
        self._until(outcome, outcome.over, _RESOLVED_WITHIN)
        self._until(outcome, lambda: False, _QUIET if not outcome.wanted else _TAIL)
        outcome.calls = len(self._watched.duty.calls) - called
        if any(step.verb in _WRITES for step in case.fault):
            self._clear()

    def _prepare(self, case: Scenario) -> None:
        writes = tuple(step for step in case.before if step.verb in _WRITES)
        if writes and writes != self._written:
            self._clear()
        for step in case.before:
            if step not in self._written:
                step.run(self._cluster)
        self._written = writes or self._written
        self._cluster.wait_calm(still=_STILL)

    def _clear(self) -> None:
        self._cluster.purge()
        self._written = ()

    def _take(self, outcome: Outcome) -> None:
        events, told, self._cursor = self._watched.stored.since(self._cursor)
        outcome.take(events, told)

    def _until(self, outcome: Outcome, holds: Callable[[], bool], seconds: float) -> None:
        """Read what is stored until something holds, or time is over."""
        end = time.monotonic() + seconds
        while True:
            self._watched.site.check()
            self._take(outcome)
            if holds() or time.monotonic() > end:
                return
            time.sleep(0.1)


def table(outcomes: Iterable[Outcome]) -> Table:
    """Return the table of all outcomes: seconds from the fault, and from its repair."""
    shown = Table(title="Seconds from the fault, or from its repair, to the controller", title_justify="left")
    for name in ("scenario", "seen", "named", "resolved", "called", "incidents", ""):
        shown.add_column(name)
    for one in outcomes:
        incidents = "\n".join(sorted({f"{report.cause} {report.entity.rpartition('/')[2]}" for report in one.last().values()})) or "none"
        shown.add_row(
            one.scenario.name,
            _seconds(one.seen, one.begun) if one.wanted else "",
            _seconds(one.named, one.begun) if one.wanted else "",
            _seconds(one.resolved, one.repaired) if one.wanted else "",
            str(one.calls),
            incidents,
            "; ".join(one.problems()) or "ok",
        )
    return shown


def _seconds(at: float | None, since: float) -> str:
    return "never" if at is None else f"{at - since:.1f}"
