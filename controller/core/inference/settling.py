"""When a verdict may be told: as soon as what can still be reported within a few seconds would not change whose fault it is.

Two futures are looked at beside the present: nobody who may yet report the fault does, and everybody does. When all three agree on whether
it is one node's own matter or everybody's there is nothing to wait for, nor for a future that has become unlikely: of thirty nodes that
should have noticed by chance some second ago, one would have. That a server's fault turns out to be its whole network's is a
revision a few seconds later, and no reason to be silent until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from controller.core.causes import Cause
from controller.core.evidence import ROOT, SECOND
from controller.core.inference.ceph import is_ceph
from controller.core.inference.hypothesis import Hypothesis, as_if_bad, as_if_well
from controller.core.inference.search import NEVER, choose, greedy
from controller.core.state import Cell
from controller.core.timings import Timings

FOLLOW_UP: Final = 3 * SECOND
"""A target that closes sessions says why of the first within this: the rejected login comes after the broken connection."""
NFS_SPREAD: Final = 10 * SECOND
"""Kernels of busy nodes report one server's silence within this (measured: 2.1 s; the rest is slack for load)."""
CEPH_AGREES: Final = 3 * SECOND
"""Ceph says what it suffers from before it says what it suffers: OSDs are down in its map before their groups are degraded."""
_OF_CEPH: Final = frozenset({"active", "redundancy", "recovery", "ops"})
"""What a Ceph cluster says of itself, with all that its own map tells beneath it."""
_REMOTE: Final = 3.0
"""nats; another fault that is by this much less likely now, one in twenty, is not waited for."""
SOON: Final = SECOND // 4
"""By this much sooner than at the latest: reports take their time to come and to be looked at."""
_STEP: Final = SECOND // 2
"""Between two looks at how likely what has not been reported still is."""


def stable_at(
    now: int, one: Hypothesis, roots: Sequence[Cell], rivals: Iterable[Hypothesis], candidates: Sequence[Hypothesis], timings: Timings
) -> int:
    """Return when a verdict is stable, UTC µs."""
    onset = min(cell.broke for cell in roots)
    latest = onset + timings.settle
    if one.cause is not Cause.ISCSI_AUTH_REJECTED and (closed := _closed(roots)):
        latest = max(latest, min(closed) + FOLLOW_UP)
    if one.quiet:
        latest = max(latest, onset + NFS_SPREAD)
    if roots[0].layer != ROOT:
        # What flaps has an old onset; what is below it speaks anew each time.
        wait = CEPH_AGREES if all(is_ceph(cell) and cell.aspect in _OF_CEPH for cell in roots) else timings.longest - SOON
        return max(onset, min(cell.since for cell in roots)) + min(wait, timings.longest)
    dues = [due for other in (one, *rivals) for due in other.pending.values() if now < due]
    if dues and not (_is_alike(one, candidates, as_if_well) and _is_alike(one, candidates, partial(_as_if_bad, _least(one)))):
        latest = max(latest, min(*dues, now + _STEP))
    return min(latest, onset + timings.longest - SOON)


def _closed(roots: Sequence[Cell]) -> list[int]:
    """Return when targets closed sessions that they may say the reason of: who takes no connections any more rejects no login."""
    unreached = {cell.entity for cell in roots if cell.aspect == "reach"}
    return [cell.broke for cell in roots if cell.aspect == "session" and not cell.silent and cell.entity not in unreached]


def _least(one: Hypothesis) -> float:
    return one.score(len(one.covers)) - _REMOTE


def _as_if_bad(least: float, other: Hypothesis) -> Hypothesis:
    """Return a hypothesis in the future in which all that it predicts comes true, unless that has become unlikely."""
    return as_if_bad(other) if other.score(len(other.covers)) >= least else other


def _is_alike(one: Hypothesis, candidates: Sequence[Hypothesis], future: Callable[[Hypothesis], Hypothesis]) -> bool:
    """Tell whether in a future the same cells are one node's matter, or everybody's, as they are now."""
    then = [future(other) for other in candidates]
    cells = frozenset().union(*(other.covers for other in then))
    chosen = [other for other in choose(then, cells) if other.covers & one.covers]
    # That all of it may have been an accident is weighed elsewhere: here something must be the reason of it.
    found = chosen or [other for other in greedy(then, one.covers, (), NEVER).faults if other.covers & one.covers]
    return all(other.of_node == one.of_node for other in found)
