"""SCORE: greedy set cover over groups of shared risk.

Source: R. R. Kompella et al., "IP Fault Localization via Risk Modeling", NSDI 2005. Of the groups whose hit ratio (bad ones of all that the
group should make bad) reaches a threshold, which allows for lost and false reports, the one with the highest coverage ratio is taken;
what it covers is removed, and again.
"""

from __future__ import annotations

from typing import Final

from bench.localize.baselines.model import Blame, Model

_HIT: Final = 0.8
"""Hit ratio that a group must reach; the paper's error threshold. Where none does, the best one is taken."""


class SetCover:
    """Blames by coverage."""

    def blame(self, model: Model) -> list[Blame]:
        """Return groups in the order in which they are taken."""
        bad = frozenset(model.bad())
        risks = model.risks(bad)
        left = set(bad)
        found: list[Blame] = []
        while left:
            ratios = {name: len(group & bad) / len(group) for name, group in risks.items() if group & left}
            least = min(_HIT, max(ratios.values(), default=0.0))
            name = max(
                (one for one in ratios if ratios[one] >= least), key=lambda one: (len(risks[one] & left), ratios[one], one), default=None
            )
            if name is None:
                break
            explained = risks[name] & left
            found.append(Blame(name, explained, len(explained)))
            left -= explained
        return found
