"""Incidents of Ceph clusters in words: what broke, how far recovery is, when it will be full."""

from __future__ import annotations

from typing import Final

from controller.core.causes import Cause
from controller.core.facts import Facts
from controller.core.state import Cell, CoreState, Incident
from events.ceph import CephNearFull, CephRecoveryProgress
from events.definitions import CephHostDefined

_NAMES: Final = {"ceph": "the cluster {0}", "ceph-osd": "osd.{1}", "ceph-host": "{1}", "ceph-mon": "mon.{1}", "ceph-pool": "pool {1}"}
_DATA: Final = frozenset({"redundancy", "active", "recovery"})


def ceph_name(entity: str) -> str:
    """Return a part of a Ceph cluster as Ceph's own tools name it."""
    kind, _, key = entity.partition("/")
    fsid, _, name = key.partition("/")
    return _NAMES[kind].format(fsid[:8], name)


def ceph_why(state: CoreState, incident: Incident, roots: list[Cell], consequences: list[Cell]) -> list[str]:
    """Return what is known of the cluster beside the signs themselves."""
    if not incident.entity.startswith("ceph"):
        return []
    cells = [*roots, *consequences]
    fsid = incident.entity.partition("/")[2].partition("/")[0]
    lines = []
    if incident.planned:
        lines.append("An administrator meant it: nobody is called while that holds.")
    if incident.cause is Cause.CEPH_MON_QUORUM:
        lines += _quorum(state, fsid, incident, cells)
    if any(cell.aspect in _DATA for cell in cells):
        lines += _progress(state.facts, fsid)
    if incident.cause in {Cause.CEPH_NEARFULL, Cause.CEPH_FULL}:
        lines += _space(state.facts, cells)
    if incident.cause is Cause.CEPH_HOST_DOWN and (host := state.facts.get(CephHostDefined, incident.entity.partition("/")[2])):
        lines.append(f"Its OSDs: {', '.join(map(str, host.osds[:24]))}.")
    return lines


def _quorum(state: CoreState, fsid: str, incident: Incident, cells: list[Cell]) -> list[str]:
    known = state.facts.monitors().get(fsid, ())
    down = {cell.entity for cell in cells if cell.entity.startswith("ceph-mon/")}
    if not known or not down:
        return []
    left = len(known) - len(down)
    lines = [f"{left} of {len(known)} monitors are left: without {', '.join(map(ceph_name, sorted(down)))}."]
    if incident.entity.startswith("ceph-mon/"):
        spare = left - (len(known) // 2 + 1)
        lines.append(f"{spare} more may fail before the quorum is lost." if spare > 0 else "One more failure, and the quorum is lost.")
    return lines


def _progress(facts: Facts, fsid: str) -> list[str]:
    found = facts.get(CephRecoveryProgress, fsid)
    if found is None or not (found.degraded or found.misplaced):
        return []
    moves = f"data moves at {found.bytes_per_second / 1e6:.1f} MB/s" if found.bytes_per_second else "no data moves"
    left = f", about {span(found.seconds_left)} left" if found.seconds_left else ""
    return [f"{found.degraded:g} % of all copies are missing, {found.misplaced:g} % misplaced; {moves}{left}."]


def _space(facts: Facts, cells: list[Cell]) -> list[str]:
    lines = []
    for entity in sorted({cell.entity for cell in cells if cell.aspect in {"capacity", "full"}}):
        known = facts.get(CephNearFull, entity.partition("/")[2])
        share = f" {known.percent:g} % used" if known is not None and known.percent is not None else ""
        rate = f", full in {span(known.seconds_left)} at the rate of the last hour" if known is not None and known.seconds_left else ""
        lines.append(f"{ceph_name(entity)}:{share or ' no room'}{rate}.")
    return lines


def span(seconds: float) -> str:
    """Return a duration as people say it."""
    for size, word in ((86_400, "day(s)"), (3600, "hour(s)"), (60, "minute(s)")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {word}"
    return f"{seconds:.0f} second(s)"
