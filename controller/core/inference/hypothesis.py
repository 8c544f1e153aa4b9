"""A fault that could be the reason of some bad cells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from controller.core.causes import Cause
from controller.core.inference.likelihood import HIT, PROOF, QUIET
from controller.core.inference.scene import Scene, onset_of
from controller.core.state import Cell


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One possible fault: what it explains, what speaks against it, what it costs to believe.

    ``of_node`` marks faults that are one node's own, ``shared`` what several nodes' faults have in common (a network, an endpoint).
    """

    cause: Cause
    entity: str
    covers: frozenset[str]
    against: dict[str, float]
    pending: dict[str, int]
    prior: float
    onset: int
    scope: str = ""
    of_node: str = ""
    shared: str = ""
    quiet: int = 0
    """Nodes without a probe that may use the thing and say nothing."""

    name: tuple[str, str, str, str, int] = field(init=False, repr=False)
    """What orders hypotheses and tells them apart."""
    cost: float = field(init=False, repr=False)
    """What speaks against it: prior and contradictions, nats."""

    def __post_init__(self) -> None:
        """Compute once what a search for the best explanation asks for again and again."""
        object.__setattr__(self, "name", (self.cause.value, self.entity, self.scope, self.of_node, self.onset))
        object.__setattr__(self, "cost", self.prior + sum(self.against.values()) + self.quiet * QUIET)

    def score(self, covered: int) -> float:
        """Return how well it explains this many bad cells that nothing else does, nats."""
        return covered * HIT - self.cost


def suppose(
    scene: Scene,
    cause: Cause,
    entity: str,
    bad: Iterable[Cell],
    well: Iterable[Cell],
    prior: float,
    *,
    scope: str = "",
    of_node: str = "",
    shared: str = "",
    quiet: int = 0,
) -> Hypothesis:
    """Return the hypothesis that this fault made these cells bad, although those are well."""
    cells = list(bad)
    onset = onset_of(cells)
    weighed = scene.weigh(well, onset)
    keys = frozenset(cell.key for cell in cells)
    return Hypothesis(cause, entity, keys, dict(weighed.against), dict(weighed.pending), prior, onset, scope, of_node, shared, quiet)


def as_if_well(one: Hypothesis) -> Hypothesis:
    """Return the hypothesis in the future in which whoever may yet report it does not."""
    return _with(one, one.covers, {**one.against, **dict.fromkeys(one.pending, PROOF)})


def as_if_bad(one: Hypothesis) -> Hypothesis:
    """Return the hypothesis in the future in which everybody who may yet report it does."""
    return _with(one, one.covers | frozenset(one.pending), one.against)


def _with(one: Hypothesis, covers: frozenset[str], against: dict[str, float]) -> Hypothesis:
    return Hypothesis(one.cause, one.entity, covers, against, {}, one.prior, one.onset, one.scope, one.of_node, one.shared, one.quiet)
