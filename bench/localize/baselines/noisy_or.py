"""Noisy-OR with at most two faults: the most probable explanation of a two-level Bayesian network, by enumeration.

Sources: S. Kandula, D. Katabi, J.-P. Vasseur, "Shrink: A Tool for Failure Diagnosis in IP Networks", MineNet 2005; P. Bahl et al., "Towards
Highly Reliable Enterprise Network Services via Inference of Multi-level Dependencies" (Sherlock), SIGCOMM 2007, whose Ferret also
enumerates up to k faults.
"""

from __future__ import annotations

from itertools import combinations
from math import exp, log
from typing import Final

from bench.localize.baselines.model import Blame, Model
from tests.sim.truth import Name

_STRONG: Final = 0.9
"""P(bad | one fault)."""
_LEAK: Final = 0.01
"""P(bad | no fault)."""
_PRIOR: Final = 1e-4
"""P(fault), for each."""
_MOST: Final = 120
"""Faults of which pairs are made: those that explain most alone."""


class NoisyOr:
    """Blames the most probable set of one or two faults."""

    def blame(self, model: Model) -> list[Blame]:
        """Return the faults of the most probable set."""
        bad = frozenset(model.bad())
        risks = model.risks(bad)
        bits = {seen: 1 << number for number, seen in enumerate({seen for group in risks.values() for seen in group} | bad)}
        wrong = sum(bits[seen] for seen in bad)
        covers: dict[Name, int] = {name: sum(bits[seen] for seen in group) for name, group in risks.items()}
        alone = {name: _score(wrong, cover, 0) for name, cover in covers.items()}
        best = sorted(alone, key=lambda name: (-alone[name], name))[:_MOST]
        pairs = [((one, other), _score(wrong, covers[one], covers[other])) for one, other in combinations(best, 2)]
        choices = [((name,), alone[name]) for name in best] + pairs
        names, _ = max(choices, key=lambda choice: (choice[1], -len(choice[0]), choice[0]), default=((), 0.0))
        return [Blame(name, risks[name] & bad, len(risks[name] & bad)) for name in names]


_MISSED, _MISSED_TWICE = log(1 - _STRONG), 2 * log(1 - _STRONG)


def _score(wrong: int, one: int, other: int) -> float:
    """Return ln P(observations, faults) relative to no fault at all."""
    once, twice = one ^ other, one & other
    score = log(_PRIOR) * (2 if other else 1)
    for cover, missed in ((once, _MISSED), (twice, _MISSED_TWICE)):
        hits = (cover & wrong).bit_count()
        score += hits * (log(1 - (1 - _LEAK) * exp(missed)) - log(_LEAK)) + (cover.bit_count() - hits) * missed
    return score
