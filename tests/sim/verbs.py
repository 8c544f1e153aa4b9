"""All fault verbs."""

from __future__ import annotations

from typing import Final

from tests.sim import faults_cluster, faults_reaching
from tests.sim.faults import Verb

VERBS: Final[tuple[Verb, ...]] = (*faults_reaching.VERBS, *faults_cluster.VERBS)
BY_NAME: Final = {one.name: one for one in VERBS}
