"""Random sequences of faults with known truth in random clusters, to see whether the right thing is named.

Clusters, faults, durations, pauses and every report's delay are drawn from a seed; the same seed gives the same run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from controller.core.report import Change, IncidentReport
from tests.sim.channel import Channel
from tests.sim.faults import Fault
from tests.sim.generate import generate
from tests.sim.logbook import micros
from tests.sim.plan import Plan
from tests.sim.stage import SECOND
from tests.sim.trial import BEGIN, Engine, Ground, Strike, play
from tests.sim.truth import Truth, losses_named
from tests.sim.verbs import BY_NAME

ALONE: Final = (
    "server-silent",
    "server-refused",
    "node-network",
    "portal-silent",
    "portal-refused",
    "target-silent",
    "target-refused",
    "target-off",
    "login-all",
    "login-one",
    "path",
    "name-all",
    "denied-all",
    "swapped-all",
    "vg-one",
)
"""Verbs that are drawn."""
BESIDE: Final = ("server-silent", "server-refused")
"""Verbs that strike in the middle of another fault: none of iSCSI looks like it."""
_OF_ISCSI: Final = ("portal-silent", "target-refused", "target-off", "login-all", "login-one", "path")
_TRIES: Final = 30


@dataclass(slots=True)
class Campaign:
    """One run: three faults one after the other, or, ``together``, a server's fault in the middle of one of iSCSI."""

    seed: int
    told: list[IncidentReport] = field(default_factory=list)

    def run(self, *, together: bool = False) -> list[str]:
        """Run it and return what was named wrong, missed or invented."""
        chance = Random(f"campaign {self.seed}")
        plan = generate(self.seed, (3, 8))
        strikes = _both(plan, chance) if together else list(_one_by_one(plan, chance))
        if not strikes:
            return []
        until = strikes[-1].end + 300 * SECOND
        ground = Ground(plan)
        trial = play(ground, strikes, until, Channel(), self.seed)
        engine = Engine(ground.fresh())
        for arrival in trial.arrivals:
            engine.take(arrival)
        engine.until(until)
        self.told = engine.history
        return list(_wrong(strikes, self.told))


def _draw(plan: Plan, chance: Random, verbs: Sequence[str]) -> Fault | None:
    for _ in range(_TRIES):
        fault = BY_NAME[chance.choice(verbs)].make(plan, chance)
        if fault is not None:
            return fault
    return None


def _one_by_one(plan: Plan, chance: Random) -> Iterator[Strike]:
    at = BEGIN + 10 * SECOND
    for _ in range(3):
        fault = _draw(plan, chance, ALONE)
        if fault is not None:
            end = at + chance.randint(60, 200) * SECOND
            yield Strike(fault, at, end)
            at = end + chance.randint(200, 300) * SECOND


def _both(plan: Plan, chance: Random) -> list[Strike]:
    first, second = _draw(plan, chance, _OF_ISCSI), _draw(plan, chance, BESIDE)
    if first is None or second is None or losses_named(plan, [*first.marks, *second.marks]):
        return []  # both together look like one fault to everybody
    begin = BEGIN + 10 * SECOND
    later = begin + chance.randint(1, 30) * SECOND
    end = later + chance.randint(90, 150) * SECOND
    return [Strike(first, begin, end), Strike(second, later, end + chance.randint(0, 20) * SECOND)]


def _wrong(strikes: Sequence[Strike], told: Sequence[IncidentReport]) -> Iterator[str]:
    lives: dict[str, list[IncidentReport]] = {}
    for one in told:
        lives.setdefault(one.id, []).append(one)
    left = [life for life in lives.values() if not life[-1].timeline[-1].text.startswith("part of ")]
    for strike in strikes:
        for truth in strike.fault.truths:
            life = next((one for one in left if _names(one, truth, strike)), None)
            if life is None:
                yield f"{strike.fault.verb}: not named {' '.join(truth.names[0])}"
                continue
            left.remove(life)
            if life[-1].change is not Change.RESOLVED:
                yield f"{strike.fault.verb}: never called over"
    yield from (f"invented {life[-1].cause} {life[-1].entity}" for life in left)


def _names(life: Sequence[IncidentReport], truth: Truth, strike: Strike) -> bool:
    if not strike.begin <= micros(life[0].at) <= strike.end:
        return False
    last = [one for one in life if micros(one.at) <= strike.end][-1]
    return (last.cause, last.entity) in truth.names
