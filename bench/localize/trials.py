"""Draws clusters, faults and conditions; plays them; lets the engines judge."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Final

from bench.localize.baselines.catalog import BASELINES
from bench.localize.baselines.keeping import Keeper, at_rest
from bench.localize.conditions import Condition
from bench.localize.told import Marks, from_reports, mark
from controller.core.correlate import Heard
from events.base import State
from tests.sim.faults import Fault, Verb
from tests.sim.generate import generate
from tests.sim.plan import Plan
from tests.sim.stage import SECOND, Stage
from tests.sim.trial import BEGIN, Engine, Ground, Strike, Trial, play
from tests.sim.truth import losses_named
from tests.sim.verbs import VERBS
from tests.sim.watches import watches
from tests.sim.world import Mark, World

OURS: Final = "faultline"
_TRIES: Final = 40
"""Draws until a fault is found that the cluster can have."""


@dataclass(slots=True)
class Result:
    """One trial: what happened, and how each engine did."""

    seed: str
    verb: str
    row: str
    nodes: int
    events: int
    bad: int
    """Events that say that something is broken."""
    marks: dict[str, Marks] = field(default_factory=dict)


class Judges:
    """The engines, over one cluster."""

    def __init__(self, ground: Ground, names: Sequence[str]) -> None:
        self._ground = ground
        self.names = names
        others = any(name != OURS for name in names)
        self._model = at_rest(ground.opening, ground.state.topology) if others else None

    def judge(self, name: str, trial: Trial) -> Marks:
        """Let one engine judge a trial; return how it did."""
        engine: Engine | Keeper
        engine = Engine(self._ground.fresh()) if name == OURS or self._model is None else Keeper(BASELINES[name], self._model.fresh())
        began = time.process_time()
        for one in trial.arrivals:
            engine.take(one)
        engine.until(trial.until)
        spent = time.process_time() - began
        marks = mark(trial, from_reports(engine.history) if isinstance(engine, Engine) else engine.history)
        marks.seconds = spent
        return marks


def run_cluster(condition: Condition, cluster: int, trials: Sequence[int], engines: Sequence[str]) -> list[Result]:
    """Run some trials, by number, in the cluster of a seed."""
    plan = generate(cluster, condition.sizes)
    ground = Ground(plan)
    judges = Judges(ground, engines)
    found = []
    for number in trials:
        seed = f"{cluster}.{number}"
        # Drawing makes much that lives as long as the trial, and no cycles worth looking for; judging is measured as it runs elsewhere.
        gc.disable()
        trial = draw(ground, condition, seed)
        gc.enable()
        if trial is not None:
            found.append(_judged(judges, trial, seed))
    return found


def draw(ground: Ground, condition: Condition, seed: str) -> Trial | None:
    """Return the trial of a seed, None when no such fault is possible in this cluster."""
    chance = Random(f"draw {seed}")
    faults = _faults(ground.plan, condition, chance)
    if not faults:
        return None
    begins = [BEGIN + chance.randint(5, 25) * SECOND + chance.randrange(SECOND)]
    begins += [begins[0] + chance.randint(0, 60) * SECOND for _ in faults[1:]]
    end = max(begins) + chance.randint(60, 90) * SECOND
    strikes = [Strike(fault, begin, end) for fault, begin in zip(faults, begins, strict=True)]
    return play(ground, strikes, end + 75 * SECOND, condition.channel, seed)


def _faults(plan: Plan, condition: Condition, chance: Random) -> list[Fault]:
    verbs = [one for one in VERBS if not condition.verbs or one.name in condition.verbs]
    for _ in range(_TRIES):
        found = [_fault(verbs, plan, chance, condition) for _ in range(condition.together)]
        faults = [one for one in found if one is not None]
        if len(faults) == condition.together and (len(faults) == 1 or are_apart(plan, faults)):
            return faults
    return []


def _fault(verbs: Sequence[Verb], plan: Plan, chance: Random, condition: Condition) -> Fault | None:
    for _ in range(_TRIES):
        fault = chance.choice(verbs).make(plan, chance)
        if fault is not None and (fault.single or not condition.single) and visible(plan, fault.marks):
            return fault
    return None


@lru_cache(maxsize=4)
def _scratch(plan: Plan) -> tuple[Stage, list]:  # type: ignore[type-arg]
    stage = Stage(plan, Random(0))
    return stage, list(watches(stage))


def visible(plan: Plan, marks: Sequence[Mark]) -> frozenset[tuple[int, str]]:
    """Return what watches would find bad with these marks set."""
    stage, all_ = _scratch(plan)
    stage.world.set(marks)
    found = frozenset((number, word) for number, watch in enumerate(all_) if (word := watch.look()))
    stage.world.clear(marks)
    return found


def are_apart(plan: Plan, faults: Sequence[Fault]) -> bool:
    """Tell whether each of several faults shows beside the others, and all of them do not look like another one."""
    names = [name for one in faults for truth in one.truths for name in truth.names]
    if len(set(names)) < len(names):
        return False
    whole = visible(plan, [mark for one in faults for mark in one.marks])
    rest = [visible(plan, [mark for other in faults if other is not one for mark in other.marks]) for one in faults]
    if any(is_beneath(plan, one, other) for one in faults for other in faults if one is not other):
        return False
    return all(one < whole for one in rest) and not losses_named(plan, [mark for one in faults for mark in one.marks])


def is_beneath(plan: Plan, one: Fault, other: Fault) -> bool:
    """Tell whether nobody can miss what one fault takes away while the other lasts.

    LUNs and groups of a lost target are needed by nobody; data that lacks copies, or serves nothing, does so by OSDs that are down.
    """
    if {mark[:2] for mark in one.marks} <= _OF_LOST_OSDS:
        return any(mark[0] in {"osd", "node", "cut", "subnet"} for mark in other.marks)
    world = World(plan)
    world.set(other.marks)
    things = {lun: target for target in plan.targets for lun in target.luns}
    things.update({vg: storage.target for vg, storage in plan.volume_groups.items() if storage.target})
    upper = [(mark[1], things[mark[2]]) for mark in one.marks if len(mark) == 3 and mark[2] in things]
    return bool(upper) and all(
        world.has("off", node, target.iqn)
        or world.has("rejected", node, target.iqn)
        or all(world.service(node, portal) for portal in target.portals)
        for node, target in upper
    )


_OF_LOST_OSDS: Final = {("ceph", "degraded"), ("ceph", "inactive")}


def _judged(judges: Judges, trial: Trial, seed: str) -> Result:
    bad = [one for one in trial.arrivals if not isinstance(one.what, Heard) and one.what.event.state is State.BAD]
    verbs = "+".join(one.fault.verb for one in trial.strikes)
    rows = "+".join(ROWS[one.fault.verb] for one in trial.strikes)
    result = Result(seed, verbs, rows, len(trial.plan.nodes), sum(not isinstance(one.what, Heard) for one in trial.arrivals), len(bad))
    for name in judges.names:
        result.marks[name] = judges.judge(name, trial)
    return result


ROWS: Final = {one.name: one.row for one in VERBS}
