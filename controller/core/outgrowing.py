"""Faults that outgrow their cause: data that serves no I/O any more, a health check that is serious in itself, a quorum that is lost."""

from __future__ import annotations

from typing import Final

from controller.core.blast import blast, guests_hit
from controller.core.causes import Cause
from controller.core.describe import severity
from controller.core.desk import Desk
from controller.core.evidence import ROOT
from controller.core.incident import IncidentState
from controller.core.report import Change
from controller.core.state import SEPARATOR, Cell, Incident

GRAVE: Final = frozenset({"active", "check"})
"""Aspects of Ceph clusters that people must hear of, whatever they follow from, and that no copying of data brings to an end."""


def is_grave(cell: Cell) -> bool:
    """Tell whether a cell says that data of a Ceph cluster serves no I/O, or that a serious check was raised."""
    return cell.layer != ROOT and cell.aspect in GRAVE and cell.entity.startswith("ceph/")


def is_halted(desk: Desk, incident: Incident) -> bool:
    """Tell whether by what follows from an incident data serves no I/O, for longer than a moment."""
    return _lasts(desk, [cell for cell in _grave(desk, incident) if cell.aspect == "active"], desk.timings.settle)


def beyond_plan(desk: Desk, incident: Incident) -> str:
    """Return by what an incident is more than an administrator can have meant; nothing when it is not."""
    grave = [cell for cell in _grave(desk, incident) if not cell.planned]
    if incident.cause is Cause.CEPH_MON_QUORUM and incident.entity.startswith("ceph/"):
        return "the monitors have no quorum"
    if _lasts(desk, [cell for cell in grave if cell.aspect == "active"], desk.timings.settle):
        return "placement groups serve no I/O"
    checks = [cell for cell in grave if cell.aspect == "check"]
    if _lasts(desk, checks, desk.timings.longest):
        return f"Ceph raised {', '.join(sorted({cell.via for cell in checks}))}"
    return ""


def grow(desk: Desk, incident: Incident) -> None:
    """Tell once that an incident is more than what was meant, or that it has stopped I/O since it was told."""
    was, halted = incident.halted, is_halted(desk, incident)
    is_over = incident.state is IncidentState.RECOVERING
    if was is not halted and not (is_over and halted):
        before = _harm(desk, incident)
        incident.halted = halted
        desk.state.touch("incidents", incident.id)
        if halted and not incident.planned:
            if _harm(desk, incident) == before or _was_just_said(desk, incident):
                desk.note(incident, "worse", _STOPPED)
            else:
                desk.tell(incident, Change.REVISED, _STOPPED)
    if incident.planned and not is_over and (reason := beyond_plan(desk, incident)):
        incident.planned = False
        desk.tell(incident, Change.REVISED, f"it has outgrown what was planned: {reason}")


_STOPPED: Final = "placement groups serve no I/O by now"


def _was_just_said(desk: Desk, incident: Incident) -> bool:
    """Tell whether I/O stopped a moment ago as well: what comes and goes is told once in a while."""
    return any(text == _STOPPED and desk.now - at < desk.timings.flap_window_max for at, _, text in incident.timeline)


def _harm(desk: Desk, incident: Incident) -> tuple[str, list[str]]:
    """Return how bad an incident is, and the guests that stand still by it."""
    found = blast(desk.state, incident)
    return severity(incident), guests_hit(incident, found)[0] if found is not None else []


def _grave(desk: Desk, incident: Incident) -> list[Cell]:
    return [cell for cell in desk.bad([key for key in incident.consequences if _OF_CEPH in key]) if is_grave(cell)]


_OF_CEPH: Final = f"{SEPARATOR}ceph/"
"""In the keys of cells about a whole cluster; of other kinds a storm has thousands."""


def _lasts(desk: Desk, cells: list[Cell], hold: int) -> bool:
    """Tell whether one of these cells has been bad for so long, µs; ask for another look when it may be so later."""
    due = min((cell.since for cell in cells), default=None)
    if due is None:
        return False
    if due + hold > desk.now:
        desk.again(due + hold)
        return False
    return True
