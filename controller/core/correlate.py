"""The step of the core: one event, heartbeat or tick in, effects out.

``step(state, input, now)`` takes readings into cells at once, and looks at the verdict when it is due: after a change has
settled, when a deadline of an incident passes. Everything is decided from the state and ``now``; the same inputs at the same
times give the same incidents, in production, in ``faultline replay`` and in the simulator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from controller.core.desk import SOON
from controller.core.effects import Effect
from controller.core.evidence import MOUNTS, SECOND, Answer, Reading, export_server, forgotten, outranked, overtaken, readings
from controller.core.facts import KINDS as FACTS
from controller.core.happenings import happenings
from controller.core.intake import answer, forget, look, meant
from controller.core.look import look_now
from controller.core.set_back import turn_to
from controller.core.state import CONTROLLER, CoreState, NodeInfo, cell_key
from controller.core.timings import Timings
from events.agent import AgentStarted
from events.base import Event, State
from events.ceph import CephOsdUp
from events.cluster import NodeBooted
from events.envelope import Envelope, UnknownEvent
from events.host import NodeMounts


@dataclass(frozen=True, slots=True)
class Heard:
    """A node's agent was heard (any message): its well cells count as still well.

    ``clock`` is what its clock said when it wrote, UTC microseconds; 0 when it did not say.
    """

    node: str
    clock: int = 0


@dataclass(frozen=True, slots=True)
class Joined:
    """A node takes part whose liveness is not watched (replay): it counts as alive for good."""

    node: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


Input = Envelope | Heard | Joined | Tick


def step(state: CoreState, given: Input, now: int, timings: Timings) -> tuple[CoreState, list[Effect]]:
    """Take one input at ``now`` (UTC microseconds) and return the state with what must be done.

    ``state`` is consumed: it is changed in place and returned.
    """
    take(state, given, now, timings)
    return state, look_when_due(state, now, timings)


def take(state: CoreState, given: Input, now: int, timings: Timings) -> None:
    """Take in one input, without a look at the verdict: what :func:`step` does first."""
    turn_to(state, now)
    match given:
        case Envelope():
            _take(state, given, now, timings)
        case Heard(node, clock):
            _hear(state, node, now)
            if clock:
                _set_clock(state.nodes[node], clock - now, state)
        case Joined(node):
            _node(state, node)
        case Tick():
            pass


def look_when_due(state: CoreState, now: int, timings: Timings) -> list[Effect]:
    """Look at the verdict when it is due, and return what must be done."""
    return [] if state.look_at is None or now < state.look_at else look_now(state, now, timings)


def _node(state: CoreState, name: str) -> NodeInfo:
    node = state.nodes.get(name)
    if node is None:
        node = state.nodes[name] = NodeInfo(name)
        state.touch("nodes", name)
    return node


def _hear(state: CoreState, name: str, now: int) -> None:
    node = _node(state, name)
    state.heard[name] = now
    state.awaited.discard(name)
    # What is stored is for people to read; storing each heartbeat would cost a synced commit each.
    if now - node.heard >= 10 * SECOND:
        node.heard = now
        state.touch("nodes", name)
    if node.silent:
        node.silent = False
        answer(state, CONTROLLER, Reading(f"node/{name}", "agent", Answer.OK), now, "", None)
        look(state, now)
    elif state.look_at is None:
        look(state, now + SECOND)


def _set_clock(node: NodeInfo, ahead: int, state: CoreState) -> None:
    """Note how far a node's clock is off. Less than a second may be the network, and makes no difference to a verdict."""
    ahead = ahead if abs(ahead) >= SECOND else 0
    if abs(ahead - node.ahead) >= _CLOCK_NOISE or (ahead == 0) != (node.ahead == 0):
        node.ahead = ahead
        state.touch("nodes", node.name)


_CLOCK_NOISE: Final = SECOND // 2


def _take(state: CoreState, envelope: Envelope, now: int, timings: Timings) -> None:
    node, event = envelope.node, envelope.event
    if isinstance(event, UnknownEvent):
        return
    envelope = _by_our_clock(state, envelope, now)
    if type(event) in FACTS:
        state.learn(event, envelope.observed_at)
    elif node not in state.nodes:  # who only tells facts may be a copy of files
        _node(state, node)
    for said in readings(envelope, event):
        reading = meant(state, said)
        if answer(state, node, reading, envelope.observed_at, event.seen.excerpt, envelope):
            soon = SOON if state.holds else SECOND
            look(state, now + (timings.settle if reading.answer is Answer.BAD and not state.holds else soon))
    if (over := overtaken(event)) is not None:
        _let_go(state, cell_key(node, *over), envelope.observed_at, now)
    if kernels := outranked(event):
        _outrank(state, envelope, kernels, now)
    if event.state is State.INFO:
        _forget(state, envelope, event, now)
        for happening in happenings(event, node, envelope.observed_at, state.facts):
            state.happen(happening)


def _by_our_clock(state: CoreState, envelope: Envelope, now: int) -> Envelope:
    """Return an envelope with the time at which it was observed by the controller's clock."""
    known, at = state.nodes.get(envelope.node), envelope.observed_at
    if known is not None:
        at = max(at - known.ahead, 0)
    if at >= now + SECOND:
        # Written by a clock that was wrong then, and may be right by now: what lay in the future would outrank all that comes until then.
        at = now
    return envelope if at == envelope.observed_at else envelope._replace(observed_at=at)


def _outrank(state: CoreState, envelope: Envelope, kernels: tuple[str, str, str], now: int) -> None:
    """Let no node's kernel say any more what a map that was seen later knows better."""
    for node in state.nodes:
        cell = state.cells.get(cell_key(node, *kernels))
        if cell is None or cell.answer is not Answer.BAD or envelope.observed_at < cell.seen:
            continue
        if isinstance(envelope.event, CephOsdUp):
            answer(state, node, Reading(cell.entity, cell.aspect, Answer.OK, cell.via, cell.layer), envelope.observed_at, "", envelope)
            look(state, now + SECOND)
        else:
            forget(state, cell, now)


def _forget(state: CoreState, envelope: Envelope, event: Event, now: int) -> None:
    """Let cells know nothing any more that an event makes worthless."""
    if type(event) is NodeBooted:
        for cell in [cell for cell in state.cells.values() if cell.node == envelope.node]:
            forget(state, cell, now)
    elif type(event) is AgentStarted:
        _doubt_sources(state, envelope.node, now)
    elif type(event) is NodeMounts:
        _unmounted(state, envelope.node, event, now)
    elif closed := forgotten(event):
        cell_ = state.cells.get(cell_key(envelope.node, *closed))
        if cell_ is not None:
            forget(state, cell_, now)


def _let_go(state: CoreState, key: str, at: int, now: int) -> None:
    """Forget a bad word that is older than what was observed at ``at``."""
    cell = state.cells.get(key)
    if cell is not None and cell.answer is Answer.BAD and cell.seen <= at:
        forget(state, cell, now)


def _unmounted(state: CoreState, node: str, found: NodeMounts, now: int) -> None:
    """Forget what a node's kernel said of servers of which it has nothing mounted any more: nobody else will take that back."""
    servers = {f"nfs-server/{export_server(f'nfs-export/{one.source}')}" for one in found.mounted}
    for cell in list(state.cells.values()):
        if (cell.node, cell.aspect, cell.via) == (node, "reach", MOUNTS) and cell.answer is Answer.BAD and cell.entity not in servers:
            forget(state, cell, now)


def _doubt_sources(state: CoreState, node: str, now: int) -> None:
    """Forget in a while what a node's last agent could not see: a source that fails in the new one, too, is told again until then."""
    for cell in state.cells.values():
        if cell.node == node and cell.aspect == "source" and cell.answer is Answer.BAD:
            cell.expires = now + _SEES_WITHIN
            state.touch("cells", cell.key)
            look(state, cell.expires)


_SEES_WITHIN: Final = 120 * SECOND
"""Time after which a started agent has told of each source that cannot see: two looks that hang."""
