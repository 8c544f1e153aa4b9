"""The controller's clock was set back: all that is remembered keeps its age.

Whatever happened some seconds ago still happened so long ago. Left as it is, each cell would be newer than anything an agent can
say until the clock is where it was: hours in which nothing is taken in. NTP does that to a machine that booted with a wrong clock.
"""

from __future__ import annotations

from controller.core.facts import record_name
from controller.core.state import CoreState


def turn_to(state: CoreState, now: int) -> None:
    """Note that it is ``now`` (UTC µs); when it was later before, move all times back by the difference."""
    if now < state.now:
        _move(state, state.now - now, now)
    state.now = now


def _move(state: CoreState, by: int, now: int) -> None:
    def was(at: int) -> int:
        """Return a time of the past moved back; 0 stands for never and stays."""
        return min(max(1, at - by), now) if at else 0

    def due(at: int) -> int:
        """Return a time to come moved back."""
        return max(1, at - by) if at else 0

    for cell in state.cells.values():
        cell.since, cell.seen, cell.broke, cell.relapsed = was(cell.since), was(cell.seen), was(cell.broke), was(cell.relapsed)
        cell.calm, cell.expires = due(cell.calm), due(cell.expires)
        state.touch("cells", cell.key)
    for node in state.nodes.values():
        node.heard = was(node.heard)
        state.touch("nodes", node.name)
    for incident in state.incidents.values():
        incident.opened_at, incident.changed_at = was(incident.opened_at), was(incident.changed_at)
        incident.recovered_at = None if incident.recovered_at is None else was(incident.recovered_at)
        incident.resolved_at = None if incident.resolved_at is None else was(incident.resolved_at)
        incident.timeline = [(was(at), change, text) for at, change, text in incident.timeline]
        incident.proof = {key: (was(at), text) for key, (at, text) in incident.proof.items()}
        state.touch("incidents", incident.id)
    for key in state.recent.move(was):
        state.touch("happenings", key)
    for fact in state.facts.move(was):
        state.touch("facts", record_name(fact))
    state.heard = {name: was(at) for name, at in state.heard.items()}
    state.awaited_until = due(state.awaited_until)
    state.look_at = None if state.look_at is None else due(state.look_at)
    state.version += 1
    state.judged = None
