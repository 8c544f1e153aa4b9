"""What was really broken, and by which names it may be called.

A fault's own name comes first. Others are accepted only where no observer could tell the two apart: the same nodes lose the same
endpoints in the same way, as when a server is the only thing in its network, or a target has one portal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from tests.sim.plan import Plan, Portal, Server
from tests.sim.world import SILENT, Mark, World

Name = tuple[str, str]
"""Cause and entity."""
Losses = frozenset[tuple[str, str]]
"""(node, endpoint) pairs that a fault takes away."""
SHARED: Final = frozenset(
    {
        "nfs-server-down",
        "storage-subnet-down",
        "iscsi-portal-down",
        "iscsi-target-down",
        "nfs-export-denied",
        "nfs-stale-handle",
        "nfs-slow",
    }
)
"""Causes that say: the storage itself is down, moving guests does not help."""


@dataclass(frozen=True, slots=True)
class Truth:
    """One thing that is broken."""

    names: tuple[Name, ...]
    of_node: str = ""
    """The node whose own fault it is; empty when it is the storage's or the cluster's."""

    @property
    def entities(self) -> frozenset[str]:
        """Return the entities that may be named."""
        return frozenset(entity for _, entity in self.names)


@lru_cache(maxsize=64)
def _users(plan: Plan) -> dict[Server | Portal, tuple[str, ...]]:
    found: dict[Server | Portal, tuple[str, ...]] = {server: nodes for server, nodes in plan.servers.items()}  # noqa: C416  # other key type
    found.update({portal: nodes for target, nodes in plan.targets.items() for portal in target.portals})
    return found


def losses(plan: Plan, *, endpoint: str = "", subnet: str = "", node: str = "", address: str = "") -> Losses:
    """Return what is lost when all of the given hold: an entity, a network, a node, an address."""
    return frozenset(
        (user, one.entity)
        for one, nodes in _users(plan).items()
        if endpoint in ("", one.entity) and subnet in ("", one.subnet) and address in ("", one.address)
        for user in nodes
        if node in ("", user)
    )


@lru_cache(maxsize=64)
def _alike(plan: Plan) -> dict[Losses, tuple[Name, ...]]:
    found: dict[Losses, dict[Name, None]] = defaultdict(dict)
    for lost, name in _possible(plan):
        if lost:
            found[lost][name] = None
    return {lost: tuple(names) for lost, names in found.items()}


def _possible(plan: Plan) -> Iterator[tuple[Losses, Name]]:
    for server in plan.servers:
        yield losses(plan, endpoint=server.entity), ("nfs-server-down", server.entity)
    for target in plan.targets:
        each = [losses(plan, endpoint=portal.entity) for portal in target.portals]
        yield frozenset().union(*each), ("iscsi-target-down", target.entity)
        for portal, lost in zip(target.portals, each, strict=True):
            yield lost, ("iscsi-portal-down", portal.entity)
    for subnet in plan.subnets:
        yield losses(plan, subnet=subnet), ("storage-subnet-down", f"subnet/{subnet}")
    for node in plan.nodes:
        name = ("node-storage-network", f"node/{node}")
        yield losses(plan, node=node), name
        for subnet in plan.subnets:
            yield losses(plan, node=node, subnet=subnet), name
        for one in _users(plan):
            yield losses(plan, node=node, address=one.address), name
    yield from _paths(plan)


def _paths(plan: Plan) -> Iterator[tuple[Losses, Name]]:
    for target, nodes in plan.targets.items():
        for portal in target.portals if target.multipath else ():
            for node in nodes:
                for entity in (*(f"lun/{lun}" for lun in target.luns), portal.entity):
                    yield losses(plan, node=node, address=portal.address), ("path-redundancy-lost", entity)


def names_of(plan: Plan, own: Name, lost: Losses, how: str = SILENT) -> tuple[Name, ...]:
    """Return a fault's own name and those that no observer can tell from it.

    What refuses connections was reached: then neither a network nor a node's way can be the reason.
    """
    others = [name for name in _alike(plan).get(lost, ()) if name != own]
    if how != SILENT:
        others = [name for name in others if name[0] in ("nfs-server-down", "iscsi-portal-down", "iscsi-target-down")]
    return (own, *others)


def losses_named(plan: Plan, marks: Iterable[Mark]) -> bool:
    """Tell whether what these marks take away together is what one single fault would."""
    world = World(plan)
    world.set(marks)
    lost = frozenset((user, one.entity) for one, nodes in _users(plan).items() for user in nodes if world.service(user, one))
    return lost in _alike(plan)
