"""What there is to explain, indexed: bad cells, well cells, who is alive, and through which networks things are reached."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import log
from typing import Final

from controller.core.evidence import SECOND, Answer
from controller.core.facts import Facts
from controller.core.happenings import Happening
from controller.core.inference.likelihood import PROOF, SILENCE, UNLIKE
from controller.core.state import Cell
from controller.core.topology.names import at, properties, split
from controller.core.topology.network import address_of, host_of
from controller.core.topology.topology import Topology

NETWORK: Final = frozenset({"nfs-server", "iscsi-portal", "iscsi-session", "server", "ceph-mon"})
"""Kinds of entities that a node reaches, or not, over its network."""
REACHES: Final = frozenset({"reach", "session", "state"})
"""Aspects of those that say whether it does."""
_TOGETHER: Final = 15 * SECOND
"""Cells of observers that look all the time, of one fault, go bad within this and their own time of notice."""


def kind_of(cell: Cell) -> tuple[str, str]:
    """Return (kind of entity, aspect) of a cell."""
    return cell.entity.partition("/")[0], cell.aspect


def is_network(cell: Cell) -> bool:
    """Tell whether a cell is about reaching something over the network."""
    return cell.aspect in REACHES and cell.entity.partition("/")[0] in NETWORK


def is_of_mount(cell: Cell) -> bool:
    """Tell whether a cell says how a mount reaches its server: a server may answer, and hang as soon as it needs its disks."""
    return cell.via.startswith("nfs-export/")


def address_in(entity: str) -> str:
    """Return the host of an NFS server, portal or other server."""
    kind, _, key = entity.partition("/")
    return host_of(key) if kind in {"iscsi-portal", "server"} else key.strip("[]")


_BEATS: Final = 3 * SECOND
"""Heartbeats come every 2 s: for so long it is worth waiting for one that says that its sender saw nothing."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """Well cells that a fault predicts bad: those that speak against it with their weight, and those that may yet turn bad."""

    against: Mapping[str, float]
    pending: Mapping[str, int]
    """Key to when it will have become proof, UTC µs."""


@dataclass(slots=True)
class Scene:
    """One moment. ``heard`` is when each watched node was last heard (UTC µs); who is not in it counts as always heard."""

    now: int
    bad: list[Cell]
    well: list[Cell]
    alive: frozenset[str]
    heard: Mapping[str, int] = field(default_factory=dict)
    topology: Topology = field(default_factory=lambda: Topology(Facts()))
    recent: Callable[[int], list[Happening]] = lambda _: []
    """What happened just before a moment (UTC µs)."""
    happenings: Collection[Happening] = ()
    well_of: dict[str, list[Cell]] = field(default_factory=lambda: defaultdict(list))
    """Well cells by all that they are about: entity, way, ``node/…``."""
    undecided: bool = False
    """Whether somebody may yet report a fault, or be heard: then time alone changes what is likely."""
    well_mounts: dict[str, list[Cell]] = field(default_factory=lambda: defaultdict(list))
    """Well cells of mounts by their server: who asks the server itself knows sooner, and is heard instead where both speak of it."""
    at_home: list[Cell] = field(default_factory=list)
    """Well cells of Ceph monitors that their own node hears: they say that the monitor runs, and nothing of any network."""
    _toward: dict[tuple[str, str], str] = field(default_factory=dict)
    _hosts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Index the well cells."""
        asked = {(cell.node, cell.entity) for cell in self.well if cell.aspect == "reach" and not cell.via}
        index, kept = self.well_of, []
        for cell in self.well:
            entity, via = cell.entity, cell.via
            if cell.aspect == "reach" and entity.startswith("ceph-mon/") and self._is_at_home(cell):
                self.at_home.append(cell)
                continue
            if via and is_of_mount(cell):
                self.well_mounts[entity].append(cell)
                if (cell.node, entity) in asked:
                    continue
            kept.append(cell)
            index[entity].append(cell)
            index[f"node/{cell.node}"].append(cell)
            if via:
                index[via].append(cell)
        self.well = kept

    def host(self, entity: str) -> str:
        """Return the address of an NFS server, portal, Ceph monitor or other server: two names of one machine have one."""
        found = self._hosts.get(entity)
        if found is None:
            named = self._given(entity)
            found = self._hosts[entity] = self.topology.names.get(named, named)
        return found

    def _monitor(self, entity: str) -> str:
        """Return the address of a Ceph monitor, as its cluster lists it; who was never told its name knows it by its address alone."""
        kind, _, key = entity.partition("/")
        if kind != "ceph-mon":
            return ""
        fsid, _, name = key.partition("/")
        return next((one.address for one in self.topology.facts.monitors().get(fsid, ()) if one.name == name and one.address), name)

    def _is_at_home(self, cell: Cell) -> bool:
        """Tell whether a cell about reaching a Ceph monitor is of the monitor's own node."""
        known, address = self.topology.networks.get(cell.node), address_of(self.host(cell.entity))
        return known is not None and address in known.addresses

    def network(self, cell: Cell) -> str:
        """Return the network (CIDR) through which a cell's node reaches what the cell is about; empty when that is not known.

        A monitor that refuses was reached: no network is to blame for it.
        """
        if cell.answer is Answer.BAD and not cell.silent and cell.entity.startswith("ceph-mon/"):
            return ""
        pair = (cell.node, cell.entity)
        found = self._toward.get(pair)
        if found is None:
            known = self.topology.networks.get(cell.node)
            found = self._toward[pair] = known.toward(self._given(cell.entity)) if known is not None else ""
        return found

    def _given(self, entity: str) -> str:
        """Return the host of an entity as it is given: by a name, where it is given so."""
        return self._monitor(entity) or address_in(entity)

    def beneath(self, storage: str) -> frozenset[str]:
        """Return all that a storage (an entity) needs, on any node: entities."""
        key = storage.partition("/")[2]
        views = [at(storage, node) for node in self.topology.nodes]
        found = {split(name)[0] for view in views for name in self.topology.graph.below(view)}
        # Who is asked is told by facts of nodes that may be late: what storage.cfg itself says is there at once.
        defined = self.topology.storages.get(key)
        server = properties(defined).get("server") if defined is not None else None
        return frozenset(found | ({f"nfs-server/{server}", f"server/{server}"} if server else set()))

    def weigh(self, cells: Iterable[Cell], onset: int) -> Weighed:
        """Weigh cells that are well, or were, against a fault that began at ``onset``."""
        against: dict[str, float] = {}
        pending: dict[str, int] = {}
        for cell in cells:
            if cell.answer is not Answer.OK:  # it went bad with a later fault, and was well when this one began
                against[cell.key] = PROOF
                continue
            if cell.node not in self.alive:
                continue
            due = None if cell.notices is None else onset + cell.notices * SECOND
            if cell.seen > onset:
                against[cell.key] = PROOF
            elif due is None or not cell.notices:
                continue
            elif (heard := min(self.now, self.heard.get(cell.node, self.now))) >= due:
                against[cell.key] = PROOF
            else:
                # What a node has not reported says something up to when it was last heard.
                self.undecided = True
                so_far = _not_yet((heard - onset) / (cell.notices * SECOND))
                if self.now < due + _BEATS:
                    pending[cell.key] = due if self.now < due else min(self.now + SECOND, due + _BEATS)
                against[cell.key] = so_far if self.now < due else max(so_far, SILENCE)
        return Weighed(against, pending)


def _not_yet(elapsed: float) -> float:
    """Return what a report that has not come speaks after this part of the time in which it must; it comes at any time alike."""
    return min(PROOF, UNLIKE - log(1 - min(0.999, max(0.0, elapsed))))


def coherent(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Split cells into those that went bad together: one fault makes what is watched all the time bad at nearly one time.

    What is only heard of when somebody uses it (no ``notices``) fits any earlier onset.
    """
    groups: list[list[Cell]] = []
    for cell in sorted(cells, key=lambda one: (one.broke, one.key)):
        for group in groups:
            slack = _TOGETHER + (cell.notices or 0) * SECOND
            if cell.notices is None or cell.broke - group[0].broke <= slack:
                group.append(cell)
                break
        else:
            groups.append([cell])
    return groups


def later(group: Iterable[Cell], cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells of other groups that a watching observer still saw well when this group went bad.

    What it says later of a thing that it had lost already is no contradiction: a session fails after its portal, a word is late.
    """
    mine = list(group)
    lost, onset = {(cell.node, cell.entity) for cell in mine}, onset_of(mine)
    return [cell for cell in cells if (cell.node, cell.entity) not in lost and cell.notices is not None and cell.broke > onset]


def onset_of(cells: Iterable[Cell]) -> int:
    """Return when the earliest of some bad cells went bad."""
    return min(cell.broke for cell in cells)
