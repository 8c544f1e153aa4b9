"""Choose the cheapest set of hypotheses that explains the bad cells and that the well cells do not contradict.

Scores are log-likelihood ratios in nats: a covered bad cell speaks for a hypothesis, a contradicting one against it, a silent
node weakly against it, and each hypothesis costs its prior. The choice is greedy; a component is set aside when the same cells
are cheaper explained by faults of single nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp
from typing import Final

from controller.core.causes import Cause
from controller.core.evidence import ROOT, SECOND, Answer
from controller.core.hypothesis import NFS_SPREAD, Hypothesis, Scene, follows, hypotheses, leftover, onset_of
from controller.core.state import SEPARATOR, Cell

HIT: Final = 6.9
"""ln(0.95 / 0.001): a fault makes its cells bad nearly always; without one a report is false once in a thousand."""
CONTRADICTION: Final = 5.3
"""-ln(0.005): an observer that would have noticed did not. Late and lost reports keep this from being infinite."""
ROOT_LAG: Final = 15 * SECOND
"""A consequence without a root waits this long for one: pvestatd may see a dead target before the session's ping times out."""
QUIET: Final = 0.7
"""-ln(0.5): whether a node without a report uses the component at all is a toss."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Another hypothesis for some of the same cells, with the reason why it was set aside."""

    hypothesis: Hypothesis
    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """One named fault. ``stable_at``: when no report still due could change it, UTC microseconds."""

    cause: Cause
    entity: str
    scope: str
    roots: frozenset[str]
    consequences: frozenset[str]
    against: tuple[str, ...]
    confidence: float
    alternatives: tuple[Rejected, ...]
    onset: int
    stable_at: int

    @property
    def cells(self) -> frozenset[str]:
        """Return all cells that this fault explains."""
        return self.roots | self.consequences


def judge(scene: Scene, settle: int) -> list[Verdict]:
    """Explain all bad cells of a scene. ``settle``: microseconds after the last new sign before a verdict is stable."""
    by_key = {cell.key: cell for cell in scene.bad}
    candidates = hypotheses(scene)
    chosen = _choose(candidates, {cell.key for cell in scene.bad if cell.layer == ROOT}, by_key)
    chosen = _join(chosen)
    explained = _consequences(chosen, scene.bad, by_key)
    rest = [cell for cell in scene.bad if cell.layer != ROOT and not any(cell.key in cells for cells in explained)]
    base = [(one, cover, cells) for (one, cover), cells in zip(chosen, explained, strict=True)]
    base += _layers(rest, by_key)
    return [_verdict(scene, one, cover, cells, candidates, by_key, settle) for one, cover, cells in base]


def score(one: Hypothesis, covered: int) -> float:
    """Return how well a hypothesis that covers this many bad cells explains them, in nats."""
    return covered * HIT - len(one.against) * CONTRADICTION - one.quiet * QUIET - one.prior


_Chosen = list[tuple[Hypothesis, frozenset[str]]]


def _choose(candidates: list[Hypothesis], cells: set[str], by_key: dict[str, Cell]) -> _Chosen:
    chosen: _Chosen = []
    left, open_ = set(cells), list(candidates)
    while left and open_:
        ranked = [(score(one, len(one.covers & left)), index) for index, one in enumerate(open_) if one.covers & left]
        if not ranked:
            break
        best_score, index = max(ranked, key=lambda pair: (pair[0], -pair[1]))
        best = open_.pop(index)
        cover = best.covers & left
        if best_score <= 0:
            break
        if not best.of_node and best.against and _by_nodes(open_, cover, by_key) > best_score:
            continue
        chosen.append((best, frozenset(cover)))
        left -= cover
    # What even single-node faults explain badly still has to be shown to somebody.
    chosen += [(one, one.covers) for one in leftover([by_key[key] for key in sorted(left)])]
    return chosen


def _join(chosen: _Chosen) -> _Chosen:
    """Join faults of several nodes that are one thing's: paths of two nodes to one LUN are one incident."""
    joined: dict[tuple[Cause, str], tuple[Hypothesis, frozenset[str]]] = {}
    for one, cover in chosen:
        key = (one.cause, one.entity)
        if key in joined:
            first, before = joined[key]
            scope = first.scope if first.scope == one.scope else ""
            joined[key] = replace(first, covers=first.covers | one.covers, scope=scope, of_node=""), before | cover
        else:
            joined[key] = (one, cover)
    return list(joined.values())


def _by_nodes(candidates: list[Hypothesis], cover: set[str] | frozenset[str], by_key: dict[str, Cell]) -> float:
    """Return the best total score of explaining cells by one fault for each node."""
    total = 0.0
    for node in sorted({by_key[key].node for key in cover}):
        own = {key for key in cover if by_key[key].node == node}
        scores = [score(one, len(own)) for one in candidates if one.of_node == node and own <= one.covers]
        total += max(scores, default=-HIT)
    return total


def _consequences(chosen: _Chosen, bad: list[Cell], by_key: dict[str, Cell]) -> list[frozenset[str]]:
    """Give each bad cell of a higher layer to the first chosen fault that it can follow from."""
    taken: set[str] = set()
    result = []
    for _, cover in chosen:
        roots = [by_key[key] for key in cover]
        cells = {cell.key for cell in bad if cell.layer != ROOT and cell.key not in taken and follows(cell, roots)}
        taken |= cells
        result.append(frozenset(cells))
    return result


def _layers(rest: list[Cell], by_key: dict[str, Cell]) -> list[tuple[Hypothesis, frozenset[str], frozenset[str]]]:
    """Explain higher cells without a root by the lowest of themselves."""
    found: list[tuple[Hypothesis, frozenset[str], frozenset[str]]] = []
    left = {cell.key: cell for cell in rest}
    for layer in sorted({cell.layer for cell in rest}):
        for one in leftover([cell for cell in rest if cell.layer == layer and cell.key in left]):
            roots = [by_key[key] for key in one.covers]
            above = frozenset(key for key, cell in left.items() if key not in one.covers and follows(cell, roots))
            found.append((one, one.covers, above))
            for key in one.covers | above:
                left.pop(key, None)
    return found


def _verdict(
    scene: Scene,
    one: Hypothesis,
    cover: frozenset[str],
    consequences: frozenset[str],
    candidates: list[Hypothesis],
    by_key: dict[str, Cell],
    settle: int,
) -> Verdict:
    own = score(one, len(cover))
    rivals = [
        Rejected(other, score(other, len(other.covers & cover)), _reason(other, cover))
        for other in candidates
        if (other.cause, other.entity) != (one.cause, one.entity) and other.covers & cover
    ]
    rivals.sort(key=lambda rival: (-rival.score, rival.hypothesis.cause, rival.hypothesis.entity))
    # Of a node's whole network and its single ways only the better one is worth a line.
    rivals = list({(rival.hypothesis.cause, rival.hypothesis.entity): rival for rival in reversed(rivals)}.values())[::-1]
    best = max((rival.score for rival in rivals), default=0.0)
    confidence = round(min(0.99, max(0.5, 1 / (1 + exp((best - own) / 2)))), 2)
    roots = [by_key[key] for key in cover]
    onset = onset_of(roots)
    return Verdict(
        one.cause,
        one.entity,
        one.scope,
        cover,
        consequences,
        one.against,
        confidence,
        tuple(rivals[:4]),
        onset,
        _stable_at(scene, one, roots, onset, settle),
    )


def _reason(other: Hypothesis, cover: frozenset[str]) -> str:
    if other.against:
        witnesses = sorted({key.split(SEPARATOR, 1)[0] for key in other.against})
        return f"contradicted by {', '.join(witnesses[:6])}: still well there"
    if not cover <= other.covers:
        return f"explains only {len(other.covers & cover)} of {len(cover)} signs"
    if other.quiet:
        return f"{other.quiet} other node(s) would be expected to report it"
    return "explains no more and is less likely"


def _stable_at(scene: Scene, one: Hypothesis, roots: list[Cell], onset: int, settle: int) -> int:
    """Return when everyone who could still change the verdict has had the time to speak."""
    latest = max(cell.broke for cell in roots) + settle
    names = {name for cell in roots for name in (cell.entity, cell.via) if name}
    if one.cause is Cause.ISCSI_AUTH_REJECTED:
        names.clear()  # the target itself has spoken
    if roots[0].layer != ROOT:
        latest = max(latest, onset + ROOT_LAG)
    if one.of_node:
        # A node's other ways tell whether it lost one way or its whole network.
        names.add(f"node/{one.of_node}")
    for name in names:
        for cell in scene.others_of[name]:
            due = scene.decides_at(cell, onset) if cell.answer is Answer.OK and cell.layer == ROOT else None
            latest = max(latest, due or 0)
    if any(cell.entity.startswith("nfs-server/") for cell in roots) and scene.alive - {cell.node for cell in roots}:
        latest = max(latest, onset + NFS_SPREAD)
    return latest
