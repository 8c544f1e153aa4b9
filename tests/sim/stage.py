"""The running virtual cluster: virtual time, agents, and watches that notice what changed and say so after their delay.

A watch is one thing that one source of one node looks at. It is not run at its pace: when the world changes, the time at which it will
notice is drawn at once, which gives the same reports for a hundredth of the work.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Final, NamedTuple

from controller.core.correlate import Heard
from events.agent import AgentStarted
from events.base import Event, Seen, Source
from events.cluster import NodeBooted
from events.entity import Entity, EntityKind
from events.envelope import Envelope
from tests.sim.plan import CLUSTER, Plan
from tests.sim.world import Mark, World

SECOND: Final = 1_000_000
START: Final = 1_795_000_000 * SECOND
"""Virtual time begins here, so that no test depends on today."""
HEARTBEAT: Final = 2 * SECOND
REPEAT_BAD, REPEAT_OK, STORM = 60 * SECOND, 300 * SECOND, 30 * SECOND
"""agent/classify/changes.py and storm.py: how often the same is said again."""
_BOOT: Final = 40 * SECOND
"""From a node's return to its agent's first word."""


class Sent(NamedTuple):
    """What a node's agent sends at a moment: an event, or a sign of life."""

    at: int
    what: Envelope | Heard

    @property
    def node(self) -> str:
        """Return the sender."""
        return self.what.node


def _nothing(_: str) -> Iterable[Event]:
    return ()


def _silence() -> Iterable[Event]:
    return ()


@dataclass(slots=True, eq=False)
class Watch:
    """One thing that one source of one node looks at.

    ``look`` returns what a look would find now: nothing when it is well, else a word for how it is not, None when it cannot tell.
    ``wait`` returns after how many µs such a word is noticed. ``bad`` and ``well`` are what is said then; ``then`` is what else follows.
    """

    node: str
    look: Callable[[], str | None]
    wait: Callable[[str], int]
    bad: Callable[[str], Iterable[Event]] = _nothing
    well: Callable[[], Iterable[Event]] = _silence
    then: Callable[[str], None] | None = None
    again: int = REPEAT_BAD
    """µs after which something bad is said again."""
    alike: bool = False
    """Whether one bad word is as good as another."""
    typical: str = ""
    """Its usual bad word, for false alarms; empty where there are none."""
    blind: bool = False
    """Whether only what is bad is ever said: lines of a log. Such a watch has no part in full pictures."""
    repeats: bool = True
    """Whether it has a part in the full pictures that come later on, too."""
    said: str | None = ""
    word: str | None = None
    """What it is about to notice."""
    blame: int | None = None
    """Number of the fault that made it notice something."""
    serial: int = 0
    """Counts what was noticed, so that what was planned before is void."""


@dataclass(slots=True)
class _Agent:
    seq: int = 0
    stopped: bool = False
    booting: bool = False
    boots: int = 0
    beat: int = 0
    """Its place within the heartbeat's interval."""


@dataclass(slots=True)
class Local:
    """What a node's kernel holds: its iSCSI sessions that failed, those that were given up, LUNs whose I/O fails."""

    failed: set[tuple[str, str]] = field(default_factory=set)
    """Target and portal."""
    expired: set[tuple[str, str]] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)


class Stage:
    """Runs on virtual time: set and clear marks, then :meth:`run`."""

    def __init__(self, plan: Plan, chance: Random, begin: int = START) -> None:
        self.plan = plan
        self.chance = chance
        self.world = World(plan)
        self.now = begin
        self.local = {node: Local() for node in plan.nodes}
        self.facts: set[str] = set()
        """What the whole cluster has agreed on, such as Ceph's view of its daemons."""
        self.out: list[Sent] = []
        self.noticed: dict[int, int] = {}
        """When somebody first noticed each fault, by number."""
        self._blame: int | None = None
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._agents = {node: _Agent(beat=chance.randrange(HEARTBEAT)) for node in plan.nodes}
        self._watches: dict[str, list[Watch]] = {"": [], **{node: [] for node in plan.nodes}}
        self._down: set[str] = set()

    # -- time -------------------------------------------------------------------------------------------------------

    def after(self, delay: int, do: Callable[[], None]) -> None:
        """Do something later on virtual time."""
        self._count += 1
        heapq.heappush(self._due, (self.now + delay, self._count, do))

    def between(self, least: float, most: float) -> int:
        """Return a random delay, µs, between two numbers of seconds."""
        return self.chance.randint(int(least * SECOND), int(most * SECOND))

    def run(self, until: int) -> list[Sent]:
        """Let time pass and return what was sent, in order of time."""
        while self._due and self._due[0][0] <= until:
            self.now, _, do = heapq.heappop(self._due)
            do()
        self.now = until
        out, self.out = self.out, []
        return out

    def live(self) -> None:
        """Let heartbeats and full pictures begin; the agents have been up for a while."""
        for node, agent in self._agents.items():
            self.after(agent.beat, lambda node=node: self._beat(node))  # type: ignore[misc]
            self.after(self.chance.randrange(REPEAT_OK), lambda node=node: self._repeat(node))  # type: ignore[misc]

    def _beat(self, node: str) -> None:
        if not self._agents[node].stopped:
            self.out.append(Sent(self.now, Heard(node)))
        self.after(HEARTBEAT, lambda: self._beat(node))

    def _repeat(self, node: str) -> None:
        self.picture(node)
        self.after(REPEAT_OK, lambda: self._repeat(node))

    # -- agents -----------------------------------------------------------------------------------------------------

    def emit(self, node: str, event: Event, delay: int = 0) -> None:
        """Let a node's agent publish an event, now or later."""
        if delay:
            self.after(delay, lambda: self.emit(node, event))
            return
        agent = self._agents[node]
        if agent.stopped:
            return
        agent.seq += 1
        uptime = self.now - START + SECOND
        envelope = Envelope(CLUSTER, node, f"boot-{node}-{agent.boots}", "sim", agent.seq, self.now, uptime, event)
        self.out.append(Sent(self.now, envelope))

    def picture(self, node: str, *, first: bool = False) -> None:
        """Let a node say all that is well; only the first time what no source repeats."""
        for watch in self._watches[node]:
            if watch.said == "" and (watch.repeats or first):
                for event in watch.well():
                    self.emit(node, event)

    def alarm(self, share: float, within: int) -> None:
        """Let this share of all probes report something bad that is not, once within some µs, and then what is true."""
        for node in self.plan.nodes:
            for watch in self._watches[node]:
                if watch.typical and self.chance.random() < share:
                    self.after(self.chance.randrange(within), lambda watch=watch: self._alarm(watch))  # type: ignore[misc]

    def _alarm(self, watch: Watch) -> None:
        if watch.said == "" and watch.word is None and not self._is_mute(watch.node):
            for event in watch.bad(watch.typical):
                self.emit(watch.node, event)
            watch.said, watch.serial = watch.typical, watch.serial + 1
            self._plan_notice(watch)

    def is_up(self, node: str) -> bool:
        """Tell whether a node runs."""
        return node not in self._down

    # -- watches ----------------------------------------------------------------------------------------------------

    def watch(self, watches: Iterable[Watch]) -> None:
        """Add watches."""
        for one in watches:
            self._watches[one.node].append(one)

    def set(self, marks: Iterable[Mark], number: int | None = None) -> None:
        """Break something now; ``number`` is what :attr:`noticed` calls it."""
        self.world.set(marks)
        self._blame = number
        self._turned()
        self._blame = None

    def clear(self, marks: Iterable[Mark]) -> None:
        """Repair something now."""
        self.world.clear(marks)
        self._turned()

    def _turned(self) -> None:
        for node in self.plan.nodes:
            gone, muted = self.world.has("node", node), self.world.has("agent", node)
            agent = self._agents[node]
            if gone and node not in self._down:
                self._down.add(node)
                self.local[node] = Local()
            elif not gone and node in self._down:
                self._down.discard(node)
                agent.boots, agent.booting = agent.boots + 1, True
                self.after(_BOOT, lambda node=node: self._booted(node))  # type: ignore[misc]
            elif agent.stopped and not (gone or muted or agent.booting):
                self._started(node)
            if gone or muted:
                agent.stopped = True
        self.changed()

    def _booted(self, node: str) -> None:
        if self.is_up(node):
            self._started(node, booted=True)

    def _started(self, node: str, *, booted: bool = False) -> None:
        """Let an agent start: it says everything once."""
        agent, subject = self._agents[node], Entity(EntityKind.NODE, node)
        agent.stopped = agent.booting = False
        seen = Seen(source=Source.AGENT)
        if booted:
            self.emit(node, NodeBooted(subject=subject, seen=seen, boot_id=f"boot-{node}-{agent.boots}"))
        self.emit(node, AgentStarted(subject=subject, seen=seen, version="0.1.0"))
        for watch in self._watches[node]:
            watch.said, watch.word, watch.serial = "" if watch.blind else None, None, watch.serial + 1
        self.changed(node)

    def changed(self, node: str | None = None) -> None:
        """Let watches, of one node or all, find out what they will notice and when."""
        for name in self._watches if node is None else (node,):
            if name in self._down or (name and self._agents[name].stopped):
                continue
            for watch in self._watches[name]:
                self._plan_notice(watch)

    def _plan_notice(self, watch: Watch) -> None:
        word = watch.look()
        if word is None or word == watch.said or (watch.alike and word and watch.said):
            if watch.word is not None:
                watch.word, watch.serial = None, watch.serial + 1
        elif word != watch.word:
            watch.word, watch.serial, watch.blame = word, watch.serial + 1, self._blame
            serial = watch.serial
            self.after(watch.wait(word), lambda: self._notice(watch, serial))

    def _notice(self, watch: Watch, serial: int) -> None:
        if watch.serial != serial or watch.word is None or self._is_mute(watch.node):
            return
        watch.said, watch.word, watch.serial = watch.word, None, serial + 1
        if watch.blame is not None and watch.said:
            self.noticed.setdefault(watch.blame, self.now)
        if watch.then is not None:
            watch.then(watch.said)
        self._say(watch)

    def _is_mute(self, node: str) -> bool:
        return bool(node) and (node in self._down or self._agents[node].stopped)

    def _say(self, watch: Watch) -> None:
        for event in watch.bad(watch.said) if watch.said else watch.well():
            self.emit(watch.node, event)
        if watch.said and watch.again:
            serial = watch.serial
            self.after(watch.again, lambda: self._say_again(watch, serial))

    def _say_again(self, watch: Watch, serial: int) -> None:
        if watch.serial == serial and watch.said and watch.look() is not None and not self._is_mute(watch.node):
            self._say(watch)
