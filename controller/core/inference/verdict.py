"""The verdict: the faults that explain all bad cells, each with its rivals, its confidence and the time from which it may be told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import exp
from typing import Final

from controller.core.causes import Cause
from controller.core.evidence import ROOT
from controller.core.inference.alone import LASTING, NEAR, SAID_AGAIN, is_contradicted, is_of_one_look, stands_alone
from controller.core.inference.beforehand import beforehand
from controller.core.inference.ceph import by_cluster, clusters
from controller.core.inference.configured import configured
from controller.core.inference.consequences import follows
from controller.core.inference.hypothesis import Hypothesis, suppose
from controller.core.inference.likelihood import DIRECT, HIT
from controller.core.inference.reaching import reaching
from controller.core.inference.saying import said
from controller.core.inference.scene import Scene, onset_of
from controller.core.inference.search import NEVER, choose, greedy
from controller.core.inference.settling import CEPH_AGREES, stable_at
from controller.core.state import SEPARATOR, Cell
from controller.core.timings import Timings

_RIVALS: Final = 4
"""Most rivals that are shown."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Another explanation of some of the same cells: its probability, and why it was set aside."""

    cause: Cause
    entity: str
    confidence: float
    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """One named fault. ``stable``: finds :attr:`stable_at`, which only what is about to be told is asked for."""

    cause: Cause
    entity: str
    scope: str
    roots: frozenset[str]
    consequences: frozenset[str]
    against: tuple[str, ...]
    confidence: float
    score: float
    alternatives: tuple[Rejected, ...]
    onset: int
    stable: Callable[[], int] = field(repr=False, compare=False)
    due: int | None = None
    """When what has not been reported yet speaks against it, or for a rival, UTC microseconds: it is worth another look then."""

    @property
    def stable_at(self) -> int:
        """Return when it may be told, UTC microseconds."""
        return self.stable()

    @property
    def cells(self) -> frozenset[str]:
        """Return all cells that this fault explains."""
        return self.roots | self.consequences


def judge(scene: Scene, timings: Timings) -> list[Verdict]:
    """Explain all bad cells of a scene."""
    by_key = {cell.key: cell for cell in scene.bad}
    roots = [cell for cell in scene.bad if cell.layer == ROOT]
    supposed = (*reaching(scene, roots), *said(scene, roots), *clusters(scene, roots), *configured(scene, roots))
    candidates = sorted((beforehand(scene, one) for one in supposed), key=lambda one: one.name)
    found = [verdict for part in _components(candidates) for verdict in _judge_part(scene, part, by_key, timings)]
    found = _with_consequences(scene, _joined(found), by_key)
    explained = frozenset().union(*(one.cells for one in found)) if found else frozenset()
    found += _higher(scene, [cell for cell in scene.bad if cell.key not in explained], by_key, timings)
    wide = (one for one in found if len({by_key[key].entity for key in one.roots}) > 1)
    explained = frozenset().union(*(one.roots for one in wide), *(one.consequences for one in found))
    return [_with_accidents(scene, one, by_key, explained) for one in found]


def _with_accidents(scene: Scene, one: Verdict, by_key: dict[str, Cell], explained: frozenset[str]) -> Verdict:
    """Weigh a verdict against the possibility that its signs are accidents, and let one that may be last first.

    A sign that was said again, or by another node as well, or that agents look at twice before they say it, was no accident twice. What its
    own witness contradicts must be said again at all. What was bad long before its root bears out little. ``explained``: cells whose reason
    shows in several things.
    """
    cells = [by_key[key] for key in one.cells]
    fresh = [cell for cell in cells if cell.key in one.roots or cell.broke > one.onset - NEAR]
    alone = stands_alone(scene, fresh, explained)
    sure = sum(cell.repeated or not is_of_one_look(cell) for cell in cells) or int(not alone)
    surplus = one.score + HIT * (len(one.consequences) + sure)
    share = 1 / (1 + one.confidence * exp(-max(0.0, surplus)))
    shown = tuple(replace(other, confidence=round(other.confidence * share, 2)) for other in one.alternatives)
    found = replace(one, confidence=round(min(0.99, max(0.05, one.confidence * share)), 2), alternatives=shown)
    if not alone:
        least = max(one.onset, min(cell.since for cell in cells)) + LASTING if surplus <= 0 else 0
    else:  # several lone words: the first that has stood is enough
        only = len(fresh) == len(one.roots)
        waits = ((by_key[key], _wait(scene, by_key[key], only=only, doubted=surplus <= 0)) for key in one.roots)
        least = min(max(cell.broke, cell.since) + wait for cell, wait in waits)
    return replace(found, stable=lambda: max(one.stable_at, least)) if least else found


def _wait(scene: Scene, cell: Cell, *, only: bool, doubted: bool) -> int:
    """Return how long a lone word must stand, µs; ``only``: nothing follows from it, ``doubted``: it is likelier an accident than not."""
    if only and is_contradicted(scene, cell):
        return SAID_AGAIN
    return LASTING if doubted or is_of_one_look(cell) else 0


def _components(candidates: Sequence[Hypothesis]) -> list[list[Hypothesis]]:
    """Split candidates into those that share no cell: they are judged apart."""
    leader: dict[str, str] = {}

    def find(key: str) -> str:
        while leader.setdefault(key, key) != key:
            leader[key] = leader[leader[key]]
            key = leader[key]
        return key

    for one in candidates:
        keys = iter(one.covers)
        first = find(next(keys))
        for key in keys:
            leader[find(key)] = first
    parts: dict[str, list[Hypothesis]] = defaultdict(list)
    for one in candidates:
        parts[find(next(iter(one.covers)))].append(one)
    return list(parts.values())


def _judge_part(scene: Scene, candidates: list[Hypothesis], by_key: dict[str, Cell], timings: Timings) -> list[Verdict]:
    cells = frozenset().union(*(one.covers for one in candidates))
    chosen = choose(candidates, cells)
    left = cells - frozenset().union(*(one.covers for one in chosen))
    # What even the best fault explains badly still has to be shown to somebody.
    chosen = greedy(candidates, left, chosen, NEVER).faults if left else chosen
    taken: set[str] = set()
    found = []
    for one in chosen:
        cover = one.covers - taken
        taken |= one.covers
        if cover:
            found.append(_verdict(scene, one, cover, candidates, by_key, timings))
    return found


def _verdict(
    scene: Scene, one: Hypothesis, cover: frozenset[str], candidates: list[Hypothesis], by_key: dict[str, Cell], timings: Timings
) -> Verdict:
    own = one.score(len(cover))
    others = [other for other in candidates if (other.cause, other.entity) != (one.cause, one.entity) and other.covers & cover]
    rivals = _best_of_each(others, cover)
    roots = [by_key[key] for key in sorted(cover)]
    close = [other for score, other in rivals if other.pending or score > 0]
    weights = [exp(min(0.0, score - own)) for score, _ in rivals]
    whole = 1 + sum(weights)
    shown = [
        Rejected(other.cause, other.entity, weight / whole, score, _reason(other, cover))
        for (score, other), weight in zip(rivals[:_RIVALS], weights, strict=False)
    ]
    return Verdict(
        one.cause,
        one.entity,
        one.scope,
        cover,
        frozenset(),
        tuple(sorted(one.against)),
        1 / whole,
        own,
        tuple(shown),
        onset_of(roots),
        partial(stable_at, scene.now, one, roots, close, candidates, timings),
        min((due for other in (one, *close) for due in other.pending.values() if due > scene.now), default=None),
    )


def _best_of_each(others: Iterable[Hypothesis], cover: frozenset[str]) -> list[tuple[float, Hypothesis]]:
    """Return the best rival of each cause and entity with its score, best first: of a node's ways only one is worth a line."""
    best: dict[tuple[Cause, str], tuple[float, Hypothesis]] = {}
    for other in others:
        score = other.score(len(other.covers & cover))
        key = (other.cause, other.entity)
        if key not in best or score > best[key][0]:
            best[key] = (score, other)
    return sorted(best.values(), key=lambda one: (-one[0], one[1].name))


def _reason(other: Hypothesis, cover: frozenset[str]) -> str:
    if other.against:
        witnesses = sorted({key.split(SEPARATOR, 1)[0] for key in other.against})
        return f"contradicted by {', '.join(witnesses[:6])}: still well there"
    if not cover <= other.covers:
        return f"explains only {len(other.covers & cover)} of {len(cover)} signs"
    if other.quiet:
        return f"{other.quiet} other node(s) would be expected to report it"
    return "explains no more and is less likely"


def _joined(found: list[Verdict]) -> list[Verdict]:
    """Join faults of several nodes that are one thing's: paths of two nodes to one LUN are one incident."""
    joined: dict[tuple[Cause, str], Verdict] = {}
    for one in found:
        first = joined.get((one.cause, one.entity))
        joined[one.cause, one.entity] = one if first is None else _union(first, one)
    return list(joined.values())


def _union(first: Verdict, other: Verdict) -> Verdict:
    return replace(
        first,
        scope=first.scope if first.scope == other.scope else "",
        roots=first.roots | other.roots,
        against=tuple(sorted({*first.against, *other.against})),
        confidence=max(first.confidence, other.confidence),
        onset=min(first.onset, other.onset),
        stable=lambda: max(first.stable_at, other.stable_at),
    )


def _with_consequences(scene: Scene, found: list[Verdict], by_key: dict[str, Cell]) -> list[Verdict]:
    """Give each bad cell of a higher layer to the first fault that it can follow from; I/O that stands still to the one that stopped it."""
    higher = [cell for cell in scene.bad if cell.layer != ROOT]
    stopped = [_stopped(scene, found, by_key, cells) for cells in by_cluster(cell for cell in higher if cell.aspect == "active")]
    taken = set().union(*(keys for _, keys in stopped))
    result = []
    for one in found:
        roots = [by_key[key] for key in one.roots]
        left = (cell for cell in higher if cell.key not in taken)
        cells = {cell.key for cell in left if follows(cell, roots, scene.topology)}
        taken |= cells
        result.append(replace(one, consequences=frozenset(cells.union(*(keys for by, keys in stopped if by is one)))))
    return result


def _stopped(scene: Scene, found: list[Verdict], by_key: dict[str, Cell], cells: list[Cell]) -> tuple[Verdict | None, frozenset[str]]:
    """Return the fault that stopped a Ceph cluster's I/O, with the cells that say so: those before it had left it running."""
    began = onset_of(cells) + CEPH_AGREES
    may = [one for one in found if any(follows(cell, [by_key[key] for key in one.roots], scene.topology) for cell in cells)]
    if not may:
        return None, frozenset()
    last = max(may, key=lambda one: (one.onset <= began, one.onset if one.onset <= began else -one.onset))
    return last, frozenset(cell.key for cell in cells)


def _higher(scene: Scene, rest: list[Cell], by_key: dict[str, Cell], timings: Timings) -> list[Verdict]:
    """Explain higher cells without a root by the lowest of themselves."""
    found: list[Verdict] = []
    left = {cell.key: cell for cell in rest}
    for layer in sorted({cell.layer for cell in rest}):
        level = [cell for cell in left.values() if cell.layer == layer]
        for one in _of_level(scene, level):
            roots = [by_key[key] for key in one.covers]
            above = frozenset(key for key, cell in left.items() if key not in one.covers and follows(cell, roots, scene.topology))
            found.append(replace(_verdict(scene, one, one.covers, [one], by_key, timings), consequences=above))
            for key in one.covers | above:
                left.pop(key, None)
    return found


def _of_level(scene: Scene, cells: list[Cell]) -> list[Hypothesis]:
    """Return one fault for each thing; a LUN without paths is one fault, not that and a lost redundancy beside it."""
    without = {cell.entity for cell in cells if cell.aspect in {"paths", "presence"}}
    merged: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.entity in without and cell.aspect in {"paths", "presence", "redundancy"}:
            merged[cell.entity].append(cell)
    found = [suppose(scene, Cause.ALL_PATHS_DOWN, entity, group, (), DIRECT) for entity, group in merged.items()]
    taken = {cell.key for group in merged.values() for cell in group}
    free = [cell for cell in cells if cell.key not in taken]
    supposed = (*said(scene, free), *clusters(scene, free))
    rest = sorted((beforehand(scene, one) for one in supposed), key=lambda one: one.name)
    keys = {cell.key for cell in cells} - taken
    return found + greedy(rest, keys, (), NEVER).faults
