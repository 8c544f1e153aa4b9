"""Random sequences of faults with known truth, to see whether the right thing is named.

Nodes, faults, durations, pauses and every report's delay are drawn from a seed; the same seed gives the same run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

from controller.core.report import IncidentReport
from faultline.scoring import Fault, Score, score
from faultline.timeline import Timeline
from tests.sim.cluster import SECOND, START, Topology, VirtualCluster

LATEST = 4_900_000
"""Microseconds by which reports of one fault are spread: pings of all sessions are at some phase of their 5 s interval."""


class RandomCluster(VirtualCluster):
    """A virtual cluster whose reports come at random delays."""

    def __init__(self, topology: Topology, chance: Random) -> None:
        self._chance = chance
        super().__init__(topology)

    def _spread(self, node: str, other: str = "") -> int:
        del node, other
        return self._chance.randint(0, LATEST)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: how long it lasts, seconds, at least and at most; ``one_node`` for faults of a single node."""

    cause: str
    least: int
    most: int
    one_node: bool = False


KINDS = {
    "nfs": Kind("nfs-server-down", 200, 400),
    "network": Kind("node-storage-network", 30, 300, one_node=True),
    "portal": Kind("iscsi-portal-down", 30, 200),
    "target": Kind("iscsi-target-down", 30, 200),
    "login": Kind("iscsi-auth-rejected", 30, 120),
    "login of one": Kind("iscsi-auth-rejected", 30, 120, one_node=True),
    "path": Kind("path-redundancy-lost", 30, 120, one_node=True),
}


@dataclass(slots=True)
class Campaign:
    """One run."""

    seed: int
    told: list[IncidentReport] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def run(self, pause: tuple[int, int], together: float = 0.0) -> Score:
        """Run three to six faults with a pause between two of them, seconds; return how they were named.

        ``together`` is the probability that an NFS fault strikes in the middle of an iSCSI fault.
        """
        chance = Random(self.seed)
        nodes = [f"n{number}" for number in range(1, chance.randint(2, 5) + 1)]
        cluster = RandomCluster(Topology(nodes), chance)
        timeline = Timeline("sim", nodes)
        at = START + 60 * SECOND
        for _ in range(chance.randint(3, 6)):
            name = chance.choice(sorted(KINDS))
            self._advance(cluster, timeline, at)
            end = at + chance.randint(KINDS[name].least, KINDS[name].most) * SECOND
            undo = self._strike(cluster, chance, name, (at, end))
            if name not in {"nfs", "network"} and chance.random() < together:
                end = self._both(cluster, timeline, chance, end, undo)
            else:
                self._advance(cluster, timeline, end)
                self._undo(cluster, undo)
            at = end + chance.randint(*pause) * SECOND
        self._advance(cluster, timeline, at + 300 * SECOND)
        return score(self.faults, self.told)

    def _both(self, cluster: RandomCluster, timeline: Timeline, chance: Random, end: int, undo: list[tuple[str, str]]) -> int:
        begin = cluster.now + chance.randint(1, 20) * SECOND
        self._advance(cluster, timeline, begin)
        later = max(end, begin + chance.randint(200, 300) * SECOND)
        other = self._strike(cluster, chance, "nfs", (begin, later))
        self._advance(cluster, timeline, end)
        self._undo(cluster, undo)
        self._advance(cluster, timeline, later)
        self._undo(cluster, other)
        return later

    def _advance(self, cluster: RandomCluster, timeline: Timeline, until: int) -> None:
        for when, envelope in cluster.run(until):
            self.told.extend(timeline.feed(envelope, when))
        self.told.extend(timeline.advance(until))

    def _strike(self, cluster: RandomCluster, chance: Random, name: str, span: tuple[int, int]) -> list[tuple[str, str]]:
        """Let a fault begin; return what to undo as (node, endpoint), endpoint empty for a login."""
        topology = cluster.topology
        node, portal = chance.choice(topology.nodes), chance.choice(topology.portals)
        some = [node] if KINDS[name].one_node else topology.nodes
        target = f"iscsi-target/{topology.target}"
        ways, entity = {
            "nfs": (topology.servers, f"nfs-server/{topology.servers[0]}"),
            "network": ([*topology.portals, *topology.servers], f"node/{node}"),
            "portal": ([portal], f"iscsi-portal/{portal}"),
            "target": (topology.portals, target),
            "path": ([portal], f"lun/{topology.wwid}"),
        }.get(name, ([""], target))
        for one in some:
            for way in ways:
                if way:
                    cluster.block(one, way)
        if ways == [""]:
            cluster.reject(some)
        start, end = (datetime.fromtimestamp(moment / SECOND, UTC) for moment in span)
        self.faults.append(Fault(start=start, end=end, cause=KINDS[name].cause, entity=entity))
        return [(one, way) for one in some for way in ways]

    def _undo(self, cluster: RandomCluster, undo: list[tuple[str, str]]) -> None:
        for node, way in undo:
            if way:
                cluster.unblock(node, way)
            else:
                cluster.accept([node])
