"""What the core costs in a storm: events a second on one core, the longest step, and how both grow with the cluster.

The storm: every shared server and portal of a generated cluster goes away and comes back for half a minute, each node says so over and
over, kernel-like, with paths failing beside it. The events are decoded beforehand: decoding is measured with the flow. All of it is
CPU time: what else this host does meanwhile is no cost of the core. Python searches for garbage as it does in the controller.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.figures import Figure, middle
from controller.core.correlate import Heard, Input, step
from controller.core.evidence import SECOND
from controller.core.state import CoreState
from controller.core.timings import Timings
from controller.core.topology.names import properties
from events.base import Event, Seen, Source
from events.entity import portal
from events.envelope import Envelope
from events.iscsi import IscsiConnectionFailed, IscsiConnectionRecovered
from events.multipath import MultipathPathFailed
from events.nfs import NfsServerReachable, NfsServerUnreachable, NfsSilence
from faultline.cluster import read_cluster
from tests.sim.facts import networks
from tests.sim.pve_directory import Size, write

GROUP: Final = "core"
HEADING: Final = "The core in a storm of generated clusters"
SIZES: Final = (8, 16, 32, 64)
_RATE, _STEP = 20_000.0, 5.0
"""Limits: events a second at 32 nodes; milliseconds of the 99th percentile of one step at 64."""
_SECONDS: Final = 40
_START: Final = 1_795_000_000 * SECOND
_PROBED, _LINE = Seen(source=Source.NFS), Seen(source=Source.JOURNALD)


def measure(place: Path, sizes: tuple[int, ...], rounds: int) -> list[Figure]:
    """Return rate and steps for each size, and the exponent of the cost of one event over nodes."""
    taken = {nodes: _storm(place / str(nodes), nodes, rounds) for nodes in sizes}
    rate_at, step_at = (32 if 32 in taken else max(taken)), max(taken)
    exponent = _slope({nodes: 1 / rate for nodes, (rate, _, _, _) in taken.items()})
    rate, _, _, count = taken[rate_at]
    _, p99, longest, _ = taken[step_at]
    return [
        Figure(GROUP, "events on one core", rate, "events/s", limit=_RATE, note=f"{rate_at} nodes; {count} events; by CPU time"),
        Figure(GROUP, "one step, p99", p99, "ms", limit=_STEP, sense="at most", note=f"CPU; {step_at} nodes, {_guests(step_at)} guests"),
        Figure(GROUP, "longest step", longest, "ms", note="CPU; a look at all evidence with its reports"),
        Figure(GROUP, "growth of one event's cost", exponent, note="exponent over nodes", limit=1.1, sense="at most"),
    ]


def _guests(nodes: int) -> int:
    return min(2000, nodes * 62)


def _storm(place: Path, nodes: int, rounds: int) -> tuple[float, float, float, int]:
    write(place, Size(nodes, _guests(nodes), max(4, nodes)))
    rates, p99s, longests, count = [], [], [], 0
    for _ in range(rounds):
        state = read_cluster(place, {})
        _address(state)
        given = list(_inputs(state))
        count = sum(isinstance(one, Envelope) for _, one in given)
        with _garbage_as_in_the_controller():
            times = _run(state, given)
        rates.append(count / sum(times))
        p99s.append(statistics.quantiles(times, n=100)[98] * 1e3)
        longests.append(max(times) * 1e3)
    return middle(rates), middle(p99s), middle(longests), count


@contextmanager
def _garbage_as_in_the_controller() -> Iterator[None]:
    """Search for garbage in cycles as rarely as ``controller.app`` does, after what the preparation left is gone."""
    before = gc.get_threshold()
    gc.collect()
    gc.set_threshold(500_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _run(state: CoreState, given: list[tuple[int, Input]]) -> list[float]:
    times, timings = [], Timings()
    for at, one in given:
        began = time.process_time()
        step(state, one, at, timings)
        times.append(time.process_time() - began)
    return times


def _address(state: CoreState) -> None:
    """Give each node an address in the networks of the storages' servers."""
    for number, node in enumerate(state.topology.nodes, 1):
        addresses = (f"10.{net}.{number}.200/16" for net in range(256)) if number < 256 else ()
        state.learn(networks(node, *list(addresses)[:32]), _START)


def _inputs(state: CoreState) -> Iterator[tuple[int, Input]]:
    values = [properties(one) for one in state.topology.storages.values() if one.shared]
    servers = sorted({one["server"] for one in values if one.get("server")})[:12]
    portals = sorted({(one["portal"], one.get("target", "")) for one in values if one.get("portal")})[:12]
    sequence = dict.fromkeys(state.topology.nodes, 0)
    for second in range(_SECONDS):
        down = 5 <= second < _SECONDS - 5
        for index, node in enumerate(state.topology.nodes):
            at = _START + second * SECOND + index * 1000
            yield at, Heard(node)
            for event in _second(servers, portals, down, second):
                sequence[node] += 1
                yield at, Envelope("prod", node, "boot", "storm", sequence[node], at, at - _START, event)


def _second(servers: list[str], portals: list[tuple[str, str]], down: bool, second: int) -> Iterator[Event]:
    for server in servers:
        subject = f"nfs-server/{server}"
        yield (
            NfsServerUnreachable(subject=subject, seen=_PROBED, how=NfsSilence.NO_REPLY)
            if down
            else NfsServerReachable(subject=subject, seen=_PROBED)
        )
    for number, (where, target) in enumerate(portals, 1):
        where_to = portal(where.partition(":")[0])
        kind = IscsiConnectionFailed if down and (second + number) % 7 else IscsiConnectionRecovered
        yield kind(subject=where_to, seen=_LINE, target=target or "iqn.2005-10.org.example:none", session=number)
        yield MultipathPathFailed(subject=f"lun/3600140{number:026d}", seen=_LINE, device=f"sd{number}")


def _slope(values: dict[int, float]) -> float:
    points = [(math.log(nodes), math.log(value)) for nodes, value in values.items()]
    x, y = (sum(point[axis] for point in points) / len(points) for axis in (0, 1))
    return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)
