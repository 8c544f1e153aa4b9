"""Readings into cells, and the wish to look at them."""

from __future__ import annotations

from typing import Final

from controller.core.evidence import PROBE_LASTS, PROBES, SECOND, Answer, Reading
from controller.core.inference.ceph import fsid_of, hosts_in, parts
from controller.core.state import Cell, CoreState, cell_key
from events.base import Source
from events.envelope import Envelope, UnknownEvent

CALM: Final = 10 * SECOND
"""What goes bad again within this was never well: multipath's checker restores a path to a LUN that is gone every 5 s, and loses it."""
_AWAY: Final = 600 * SECOND
"""What a node that was away for so long finds bad is what it found bad before."""
_FLAPS: Final = 60 * SECOND
"""What went bad again within this still flaps."""


def look(state: CoreState, at: int) -> None:
    """Ask for the verdict to be looked at, at this time or earlier."""
    if state.look_at is None or at < state.look_at:
        state.look_at = at


_OF_MAINTENANCE: Final = frozenset({"member", "agent"})
_OF_DAEMONS: Final = frozenset({"up", "reach"})
_DAEMONS: Final = ("ceph-mon/", "ceph-osd/", "ceph-host/")


def meant(state: CoreState, reading: Reading) -> Reading:
    """Return a reading as planned where an administrator announced it: a node in HA maintenance may go down, with its Ceph daemons."""
    if reading.answer is not Answer.BAD or not _may_end_with_a_node(reading) or not (away := state.recent.in_maintenance()):
        return reading
    nodes = _ends_with(state, reading)
    return reading._replace(planned=True) if nodes and nodes <= away else reading


def _may_end_with_a_node(reading: Reading) -> bool:
    return reading.aspect in _OF_MAINTENANCE or (reading.aspect in _OF_DAEMONS and reading.entity.startswith(_DAEMONS))


def _ends_with(state: CoreState, reading: Reading) -> set[str]:
    """Return the nodes (entities) with which that ends what a reading is about: a node itself, or those of a Ceph daemon, host or rack."""
    if reading.aspect in _OF_MAINTENANCE:
        return {reading.entity}
    names = _places(state, reading)
    return {member for name in names for need in state.topology.graph.needs(name) for member in need.members}


def _places(state: CoreState, reading: Reading) -> set[str]:
    """Return what the graph of needs has a Ceph daemon on: a monitor by its name, the host of an OSD, the hosts in a bucket."""
    if reading.entity.startswith("ceph-mon/"):
        known = state.facts.monitor_at(reading.entity.rpartition("/")[2])  # who was never answered knows its address alone
        return {f"ceph-mon/{known}" if known else reading.entity}
    above = parts(state.facts, fsid_of(reading.entity), ())
    if reading.entity.startswith("ceph-host/"):
        return hosts_in(reading.entity, above) or {reading.entity}
    return {reading.via if reading.via.startswith("ceph-host/") else above.get(reading.entity, reading.entity)}


def forget(state: CoreState, cell: Cell, now: int) -> None:
    """Let a cell know nothing any more."""
    cell.lapsed = cell.lapsed or cell.answer is Answer.BAD
    cell.answer, cell.since, cell.expires, cell.calm = Answer.UNKNOWN, now, 0, 0
    state.version += 1
    state.touch("cells", cell.key)
    look(state, now)


def answer(state: CoreState, node: str, reading: Reading, at: int, excerpt: str, origin: Envelope | None) -> bool:
    """Take one reading into its cell; return whether that is news. Readings older than the cell are late: dropped.

    ``origin`` is what says so, None for the controller itself.
    """
    key = cell_key(node, reading.entity, reading.aspect, reading.via)
    cell = state.cells.get(key)
    if cell is None:
        cell = state.cells[key] = Cell(
            node, reading.entity, reading.aspect, reading.via, reading.layer, Answer.UNKNOWN, since=at, seen=at, notices=reading.notices
        )
        state.meet(cell)
    if at < cell.seen:
        return False
    cell.seen = at
    if reading.answer is Answer.BAD and origin is not None and (source := _source(origin)) in PROBES:
        cell.probe = source.value
    # Of what is looked at all the time a daemon's or the kernel's word lasts no longer than a probe's: the thing may be gone by now,
    # and then nobody will ever say that it is well.
    lasts = reading.lasts or (PROBE_LASTS if cell.probe and reading.answer is Answer.BAD else 0)
    lasting = at + lasts * SECOND if lasts else 0
    if reading.notices is not None:
        cell.notices = reading.notices
    if _flaps(state, cell, reading, at):
        return False
    meant = reading.answer is Answer.BAD and reading.planned is not cell.planned
    if reading.answer is Answer.BAD:
        cell.planned, cell.layer = reading.planned, reading.layer
    if cell.answer is reading.answer:
        if meant:
            state.touch("cells", key)
        return _renew(state, cell, at, lasting) or meant
    again = reading.answer is Answer.BAD and cell.answer is Answer.OK and bool(cell.broke) and at - cell.since < CALM
    still = reading.answer is Answer.BAD and cell.lapsed and at - cell.since < _AWAY
    cell.lapsed = False
    cell.answer, cell.since, cell.expires = reading.answer, at, lasting
    state.version += 1
    cell.was_ok = cell.was_ok or reading.answer is Answer.OK
    cell.excerpt, cell.origin = excerpt, str(origin.identity) if origin else ""
    if reading.answer is Answer.BAD:
        cell.broke, cell.silent = cell.broke if again or still else at, reading.silent
        cell.relapsed = at if again else cell.relapsed
        cell.repeated = again
    state.touch("cells", key)
    return True


def _source(origin: Envelope) -> Source | None:
    return None if isinstance(origin.event, UnknownEvent) else origin.event.seen.source


def _renew(state: CoreState, cell: Cell, at: int, lasting: int) -> bool:
    """Take a word that was said before; return whether that shows that it was no accident."""
    if cell.expires or cell.probe:
        # What holds until told otherwise outranks what must be renewed, but for what is looked at all the time.
        cell.expires = lasting
        state.touch("cells", cell.key)
    if cell.answer is not Answer.BAD or cell.repeated or at <= cell.since:
        return False
    cell.repeated = True
    state.version += 1
    state.touch("cells", cell.key)
    return True


def _flaps(state: CoreState, cell: Cell, reading: Reading, at: int) -> bool:
    """Take a reading of a cell that flaps; return whether that was all there is to it."""
    if cell.answer is not Answer.BAD or not cell.relapsed:
        return False
    if reading.answer is Answer.BAD:
        if not cell.calm:
            return False
        cell.calm, cell.relapsed = 0, at
    elif at - cell.relapsed < _FLAPS:
        cell.calm = cell.calm or at + CALM
        look(state, cell.calm)
    else:
        return False
    state.touch("cells", cell.key)
    return True


def settle_down(state: CoreState, now: int) -> int | None:
    """Let cells that flapped and have been calm since count as well; return when the next of them will, None when there is none."""
    due: int | None = None
    for cell in state.cells.values():
        if not cell.calm:
            continue
        if cell.calm > now:
            due = cell.calm if due is None else min(due, cell.calm)
            continue
        cell.answer, cell.since, cell.expires, cell.calm = Answer.OK, cell.calm - CALM, 0, 0
        cell.was_ok = True
        state.version += 1
        state.touch("cells", cell.key)
    return due
