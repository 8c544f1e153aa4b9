"""What baselines see and what they know: observations, and for each the faults that may be its reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from controller.core.causes import Cause
from controller.core.correlate import Heard
from controller.core.evidence import SECOND, Answer, forgotten, readings
from controller.core.inference.saying import DIRECT_CAUSES
from controller.core.inference.scene import REACHES, address_in
from controller.core.topology.names import at, split
from controller.core.topology.topology import Topology
from events.envelope import UnknownEvent
from tests.sim.channel import Arrival
from tests.sim.truth import Name

SETTLE: Final = 2 * SECOND
"""What is bad for a shorter time is not looked at; the same for all."""
_BY_KIND: Final = {
    "nfs-server": Cause.NFS_SERVER_DOWN,
    "iscsi-portal": Cause.ISCSI_PORTAL_DOWN,
    "iscsi-target": Cause.ISCSI_TARGET_DOWN,
    "subnet": Cause.STORAGE_SUBNET_DOWN,
    "node": Cause.NODE_STORAGE_NETWORK,
    "vg": Cause.VG_MISSING,
    "lun": Cause.ALL_PATHS_DOWN,
    "ceph": Cause.CEPH_PG_INACTIVE,
    "ceph-host": Cause.CEPH_HOST_DOWN,
}
"""What is wrong with a thing that others need."""


class Seen(NamedTuple):
    """One node's view of one thing."""

    node: str
    entity: str
    aspect: str
    via: str


@dataclass(frozen=True, slots=True)
class Blame:
    """A fault that a baseline names, the bad observations that it explains, and how sure it is, by its own measure."""

    name: Name
    explains: frozenset[Seen]
    score: float = 1.0


class Baseline(Protocol):
    """Infers faults from one moment's observations."""

    def blame(self, model: Model) -> list[Blame]:
        """Return what is broken, most likely first."""


@dataclass(slots=True)
class Model:
    """The observations at one moment, and what may be the reason of each."""

    topology: Topology
    states: dict[Seen, tuple[bool, int]] = field(default_factory=dict)
    """Whether each is bad, and since when (UTC µs)."""
    now: int = 0
    _suspects: dict[Seen, tuple[Name, ...]] = field(default_factory=dict)

    def fresh(self) -> Model:
        """Return a copy that may be changed; what may be the reason of what is shared."""
        return Model(self.topology, dict(self.states), self.now, self._suspects)

    def take(self, arrival: Arrival) -> bool:
        """Take in an event; return whether an observation changed."""
        self.now = arrival.at
        if isinstance(arrival.what, Heard) or isinstance(arrival.what.event, UnknownEvent):
            return False
        changed = False
        for one in readings(arrival.what, arrival.what.event):
            seen = Seen(arrival.what.node, one.entity, one.aspect, one.via)
            bad = one.answer is Answer.BAD
            before = self.states.get(seen)
            if before is None or before[0] != bad:
                self.states[seen] = (bad, arrival.at)
                changed = changed or bad or before is not None
        if closed := forgotten(arrival.what.event):
            self.states.pop(Seen(arrival.what.node, closed[0], "session", closed[1]), None)
        return changed

    def bad(self) -> list[Seen]:
        """Return what is bad and has been for a moment."""
        return [seen for seen, (bad, since) in self.states.items() if bad and self.now - since >= SETTLE]

    def risks(self, bad: Iterable[Seen]) -> dict[Name, frozenset[Seen]]:
        """Return all faults that may be the reason of any of these, each with everything that it should make bad."""
        wanted = {name for seen in bad for name in self.suspects(seen)}
        found: dict[Name, set[Seen]] = defaultdict(set)
        for seen in self.states:
            for name in self.suspects(seen):
                if name in wanted:
                    found[name].add(seen)
        return {name: frozenset(found[name]) for name in sorted(wanted)}

    def suspects(self, seen: Seen) -> tuple[Name, ...]:
        """Return the faults that may be the reason of an observation: the thing itself, what lies beneath, the ways to it."""
        known = self._suspects.get(seen)
        if known is None:
            known = self._suspects[seen] = tuple(dict.fromkeys(self._find(seen)))
        return known

    def _find(self, seen: Seen) -> Sequence[Name]:
        kind = seen.entity.partition("/")[0]
        if seen.aspect in REACHES and kind in ("nfs-server", "iscsi-portal"):
            return self._reaching(seen)
        if kind == "iscsi-target":
            return [((Cause.ISCSI_AUTH_REJECTED if seen.aspect == "auth" else Cause.ISCSI_TARGET_DOWN).value, seen.entity)]
        own = DIRECT_CAUSES.get((kind, seen.aspect), Cause.UNEXPLAINED)
        return [(own.value, seen.entity), *self._beneath(seen)]

    def _reaching(self, seen: Seen) -> list[Name]:
        known = self.topology.networks.get(seen.node)
        network = known.toward(address_in(seen.entity)) if known else ""
        found = [seen.entity, *([seen.via] if seen.via.startswith("iscsi-target/") else [])]
        found += [f"subnet/{network}"] if network else []
        return [_named(one) for one in [*found, f"node/{seen.node}"]]

    def _beneath(self, seen: Seen) -> list[Name]:
        """Return what a map, a volume group or a storage needs on its node, and the node's own way to it."""
        if seen.entity.partition("/")[0] not in ("lun", "vg", "storage"):
            return []
        views = [at(seen.entity, seen.node)]
        if seen.entity.startswith("vg/"):
            views = [name for name in self.topology.graph.users(seen.entity) if split(name)[1] == seen.node]
        below = {split(name)[0] for view in views for name in self.topology.graph.below(view)}
        return [_named(one) for one in sorted(below) if one.partition("/")[0] in _BY_KIND]


def _named(entity: str) -> Name:
    return _BY_KIND[entity.partition("/")[0]].value, entity
