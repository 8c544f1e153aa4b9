"""Verdicts to incidents: which incident a verdict belongs to, when a new one opens, when one is revised, reopened or merged."""

from __future__ import annotations

from hashlib import blake2s

from controller.core.describe import title
from controller.core.desk import Desk
from controller.core.evidence import SECOND, Answer
from controller.core.incident import IncidentState, Trigger
from controller.core.inference.scene import kind_of
from controller.core.inference.verdict import Verdict
from controller.core.outgrowing import beyond_plan, is_halted
from controller.core.report import Change
from controller.core.state import CONTROLLER, Incident


def match(desk: Desk, verdicts: list[Verdict]) -> None:
    """Give each verdict to the incident of its name, or else to the one that it shares most cells with; each incident takes one."""
    taken: set[str] = set()
    names = {(one.cause, one.entity) for one in desk.state.live_incidents()}
    for verdict in sorted(
        verdicts, key=lambda one: ((one.cause, one.entity) not in names, -len(one.cells), one.cause, one.entity, one.scope)
    ):
        incident = _incident_of(desk, verdict, taken)
        if incident is None:
            _open(desk, verdict, taken)
        else:
            taken.add(incident.id)
            _revise(desk, incident, verdict)
            if verdict.due is not None:
                desk.again(max(verdict.due, desk.now + SECOND))
    _merge(desk, taken)


def _incident_of(desk: Desk, verdict: Verdict, taken: set[str]) -> Incident | None:
    best: tuple[int, Incident] | None = None
    cells = verdict.cells
    for incident in desk.state.live_incidents():
        same = (incident.cause, incident.entity) == (verdict.cause, verdict.entity)
        if incident.id in taken or (incident.state is IncidentState.RECOVERING and not same):
            continue
        shared = len(cells & incident.cells)
        if not (shared or same):
            continue
        weight = shared + (1000 if same else 0)
        if best is None or weight > best[0]:
            best = (weight, incident)
    return best[1] if best else None


def _open(desk: Desk, verdict: Verdict, taken: set[str]) -> None:
    stable_at = max(verdict.stable_at, desk.state.awaited_until) if desk.state.awaited else verdict.stable_at
    if stable_at > desk.now + desk.timings.longest:
        desk.again(stable_at)  # it must be said again: no hurry, and nothing that is held for more evidence
        return
    if stable_at > desk.now:
        desk.hold(min(stable_at, desk.now + SECOND) if desk.state.awaited else stable_at)
        return
    if (settled := verdict.onset + desk.timings.longest) > desk.now and _may_be_old(desk, verdict):
        desk.hold(settled)
        return
    before = _last_like(desk, verdict)
    for incident in desk.state.live_incidents():
        # A recovering incident whose cells now belong to another fault is over.
        if incident.state is IncidentState.RECOVERING and verdict.roots & set(incident.roots) and incident.id not in taken:
            desk.resolve(incident, Trigger.STAYED_WELL, "over; what broke next is another fault")
    if before is not None and verdict.onset - (before.recovered_at or 0) <= _window(desk, before):
        _take_over(desk, before, verdict)
        before.relapses += 1
        _weigh(desk, before)
        desk.move(before, Trigger.RELAPSED)
        before.resolved_at = before.recovered_at = None
        desk.tell(before, Change.REOPENED, "it broke again soon after it had recovered")
        taken.add(before.id)
        return
    incident = _new(desk, verdict, before.relapses + 1 if before else 0)
    taken.add(incident.id)
    desk.tell(incident, Change.OPENED, title(incident))


def _may_be_old(desk: Desk, verdict: Verdict) -> bool:
    """Tell whether all of it was part of a larger fault that is just over: then that one likely begins again, and more will follow."""
    return any(
        verdict.roots < set(one.roots) and verdict.onset - one.recovered_at <= _window(desk, one)
        for one in desk.state.incidents.values()
        if one.recovered_at is not None and not one.merged_into and (one.cause, one.entity) != (verdict.cause, verdict.entity)
    )


def _window(desk: Desk, incident: Incident) -> int:
    return min(desk.timings.flap_window << min(max(0, incident.relapses - 1), 16), desk.timings.flap_window_max)


def _last_like(desk: Desk, verdict: Verdict) -> Incident | None:
    alike = [
        one
        for one in desk.state.incidents.values()
        if one.state is IncidentState.RESOLVED
        and not one.merged_into
        and (one.cause, one.entity) == (verdict.cause, verdict.entity)
        and verdict.onset - (one.recovered_at or one.resolved_at or 0) <= desk.timings.flap_memory
    ]
    return max(alike, key=lambda one: (one.resolved_at or 0, one.id), default=None)


def _new(desk: Desk, verdict: Verdict, relapses: int) -> Incident:
    seed = "|".join((desk.state.cluster, verdict.cause, verdict.entity, str(verdict.onset), *sorted(verdict.roots)))
    identity = blake2s(seed.encode(), digest_size=5).hexdigest()
    incident = Incident(
        id=f"fl-{identity}",
        state=IncidentState.OPEN,
        cause=verdict.cause,
        entity=verdict.entity,
        scope=verdict.scope,
        roots=[],
        consequences=[],
        opened_at=verdict.onset,
        changed_at=desk.now,
        relapses=relapses,
    )
    desk.state.incidents[incident.id] = incident
    _take_over(desk, incident, verdict)
    _weigh(desk, incident)
    desk.again(desk.now + desk.timings.confirm)
    return incident


def _weigh(desk: Desk, incident: Incident) -> None:
    """Note whether an administrator meant all of it, and whether it stops I/O; what is well again already was meant by nobody."""
    bad = desk.bad(incident.roots)
    incident.planned = bool(bad) and all(cell.planned for cell in bad) and not beyond_plan(desk, incident)
    incident.halted = is_halted(desk, incident)
    incident.called = incident.called and not incident.planned


def _take_over(desk: Desk, incident: Incident, verdict: Verdict) -> None:
    """Make a verdict an incident's own."""
    incident.cause, incident.entity, incident.scope = verdict.cause, verdict.entity, verdict.scope
    incident.roots = sorted(verdict.roots | {key for key in incident.roots if key in verdict.cells})
    incident.consequences = sorted((verdict.consequences | set(incident.consequences)) - set(incident.roots))
    incident.confidence, incident.score = verdict.confidence, round(verdict.score, 1)
    incident.against, incident.joined = list(verdict.against), False
    incident.nodes = sorted({desk.state.cells[key].node for key in incident.roots} - {CONTROLLER})
    if kind_of(desk.state.cells[incident.roots[0]])[0] == "node" and not incident.nodes:
        incident.nodes = [verdict.entity.partition("/")[2]]
    incident.alternatives = [
        {
            "cause": one.cause.value,
            "entity": one.entity,
            "confidence": one.confidence,
            "reason": one.reason,
            "score": round(one.score, 1),
        }
        for one in verdict.alternatives
    ]
    for key in incident.roots:
        cell = desk.state.cells[key]
        if cell.answer is Answer.BAD:
            incident.proof.setdefault(key, (cell.since, cell.excerpt))
    desk.state.touch("incidents", incident.id)


def _join(desk: Desk, incident: Incident, verdict: Verdict) -> None:
    """Let what is more of the same be part of an incident before that is told: it is over when it is over for all who report it."""
    if verdict.cells <= incident.cells:
        return
    roots = verdict.roots | (set(incident.roots) - verdict.consequences)
    incident.consequences = sorted((verdict.consequences | set(incident.consequences)) - roots)
    incident.roots, incident.joined = sorted(roots), True
    desk.state.touch("incidents", incident.id)


def _revise(desk: Desk, incident: Incident, verdict: Verdict) -> None:
    same = (incident.cause, incident.entity) == (verdict.cause, verdict.entity)
    if same and incident.state is not IncidentState.RECOVERING:
        if verdict.cells <= incident.cells and not incident.joined:
            return
        if desk.now < incident.changed_at + desk.timings.respite:
            _join(desk, incident, verdict)
            desk.again(incident.changed_at + desk.timings.respite)  # more of the same: one message for all who join in
            return
    if (stable_at := verdict.stable_at) > desk.now:
        desk.hold(stable_at)
        return
    nodes, was, planned = list(incident.nodes), title(incident), incident.planned
    incident.planned = incident.planned and all(desk.state.cells[key].planned for key in verdict.roots)
    if incident.state is IncidentState.RECOVERING:
        incident.relapses += 1
        desk.move(incident, Trigger.RELAPSED)
        _take_over(desk, incident, verdict)
        incident.halted = is_halted(desk, incident)
        incident.recovered_at = None
        desk.tell(incident, Change.REOPENED, "it broke again before it had stayed well")
        return
    _take_over(desk, incident, verdict)
    if not same:
        incident.halted = is_halted(desk, incident)
        desk.tell(incident, Change.REVISED, f"better explained so than as: {was}")
    elif set(incident.nodes) - set(nodes):
        new = sorted(set(incident.nodes) - set(nodes))
        desk.tell(incident, Change.REVISED, f"also reported by {', '.join(new)}")
    elif planned and not incident.planned:
        desk.tell(incident, Change.REVISED, "it is more than what was planned")


def _merge(desk: Desk, taken: set[str]) -> None:
    """End incidents all of whose cells another incident's verdict now explains."""
    for incident in desk.state.live_incidents():
        if incident.id in taken or incident.state is IncidentState.RECOVERING or not desk.bad(incident.roots):
            continue
        heirs = [one for one in desk.state.live_incidents() if one.id in taken and set(incident.roots) <= one.cells]
        if heirs:
            incident.merged_into = heirs[0].id
            desk.resolve(incident, Trigger.MERGED, f"part of {heirs[0].id}: {title(heirs[0])}")
