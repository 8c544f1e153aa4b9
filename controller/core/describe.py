"""An incident in words: title, why, evidence, alternatives. One place for all wording; other code passes reasons, not texts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from controller.core import backups
from controller.core.blast import backups_hit, blast, guests_hit
from controller.core.causes import CAUSES, Cause, Severity
from controller.core.describe_ceph import ceph_why, span
from controller.core.evidence import Answer
from controller.core.happenings import Happening
from controller.core.inference.beforehand import touches
from controller.core.report import Alternative, Backup, Change, Evidence, Guests, IncidentReport, Moment
from controller.core.state import CONTROLLER, SEPARATOR, Cell, CoreState, Incident
from controller.core.topology.impact import Impact
from controller.core.topology.names import at
from controller.core.words import counted, fault, key_of, listed, sign, thing

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_BACKUP: Final = 86_400_000_000
"""Microseconds after which a backup whose end nobody told is over."""
_MOST_HAPPENINGS = 5
"""Most changes named in a report."""
_MOST_BACKUPS = 5
"""Most backup jobs named in the reasons."""
_MOST_EVIDENCE = 64
"""Most cells listed in a report: enough for any cluster's verdict, and a mail stays readable."""
_MOST_AGAINST = 16
"""Most of them that speak against the verdict."""


def rfc3339(at: int) -> str:
    """Return UTC microseconds since 1970 as RFC 3339 with microseconds, ``2026-11-23T02:51:47.730550Z``."""
    return (_EPOCH + timedelta(microseconds=at)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _second(at: int) -> str:
    """Return UTC microseconds since 1970 for people, to the second."""
    return f"{rfc3339(at)[:19].replace('T', ' ')} UTC"


def title(incident: Incident) -> str:
    """Return one sentence for a subject line: what broke, and for whom."""
    text = fault(incident.cause, incident.entity, incident.scope)
    if incident.entity.startswith("ceph"):  # all nodes repeat what the monitors say
        return f"{text} (planned)" if incident.planned else text
    if incident.cause is Cause.NODE_STORAGE_NETWORK:  # others that miss its daemons have lost nothing
        return text
    nodes = [node for node in incident.nodes if node not in {key_of(incident.entity), CONTROLLER}]
    return f"{text} ({listed(nodes)})" if nodes else text


def severity(incident: Incident) -> Severity:
    """Return how bad it is: what was meant is minor, and what stops I/O as bad as where nothing explains that."""
    if incident.planned:
        return "minor"
    return CAUSES[Cause.CEPH_PG_INACTIVE if incident.halted else incident.cause].severity


def report(state: CoreState, incident: Incident, change: Change, at: int) -> IncidentReport:
    """Build the public form of an incident as it stands now."""
    info = CAUSES[incident.cause]
    roots = [state.cells[key] for key in incident.roots if key in state.cells]
    consequences = [state.cells[key] for key in incident.consequences if key in state.cells]
    seen = {key_of(cell.entity) for cell in consequences if cell.entity.startswith("storage/")}
    hit = blast(state, incident)
    frozen, at_risk = guests_hit(incident, hit) if hit is not None else ([], [])
    jobs = [_backup(one) for one in backups_hit(state, incident, hit, at)] if hit is not None else []
    related = sorted(
        {name for cell in [*roots, *consequences] for name in (cell.entity, cell.via) if name and not name.startswith("node/")}
        - {incident.entity}
    )
    return IncidentReport(
        change=change,
        id=incident.id,
        number=incident.number,
        state=incident.state.value,
        cause=incident.cause.value,
        entity=incident.entity,
        title=title(incident),
        confidence=incident.confidence,
        severity=severity(incident),
        planned=incident.planned,
        nodes=tuple(incident.nodes),
        storages=tuple(sorted(seen | {one.storage for one in hit.storages} if hit is not None else seen)),
        guests=Guests(frozen=tuple(frozen), at_risk=tuple(at_risk)),
        backups=tuple(jobs),
        # Where no guest is known to stand still, the nature of the fault decides.
        ha_can_help=hit.ha_can_help if hit is not None and frozen else info.ha_can_help,
        why=(*_why(state, incident, roots, consequences), *_harm(hit, frozen, at_risk), *_backups_due(jobs)),
        remedies=info.remedies,
        alternatives=tuple(Alternative(**one) for one in incident.alternatives),
        evidence=tuple(islice(_evidence(state, incident, roots, consequences), _MOST_EVIDENCE)),
        related=tuple(related),
        score=incident.score,
        timeline=tuple(Moment(at=rfc3339(when), change=what, text=text) for when, what, text in incident.timeline),
        cluster=state.cluster,
        at=rfc3339(at),
        opened_at=rfc3339(incident.opened_at),
        resolved_at=None if incident.resolved_at is None else rfc3339(incident.resolved_at),
    )


def _why(state: CoreState, incident: Incident, roots: list[Cell], consequences: list[Cell]) -> list[str]:
    """Return the verdict's reasons as sentences, strongest first."""
    observers = sorted({cell.node for cell in roots})
    alive = sorted(name for name, node in state.nodes.items() if not node.silent)
    lines = [f"Reported by {len(observers)} of {max(len(alive), len(observers))} nodes: {listed(observers, 8)}."]
    if observers == [CONTROLLER]:
        lines = ["Noticed by the controller itself."]
    lines += _contradictions([state.cells[key] for key in incident.against if key in state.cells])
    lines += _comparison(state, incident, roots)
    lines += ceph_why(state, incident, roots, consequences)
    lines += _beforehand(state, incident)
    if consequences:
        lines.append(_further(consequences))
    if incident.proof:
        first = min(incident.proof.items(), key=lambda item: item[1])
        when, excerpt = first[1]
        said = f": {excerpt}" if excerpt else ""
        lines.append(f"First sign at {_second(when)} on {first[0].partition(SEPARATOR)[0]}{said}")
    return lines


def _further(cells: list[Cell]) -> str:
    """Say what follows from it, each thing once, with the nodes that say so."""
    nodes: dict[str, set[str]] = {}
    for cell in cells:
        nodes.setdefault(sign(cell.entity, cell.aspect, bad=True), set()).add(cell.node)
    signs = [f"{words} ({listed(sorted(nodes[words]), 3)})" for words in sorted(nodes)]
    return f"It explains {counted(sum(map(len, nodes.values())), 'further sign')}: {listed(signs)}."


def _contradictions(cells: list[Cell]) -> list[str]:
    """Say who still finds well what should be broken, and who did when it began."""
    lines = []
    for still, words in ((True, "Against it: still well on"), (False, "Against it: it was still well when this began on")):
        found = [cell for cell in cells if (cell.answer is Answer.OK) is still]
        if found:
            things = listed(sorted({thing(cell.entity) for cell in found}), 3)
            lines.append(f"{words} {listed(sorted({cell.node for cell in found}))}: {things}.")
    return lines


def _beforehand(state: CoreState, incident: Incident) -> list[str]:
    """Say what was done just before to what is broken, or to the nodes that say so."""
    near = state.recent.before(incident.opened_at)
    concerned = {incident.entity, "cluster", *(f"node/{node}" for node in incident.nodes)}
    mine = [one for one in near if _concerns(state, incident, one, concerned)]
    return [f"{_ago(incident.opened_at - one.at)}: {one.text}." for one in mine[-_MOST_HAPPENINGS:]]


def _concerns(state: CoreState, incident: Incident, one: Happening, concerned: set[str]) -> bool:
    if one.topic == "backup" and incident.opened_at - one.at >= _LONGEST_BACKUP:
        return False
    kind, _, key = incident.entity.partition("/")
    return (
        one.about in concerned
        or (kind == "ceph" and one.about.startswith(f"ceph-mon/{key}/"))
        or touches(one, incident.cause, incident.entity, incident.nodes)
        or _is_beneath(state, incident.entity, one.about)
    )


def _is_beneath(state: CoreState, entity: str, storage: str) -> bool:
    """Tell whether a storage, on any node, needs what broke."""
    views = (at(storage, node) for node in state.topology.nodes) if storage.startswith("storage/") else ()
    return any(entity in state.topology.graph.below(view) for view in views)


def _ago(micros: int) -> str:
    seconds = max(0, round(micros / 1_000_000))
    return f"{seconds} s before" if seconds < 300 else f"{span(seconds)} before"


def _harm(hit: Impact | None, frozen: list[str], at_risk: list[str]) -> list[str]:
    """Say in a sentence or two who suffers, and who could be helped."""
    if hit is None or not (frozen or at_risk):
        return []
    guests = {one.vmid: one for one in hit.guests}
    lines = []
    if frozen:
        managed = sum(bool(guests[vmid].service) for vmid in frozen)
        movable = [vmid for vmid in frozen if guests[vmid].targets]
        helped = f"{_of(len(movable), frozen)} could run on another node" if movable else f"no other node could run {_them(frozen)}"
        by_ha = f"{_of(managed, frozen)} managed by HA" if len(frozen) > 1 else "managed by HA" if managed else "not managed by HA"
        lines.append(f"{_guests(frozen)} {_verb(frozen, 'stand')} still, {by_ha}; {helped}.")
    if at_risk:
        lines.append(f"{_guests(at_risk)} {_verb(at_risk, 'run')} on, at risk.")
    return lines


def _backup(one: backups.Backup) -> Backup:
    where = f"storage {one.storage} is gone on {listed(list(one.gone_on))}" if one.gone_on else "they stand still"
    return Backup(job=one.job, due=rfc3339(one.due), storage=one.storage, guests=one.guests, reason=where)


def _backups_due(jobs: list[Backup]) -> list[str]:
    """Say which backup jobs will fail soon."""
    told = [
        f"Backup job {one.job}, due {one.due[:16].replace('T', ' ')} UTC, will fail for {_guests(list(one.guests))}: {one.reason}."
        for one in jobs[:_MOST_BACKUPS]
    ]
    return [*told, f"{len(jobs) - _MOST_BACKUPS} more backup jobs will fail within a day."] if len(jobs) > _MOST_BACKUPS else told


def _guests(vmids: list[str]) -> str:
    return f"{counted(len(vmids), 'guest')} ({listed(vmids, 8)})"


def _verb(names: list[str], verb: str) -> str:
    return f"{verb}s" if len(names) == 1 else verb


def _them(names: list[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _of(some: int, names: list[str]) -> str:
    """Return how many of these are meant, in words where a number would be clumsy."""
    words = {0: "none of them", len(names): "all of them" if len(names) > 1 else "it"}
    return words.get(some, f"{some} of them")


def _comparison(state: CoreState, incident: Incident, roots: list[Cell]) -> list[str]:
    """Say what is still well beside what is broken: that is what names the domain."""
    keys = {cell.key for cell in roots}
    reach = {"session", "reach"}
    lost = sorted({key_of(cell.entity) for cell in roots if cell.aspect in reach})
    if incident.cause in {Cause.NODE_STORAGE_NETWORK, Cause.PATH_REDUNDANCY_LOST} and lost:
        nodes = {cell.node for cell in roots}
        names = {cell.entity for cell in roots}
        others = sorted(
            {cell.node for cell in state.cells.values() if cell.entity in names and cell.node not in nodes and cell.answer is Answer.OK}
        )
        text = f"{listed(sorted(nodes))} lost {listed(lost)}"
        return [f"{text}; {listed(others)} still {_verb(others, 'use')} {_them(lost)}." if others else f"{text}; {_unheard(lost)}."]
    if incident.cause is Cause.ISCSI_PORTAL_DOWN:
        sessions = [cell for cell in state.cells.values() if cell.aspect == "session" and cell.via]
        targets = {cell.via for cell in sessions if cell.entity == incident.entity}
        others = sorted(
            {
                key_of(cell.entity)
                for cell in sessions
                if cell.via in targets and cell.entity != incident.entity and cell.answer is Answer.OK and cell.key not in keys
            }
        )
        return [f"The target still answers on {listed(others)}."] if others else []
    if incident.cause is Cause.ISCSI_TARGET_DOWN and len(lost) > 1:
        ways = {(cell.node, cell.entity) for cell in roots if cell.aspect in reach}
        whole = len(ways) == len(lost) * len({node for node, _ in ways})
        return [f"All its portals are lost: {listed(lost)}." if whole else f"Each of its portals is lost to some node: {listed(lost)}."]
    return []


def _unheard(lost: list[str]) -> str:
    return f"no other node reports trouble with {_them(lost)}"


def _evidence(state: CoreState, incident: Incident, roots: list[Cell], consequences: list[Cell]) -> Iterator[Evidence]:
    """Yield cells as evidence: of many, room is kept for what speaks against the verdict."""
    against = [state.cells[key] for key in incident.against if key in state.cells][:_MOST_AGAINST]
    yield from (_one(state, incident, cell, "for") for cell in roots[: _MOST_EVIDENCE - len(against)])
    yield from (_one(state, incident, cell, "against") for cell in against)
    yield from (_one(state, incident, cell, "consequence") for cell in consequences)


def _one(state: CoreState, incident: Incident, cell: Cell, speaks: str) -> Evidence:
    node = state.nodes.get(cell.node)
    answer = Answer.UNKNOWN if node is not None and node.silent else cell.answer
    when, excerpt = incident.proof.get(cell.key, (cell.since, cell.excerpt))
    return Evidence.model_validate(
        {
            "node": cell.node,
            "entity": cell.entity,
            "aspect": cell.aspect,
            "state": answer.value,
            "speaks": speaks,
            "at": rfc3339(when),
            "excerpt": excerpt,
        }
    )
