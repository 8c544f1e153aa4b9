"""Best rank: of all nodes' words on one thing the best one counts, so a thing is down only when every node that tells of it lost it.

Source: Pulse (rcourtman/Pulse, ``mergeSharedStorageStatus``: warning, available and unavailable ranked, the best kept). It merges storages;
here it is given the server, target or other thing beneath, which is more than it knows. A node's own loss is never told.
"""

from __future__ import annotations

from collections import defaultdict

from bench.localize.baselines.model import Blame, Model, Seen


class BestRank:
    """One incident for each entity that nobody finds well."""

    def blame(self, model: Model) -> list[Blame]:
        """Return the entities that all who tell of them find bad."""
        bad = frozenset(model.bad())
        groups: dict[tuple[str, str], list[Seen]] = defaultdict(list)
        for seen in model.states:
            groups[seen.entity, seen.aspect].append(seen)
        found = [Blame(model.suspects(some[0])[0], frozenset(some), len(some)) for some in groups.values() if bad.issuperset(some)]
        best = {one.name: one for one in sorted(found, key=lambda one: one.score)}
        return sorted(best.values(), key=lambda one: (-one.score, one.name))
