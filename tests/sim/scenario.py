"""Run a script: the stage plays it, the channel carries it, the real core is told, and what it tells becomes a log.

``python -m tests.sim.scenario NAME…`` prints logs, all when none is named; with ``--write`` it writes them to each ``log.expect``.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from random import Random

from controller.core.correlate import Joined, step
from controller.core.report import IncidentReport
from controller.core.state import CoreState
from controller.core.timings import Timings
from events.base import Source
from events.cluster import NodeBooted
from events.envelope import Envelope
from events.iscsi import IscsiSessionEstablished
from tests.sim.breaking import marks_of
from tests.sim.channel import Arrival, Partition, Transport
from tests.sim.claims import complaints
from tests.sim.happening import Happenings
from tests.sim.logbook import Logbook
from tests.sim.plan import CLUSTER, Plan
from tests.sim.script import Script, Step, read
from tests.sim.stage import SECOND, Stage
from tests.sim.stored import Keeping, through_store
from tests.sim.trial import BEGIN, Engine, Ground
from tests.sim.watches import watches

SCENARIOS = Path(__file__).parent.parent / "scenarios"


@dataclass(slots=True)
class Outcome:
    """What a scenario gave."""

    log: str
    told: list[IncidentReport] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What of it is against the truth."""


def run(script: Script, store_at: int | None = None) -> Outcome:
    """Run a script; at ``store_at`` (µs after the beginning) the core's whole state goes through the store and back, unseen."""
    return _Run(script, store_at).outcome()


@lru_cache(maxsize=16)
def _ground(plan: Plan) -> Ground:
    return Ground(plan)


class _Run:
    """One run of one script."""

    def __init__(self, script: Script, store_at: int | None) -> None:
        self._script = script
        self._store_at = None if store_at is None else BEGIN + store_at
        self._book = Logbook(BEGIN, script.plan.nodes)
        ground = _ground(script.plan)
        self._keeping = Keeping([] if script.journals else ground.rows)
        self._engine = Engine(_silent_nodes(script.plan) if script.journals else ground.fresh())

    def outcome(self) -> Outcome:
        script, book = self._script, self._book
        arrivals = deque(play(script))
        for one in (*script.steps, Step(script.until, ("end of scenario",))):
            at = BEGIN + one.at
            while arrivals and arrivals[0].at < at:
                self._take(arrivals.popleft())
            self._until(at)
            if at < BEGIN + script.until:
                book.step(one)
            if one.words[0] == "controller":
                self._restart(at + _seconds(one.words[1]))
        return Outcome(
            book.text(self._engine.state.live_incidents()), self._engine.history, complaints(script, self._engine.history, BEGIN)
        )

    def _take(self, arrival: Arrival) -> None:
        self._swap_before(arrival.at)
        self._engine.take(arrival)
        self._book.told(self._engine.new())

    def _until(self, at: int) -> None:
        self._swap_before(at)
        self._engine.until(at)
        self._book.told(self._engine.new())

    def _swap_before(self, at: int) -> None:
        """Let the state go through the store once its moment has come; who was heard is not stored, and is put back."""
        if self._store_at is None or at < self._store_at:
            return
        self._engine.until(self._store_at)
        heard, look_at, awaited, until = (
            self._engine.state.heard,
            self._engine.state.look_at,
            self._engine.state.awaited,
            self._engine.state.awaited_until,
        )
        state = through_store(self._engine.state, self._keeping, self._store_at)
        state.heard, state.look_at, state.awaited, state.awaited_until = heard, look_at, awaited, until
        self._engine.state, self._store_at = state, None

    def _restart(self, at: int) -> None:
        self._engine.state = through_store(self._engine.state, self._keeping, at)


def _seconds(text: str) -> int:
    return round(float(text) * SECOND)


def _silent_nodes(plan: Plan) -> CoreState:
    """Return a core that knows nothing but which nodes' journals it will get."""
    state = CoreState(CLUSTER)
    for node in plan.nodes:
        state, _ = step(state, Joined(node), BEGIN, Timings())
    return state


def play(script: Script) -> list[Arrival]:
    """Return what arrives at the controller, in order of time."""
    chance = Random(f"scenario {script.name}")
    stage = Stage(script.plan, chance, BEGIN)
    stage.watch(watches(stage))
    stage.live()
    if script.channel.alarms:
        stage.alarm(script.channel.alarms, script.until)
    happenings = Happenings(stage)
    partitions = []
    for one in script.steps:
        match one.words:
            case ("fault", *what):
                stage.after(one.at, partial(stage.set, marks_of(script.plan, what)))
            case ("end", *what):
                stage.after(one.at, partial(stage.clear, marks_of(script.plan, what)))
            case ("happens", *what):
                stage.after(one.at, partial(happenings.happen, what))
            case ("partition", nodes, seconds):
                partitions.append(_partition(one.at, nodes.split(","), seconds))
            case ("controller", seconds):
                partitions.append(_partition(one.at, script.plan.nodes, seconds))
            case _:
                raise ValueError(f"{script.name}: no such step: {' '.join(one.words)}")
    sent = stage.run(BEGIN + script.until)
    arrivals = Transport(script.channel, chance, partitions, dict(script.skews)).carry(sent)
    if script.journals:
        opening = [Arrival(BEGIN, one.what) for one in _ground(script.plan).opening]
        arrivals = [one for one in (*opening, *arrivals) if _is_of_journal(one)]
    return [one for one in arrivals if one.at < BEGIN + script.until]


def _partition(at: int, nodes: Iterable[str], seconds: str) -> Partition:
    return Partition(frozenset(nodes), BEGIN + at, BEGIN + at + _seconds(seconds))


def _is_of_journal(arrival: Arrival) -> bool:
    """Tell whether a journal has it: all logins are there as well, and a boot is its first line."""
    if not isinstance(arrival.what, Envelope):
        return False
    event = arrival.what.event
    return isinstance(event, IscsiSessionEstablished | NodeBooted) or event.seen.source is Source.JOURNALD  # type: ignore[union-attr]


def folders(names: Iterable[str] = ()) -> Iterator[Path]:
    """Yield the folders of some scenarios, or of all."""
    yield from ((SCENARIOS / name for name in names) if names else sorted(one for one in SCENARIOS.iterdir() if one.is_dir()))


def main() -> None:
    """Print or write logs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    for folder in folders(given.names):
        outcome = run(read(folder))
        if given.write:
            (folder / "log.expect").write_text(outcome.log)
        else:
            print(outcome.log, end="")  # noqa: T201  # a command
        for problem in outcome.problems:
            print(f"{folder.name}: {problem}")  # noqa: T201


if __name__ == "__main__":
    main()
