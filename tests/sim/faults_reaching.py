"""Fault verbs of servers, targets and the networks to them: rows N1 to N6 and I1 to I6."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Final, TypeVar

from tests.sim.faults import Fault, Verb
from tests.sim.plan import Plan, Storage, Target
from tests.sim.truth import Losses, Name, Truth, losses, names_of
from tests.sim.world import REFUSED, SILENT, Mark

T = TypeVar("T")
ONE, SOME, ALL = "one", "some", "all"


def nodes_of(scope: str, users: Sequence[str], chance: Random) -> tuple[str, ...]:
    """Return the nodes that a fault hits: one, two up to half of them, or all; nothing when there are too few for that."""
    if scope == ALL:
        return tuple(users)
    if scope == ONE:
        return (chance.choice(users),) if len(users) > 1 else ()
    return tuple(sorted(chance.sample(users, chance.randint(2, len(users) // 2)), key=users.index)) if len(users) >= 4 else ()


def _pick(things: Sequence[T], chance: Random) -> T | None:
    return chance.choice(things) if things else None


def _lost(verb: str, marks: Sequence[Mark], plan: Plan, name: Name, lost: Losses, how: str = SILENT) -> Fault | None:
    return Fault(verb, tuple(marks), (Truth(names_of(plan, name, lost, how)),)) if lost else None


# -- NFS ------------------------------------------------------------------------------------------------------------


def _server(how: str, plan: Plan, chance: Random) -> Fault | None:
    server = _pick(list(plan.servers), chance)
    if server is None:
        return None
    lost = losses(plan, endpoint=server.entity)
    return _lost(f"server-{how}", [(how, server.entity)], plan, ("nfs-server-down", server.entity), lost, how)


def _name(scope: str, plan: Plan, chance: Random) -> Fault | None:
    server = _pick([one for one in plan.servers if one.is_named], chance)
    nodes = nodes_of(scope, plan.servers[server], chance) if server else ()
    if server is None or not nodes:
        return None
    marks = tuple(("unresolved", node, server.name) for node in nodes)
    return Fault(f"name-{scope}", marks, (Truth((("nfs-name-unresolved", server.entity),)),))


def _export(mark: str, cause: str, scope: str, plan: Plan, chance: Random) -> Fault | None:
    storage = _pick(plan.of_type("nfs"), chance)
    nodes = nodes_of(scope, plan.users(storage), chance) if storage else ()
    if storage is None or storage.server is None or not nodes:
        return None
    marks = tuple((mark, node, storage.export) for node in nodes)
    own = (cause, f"nfs-export/{storage.export}")
    # A server's only export cannot be told from the server.
    alone = sum(one.server == storage.server for one in plan.of_type("nfs")) == 1
    return Fault(f"{mark}-{scope}", marks, (Truth((own, (cause, storage.server.entity)) if alone else (own,)),))


def _whole_server(mark: str, cause: str, plan: Plan, chance: Random) -> Fault | None:
    """Return a fault of all exports of a server that has several."""
    shared = [one for one in plan.servers if sum(other.server == one for other in plan.of_type("nfs")) > 1]
    server = _pick(shared, chance)
    if server is None:
        return None
    exports = [one for one in plan.of_type("nfs") if one.server == server]
    marks = tuple((mark, node, one.export) for one in exports for node in plan.users(one))
    return Fault(f"{mark}-server", marks, (Truth(((cause, server.entity),)),))


# -- networks -------------------------------------------------------------------------------------------------------


def _own(verb: str, marks: Sequence[Mark], plan: Plan, node: str, lost: Losses) -> Fault | None:
    if not lost:
        return None
    return Fault(verb, tuple(marks), (Truth(names_of(plan, ("node-storage-network", f"node/{node}"), lost), node),))


def _node_network(plan: Plan, chance: Random) -> Fault | None:
    node = chance.choice(plan.nodes)
    return _own("node-network", [("cut", node, subnet) for subnet in plan.subnets], plan, node, losses(plan, node=node))


def _node_subnet(plan: Plan, chance: Random) -> Fault | None:
    node, subnet = chance.choice(plan.nodes), chance.choice(plan.subnets)
    return _own("node-subnet", [("cut", node, subnet)], plan, node, losses(plan, node=node, subnet=subnet))


def _server_cut(scope: str, plan: Plan, chance: Random) -> Fault | None:
    """Return a fault in which some nodes lose their way to one server, and the others keep it."""
    server = _pick(list(plan.servers), chance)
    nodes = nodes_of(scope, plan.servers[server], chance) if server else ()
    if server is None or not nodes:
        return None
    own = [_own("", [], plan, node, losses(plan, node=node, address=server.address)) for node in nodes]
    truths = tuple(truth for one in own if one is not None for truth in one.truths)
    return Fault(f"server-cut-{scope}", tuple(("cut", node, server.address) for node in nodes), truths)


def _subnet(plan: Plan, chance: Random) -> Fault | None:
    subnet = chance.choice(plan.subnets)
    lost = losses(plan, subnet=subnet)
    return _lost("subnet", [("subnet", subnet)], plan, ("storage-subnet-down", f"subnet/{subnet}"), lost)


# -- iSCSI ----------------------------------------------------------------------------------------------------------


def _target_of(plan: Plan, chance: Random, *, multipath: bool | None = None) -> Target | None:
    return _pick([one for one in plan.targets if multipath in (None, one.multipath)], chance)


def _portal(how: str, plan: Plan, chance: Random) -> Fault | None:
    target = _target_of(plan, chance, multipath=True)
    if target is None:
        return None
    portal = chance.choice(target.portals)
    lost = losses(plan, endpoint=portal.entity)
    return _lost(f"portal-{how}", [(how, portal.entity)], plan, ("iscsi-portal-down", portal.entity), lost, how)


def _target(how: str, plan: Plan, chance: Random) -> Fault | None:
    target = _target_of(plan, chance)
    if target is None:
        return None
    marks = [(how, portal.entity) for portal in target.portals]
    lost: Losses = frozenset().union(*(losses(plan, endpoint=portal.entity) for portal in target.portals))
    return _lost(f"target-{how}", marks, plan, ("iscsi-target-down", target.entity), lost, how)


def _target_off(plan: Plan, chance: Random) -> Fault | None:
    """Return a target that is disabled: its portals accept connections, and refuse logins as unavailable."""
    target = _target_of(plan, chance)
    if target is None:
        return None
    marks = tuple(("off", node, target.iqn) for node in plan.targets[target])
    return Fault("target-off", marks, (Truth((("iscsi-target-down", target.entity),)),))


def _login(scope: str, plan: Plan, chance: Random) -> Fault | None:
    target = _target_of(plan, chance)
    nodes = nodes_of(scope, plan.targets[target], chance) if target else ()
    if target is None or not nodes:
        return None
    marks = tuple(("rejected", node, target.iqn) for node in nodes)
    return Fault(f"login-{scope}", marks, (Truth((("iscsi-auth-rejected", target.entity),), nodes[0] if scope == ONE else ""),))


def _path(plan: Plan, chance: Random) -> Fault | None:
    """Return one node's lost way to one portal of several."""
    target = _target_of(plan, chance, multipath=True)
    if target is None or len(plan.targets[target]) < 2:
        return None
    portal, node = chance.choice(target.portals), chance.choice(plan.targets[target])
    lost = losses(plan, node=node, address=portal.address)
    lun, *luns = [("path-redundancy-lost", f"lun/{lun}") for lun in target.luns]
    names = (*names_of(plan, lun, lost), *luns, ("path-redundancy-lost", portal.entity))
    return Fault("path", (("cut", node, portal.address),), (Truth(tuple(dict.fromkeys(names)), node),))


def _of_lun(mark: str, cause: str, scope: str, plan: Plan, chance: Random) -> Fault | None:
    target = _target_of(plan, chance, multipath=True)
    nodes = nodes_of(scope, plan.targets[target], chance) if target else ()
    if target is None or not nodes:
        return None
    lun = chance.choice(target.luns)
    return Fault(f"{mark}-{scope}", tuple((mark, node, lun) for node in nodes), (Truth(((cause, f"lun/{lun}"),)),))


def _group(scope: str, plan: Plan, chance: Random) -> Fault | None:
    storage: Storage | None = _pick(list(plan.volume_groups.values()), chance)
    nodes = nodes_of(scope, plan.users(storage), chance) if storage else ()
    if storage is None or not nodes:
        return None
    return Fault(f"vg-{scope}", tuple(("vg", node, storage.vg) for node in nodes), (Truth((("vg-missing", f"vg/{storage.vg}"),)),))


_P = partial
_TABLE: Final[tuple[tuple[str, str, Callable[[Plan, Random], Fault | None]], ...]] = (
    ("server-silent", "N1", _P(_server, SILENT)),
    ("server-refused", "N1", _P(_server, REFUSED)),
    ("name-all", "N2", _P(_name, ALL)),
    ("name-one", "N2", _P(_name, ONE)),
    ("server-cut-one", "N3", _P(_server_cut, ONE)),
    ("server-cut-some", "N3", _P(_server_cut, SOME)),
    ("node-network", "N3", _node_network),
    ("node-subnet", "N3", _node_subnet),
    ("subnet", "N3", _subnet),
    ("denied-all", "N4", _P(_export, "denied", "nfs-export-denied", ALL)),
    ("denied-one", "N4", _P(_export, "denied", "nfs-export-denied", ONE)),
    ("denied-some", "N4", _P(_export, "denied", "nfs-export-denied", SOME)),
    ("denied-server", "N4", _P(_whole_server, "denied", "nfs-export-denied")),
    ("stale-all", "N5", _P(_export, "stale", "nfs-stale-handle", ALL)),
    ("stale-server", "N5", _P(_whole_server, "stale", "nfs-stale-handle")),
    ("slow-all", "N6", _P(_export, "slow", "nfs-slow", ALL)),
    ("slow-server", "N6", _P(_whole_server, "slow", "nfs-slow")),
    ("path", "I1", _path),
    ("portal-silent", "I1", _P(_portal, SILENT)),
    ("portal-refused", "I1", _P(_portal, REFUSED)),
    ("login-all", "I2", _P(_login, ALL)),
    ("login-one", "I2", _P(_login, ONE)),
    ("swapped-all", "I3", _P(_of_lun, "swapped", "lun-remapped", ALL)),
    ("swapped-one", "I3", _P(_of_lun, "swapped", "lun-remapped", ONE)),
    ("unmapped-all", "I3", _P(_of_lun, "unmapped", "all-paths-down", ALL)),
    ("unmapped-one", "I3", _P(_of_lun, "unmapped", "all-paths-down", ONE)),
    ("target-silent", "I4", _P(_target, SILENT)),
    ("target-refused", "I4", _P(_target, REFUSED)),
    ("target-off", "I4", _target_off),
    ("conflict-one", "I5", _P(_of_lun, "conflict", "lun-wwid-conflict", ONE)),
    ("conflict-all", "I5", _P(_of_lun, "conflict", "lun-wwid-conflict", ALL)),
    ("vg-all", "I6", _P(_group, ALL)),
    ("vg-one", "I6", _P(_group, ONE)),
    ("vg-some", "I6", _P(_group, SOME)),
)
VERBS: Final[tuple[Verb, ...]] = tuple(Verb(name, row, make) for name, row, make in _TABLE)
