"""Which storage is inactive on which node, judged by whether its entry in ``.rrd`` moves.

Source: pve-manager ``PVE/Service/pvestatd.pm``. A round tells the node's values first and its storages last, those that are active, all
with one time. A check that hangs stops the whole round. So:

- the node's entry moves and other storages' do, this one's does not: it is inactive there;
- the node's entry moves, round after round, and no storage's does: the storage part fails as a whole (a broken storage.cfg does that) or
  all storages are inactive; the entries cannot tell which;
- the node's entry does not move: pvestatd hangs, or the node is gone; nothing is known about its storages.

Nodes' clocks differ and step, so no time in an entry is compared with the reader's clock. An entry counts as moved when its time
is *another* one, and when that was is measured by the reader's monotonic clock. Only at first sight, when nothing has moved yet, times of
one node are compared with each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from pve.rrd import KEPT_S, ROUND_S, NodeStorage, Rrd

Expected = Mapping[str, frozenset[str]]
"""Per node the storages that storage.cfg enables there."""


class Pulse(StrEnum):
    """What a node's own entry says."""

    UNKNOWN = "unknown"
    """It has not been watched for long enough."""
    LIVE = "live"
    """It moves: pvestatd makes its rounds."""
    STUCK = "stuck"
    """It is there and does not move: pvestatd hangs or is stopped, or the node is gone since less than 300 s."""
    GONE = "gone"
    """It was there or should be, and is not: nothing came for more than 300 s."""


class Standing(StrEnum):
    """What is known about a storage on a node."""

    UNKNOWN = "unknown"
    """The node's pulse is not live, or it has not been watched for long enough."""
    ACTIVE = "active"
    INACTIVE = "inactive"
    """The node tells other storages and not this one."""
    UNTOLD = "untold"
    """The node makes its rounds and tells no storage at all."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When silence counts. The default is three rounds; a storage check may take 10 s, so two would be too few."""

    stale_s: float = 3.0 * ROUND_S

    def stretched(self, pause_s: float) -> float:
        """Return the limit for looks that are ``pause_s`` apart: what moved between two looks is noticed at the second."""
        return max(self.stale_s, 2 * pause_s)


@dataclass(frozen=True, slots=True)
class Mark:
    """What is remembered of an entry. ``ctime`` is 0 while there is none."""

    ctime: int
    moved_s: float
    """Reader's monotonic time at which it was first seen with this time."""
    moves: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """When a storage's entry of a node moved last (reader's monotonic time), and how often the node's own had moved by then."""

    moved_s: float
    node_moves: int


@dataclass(frozen=True, slots=True)
class NodeFreshness:
    """A node: its pulse, for how long its entry has not moved, and for how long none of its storages' entries has (seconds)."""

    pulse: Pulse
    silent_s: float
    untold_s: float


@dataclass(frozen=True, slots=True)
class StorageFreshness:
    """A storage on a node; ``behind_s`` is by how much it lags behind the node's storage that moved last, seconds."""

    standing: Standing
    behind_s: float


@dataclass(frozen=True, slots=True)
class Freshness:
    """The judgement of one look, and what the next one needs of it."""

    nodes: Mapping[str, NodeFreshness]
    storages: Mapping[NodeStorage, StorageFreshness]
    seen_s: float
    node_marks: Mapping[str, Mark] = field(repr=False)
    storage_marks: Mapping[NodeStorage, Mark] = field(repr=False)
    last_told: Mapping[str, Told] = field(repr=False)


def judge(
    rrd: Rrd, now_s: float, previous: Freshness | None = None, expected: Expected | None = None, limits: Limits | None = None
) -> Freshness:
    """Judge all nodes and storages of one read.

    ``now_s`` is the reader's monotonic clock and ``previous`` its last judgement. With ``expected`` exactly those storages are judged:
    an entry of one that was disabled since is no failure, and one that has never been told is inactive. Without, those that have an
    entry or had one.
    A body that was cut (``rrd.torn``) is not judged: ``previous`` comes back, when there is one.
    """
    if rrd.torn and previous is not None:
        return previous
    limit_s = (limits or Limits()).stretched(now_s - previous.seen_s if previous else 0.0)
    names = {*rrd.nodes, *(previous.node_marks if previous else ()), *(expected or ())}
    if expected is not None:
        names &= {*rrd.nodes, *expected}
    return _Look(rrd, now_s, previous, expected, limit_s).judged(sorted(names))


class _Nodes(NamedTuple):
    nodes: Mapping[str, NodeFreshness]
    node_marks: Mapping[str, Mark]
    storage_marks: Mapping[NodeStorage, Mark]
    told: Mapping[str, Told]


_WHOLE_ROUNDS: Final = 2
"""The node's own entry comes first in a round, so after two of them one storage part lies in between as a whole."""


class _Look:
    """One look's inputs, and the steps over them."""

    def __init__(self, rrd: Rrd, now_s: float, previous: Freshness | None, expected: Expected | None, limit_s: float) -> None:
        self._rrd = rrd
        self._now_s = now_s
        self._previous = previous
        self._expected = expected
        self._limit_s = limit_s

    def judged(self, names: Iterable[str]) -> Freshness:
        node_marks = {name: self._node_mark(name) for name in names}
        keys = self._by_node(node_marks)
        marks = {key: self._storage_mark(key, keys[key.node]) for inner in keys.values() for key in inner}
        told = {name: self._told(name, mark, [marks[key] for key in keys[name]]) for name, mark in node_marks.items()}
        nodes = {name: self._node(mark, told[name]) for name, mark in node_marks.items()}
        looked = _Nodes(nodes, node_marks, marks, told)
        storages = {key: self._storage(key, looked) for key in marks if self._asked(key)}
        return Freshness(nodes, storages, self._now_s, node_marks, marks, told)

    def _asked(self, key: NodeStorage) -> bool:
        return self._expected is None or key.storage in self._expected.get(key.node, frozenset())

    def _by_node(self, nodes: Iterable[str]) -> dict[str, list[NodeStorage]]:
        keys: dict[str, list[NodeStorage]] = {name: [] for name in nodes}
        for key in sorted({*self._rrd.storages, *self._remembered()}):
            if key.node in keys:
                keys[key.node].append(key)
        return keys

    def _remembered(self) -> Iterator[NodeStorage]:
        if self._expected is not None:
            yield from (NodeStorage(node, storage) for node, storages in self._expected.items() for storage in storages)
        elif self._previous is not None:
            yield from self._previous.storage_marks

    def _node_mark(self, name: str) -> Mark:
        before = self._previous.node_marks.get(name) if self._previous else None
        stat = self._rrd.nodes.get(name)
        return self._mark(before, stat.ctime if stat else 0)

    def _mark(self, before: Mark | None, ctime: int) -> Mark:
        if before is None:
            return Mark(ctime, self._now_s)
        if ctime in (0, before.ctime):
            return before if ctime else Mark(0, before.moved_s, before.moves)
        return Mark(ctime, self._now_s, before.moves + 1)

    def _storage_mark(self, key: NodeStorage, siblings: Iterable[NodeStorage]) -> Mark:
        before = self._previous.storage_marks.get(key) if self._previous else None
        stat = self._rrd.storages.get(key)
        if before is None and stat is not None:
            return Mark(stat.ctime, self._now_s - self._lag_s(stat.ctime, siblings))
        return self._mark(before, stat.ctime if stat else 0)

    def _lag_s(self, ctime: int, siblings: Iterable[NodeStorage]) -> float:
        """At first sight: by how much the entry is older than the node's newest of a storage."""
        newest = max(stat.ctime for key in siblings if (stat := self._rrd.storages.get(key)))
        return float(min(newest - ctime, KEPT_S))

    def _told(self, name: str, node: Mark, marks: Iterable[Mark]) -> Told:
        before = self._previous.last_told.get(name) if self._previous else None
        newest_s = max((mark.moved_s for mark in marks if mark.ctime), default=self._now_s if before is None else before.moved_s)
        return before if before is not None and newest_s <= before.moved_s else Told(newest_s, node.moves)

    def _node(self, mark: Mark, told: Told) -> NodeFreshness:
        silent_s = self._now_s - mark.moved_s
        return NodeFreshness(_pulse(mark, silent=silent_s > self._limit_s), silent_s, self._now_s - told.moved_s)

    def _storage(self, key: NodeStorage, looked: _Nodes) -> StorageFreshness:
        node, told = looked.nodes[key.node], looked.told[key.node]
        mark = looked.storage_marks[key]
        behind_s = max(told.moved_s - mark.moved_s, 0.0)
        if node.pulse is not Pulse.LIVE:
            return StorageFreshness(Standing.UNKNOWN, behind_s)
        if node.untold_s > self._limit_s:
            rounds = looked.node_marks[key.node].moves - told.node_moves
            return StorageFreshness(Standing.UNTOLD if rounds >= _WHOLE_ROUNDS else Standing.UNKNOWN, behind_s)
        if behind_s > self._limit_s:
            return StorageFreshness(Standing.INACTIVE, behind_s)
        return StorageFreshness(Standing.ACTIVE if mark.ctime else Standing.UNKNOWN, behind_s)


def _pulse(mark: Mark, *, silent: bool) -> Pulse:
    if silent:
        return Pulse.STUCK if mark.ctime else Pulse.GONE
    return Pulse.LIVE if mark.ctime and mark.moves else Pulse.UNKNOWN
