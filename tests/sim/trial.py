"""One trial: a generated cluster, faults with known truth, and what of it arrives at the controller.

What is the same in all trials of a cluster, its facts and its first full picture, is taken in once and copied.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from random import Random
from typing import Final

from controller.core.correlate import Heard, Input, Tick, step
from controller.core.effects import Tell
from controller.core.report import IncidentReport
from controller.core.state import Cell, CoreState
from controller.core.timings import Timings
from events.codec import decode, encode
from events.envelope import Envelope
from tests.sim.channel import Arrival, Channel, Partition, Transport
from tests.sim.faults import Fault
from tests.sim.inventory import configured, own
from tests.sim.plan import CLUSTER, Plan
from tests.sim.stage import SECOND, START, Sent, Stage
from tests.sim.watches import watches

BEGIN: Final = START + 60 * SECOND
"""When trials begin: the cluster has been up for a minute."""
_PARTS: Final = attrgetter(*(one.name for one in fields(Cell) if one.init))
"""All that a cell is made of, in order."""
_NODE_SAYS: Final = 3
"""Nodes that say what /etc/pve holds; the others would say the same."""


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault and when it begins and ends, UTC µs."""

    fault: Fault
    begin: int
    end: int


@dataclass(slots=True)
class Trial:
    """Everything about one trial: ``arrivals`` in order of time, and the truth."""

    plan: Plan
    strikes: tuple[Strike, ...]
    arrivals: list[Arrival]
    until: int
    noticed: tuple[int, ...]
    """When the first sign of each fault was seen by anybody, UTC µs; of one that shows in nothing, its begin."""


class Ground:
    """A cluster at rest: the core's state after its facts and first full picture, and the envelopes that made it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.opening = [Arrival(at, decode(encode(one))) for at, one in self._opening()]
        self.state = CoreState(CLUSTER)
        for at, one in self.opening:
            self.state, _ = step(self.state, one, at, Timings())
        for node in plan.nodes:
            self.state, _ = step(self.state, Heard(node), BEGIN - 2 * SECOND, Timings())
        assert self.state.topology.graph, "built before it is copied"
        self.rows = list(self.state.take_changes())
        """What a controller has stored of it: (table, key, record)."""

    def _opening(self) -> Iterator[tuple[int, Envelope]]:
        stage = Stage(self.plan, Random(f"opening {self.plan.seed}"))
        stage.watch(watches(stage))
        for number, node in enumerate(self.plan.nodes):
            events = [*(configured(self.plan) if number < _NODE_SAYS else ()), *own(self.plan, node)]
            for event in events:
                stage.emit(node, event)
            stage.picture(node, first=True)
        yield from ((one.at, one.what) for one in stage.run(START) if isinstance(one.what, Envelope))

    def fresh(self) -> CoreState:
        """Return a copy of the state that may be changed. Facts, cells and nodes are copied, the built graph is shared."""
        state, mine = CoreState(CLUSTER), self.state
        # The copy module takes such a thing apart by its pickle protocol, which is four times as slow.
        state.cells = {key: Cell(*_PARTS(cell)) for key, cell in mine.cells.items()}
        state.nodes = {key: copy.copy(node) for key, node in mine.nodes.items()}
        state.heard = dict(mine.heard)
        state.look_at = mine.look_at
        state.facts._tables = {kind: dict(table) for kind, table in mine.facts._tables.items()}
        state.topology._built = mine.topology._built
        state.topology._guests = mine.topology._guests
        state.topology._met = set(mine.topology._met)
        return state


def play(
    ground: Ground, strikes: Sequence[Strike], until: int, channel: Channel, seed: object, partitions: Sequence[Partition] = ()
) -> Trial:
    """Return what arrives at the controller while these faults come and go."""
    chance = Random(f"trial {seed}")
    stage = Stage(ground.plan, chance, BEGIN)
    stage.watch(watches(stage))
    stage.live()
    if channel.alarms:
        stage.alarm(channel.alarms, until - BEGIN)
    for number, strike in enumerate(strikes):
        stage.after(strike.begin - BEGIN, lambda strike=strike, number=number: stage.set(strike.fault.marks, number))  # type: ignore[misc]
        stage.after(strike.end - BEGIN, lambda strike=strike: stage.clear(strike.fault.marks))  # type: ignore[misc]
    sent: list[Sent] = stage.run(until)
    arrivals = [one for one in Transport(channel, chance, partitions).carry(sent) if one.at <= until]
    noticed = tuple(stage.noticed.get(number, strike.begin) for number, strike in enumerate(strikes))
    return Trial(ground.plan, tuple(strikes), arrivals, until, noticed)


class Engine:
    """The real core on what arrives: collects what is told."""

    def __init__(self, state: CoreState, timings: Timings | None = None) -> None:
        self.state = state
        self.timings = timings or Timings()
        self.history: list[IncidentReport] = []
        """All that was told so far."""
        self._read = 0

    def take(self, arrival: Arrival) -> None:
        """Take in one message, after all looks that were due before it."""
        self.until(arrival.at)
        self._step(arrival.what, arrival.at)

    def until(self, at: int) -> None:
        """Let time pass."""
        while self.state.look_at is not None and self.state.look_at <= at:
            self._step(Tick(), self.state.look_at)

    def new(self) -> list[IncidentReport]:
        """Return what was told since this was last asked."""
        found = self.history[self._read :]
        self._read = len(self.history)
        return found

    def _step(self, given: Input, at: int) -> None:
        self.state, effects = step(self.state, given, at, self.timings)
        self.history.extend(effect.report for effect in effects if isinstance(effect, Tell))
