"""Keeps incidents over time for baselines that judge moments only: a name that changes revises its incident, as for the real engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.localize.baselines.model import Baseline, Blame, Model, Seen
from bench.localize.told import Told
from controller.core.evidence import SECOND
from controller.core.topology.topology import Topology
from tests.sim.channel import Arrival
from tests.sim.truth import Name

_PACE = 2 * SECOND
"""Observations that changed are judged after this."""


@dataclass(slots=True)
class _Kept:
    id: str
    name: Name
    explains: set[Seen] = field(default_factory=set)


class Keeper:
    """Runs one baseline over what arrives and collects what it tells."""

    def __init__(self, baseline: Baseline, model: Model) -> None:
        self._baseline = baseline
        self._model = model
        self._kept: list[_Kept] = []
        self._due: int | None = None
        self._count = 0
        self.history: list[Told] = []

    def take(self, arrival: Arrival) -> None:
        """Take in one message."""
        self.until(arrival.at)
        if self._model.take(arrival) and self._due is None:
            self._due = arrival.at + _PACE

    def until(self, at: int) -> None:
        """Let time pass."""
        if self._due is not None and self._due <= at:
            self._model.now, self._due = self._due, None
            self._judge()

    def _judge(self) -> None:
        if any(bad and self._model.now - since < _PACE for bad, since in self._model.states.values()):
            self._due = self._model.now + _PACE
        if not self._model.bad():
            self._kept = []
            return
        found = self._baseline.blame(self._model)
        whole = sum(one.score for one in found) or 1.0
        left = list(self._kept)
        self._kept = []
        new: list[Blame] = []
        for one in found:
            same = next((kept for kept in left if kept.name == one.name), None)
            if same is None:
                new.append(one)
                continue
            left.remove(same)
            same.explains |= one.explains
            self._kept.append(same)
        for one in new:
            self._tell(one, found, left, whole)
        self._end(left)

    def _tell(self, one: Blame, found: Sequence[Blame], left: list[_Kept], whole: float) -> None:
        before = max(left, key=lambda kept: len(kept.explains & one.explains), default=None)
        if before is None or not before.explains & one.explains:
            self._count += 1
            before = _Kept(f"b{self._count}", one.name)
        else:
            left.remove(before)
        before.name = one.name
        before.explains |= one.explains
        self._kept.append(before)
        others = tuple(other.name for other in found if other is not one)
        self.history.append(Told(self._model.now, before.id, one.name, min(1.0, one.score / whole), others))

    def _end(self, left: list[_Kept]) -> None:
        """End incidents that are named no more: as part of others when those explain what is still bad of it."""
        bad = set(self._model.bad())
        explained = {seen for kept in self._kept for seen in kept.explains}
        for one in left:
            if one.explains & bad and one.explains & bad <= explained:
                self.history.append(Told(self._model.now, one.id, one.name, merged=True))


def at_rest(arrivals: Sequence[Arrival], topology: Topology) -> Model:
    """Return what is seen of a cluster at rest; :meth:`Model.fresh` copies it."""
    model = Model(topology)
    for one in arrivals:
        model.take(one)
    return model
