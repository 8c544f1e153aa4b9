"""Readings into cells, and the wish to look at them."""

from __future__ import annotations

from controller.core.evidence import SECOND, Answer, Reading
from controller.core.state import Cell, CoreState, cell_key
from events.envelope import Envelope


def look(state: CoreState, at: int) -> None:
    """Ask for the verdict to be looked at, at this time or earlier."""
    if state.look_at is None or at < state.look_at:
        state.look_at = at


def forget(state: CoreState, cell: Cell, now: int) -> None:
    """Let a cell know nothing any more."""
    cell.answer, cell.since, cell.expires = Answer.UNKNOWN, now, 0
    state.version += 1
    state.touch("cells", cell.key)
    look(state, now)


def answer(state: CoreState, node: str, reading: Reading, at: int, excerpt: str, origin: Envelope | None) -> bool:
    """Take one reading into its cell; return whether the answer changed. Readings older than the cell are late: dropped.

    ``origin`` is what says so, None for the controller itself.
    """
    key = cell_key(node, reading.entity, reading.aspect, reading.via)
    cell = state.cells.get(key)
    lasting = at + reading.lasts * SECOND if reading.lasts else 0
    if cell is None:
        cell = state.cells[key] = Cell(
            node, reading.entity, reading.aspect, reading.via, reading.layer, Answer.UNKNOWN, since=at, seen=at, notices=reading.notices
        )
        state.meet(cell)
    if at < cell.seen:
        return False
    cell.seen = at
    if reading.notices is not None:
        cell.notices = reading.notices
    if cell.answer is reading.answer:
        if cell.expires:
            # What holds until told otherwise outranks what must be renewed.
            cell.expires = lasting
            state.touch("cells", key)
        return False
    cell.answer, cell.since, cell.expires = reading.answer, at, lasting
    state.version += 1
    cell.was_ok = cell.was_ok or reading.answer is Answer.OK
    cell.excerpt, cell.origin = excerpt, str(origin.identity) if origin else ""
    if reading.answer is Answer.BAD:
        cell.broke, cell.silent = at, reading.silent
    state.touch("cells", key)
    return True
