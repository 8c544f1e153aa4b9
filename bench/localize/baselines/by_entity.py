"""Group by entity: one alert group for each thing that anybody finds bad.

Source: Prometheus Alertmanager, ``group_by`` (its documentation; 0.34). Nothing is inferred: what is told of most is first. Its usual
``group_wait`` of 30 s is left out, to its favour.
"""

from __future__ import annotations

from collections import defaultdict

from bench.localize.baselines.model import Blame, Model, Seen


class ByEntity:
    """One incident for each entity."""

    def blame(self, model: Model) -> list[Blame]:
        """Return each bad entity under its own first name."""
        groups: dict[str, list[Seen]] = defaultdict(list)
        for seen in model.bad():
            groups[seen.entity].append(seen)
        found = [Blame(model.suspects(some[0])[0], frozenset(some), len(some)) for some in groups.values()]
        return sorted(found, key=lambda one: (-one.score, one.name))
