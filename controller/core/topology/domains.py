"""The failure domains of a cluster: everything whose loss alone hits guests, the worst first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from controller.core.topology.impact import Effect, Impact, impact
from controller.core.topology.names import split
from controller.core.topology.topology import Topology

_KINDS: Final = (
    "nfs-server",
    "nfs-export",
    "server",
    "iscsi-target",
    "iscsi-portal",
    "lun",
    "vg",
    "subnet",
    "access",
    "ceph",
    "ceph-host",
    "ceph-mon",
    "ceph-pool",
    "node",
)
"""Kinds of entities that fail by themselves. A storage is what is seen of their failure, and a guest what suffers from it."""
NETWORK: Final = "storage-network"


@dataclass(frozen=True, slots=True)
class Domain:
    """One thing that can fail, and what happens then."""

    name: str
    """What it is, in words: an entity, or a node's storage network, or a majority."""
    members: tuple[str, ...]
    """The vertices that fail together."""
    impact: Impact

    @property
    def is_single_point(self) -> bool:
        """Tell whether its loss alone stops guests that nothing starts again by itself."""
        return bool(self.impact.with_effect(Effect.FROZEN, Effect.STOPPED))

    @property
    def weight(self) -> tuple[int, int, int]:
        """Return how bad it is, for sorting: guests that stand still, that restart, that run without redundancy."""
        return (
            len(self.impact.with_effect(Effect.FROZEN, Effect.STOPPED)),
            len(self.impact.with_effect(Effect.RESTARTED)),
            len(self.impact.with_effect(Effect.AT_RISK, Effect.NO_START)),
        )


def domains(topology: Topology) -> list[Domain]:
    """Return all failure domains that hit a storage or a guest, the worst first."""
    found = [Domain(name, members, impact(topology, members)) for name, members in _candidates(topology)]
    hit = [one for one in found if one.impact.guests or one.impact.storages]
    return sorted(hit, key=lambda one: (*(-number for number in one.weight), -len(one.impact.storages), one.name))


def _candidates(topology: Topology) -> Iterator[tuple[str, tuple[str, ...]]]:
    names = {name for name in topology.graph.names() if not split(name)[1]}
    for kind in _KINDS:
        yield from ((name, (name,)) for name in sorted(names) if name.partition("/")[0] == kind)
    for node in topology.nodes:
        ways = network_of_node(topology, node)
        if len(ways) > 1:
            yield f"{NETWORK} of node/{node}", ways
    for name in sorted(names):
        if name.startswith("ceph/"):
            yield from _majority(topology, name)


def network_of_node(topology: Topology, node: str) -> tuple[str, ...]:
    """Return a node's ways into all networks that storages are reached through."""
    return topology.storage_networks.get(node, ())


def _majority(topology: Topology, cluster: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the smallest loss that costs a Ceph cluster its monitors' quorum."""
    for members, needed in topology.graph.needs(cluster):
        if len(members) > 1:
            yield f"monitor majority of {cluster}", members[: len(members) - needed + 1]
