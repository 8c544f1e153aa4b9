"""All baselines by name."""

from __future__ import annotations

from typing import Final

from bench.localize.baselines.all_hosts import AllHosts
from bench.localize.baselines.best_rank import BestRank
from bench.localize.baselines.by_entity import ByEntity
from bench.localize.baselines.model import Baseline
from bench.localize.baselines.noisy_or import NoisyOr
from bench.localize.baselines.set_cover import SetCover
from bench.localize.baselines.voting import Voting

BASELINES: Final[dict[str, Baseline]] = {
    "group-by-entity": ByEntity(),
    "best-rank": BestRank(),
    "all-hosts": AllHosts(),
    "007-voting": Voting(),
    "score": SetCover(),
    "noisy-or-2": NoisyOr(),
}
