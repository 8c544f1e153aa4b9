"""When a verdict may be told: as soon as what can still be reported within a few seconds would not change whose fault it is.

Two futures are looked at beside the present: nobody who may yet report the fault does, and everybody does. When all three agree on whether
it is one node's own matter or everybody's there is nothing to wait for. That a server's fault turns out to be its whole network's is a
revision a few seconds later, and no reason to be silent until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from controller.core.evidence import ROOT, SECOND
from controller.core.inference.hypothesis import Hypothesis, as_if_bad, as_if_well
from controller.core.inference.search import choose
from controller.core.state import Cell
from controller.core.timings import Timings

FOLLOW_UP: Final = 3 * SECOND
"""A target that closes a session says why within this: the rejected login comes after the broken connection."""
NFS_SPREAD: Final = 10 * SECOND
"""Kernels of busy nodes report one server's silence within this (measured: 2.1 s; the rest is slack for load)."""
WEAK: Final = 5 * SECOND
"""How long a single report of a single node, which may be an accident, must last."""


def stable_at(
    now: int, one: Hypothesis, roots: Sequence[Cell], rivals: Iterable[Hypothesis], candidates: Sequence[Hypothesis], timings: Timings
) -> int:
    """Return when a verdict is stable, UTC µs."""
    onset = min(cell.broke for cell in roots)
    latest = onset + timings.settle
    if one.score(len(roots)) <= 0:
        latest = max(latest, onset + WEAK)
    if any(cell.aspect == "session" and not cell.silent for cell in roots):
        latest = max(latest, max(cell.broke for cell in roots) + FOLLOW_UP)
    if one.quiet:
        latest = max(latest, onset + NFS_SPREAD)
    if roots[0].layer != ROOT:
        # What flaps has an old onset; what is below it speaks anew each time.
        return max(onset, min(cell.since for cell in roots)) + timings.longest
    dues = [due for other in (one, *rivals) for due in other.pending.values() if now < due]
    if dues and not all(_is_alike(one, candidates, future) for future in (as_if_well, as_if_bad)):
        latest = max(latest, min(dues))
    return min(latest, onset + timings.longest)


def _is_alike(one: Hypothesis, candidates: Sequence[Hypothesis], future: Callable[[Hypothesis], Hypothesis]) -> bool:
    """Tell whether in a future the same cells are one node's matter, or everybody's, as they are now."""
    then = [future(other) for other in candidates]
    cells = frozenset().union(*(other.covers for other in then))
    # What no fault would be worth believing for then may have been an accident.
    found = [other for other in choose(then, cells) if other.covers & one.covers]
    return bool(found) and all(other.of_node == one.of_node for other in found)
