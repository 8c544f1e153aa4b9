"""A word that stands alone: one node said one thing once, and nothing else bears it out. It may be an accident.

Whoever looks all the time looks again soon, and takes back what was not so. What the same node finds well of the same thing speaks
against its word all the while: then only its saying so again, as agents do each minute, makes it worth anybody's time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from controller.core.evidence import MOUNTS, SECOND
from controller.core.inference.scene import Scene, is_network, is_of_mount, kind_of
from controller.core.state import Cell
from events.host import NodeIscsi

LASTING: Final = 5 * SECOND
"""How long a word that may be an accident must last: for as long as whoever said it takes to look again."""
NEAR: Final = 15 * SECOND
"""Two nodes that say the same within this speak of one thing, and not by accident; and so do a fault's root and what follows from it."""
SAID_AGAIN: Final = 200 * SECOND
"""Within this whoever goes on finding it bad has said so again."""


_ASKED_ONCE: Final = frozenset({("nfs-server", "name")})
"""What an agent says of a thing itself without having looked twice: a name server may be busy."""


def stands_alone(scene: Scene, cells: Iterable[Cell], explained: Collection[str] = ()) -> bool:
    """Tell whether each of these is one word of somebody who looks all the time, said once, and nothing bears it out.

    Accidents of two nodes, or of one with two things, are two accidents, however near to one another those things are. ``explained``:
    keys of cells that have another fault for a reason, which shows in more than what they are about: they say nothing of this one.
    """
    group = list(cells)
    return all(_is_lone(scene, cell, group, explained) for cell in group)


def _is_lone(scene: Scene, cell: Cell, group: Iterable[Cell], explained: Collection[str]) -> bool:
    if cell.notices is None or cell.repeated or any(_bears_out(other, cell) for other in group if other is not cell):
        return False
    alike = (one for one in scene.bad if one.entity == cell.entity and one.aspect == cell.aspect and one.key != cell.key)
    near = (one for one in alike if abs(one.broke - cell.broke) < NEAR)
    return not any(one.node == cell.node or one.key not in explained for one in near)


def _bears_out(other: Cell, cell: Cell) -> bool:
    """Tell whether of two signs of one fault one bears out the other: both came at one time, or are one node's of one thing."""
    if abs(other.broke - cell.broke) < NEAR:
        return True
    return other.node == cell.node and (other.entity == cell.entity or other.layer != cell.layer)


def is_of_one_look(cell: Cell) -> bool:
    """Tell whether one unlucky look is enough to say so. Denials, stale handles, identities and delays are seen twice before."""
    return is_network(cell) or kind_of(cell) in _ASKED_ONCE


def is_contradicted(scene: Scene, cell: Cell) -> bool:
    """Tell whether the same node finds well what could not be well if its word were true."""
    if cell.aspect == "redundancy":
        return _keeps_all_sessions(scene, cell)
    if not is_network(cell) or is_of_mount(cell) or cell.via == MOUNTS:
        return False  # a server that answers may hang all the same as soon as it needs its disks
    if cell.aspect == "session" and not cell.silent:
        return False  # its target was reached, and closed it
    if cell.entity.startswith("ceph-mon/"):
        return cell.silent and _hears_others(scene, cell)
    others = (*scene.well_of[cell.entity], *scene.well_mounts[cell.entity])
    return any(one.node == cell.node and one.entity == cell.entity and one.notices is not None and is_network(one) for one in others)


def _hears_others(scene: Scene, cell: Cell) -> bool:
    """Tell whether a node hears other monitors of a Ceph cluster through the network through which one of them is silent to it."""
    cluster, network = cell.entity.rpartition("/")[0], scene.network(cell)
    others = (one for one in scene.well_of[f"node/{cell.node}"] if one.entity.rpartition("/")[0] == cluster and one.notices is not None)
    return any(is_network(one) and scene.network(one) == network for one in others)


def _keeps_all_sessions(scene: Scene, cell: Cell) -> bool:
    """Tell whether a node has all sessions over which it reaches a LUN that is said to have lost a path."""
    known = scene.topology.facts.get(NodeIscsi, cell.node)
    lun = cell.entity.partition("/")[2]
    targets = {f"iscsi-target/{one.target}" for one in known.sessions if lun in one.luns} if known is not None else set()
    sessions = [one for name in sorted(targets) for one in scene.well_of[name] if one.aspect == "session" and one.node == cell.node]
    return any(one.notices is not None for one in sessions)
