"""007 voting: each bad observation gives one vote, shared evenly by all that may be its reason; the most voted is blamed.

Source: B. Arzani et al., "007: Democratically Finding the Cause of Packet Drops", NSDI 2018, algorithm 1: after each blame the votes of
what it explains are taken back, and it goes on until nobody has one in a hundred of all votes.
"""

from __future__ import annotations

from typing import Final

from bench.localize.baselines.model import Blame, Model
from tests.sim.truth import Name

_LEAST: Final = 0.01
"""Share of all votes below which nobody is blamed."""


class Voting:
    """Blames by votes."""

    def blame(self, model: Model) -> list[Blame]:
        """Return the most voted first."""
        left = set(model.bad())
        risks = model.risks(left)
        votes: dict[Name, float] = dict.fromkeys(risks, 0.0)
        for seen in left:
            for name in model.suspects(seen):
                votes[name] += 1 / len(model.suspects(seen))
        least = _LEAST * sum(votes.values())
        found: list[Blame] = []
        while left:
            name = max(votes, key=lambda one: (votes[one], one))
            if votes[name] <= least:
                break
            explained = risks[name] & left
            found.append(Blame(name, explained, votes[name]))
            for seen in explained:
                for other in model.suspects(seen):
                    votes[other] -= 1 / len(model.suspects(seen))
            left -= explained
            votes[name] = 0.0
        return found
