"""Clocks that were wrong and are put right: what is told meanwhile, and afterwards, is told in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgpack
import pytest

from controller.core.correlate import Heard, Joined, Tick, step
from controller.core.effects import Tell
from controller.core.evidence import SECOND
from controller.core.report import Change, IncidentReport
from controller.core.state import CoreState
from controller.core.timings import Timings
from controller.engine import Engine
from controller.store.store import Store
from events.base import Event, Seen, Source
from events.cluster import HaNodeMaintenance, MemberJoined
from events.envelope import Envelope
from events.nfs import NfsServerReachable, NfsServerUnreachable, NfsSilence

SEEN = Seen(source=Source.JOURNALD, excerpt="seen")
SERVER = "nfs-server/10.1.3.1"
T0 = 1_795_000_000 * SECOND
HOUR = 3600
DOWN = NfsServerUnreachable(subject=SERVER, seen=SEEN, how=NfsSilence.STILL_TRYING)
UP = NfsServerReachable(subject=SERVER, seen=SEEN)
TIMINGS = Timings()


class Cluster:
    """A core whose clock is set at will, in seconds since T0."""

    def __init__(self, *nodes: str) -> None:
        self.state = CoreState("c")
        self.told: list[tuple[int, IncidentReport]] = []
        self._seq = 0
        for node in nodes:
            step(self.state, Joined(node), T0, TIMINGS)

    def say(self, node: str, event: Event, now: int, observed: int | None = None) -> None:
        """Have an event arrive ``now`` that its node observed then, by its own clock."""
        self._seq += 1
        at = T0 + (now if observed is None else observed) * SECOND
        self._step(Envelope("c", node, "boot", "s", self._seq, at, 0, event), now)

    def hear(self, node: str, now: int, clock: int | None = None) -> None:
        """Have a heartbeat arrive; ``clock``: what the node's clock shows."""
        self._step(Heard(node, T0 + clock * SECOND if clock is not None else 0), now)

    def wait(self, begin: int, end: int) -> None:
        """Let time pass, a second at a time."""
        for now in range(begin, end + 1):
            self._step(Tick(), now)

    def changes(self) -> list[tuple[int, Change]]:
        """Return what was told, and when, in seconds since T0 by the controller's clock."""
        return [(at, report.change) for at, report in self.told]

    def _step(self, given: Envelope | Heard | Tick, now: int) -> None:
        self.state, effects = step(self.state, given, T0 + now * SECOND, TIMINGS)
        self.told += [(now, effect.report) for effect in effects if isinstance(effect, Tell)]


def test_an_agents_wrong_clock_hides_nothing_once_it_is_right() -> None:
    """What a node wrote by a clock that was an hour ahead does not outrank what it says afterwards, though no heartbeat ever told of it."""
    one = Cluster("a", "b")
    for node in ("a", "b"):
        one.say(node, UP, 0, observed=HOUR)
    for node in ("a", "b"):
        one.say(node, DOWN, 30)
    one.wait(30, 60)

    assert one.changes() == [(32, Change.OPENED)]


def test_a_fact_of_a_wrong_clock_is_replaced_once_it_is_right() -> None:
    """A definition that was told by a clock an hour ahead gives way to the next one."""
    one = Cluster("a")
    one.say("a", MemberJoined(subject="node/b", seen=SEEN, address="10.0.0.1"), 0, observed=HOUR)
    one.say("a", MemberJoined(subject="node/b", seen=SEEN, address="10.0.0.2"), 10)

    found = one.state.facts.get(MemberJoined, "b")
    assert found is not None
    assert found.address == "10.0.0.2"


@pytest.mark.parametrize("restart", [False, True])
def test_a_controllers_clock_that_is_set_back_blinds_nobody(restart: bool) -> None:
    """The controller's clock is set back by an hour: a fault right after that is told as soon as ever, also when it was restarted then."""
    one = Cluster("a", "b")
    for node in ("a", "b"):
        one.say(node, UP, HOUR)
    if restart:
        one.state = reloaded(one.state)
    for node in ("a", "b"):
        one.say(node, DOWN, 30)
    one.wait(30, 60)

    assert one.changes() == [(32, Change.OPENED)]


def test_an_incident_keeps_its_age_when_the_clock_is_set_back() -> None:
    """An incident that recovers while the clock is set back by an hour is resolved after its usual hold, not an hour later."""
    one = Cluster("a", "b")
    for node in ("a", "b"):
        one.say(node, DOWN, HOUR)
    one.wait(HOUR, HOUR + 40)
    for node in ("a", "b"):
        one.say(node, UP, HOUR + 41)
    one.wait(HOUR + 41, HOUR + 45)
    one.wait(0, 60)

    assert [change for _, change in one.changes()] == [Change.OPENED, Change.RECOVERING, Change.RESOLVED]
    assert one.changes()[-1][0] == 20 - 4


def test_maintenance_lasts_through_a_clock_that_is_set_back() -> None:
    """What lasts until its end is told still lasts, under its new time, and its end is understood."""
    one = Cluster("a")
    one.say("a", HaNodeMaintenance(subject="node/a", seen=SEEN, active=True), HOUR)
    one.wait(0, 1)
    during = "node/a" in one.state.recent.in_maintenance()
    stored = {key for table, key, record in one.state.take_changes() if table == "happenings" and record is not None}
    one.say("a", HaNodeMaintenance(subject="node/a", seen=SEEN, active=False), 2)

    assert during
    assert stored == {key for key in stored if key.startswith(str(T0))}
    assert "node/a" not in one.state.recent.in_maintenance()


def test_nobody_is_silent_because_the_clock_was_set_back() -> None:
    """A node that is heard right on stays heard, and one that is heard no more is told as soon as ever."""
    one = Cluster()
    for now in range(HOUR, HOUR + 10, 2):
        one.hear("a", now, now)
        one.hear("b", now, now)
    for now in range(100, 160, 2):
        one.hear("a", now, now)
        one.wait(now, now + 1)

    assert [(report.entity, change) for (_, report), (_, change) in zip(one.told, one.changes(), strict=True)] == [
        ("node/b", Change.OPENED)
    ]
    assert 115 <= one.changes()[0][0] <= 130


@pytest.mark.parametrize(("stepped", "silent"), [(True, []), (False, ["a", "b"])])
async def test_nobody_is_silent_because_the_clock_was_set_forward(tmp_path: Path, stepped: bool, silent: list[str]) -> None:
    """Time jumps by an hour: agents get their full time to be heard again. Without a jump an hour of silence is one."""
    now, jumps = [T0], [0]
    store = await Store.open(tmp_path / "faultline.db")
    engine = Engine(store, "c", TIMINGS, {}, lambda: now[0], lambda: jumps.pop() if jumps else 0)
    await engine.load()
    running = asyncio.create_task(engine.run())
    try:
        for node in ("a", "b"):
            engine.heard(node)
        await wait_until(lambda: len(engine.state.heard) == 2)
        jumps.append(HOUR * SECOND if stepped else 0)
        now[0] += HOUR * SECOND
        await wait_until(lambda: engine.state.now == now[0])
        found = sorted(name for name, node in engine.state.nodes.items() if node.silent)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await store.close()

    assert found == silent


async def wait_until(true: Callable[[], bool]) -> None:
    """Wait until something holds, for ten seconds at most."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - the engine has no event for it
            await asyncio.sleep(0.02)


def reloaded(state: CoreState) -> CoreState:
    """Return a state as a restart finds it: through its stored form."""
    made = CoreState("c")
    made.load([(table, key, msgpack.unpackb(msgpack.packb(record))) for table, key, record in state.take_changes() if record is not None])
    return made
