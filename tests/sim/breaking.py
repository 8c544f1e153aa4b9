"""What a script's words break: from ``VERB ARGUMENTS`` to marks of the world.

Nodes are listed with commas. Where they may be left out, all that use the thing are meant.

- ``silent|refused NAME``: an NFS server, a portal's address, or a SAN (all its portals) answers no packet, or no connection.
- ``subnet CIDR``; ``cut NODES [CIDR|ADDRESS…]``: these nodes' packets there are lost, by default to all storage networks.
- ``unresolved NAME [NODES]``; ``denied|stale|slow STORAGE [NODES]``: an export, by its storage.
- ``rejected|off SAN [NODES]``; ``unmapped|swapped|conflict WWID [NODES]``; ``vg NAME [NODES]``.
- ``osd N…``; ``mon NODES``; ``ceph degraded|inactive|recovery``; ``ceph nearfull|full|slow POOL-OR-OSD``.
- ``fence NODES``: HA's manager fences them, though they live.
- ``node NODES`` dies; ``agent NODES`` stops; ``pmxcfs NODES`` crashes; ``pvestatd NODES`` is stuck.
- ``quorum``: corosync's network is down; ``split NODES``: these are on one side of it.
- ``config``: storage.cfg is broken; ``ha SID``: a service is in error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.sim.plan import Plan, Target
from tests.sim.world import Mark


def marks_of(plan: Plan, words: Sequence[str]) -> tuple[Mark, ...]:
    """Return the marks of a fault.

    :raises ValueError: when the cluster has no such thing, or there is no such verb.
    """
    found = tuple(_marks(plan, list(words)))
    if not found:
        raise ValueError(f"nothing to break: {' '.join(words)}")
    return found


def _marks(plan: Plan, words: list[str]) -> Iterator[Mark]:  # noqa: C901, PLR0912 - a flat table of verbs
    match words:
        case ["silent" | "refused" as how, name]:
            yield from ((how, entity) for entity in _endpoints(plan, name))
        case ["subnet", cidr] if cidr in plan.subnets:
            yield ("subnet", cidr)
        case ["cut", nodes, *where]:
            yield from (("cut", node, one) for node in _nodes(plan, nodes) for one in where or plan.subnets)
        case ["unresolved", name, *some]:
            server = next(one for one in plan.servers if one.name == name)
            yield from (("unresolved", node, name) for node in _some(plan, some, plan.servers[server]))
        case ["denied" | "stale" | "slow" as what, storage, *some]:
            one = next(one for one in plan.of_type("nfs") if one.id == storage)
            yield from ((what, node, one.export) for node in _some(plan, some, plan.users(one)))
        case ["rejected" | "off" as what, san, *some]:
            target = _target(plan, san)
            yield from ((what, node, target.iqn) for node in _some(plan, some, plan.targets[target]))
        case ["unmapped" | "swapped" | "conflict" as what, lun, *some]:
            target = next(one for one in plan.targets if lun in one.luns)
            yield from ((what, node, lun) for node in _some(plan, some, plan.targets[target]))
        case ["vg", name, *some]:
            yield from (("vg", node, name) for node in _some(plan, some, plan.users(plan.volume_groups[name])))
        case ["osd", *numbers]:
            yield from (("osd", number) for number in numbers)
        case ["ceph", *what]:
            yield ("ceph", *what)
        case ["mon" | "node" | "agent" | "pmxcfs" | "pvestatd" | "split" | "fence" as what, nodes]:
            yield from ((what, node) for node in _nodes(plan, nodes))
        case ["quorum"] | ["config"] | ["ha", _]:
            yield tuple(words)
        case _:
            raise ValueError(f"no such fault: {' '.join(words)}")


def _endpoints(plan: Plan, name: str) -> list[str]:
    ends = {one.name: one.entity for one in plan.servers}
    ends |= {portal.address: portal.entity for target in plan.targets for portal in target.portals}
    return [ends[name]] if name in ends else [portal.entity for portal in _target(plan, name).portals]


def _target(plan: Plan, san: str) -> Target:
    found = next((one.target for one in plan.of_type("iscsi") if one.id == san), None)
    if found is None:
        raise ValueError(f"no such server, portal or SAN: {san}")
    return found


def _nodes(plan: Plan, listed: str) -> list[str]:
    nodes = listed.split(",")
    if unknown := set(nodes) - set(plan.nodes):
        raise ValueError(f"no such node: {', '.join(sorted(unknown))}")
    return nodes


def _some(plan: Plan, listed: list[str], all_: Sequence[str]) -> Sequence[str]:
    return _nodes(plan, *listed) if listed else all_
