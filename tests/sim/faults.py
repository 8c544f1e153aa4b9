"""What a fault verb makes: the marks that it sets in the world, and the truth about it. The verbs are in their families' modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.sim.plan import Plan
from tests.sim.truth import Truth
from tests.sim.world import Mark


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that breaks: its marks, and what is true then."""

    verb: str
    marks: tuple[Mark, ...]
    truths: tuple[Truth, ...]

    @property
    def single(self) -> str:
        """Return the node whose own fault all of it is; empty when it is not one node's."""
        nodes = {one.of_node for one in self.truths}
        return nodes.pop() if len(nodes) == 1 else ""


@dataclass(frozen=True, slots=True)
class Verb:
    """One way to break: its name, the row of the design's table that it belongs to, and what makes such a fault.

    ``make`` returns None when the cluster has nothing that can break so.
    """

    name: str
    row: str
    make: Callable[[Plan, Random], Fault | None]
