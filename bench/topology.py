"""The dependency graph of generated clusters: cold build from files, one guest's change, one ``what-if``, and how they grow.

A cluster of 32 nodes has 2000 guests and 40 storages; the others have as many for each node. Files are written as Proxmox VE writes
them and read by the agent's own source and classifiers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.figures import Figure, middle
from controller.core.state import CoreState
from controller.core.topology.domains import domains
from controller.core.topology.impact import impact
from events.definitions import GuestDefined
from faultline.cluster import read_cluster
from tests.sim.pve_directory import FSID, Size, write

GROUP: Final = "topology"
HEADING: Final = "Topology, what-if and failure domains of generated clusters"
SIZES: Final = (4, 8, 16, 32, 64)
REFERENCE: Final = 32
_COLD, _GUEST, _WHAT_IF = 2.0, 0.001, 0.1
"""Limits at 32 nodes, seconds."""
_MILLI: Final = 1e3


def size_of(nodes: int) -> Size:
    """Return the cluster that a number of nodes stands for."""
    return Size(nodes, nodes * 2000 // REFERENCE, max(4, nodes * 40 // REFERENCE))


def measure(place: Path, sizes: tuple[int, ...], rounds: int) -> list[Figure]:
    """Return the figures at 32 nodes (or at the largest measured), and the exponents of growth over all sizes."""
    taken = {nodes: _cluster(place / str(nodes), nodes, rounds) for nodes in sizes}
    at = REFERENCE if REFERENCE in taken else max(taken)
    cold, build, guest, what_if, listed = taken[at]
    note = f"{at} nodes, {size_of(at).guests} guests, {size_of(at).storages} storages"
    return [
        Figure(GROUP, "cold build from files", cold, "s", limit=_COLD, sense="at most", note=f"{note}; parsing, events, codec, graph"),
        Figure(GROUP, "of it the graph", build, "s", note="from facts that are known already, as after a restart"),
        Figure(GROUP, "one guest's change", guest * _MILLI, "ms", limit=_GUEST * _MILLI, sense="at most", note="core time"),
        Figure(
            GROUP, "what-if", what_if * _MILLI, "ms", limit=_WHAT_IF * _MILLI, sense="at most", note="Ceph's loss, which hits most guests"
        ),
        Figure(GROUP, "all failure domains", listed, "s", note="every entity failed in turn"),
        *(
            Figure(GROUP, f"growth of {name}", _exponent({nodes: one[index] for nodes, one in taken.items()}), note="exponent over nodes")
            for index, name in enumerate(("cold build", "graph", "a guest's change", "what-if", "all failure domains"))
        ),
    ]


def _cluster(place: Path, nodes: int, rounds: int) -> tuple[float, float, float, float, float]:
    write(place, size_of(nodes))
    cold = middle([_timed(lambda: read_cluster(place, {}).topology.graph) for _ in range(rounds)])
    state = read_cluster(place, {})
    build = middle([_timed(lambda: _rebuilt(state).topology.graph) for _ in range(rounds)])
    what_if = middle([_timed(lambda: impact(state.topology, [f"ceph/{FSID}"])) for _ in range(rounds)])
    return cold, build, _guest_change(state), what_if, _timed(lambda: domains(state.topology))


def _rebuilt(state: CoreState) -> CoreState:
    again = CoreState(state.cluster)
    again.facts = state.facts
    again.topology = type(state.topology)(state.facts)
    return again


def _guest_change(state: CoreState, times: int = 200) -> float:
    vmid, guest = next(iter(state.facts.of(GuestDefined).items()))
    moves = [guest.model_copy(update={"node": state.topology.nodes[number % 2], "name": f"vm{vmid}-{number}"}) for number in range(times)]
    now = 2**62
    return _timed(lambda: [state.learn(move, now + number) for number, move in enumerate(moves)]) / times


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _exponent(times: dict[int, float]) -> float:
    """Return the slope of log time over log nodes, by least squares."""
    points = [(math.log(nodes), math.log(seconds)) for nodes, seconds in times.items()]
    x, y = (sum(point[axis] for point in points) / len(points) for axis in (0, 1))
    return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)
