"""The cheapest set of faults that explains the bad cells: greedy, then repaired.

The gain of one more fault falls with what is explained already, so candidates are ranked lazily: a stale gain is an upper bound.
Repair exchanges several chosen faults for one that covers them, and one for several, as long as the whole gets better.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from controller.core.inference.hypothesis import Hypothesis
from controller.core.inference.likelihood import HIT, TOGETHER

NEVER: Final = float("-inf")
"""Least gain with which every cell gets an explanation, however bad."""
_ROUNDS: Final = 8
"""Most exchanges; two or three are usual."""


class Choice:
    """A set of faults that is being put together, and how well it explains the cells so far."""

    def __init__(self, chosen: Iterable[Hypothesis] = ()) -> None:
        self.faults: list[Hypothesis] = []
        self.explained: set[str] = set()
        self._shared: dict[str, int] = defaultdict(int)
        self.total = 0.0
        for one in chosen:
            self.add(one)

    def gain(self, one: Hypothesis) -> float:
        """Return by how much the explanation gets better with one more fault."""
        return len(one.covers - self.explained) * HIT - self._cost(one)

    def add(self, one: Hypothesis) -> None:
        """Believe one more fault."""
        self.total += self.gain(one)
        self.faults.append(one)
        self.explained |= one.covers
        if one.shared:
            self._shared[one.shared] += 1

    def _cost(self, one: Hypothesis) -> float:
        # A switch takes several nodes' ways at once: the second way is no second accident.
        return one.cost - (one.prior - TOGETHER if one.shared and self._shared[one.shared] else 0.0)


def choose(candidates: Sequence[Hypothesis], cells: Iterable[str]) -> list[Hypothesis]:
    """Return the faults that explain the cells best, best first; cells that are better left alone stay unexplained."""
    found = greedy(candidates, cells)
    for _ in range(_ROUNDS):
        better = _exchanged(found, candidates)
        if better is None:
            break
        found = better
    return found.faults


def greedy(candidates: Sequence[Hypothesis], cells: Iterable[str], start: Iterable[Hypothesis] = (), least: float = 0.0) -> Choice:
    """Add the fault that gains most as long as one gains more than ``least``."""
    wanted = set(cells)
    choice = Choice(start)
    heap = [(-choice.gain(one), number) for number, one in enumerate(candidates) if one.covers & wanted]
    heapq.heapify(heap)
    while heap:
        _, number = heapq.heappop(heap)
        one = candidates[number]
        gain = choice.gain(one)
        if heap and gain < -heap[0][0]:
            heapq.heappush(heap, (-gain, number))
            continue
        if gain <= least:
            break
        if one.covers & wanted - choice.explained:
            choice.add(one)
            if one.shared:  # another way of the same network became cheaper
                heap = [(-choice.gain(candidates[other]), other) for _, other in heap]
                heapq.heapify(heap)
    return choice


def _exchanged(current: Choice, candidates: Sequence[Hypothesis]) -> Choice | None:
    """Return a better choice that differs by one exchange, None when there is none."""
    best: Choice | None = None
    for other in _many_for_one(current, candidates) + _one_for_many(current, candidates):
        if other.total > (best or current).total + 1e-9:
            best = other
    return best


def _many_for_one(current: Choice, candidates: Sequence[Hypothesis]) -> list[Choice]:
    found = []
    names = {one.name for one in current.faults}
    for one in candidates:
        replaced = [fault for fault in current.faults if fault.covers <= one.covers]
        if one.name not in names and replaced:
            kept = [fault for fault in current.faults if not fault.covers <= one.covers]
            found.append(Choice([*kept, one]))
    return found


def _one_for_many(current: Choice, candidates: Sequence[Hypothesis]) -> list[Choice]:
    found = []
    for fault in current.faults:
        if fault.against or fault.quiet:
            kept = [one for one in current.faults if one is not fault]
            others = [one for one in candidates if one.name != fault.name and one.covers & fault.covers]
            found.append(greedy(others, fault.covers, kept, NEVER))
    return found
