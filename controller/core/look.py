"""One look at all evidence: incidents move on by what their own cells say, then verdicts are matched to them."""

from __future__ import annotations

from collections.abc import Mapping

from controller.core.desk import Desk
from controller.core.effects import Effect, WakeAt
from controller.core.evidence import PROBE_LASTS, ROOT, SECOND, Answer, Reading
from controller.core.incident import IncidentState, Trigger
from controller.core.inference.consequences import follows
from controller.core.inference.scene import Scene
from controller.core.inference.verdict import Verdict, judge
from controller.core.intake import answer, meant, settle_down
from controller.core.matching import match
from controller.core.outgrowing import grow, is_grave
from controller.core.report import Change
from controller.core.state import CONTROLLER, Cell, CoreState, Incident, cell_key
from controller.core.timings import Timings


def look_now(state: CoreState, now: int, timings: Timings) -> list[Effect]:
    """Look at everything and return what must be done, the time of the next look included."""
    desk = Desk(state, now, timings)
    state.holds = False
    _expire(desk)
    if (due := settle_down(state, now)) is not None:
        desk.again(due)
    _silences(desk)
    for incident in state.live_incidents():
        _progress(desk, incident)
    match(desk, _verdicts(desk))
    for incident in state.live_incidents():
        grow(desk, incident)
    _forget_old(desk)
    state.look_at = desk.next
    if desk.next is not None:
        desk.effects.append(WakeAt(desk.next))
    return desk.effects


def _verdicts(desk: Desk) -> list[Verdict]:
    """Judge what there is to explain; again only when something changed since, or when time alone may change it."""
    state, bad = desk.state, _bad(desk)
    key = (state.version, frozenset(bad))
    if state.judged is None or state.judged[0] != key:
        scene = _scene(desk, bad)
        verdicts = judge(scene, desk.timings)
        state.judged = None if scene.undecided else (key, verdicts)
        return verdicts
    return state.judged[1]


def _expire(desk: Desk) -> None:
    for cell in desk.state.cells.values():
        if cell.expires and cell.answer is Answer.BAD:
            if cell.expires <= desk.now and _cannot_look(desk.state, cell):
                cell.expires = desk.now + PROBE_LASTS * SECOND
                desk.state.touch("cells", cell.key)
                desk.again(cell.expires)
            elif cell.expires <= desk.now:
                cell.answer, cell.since, cell.expires, cell.calm = Answer.UNKNOWN, desk.now, 0, 0
                desk.state.version += 1
                desk.state.touch("cells", cell.key)
            else:
                desk.again(cell.expires)


def _cannot_look(state: CoreState, cell: Cell) -> bool:
    """Tell whether what looks at this fails on its node: then that it says nothing more does not mean that it is over."""
    source = state.cells.get(cell_key(cell.node, f"node/{cell.node}", "source", cell.probe)) if cell.probe else None
    return source is not None and source.answer is Answer.BAD


def _silences(desk: Desk) -> None:
    for node in desk.state.nodes.values():
        heard = desk.state.heard.get(node.name)
        if heard is None or node.silent:
            continue
        limit = heard + desk.timings.silent_after
        if limit > desk.now:
            desk.again(limit)
            continue
        node.silent = True
        desk.state.touch("nodes", node.name)
        reading = meant(desk.state, Reading(f"node/{node.name}", "agent", Answer.BAD))
        answer(desk.state, CONTROLLER, reading, desk.now, "no heartbeat", None)


def _progress(desk: Desk, incident: Incident) -> None:
    """Move an incident on by what its own cells say."""
    roots_bad = desk.bad(incident.roots)
    if incident.planned and any(not cell.planned for cell in roots_bad):
        incident.planned = False
        desk.tell(incident, Change.REVISED, "it lasts longer than what was planned")
    if incident.state is IncidentState.RECOVERING:
        _finish(desk, incident, roots_bad)
    elif not roots_bad:
        since = [desk.state.cells[key].since for key in incident.roots if key in desk.state.cells]
        incident.recovered_at = max(since, default=desk.now)
        desk.move(incident, Trigger.RECOVERED)
        desk.tell(incident, Change.RECOVERING, _recovery_text(desk, incident))
        _finish(desk, incident, roots_bad)
    elif incident.state is IncidentState.OPEN:
        due = incident.changed_at + desk.timings.confirm
        if due <= desk.now:
            desk.move(incident, Trigger.HELD)
            desk.note(incident, "confirmed", "the verdict has held")
        else:
            desk.again(due)


def _recovery_text(desk: Desk, incident: Incident) -> str:
    unknown = all(desk.state.cells[key].answer is Answer.UNKNOWN for key in incident.roots if key in desk.state.cells)
    return "no further sign of it, though nobody reported its end" if unknown else "everything that it explains works again"


def _finish(desk: Desk, incident: Incident, roots_bad: list[Cell]) -> None:
    """Resolve a recovering incident once it stayed well; while a root is bad again the verdict decides what that is."""
    if roots_bad:
        return
    recovered = incident.recovered_at or desk.now
    due = recovered + desk.timings.recovery_hold
    consequences = desk.bad(incident.consequences)
    if consequences:
        rebuilding = all(cell.entity.startswith("ceph") for cell in consequences)
        due = recovered + (desk.timings.rebuild_hold if rebuilding else desk.timings.consequence_hold)
    else:
        last = [desk.state.cells[key].since for key in incident.consequences if key in desk.state.cells]
        due = max(due, max(last, default=0) + desk.timings.settle)
    if due <= desk.now:
        desk.resolve(incident, Trigger.STAYED_WELL, "it stayed well")
    else:
        desk.again(due)


def _bad(desk: Desk) -> dict[str, Cell]:
    """Return the cells that there are to explain now.

    Cells of unresolved incidents that are not fully recovered count as bad although they may be well again: a fault that
    recovers node by node stays the fault that it was. Consequences of recovering incidents wait for their hold.
    """
    latched: set[str] = set()
    excused: set[str] = set()
    for incident in desk.state.live_incidents():
        if incident.state is not IncidentState.RECOVERING:
            latched.update(key for key in incident.roots if _answers(desk, key) is Answer.OK)
        elif not desk.bad(incident.roots):
            excused |= _excused(desk, incident)
        else:  # it breaks again: what has not recovered since still follows from it
            excused.update(incident.consequences)
    excused |= _outlasting(desk)
    cells = desk.state.cells.items()
    return {key: cell for key, cell in cells if (cell.answer is Answer.BAD and key not in excused) or key in latched}


def _scene(desk: Desk, bad: Mapping[str, Cell]) -> Scene:
    """Return these bad cells beside all that is well; where nothing is bad nobody asks what is well."""
    state = desk.state
    others = [cell for key, cell in state.cells.items() if cell.answer is Answer.OK and key not in bad] if bad else []
    alive = frozenset(name for name, node in state.nodes.items() if not node.silent)
    return Scene(desk.now, list(bad.values()), others, alive, state.heard, state.topology, state.recent.before, state.recent.all.values())


def _outlasting(desk: Desk) -> set[str]:
    """Return cells of no incident that follow from what broke before them and is well again: their own senders tell it later."""
    owned = {key for one in desk.state.live_incidents() for key in one.cells}
    cells = desk.state.cells
    higher = [cell for key, cell in cells.items() if cell.layer != ROOT and cell.answer is Answer.BAD and key not in owned]
    if not higher:
        return set()
    hold = desk.timings.consequence_hold
    over = [cell for cell in cells.values() if cell.answer is Answer.OK and cell.broke and desk.now - cell.since < hold]
    found = set()
    for cell in higher:
        roots = [one for one in over if one.since > cell.since > one.broke - desk.timings.longest]
        if follows(cell, roots, desk.state.topology):
            found.add(cell.key)
            desk.again(max(one.since for one in roots) + hold)
    return found


def _excused(desk: Desk, incident: Incident) -> set[str]:
    """Return cells that a recovering incident still answers for, and take in those that turned bad late."""
    roots = [desk.state.cells[key] for key in incident.roots if key in desk.state.cells]
    owned = {key for one in desk.state.live_incidents() for key in one.cells}
    topology, cells = desk.state.topology, desk.state.cells
    bad = [cell for cell in cells.values() if cell.answer is Answer.BAD and not _stays(desk, incident, cell)]
    late = [cell.key for cell in bad if cell.key not in owned and follows(cell, roots, topology)]
    if late:
        incident.consequences = sorted({*incident.consequences, *late})
        desk.state.touch("incidents", incident.id)
        _finish(desk, incident, [])
    return {key for key in incident.consequences if key not in cells or not _stays(desk, incident, cells[key])}


def _stays(desk: Desk, incident: Incident, cell: Cell) -> bool:
    """Tell whether a cell is graver than what an incident that is over may leave behind while copies are made."""
    due = (incident.recovered_at or desk.now) + desk.timings.consequence_hold
    if cell.answer is not Answer.BAD or not is_grave(cell):
        return False
    if due > desk.now and cell.key in incident.consequences:
        desk.again(due)
    return due <= desk.now


def _answers(desk: Desk, key: str) -> Answer:
    cell = desk.state.cells.get(key)
    return cell.answer if cell else Answer.UNKNOWN


def _forget_old(desk: Desk) -> None:
    """Drop resolved incidents that can no longer flap; the store keeps their history."""
    for incident in list(desk.state.incidents.values()):
        if incident.state is not IncidentState.RESOLVED or incident.resolved_at is None:
            continue
        if incident.resolved_at + desk.timings.flap_memory <= desk.now:
            del desk.state.incidents[incident.id]
            desk.state.touch("incidents", incident.id)
