"""Faults between a node and a thing that it reaches over the network: the thing, its address, the network, the node's way.

``iscsi-portal-down``, ``iscsi-target-down``, ``nfs-server-down``, ``storage-subnet-down``, ``node-storage-network``,
``path-redundancy-lost``, ``iscsi-auth-rejected``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Final

from controller.core.causes import Cause
from controller.core.evidence import SECOND
from controller.core.inference.ceph import daemons, fsid_of, is_ceph
from controller.core.inference.hypothesis import Hypothesis, suppose
from controller.core.inference.likelihood import ACCESS, ANSWERED, COMPONENT, HOST, NAMED, NODE_NETWORK, SUBNET, WAY
from controller.core.inference.scene import Scene, coherent, is_network, is_of_mount, later, onset_of
from controller.core.state import Cell
from events.definitions import CephDefined
from events.host import NodeIscsi

_TARGET: Final = "iscsi-target/"
_PORTAL: Final = "iscsi-portal/"
_SERVER: Final = "nfs-server/"
_SOONER: Final = 6 * SECOND
"""By this much earlier than the node its fellow monitors may notice: they miss it after 5 s, an iSCSI session after 10 s."""


def reaching(scene: Scene, roots: list[Cell]) -> Iterator[Hypothesis]:
    """Yield all faults that could explain cells about reaching something."""
    lost = [cell for cell in roots if is_network(cell)]
    yield from _endpoints(scene, [cell for cell in lost if not is_ceph(cell)])
    yield from _addresses(scene, lost)
    yield from _targets(scene, roots, lost)
    yield from _rejections(scene, roots, lost)
    yield from _subnets(scene, lost)
    yield from _nodes(scene, lost, daemons(scene, roots, {cell.node for cell in lost}))


def grouped(cells: Iterable[Cell], name: Callable[[Cell], str]) -> dict[str, list[Cell]]:
    """Return cells by a name of theirs; those without one are left out."""
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        if key := name(cell):
            groups[key].append(cell)
    return groups


def _entity(cell: Cell) -> str:
    return cell.entity


def _endpoints(scene: Scene, lost: list[Cell]) -> Iterator[Hypothesis]:
    for cells in grouped(lost, lambda cell: one_server(scene, cell.entity)).values():
        names = _names(scene, cells)
        entity = names[0]
        cause = Cause.NFS_SERVER_DOWN if entity.startswith(_SERVER) else Cause.ISCSI_PORTAL_DOWN
        if not entity.startswith((_SERVER, _PORTAL)):
            cause = Cause.UNEXPLAINED
        for group, after in since(coherent(cells), _node):
            # Where only mounts hang, that others get an answer from the server itself says nothing: their mounts must speak.
            index = scene.well_mounts if all(is_of_mount(cell) for cell in group) else scene.well_of
            well = [cell for name in names for cell in index[name] if is_network(cell) and cell.entity == name]
            nodes = {cell.node for cell in group}
            others = [*_of_others(well, nodes), *after]
            yield suppose(scene, cause, entity, group, others, COMPONENT, quiet=_quiet(scene, entity, nodes, well))


def since(groups: list[list[Cell]], key: Callable[[Cell], Hashable]) -> Iterator[tuple[list[Cell], list[Cell]]]:
    """Yield each group with the cells that went bad with later ones, and were well when it did.

    What a node says later of a thing that it has lost already belongs to the loss: a session fails, a mount hangs, a word is late.
    """
    found: list[list[Cell]] = []
    lost: dict[Hashable, list[Cell]] = {}
    for group in groups:
        rest: list[Cell] = []
        for cell in group:
            lost.get(key(cell), rest).append(cell)
        for cell in rest:
            lost[key(cell)] = rest
        if rest:
            found.append(rest)
    for number, group in enumerate(found):
        yield group, later(group, chain.from_iterable(found[number + 1 :]))


def _node(cell: Cell) -> Hashable:
    return cell.node


def _pair(cell: Cell) -> Hashable:
    return cell.node, cell.entity


def one_server(scene: Scene, entity: str) -> str:
    """Return one name for what may have several: an NFS server that storages name by address and by name is one machine."""
    return f"{_SERVER}{scene.host(entity)}" if entity.startswith(_SERVER) else entity


def _names(scene: Scene, cells: list[Cell]) -> list[str]:
    """Return all names that anybody has for the one thing that these cells are about, its address first."""
    bad = {cell.entity for cell in cells}
    first = one_server(scene, cells[0].entity)
    others = (f"{_SERVER}{name}" for name, address in scene.topology.names.items() if first == f"{_SERVER}{address}")
    names = bad | {one for one in (first, *others) if one in scene.well_of}
    return sorted(names, key=lambda one: (one != first, one))


def _of_others(well: Iterable[Cell], nodes: set[str]) -> list[Cell]:
    """Return well cells of nodes that report nothing bad here: a node's own two words on one thing are no contradiction."""
    return [cell for cell in well if cell.node not in nodes]


def _quiet(scene: Scene, entity: str, nodes: set[str], well: list[Cell]) -> int:
    """Return how many nodes may use a server and say nothing: none where somebody probes it, for then its users do."""
    if not entity.startswith(_SERVER) or any(cell.notices is not None for cell in well):
        return 0
    speaking = nodes | {cell.node for cell in well}
    probed = any(cell.notices is not None for cell in scene.bad if cell.entity == entity)
    return 0 if probed else len(scene.alive - speaking)


def _addresses(scene: Scene, lost: list[Cell]) -> Iterator[Hypothesis]:
    """Yield hosts that serve several things: an NFS server that is a portal too is one fault when all of it is gone."""
    for address, cells in grouped(lost, lambda cell: scene.host(cell.entity)).items():
        entities = {cell.entity for cell in cells}
        servers = [cell for cell in cells if cell.entity.startswith(_SERVER)]
        if len({one_server(scene, one) for one in entities}) < 2 or not servers:
            continue
        server = _names(scene, servers)[0]
        for group in coherent(cells):
            nodes = {cell.node for cell in group}
            well = [cell for one in sorted(entities) for cell in scene.well_of[one] if is_network(cell) and cell.entity == one]
            if len({cell.entity for cell in group}) > 1:
                yield suppose(
                    scene, Cause.NFS_SERVER_DOWN, server, group, [*_of_others(well, nodes), *later(group, cells)], HOST, scope=address
                )


def _targets(scene: Scene, roots: list[Cell], lost: list[Cell]) -> Iterator[Hypothesis]:
    named = grouped(roots, lambda cell: cell.via if cell.aspect == "session" else cell.entity if cell.aspect == "service" else "")
    reached = grouped(lost, lambda cell: cell.entity if cell.aspect == "reach" else "")
    behind = {cell.via for portal in reached for cell in scene.well_of[portal] if cell.aspect == "session"}
    for target in sorted({*named, *behind}):
        if not target.startswith(_TARGET):
            continue
        cells = named.get(target, [])
        ways = [cell for cell in scene.well_of[target] if cell.aspect == "session"]
        portals = {cell.entity for cell in [*cells, *ways] if cell.aspect == "session"}
        reach = [cell for portal in sorted(portals) for cell in reached.get(portal, ())]
        # A session whose portal is lost to its node has not noticed yet: it is no witness of its own.
        unreached = {(cell.node, cell.entity) for cell in reach}
        ways = [cell for cell in ways if (cell.node, cell.entity) not in unreached]
        for group, after in since(coherent([*cells, *reach]), _pair):
            # A target with one portal is down when that portal is: its name says more than the address. One that lost a portal now
            # and had lost the others before lost a portal.
            whole = portals <= {cell.entity for cell in group}
            prior = COMPONENT + (-NAMED if whole else NAMED)
            yield suppose(scene, Cause.ISCSI_TARGET_DOWN, target, group, [*ways, *after], prior)


def _rejections(scene: Scene, roots: list[Cell], lost: list[Cell]) -> Iterator[Hypothesis]:
    """Yield rejected logins; they also explain why that target's sessions do not come back and why it was unavailable before.

    Where a node has no rejection yet, only sessions that the target itself closed count: a silent way has another reason.
    """
    for target, cells in grouped((cell for cell in roots if cell.aspect == "auth"), _entity).items():
        nodes = {cell.node for cell in cells}
        sessions = [cell for cell in lost if cell.via == target and cell.aspect == "session" and (cell.node in nodes or not cell.silent)]
        service = [cell for cell in roots if cell.entity == target and cell.aspect == "service"]
        yield suppose(scene, Cause.ISCSI_AUTH_REJECTED, target, [*cells, *sessions, *service], (), COMPONENT)


def _subnets(scene: Scene, lost: list[Cell]) -> Iterator[Hypothesis]:
    # A server that refuses was reached: its network is well.
    silent = [cell for cell in lost if cell.silent or cell.via or not cell.entity.startswith(_SERVER)]
    for subnet, cells in grouped(silent, scene.network).items():
        if len({cell.node for cell in cells}) < 2 or len({scene.host(cell.entity) for cell in cells}) < 2:
            continue  # of one thing or one node: that one's own fault says more
        for group, after in since(coherent(cells), _pair):
            ours = {(cell.node, cell.entity) for cell in group}
            others = [cell for cell in scene.well if is_network(cell) and (cell.node, cell.entity) not in ours]
            well = [cell for cell in others if scene.network(cell) == subnet]
            yield suppose(scene, Cause.STORAGE_SUBNET_DOWN, f"subnet/{subnet}", group, [*well, *after], SUBNET)


def _nodes(scene: Scene, lost: list[Cell], daemons: dict[str, list[Cell]]) -> Iterator[Hypothesis]:
    for node, cells in grouped(lost, lambda cell: cell.node).items():
        # An endpoint that closed or refused the connection was reached: then the network is not the likely culprit.
        answered = ANSWERED if not any(cell.silent for cell in cells) else 0.0
        own = [cell for cell in scene.well_of[f"node/{node}"] if is_network(cell)]
        networks = grouped(cells, scene.network)
        for group in coherent(cells):
            names = {cell.entity for cell in group}
            well = [*(cell for cell in own if cell.entity not in names), *later(group, cells)]
            with_it = [*group, *_given_up(scene, group, daemons.get(node, ()), whole=True)]
            yield suppose(
                scene, Cause.NODE_STORAGE_NETWORK, f"node/{node}", with_it, well, NODE_NETWORK + answered, of_node=node, shared="network"
            )
        for network, inside in networks.items():
            yield from _access(scene, node, network, inside, own, answered, daemons.get(node, ()))
        for endpoint, ways in grouped(cells, partial(_far_end, scene, _behind(own, cells))).items():
            yield from _way(scene, node, endpoint, ways, answered)


def _given_up(scene: Scene, lost: list[Cell], daemons: Iterable[Cell], *, whole: bool = False) -> list[Cell]:
    """Return a node's own OSDs and monitors that the others gave up when it lost Ceph's network, or ``whole``: all of its networks."""
    networks, onset = {scene.network(cell) for cell in lost}, onset_of(lost)
    clusters = scene.topology.facts.of(CephDefined)
    found = []
    for cell in daemons:
        known = clusters.get(fsid_of(cell.entity))
        if cell.broke > onset - _SOONER and (whole or known is None or not known.public_networks or networks & set(known.public_networks)):
            found.append(cell)
    return found


def _behind(*cells: Iterable[Cell]) -> dict[str, str]:
    """Return the target behind each portal to which a node has sessions, of portals that serve one target."""
    targets: dict[str, set[str]] = defaultdict(set)
    for cell in chain(*cells):
        if cell.aspect == "session" and cell.via.startswith(_TARGET):
            targets[cell.entity].add(cell.via)
    return {portal: min(found) for portal, found in targets.items() if len(found) == 1}


def _far_end(scene: Scene, behind: dict[str, str], cell: Cell) -> str:
    # That a portal does not answer is known before its session fails: both are one way to one target.
    return cell.via if cell.via.startswith(_TARGET) else behind.get(cell.entity) or one_server(scene, cell.entity)


def _access(
    scene: Scene, node: str, network: str, cells: list[Cell], own: list[Cell], answered: float, daemons: Iterable[Cell]
) -> Iterator[Hypothesis]:
    """Yield a node's way into one network, with all that it reaches through it."""
    elsewhere = any(scene.network(cell) not in ("", network) for cell in own)
    for group in coherent(cells):
        names = {cell.entity for cell in group}
        given_up = _given_up(scene, group, daemons)
        if len({scene.host(name) for name in names}) < 2 and not given_up:
            continue
        well = [*(cell for cell in own if cell.entity not in names and scene.network(cell) == network), *later(group, cells)]
        scope = f"subnet/{network}" if elsewhere else ""
        yield suppose(
            scene,
            Cause.NODE_STORAGE_NETWORK,
            f"node/{node}",
            [*group, *given_up],
            well,
            ACCESS + answered,
            scope=scope,
            of_node=node,
            shared=f"subnet/{network}",
        )


def _way(scene: Scene, node: str, endpoint: str, ways: list[Cell], answered: float) -> Iterator[Hypothesis]:
    """Yield one node's lost way to one server, target or portal, while it keeps others."""
    onset = onset_of(ways)
    lost = {cell.entity for cell in ways}
    left = [
        cell
        for cell in scene.well_of[endpoint]
        if cell.node == node and cell.aspect == "session" and cell.entity not in lost and scene.weigh([cell], onset).against
    ]
    if left:
        portal = min(lost)
        name = _lun(scene, node, endpoint) or portal
        yield suppose(scene, Cause.PATH_REDUNDANCY_LOST, name, ways, (), WAY + answered, scope=portal, of_node=node, shared=portal)
        return
    for group in coherent(ways):
        yield suppose(
            scene,
            Cause.NODE_STORAGE_NETWORK,
            f"node/{node}",
            group,
            (),
            WAY + answered,
            scope=endpoint,
            of_node=node,
            shared=endpoint,
        )


def _lun(scene: Scene, node: str, target: str) -> str:
    """Return the one LUN that a target has for a node; empty when it has several, whose common way then says more."""
    told = scene.topology.facts.get(NodeIscsi, node)
    luns = {f"lun/{lun}" for one in told.sessions if f"{_TARGET}{one.target}" == target for lun in one.luns} if told is not None else set()
    luns = luns or {cell.entity for cell in scene.bad if cell.node == node and cell.aspect == "redundancy"}
    return min(luns) if len(luns) == 1 else ""
