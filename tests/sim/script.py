"""Scripts of scenarios: verbs at virtual times, and the one formatter of the log that they must give.

``script.toml`` holds ``nodes``, optionally ``portals``, ``servers``, ``watch`` (liveness of agents), ``until`` and a list ``steps`` of
``"SECONDS VERB ARGUMENTS"``:

- ``portal P down|up [NODE…]``, ``server S down|up [NODE…]``: packets between these (default all) nodes and the endpoint are lost.
- ``network NODE down|up``: all storage packets of one node are lost.
- ``login reject|accept [NODE…]``: the target refuses these nodes' logins.
- ``agent NODE stop|start``, ``boot NODE``, ``quorum NODE lost|held``, ``storage ID inactive NODE…``.
- ``controller restart``: the core's state goes through its stored form.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

from controller.core.correlate import Heard
from controller.core.report import IncidentReport
from controller.core.state import CoreState
from faultline.timeline import Timeline
from tests.sim.cluster import SECOND, START, Topology, VirtualCluster

HEARTBEAT = 2 * SECOND


def run(folder: Path) -> str:
    """Run a scenario and return its log."""
    script = tomllib.loads((folder / "script.toml").read_text())
    topology = Topology(script["nodes"])
    topology.portals = script.get("portals", topology.portals)
    topology.servers = script.get("servers", topology.servers)
    topology.luns = script.get("luns", True)
    return "".join(f"{line}\n" for line in Run(topology, script).lines())


class Run:
    """One run of one script."""

    def __init__(self, topology: Topology, script: dict[str, object]) -> None:
        self.topology = topology
        self.cluster = VirtualCluster(topology)
        watch = bool(script.get("watch"))
        self.timeline = Timeline("sim", [] if watch else topology.nodes)
        self.heartbeat = START if watch else None
        self.stopped: set[str] = set()
        steps = [str(step).split() for step in script["steps"]]  # type: ignore[attr-defined]
        self.steps = sorted(((int(float(at) * SECOND) + START, verb) for at, *verb in steps), key=lambda pair: pair[0])
        last = self.steps[-1][0] if self.steps else START
        self.until = START + int(float(script["until"]) * SECOND) if "until" in script else last + 300 * SECOND  # type: ignore[arg-type]

    def lines(self) -> Iterator[str]:
        """Run, and yield the log."""
        for at, verb in self.steps:
            yield from self._pass(at)
            yield f"{_seconds(at)}  script      {' '.join(verb)}"
            self._do(verb)
        yield from self._pass(self.until)
        yield f"{_seconds(self.until)}  end         {self._left()}"

    def _pass(self, until: int) -> Iterator[str]:
        while self.heartbeat is not None and self.heartbeat <= until:
            beat = self.heartbeat
            yield from self._deliver(beat)
            for node in self.topology.nodes:
                if node not in self.stopped:
                    yield from map(render, self.timeline.give(Heard(node), beat))
            self.heartbeat = beat + HEARTBEAT
        yield from self._deliver(until)

    def _deliver(self, until: int) -> Iterator[str]:
        for at, envelope in self.cluster.run(until):
            yield from map(render, self.timeline.feed(envelope, at))
        yield from map(render, self.timeline.advance(until))

    def _do(self, verb: list[str]) -> None:  # noqa: C901, PLR0912 - a flat table of verbs
        cluster, nodes = self.cluster, self.topology.nodes
        match verb:
            case ["portal" | "server", endpoint, "down", *some]:
                for node in some or nodes:
                    cluster.block(node, endpoint)
            case ["portal" | "server", endpoint, "up", *some]:
                for node in some or nodes:
                    cluster.unblock(node, endpoint)
            case ["network", node, way]:
                for endpoint in [*self.topology.portals, *self.topology.servers]:
                    (cluster.block if way == "down" else cluster.unblock)(node, endpoint)
            case ["login", "reject", *some]:
                cluster.reject(some or nodes)
            case ["login", "accept", *some]:
                cluster.accept(some or nodes)
            case ["agent", node, "stop"]:
                cluster.mute(node)
                self.stopped.add(node)
            case ["agent", node, "start"]:
                cluster.unmute(node)
                self.stopped.discard(node)
            case ["boot", node]:
                cluster.boot(node)
            case ["quorum", node, how]:
                cluster.quorum(node, held=how == "held")
            case ["storage", storage, "inactive", *some]:
                for node in some or nodes:
                    cluster.inactive(node, storage)
            case ["controller", "restart"]:
                self._restart()
            case _:
                raise ValueError(f"no such verb: {' '.join(verb)}")

    def _restart(self) -> None:
        state = self.timeline.state
        for table, keys in (("cells", state.cells), ("nodes", state.nodes), ("incidents", state.incidents)):
            for key in keys:
                state.touch(table, key)
        fresh = CoreState(state.cluster)
        fresh.load((table, key, record) for table, key, record in state.take_changes() if record is not None)
        fresh.look_at = self.timeline.now
        self.timeline.state = fresh

    def _left(self) -> str:
        live = [f"{one.cause} {one.entity} {one.state}" for one in self.timeline.state.live_incidents()]
        return "; ".join(live) if live else "no incident left"


def _seconds(at: int) -> str:
    return f"{(at - START) / SECOND:8.1f}"


def render(report: IncidentReport) -> str:
    """Write one line for one change that is told."""
    at = _seconds(_micros(report.at))
    text = f"{at}  {report.change.value:<10}  {report.cause} {report.entity}  nodes={','.join(report.nodes)}"
    text += f"  confidence={report.confidence:.2f}"
    return text + (f"  storages={','.join(report.storages)}" if report.storages else "") + f"  ({report.timeline[-1].text})"


def _micros(text: str) -> int:
    from datetime import UTC, datetime, timedelta

    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
