"""The controller's clock was set back: all that is remembered keeps its age.

Whatever happened some seconds ago still happened so long ago. Left as it is, each cell would be newer than anything an agent can
say until the clock is where it was: hours in which nothing is taken in. NTP does that to a machine that booted with a wrong clock.
"""

from __future__ import annotations

from controller.core.state import CoreState


def turn_to(state: CoreState, now: int) -> None:
    """Note that it is ``now`` (UTC µs); when it was later before, move all times back by the difference."""
    if now < state.now:
        _move(state, state.now - now)
    state.now = now


def _move(state: CoreState, by: int) -> None:
    for cell in state.cells.values():
        cell.since, cell.seen, cell.broke = _back(cell.since, by), _back(cell.seen, by), _back(cell.broke, by)
        cell.relapsed, cell.calm, cell.expires = _back(cell.relapsed, by), _back(cell.calm, by), _back(cell.expires, by)
        state.touch("cells", cell.key)
    for node in state.nodes.values():
        node.heard = _back(node.heard, by)
        state.touch("nodes", node.name)
    for incident in state.incidents.values():
        incident.opened_at, incident.changed_at = _back(incident.opened_at, by), _back(incident.changed_at, by)
        incident.recovered_at = None if incident.recovered_at is None else _back(incident.recovered_at, by)
        incident.resolved_at = None if incident.resolved_at is None else _back(incident.resolved_at, by)
        incident.timeline = [(_back(at, by), change, text) for at, change, text in incident.timeline]
        incident.proof = {key: (_back(at, by), text) for key, (at, text) in incident.proof.items()}
        state.touch("incidents", incident.id)
    for key in state.recent.move(by):
        state.touch("happenings", key)
    state.facts.move(by)
    state.heard = {name: _back(at, by) for name, at in state.heard.items()}
    state.awaited_until = _back(state.awaited_until, by)
    state.look_at = None if state.look_at is None else _back(state.look_at, by)
    state.version += 1
    state.judged = None


def _back(at: int, by: int) -> int:
    """Return a time moved back; 0 stands for never and stays."""
    return max(1, at - by) if at else 0
