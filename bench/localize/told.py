"""What an engine said, in one form for all engines, and how well that names the truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from controller.core.report import Change, IncidentReport
from tests.sim.trial import Trial
from tests.sim.truth import SHARED, Name

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Told:
    """One change of one incident: its name now, and the names that come next, best first."""

    at: int
    id: str
    name: Name
    confidence: float = 1.0
    others: tuple[Name, ...] = ()
    merged: bool = False
    """Whether it turned out to be part of another incident."""


def micros(text: str) -> int:
    """Return RFC 3339 as UTC µs."""
    return (datetime.fromisoformat(text) - _EPOCH) // _MICRO


def from_reports(reports: Iterable[IncidentReport]) -> list[Told]:
    """Return the reports of the real engine in the common form."""
    return [
        Told(
            micros(one.at),
            one.id,
            (one.cause, one.entity),
            one.confidence,
            tuple((other.cause, other.entity) for other in one.alternatives),
            one.change is Change.RESOLVED and one.timeline[-1].text.startswith("part of "),
        )
        for one in reports
    ]


@dataclass(slots=True)
class Life:
    """One incident: what was told of it, in order."""

    told: list[Told] = field(default_factory=list)

    def at(self, moment: int) -> Told:
        """Return the last word up to a moment, or the first one after it."""
        return next((one for one in reversed(self.told) if one.at <= moment), self.told[0])

    @property
    def merged(self) -> bool:
        """Tell whether it ended as part of another one."""
        return self.told[-1].merged


@dataclass(slots=True)
class Marks:
    """How one engine did in one trial. Times are seconds after the first evidence; None when there is none."""

    faults: int = 0
    top1: int = 0
    cause: int = 0
    top3: int = 0
    incidents: int = 0
    right: int = 0
    false_shared: bool = False
    first: list[float] = field(default_factory=list)
    stable: list[float] = field(default_factory=list)
    sure: list[tuple[float, bool]] = field(default_factory=list)
    """Confidence of each incident at the end of the faults, and whether it is right."""
    seconds: float = 0.0
    problem: str = ""


def lives_of(told: Sequence[Told]) -> dict[str, Life]:
    """Return incidents by id."""
    lives: dict[str, Life] = {}
    for one in told:
        lives.setdefault(one.id, Life()).told.append(one)
    return lives


def mark(trial: Trial, told: Sequence[Told]) -> Marks:
    """Compare what was told with the truth, as it stood just before the first fault ended."""
    strikes = trial.strikes
    end = min(one.end for one in strikes)
    lives = [life for life in lives_of(told).values() if not life.merged]
    truths = [(truth, seen) for one, seen in zip(strikes, trial.noticed, strict=True) for truth in one.fault.truths]
    marks = Marks(faults=len(truths), incidents=len(lives))
    free = list(lives)
    missed = []
    for truth, seen in truths:
        named = [life for life in lives if life.told[0].at <= end and life.at(end).name[1] in truth.entities]
        exact = next((life for life in named if life.at(end).name in truth.names), None)
        marks.top1 += bool(named)
        marks.cause += exact is not None
        near = [life for life in lives if life.told[0].at <= end and set(life.at(end).others[:2]) & set(truth.names)]
        marks.top3 += exact is not None or bool(near)
        if exact is None:
            missed.append("/".join(truth.names[0]))
            continue
        if exact in free:
            free.remove(exact)
            marks.right += 1
        opened = exact.told[0].at
        marks.first.append((opened - seen) / 1e6)
        marks.stable.append((_named_since(exact, end) - seen) / 1e6)
    single = all(one.fault.single for one in strikes)
    accepted = {name for truth, _ in truths for name in truth.names}
    shared = [one.name for one in told if one.name[0] in SHARED and one.name not in accepted and one.at <= end] if single else []
    marks.false_shared = bool(shared)
    for life in lives:
        if life.told[0].at <= end:
            one = life.at(end)
            marks.sure.append((one.confidence, one.name in accepted))
    marks.problem = "; ".join(
        [f"missed {one}" for one in missed]
        + [f"extra {'/'.join(life.at(end).name)}" for life in free]
        + [f"false shared {'/'.join(one)}" for one in dict.fromkeys(shared)]
    )
    return marks


def _named_since(life: Life, end: int) -> int:
    """Return when the name that an incident has at the end was given to it for good."""
    name, since = life.at(end).name, life.told[0].at
    for one in life.told:
        if one.at > end:
            break
        if one.name != name:
            since = end
        elif since == end:
            since = one.at
    return since
