"""A node's ways: into networks, and to iSCSI portals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller.core.facts import Facts
from controller.core.topology.graph import Graph, Group, all_of
from controller.core.topology.names import at
from controller.core.topology.network import Networks, address_of, host_of
from events.entity import portal
from events.errors import EntityError
from events.host import NodeIscsi

Needs = tuple[Group, ...]


class Access:
    """Finds each node's ways and says in the graph what they need."""

    def __init__(self, graph: Graph, networks: Mapping[str, Networks]) -> None:
        self._graph = graph
        self._networks = networks
        self._ways: dict[tuple[str, str], Needs] = {}

    def way(self, host: str, node: str) -> Needs:
        """Return what a node's way to a host needs: nothing when its network is not known, or when it is the host itself."""
        found = self._ways.get((host, node))
        if found is None:  # many storages lie behind one host
            found = self._ways[host, node] = self._way(host, node)
        return found

    def _way(self, host: str, node: str) -> Needs:
        known = self._networks.get(node)
        network = known.toward(host) if known else ""
        own = known is not None and address_of(host) in known.addresses
        return all_of(self._into(network, node)) if network and not own else ()

    def ways(self, portals: Iterable[str], node: str) -> Needs:
        """Return the need of one of a node's ways to these portals."""
        ways = []
        for one in portals:
            way = at(one, node)
            self._graph.set(way, (Group((one,)), *self.way(host_of(one.partition("/")[2]), node)))
            ways.append(way)
        return (Group(tuple(ways)),) if ways else ()

    def into_one_of(self, networks: Iterable[str], node: str) -> Needs:
        """Return the need of a node's way into the first of these networks (CIDR) that it has an address in."""
        known = self._networks.get(node)
        mine = [one for one in networks if known is not None and one in known.connected()]
        return all_of(*(self._into(one, node) for one in mine[:1]))

    def links(self, node: str, addresses: Iterable[str]) -> Needs:
        """Return the need of one of a node's own addresses' networks; nothing when one of them is not known."""
        known = self._networks.get(node)
        found = [known.toward(one) for one in addresses] if known else []
        return (Group(tuple(dict.fromkeys(self._into(one, node) for one in found))),) if found and all(found) else ()

    def _into(self, network: str, node: str) -> str:
        access = f"access/{node}/{network}"
        if not self._graph.needs(access):
            self._graph.set(access, all_of(f"node/{node}", f"subnet/{network}"))
        return access


Way = tuple[str, str, str]
"""Node, target and portal (an entity) of a session."""


class Portals:
    """Which portals and LUNs belong to which targets, as nodes use them or are configured to.

    ``met`` are ways that events told of; a node that told all its sessions is believed instead.
    """

    def __init__(self, facts: Facts, met: Iterable[Way] = ()) -> None:
        self._used: dict[tuple[str, str], set[str]] = {}
        self._all: dict[str, set[str]] = {}
        self._targets: dict[str, set[str]] = {}
        told = facts.of(NodeIscsi)
        for node, known in told.items():
            for target, text in [(one.target, one.portal) for one in known.sessions] + [(one.target, one.portal) for one in known.records]:
                self._use(node, target, portal_named(text))
            for session in known.sessions:
                for lun in session.luns:
                    self.hold(lun, session.target)
        for node, target, portal_ in met:
            if node not in told:
                self._use(node, target, portal_)

    def _use(self, node: str, target: str, portal_: str) -> None:
        self._used.setdefault((node, target), set()).add(portal_)
        self._all.setdefault(target, set()).add(portal_)

    def hold(self, lun: str, target: str) -> None:
        """Take in that a target holds a LUN."""
        self._targets.setdefault(lun, set()).add(target)

    def add(self, target: str, text: str) -> None:
        """Take in the portal that storage.cfg names."""
        self._all.setdefault(target, set()).add(portal_named(text))

    def used(self, node: str, target: str) -> list[str]:
        """Return the portals through which a node reaches a target, in alphabetical order."""
        return sorted(self._used.get((node, target), ()))

    def of(self, target: str) -> list[str]:
        """Return all portals of a target that anybody knows."""
        return sorted(self._all.get(target, ()))

    def targets(self, lun: str) -> list[str]:
        """Return the targets behind a LUN, as any node sees them."""
        return sorted(self._targets.get(lun, ()))


def portal_named(text: str) -> str:
    """Return the entity of a portal as storage.cfg or open-iscsi writes it, with or without port."""
    host = host_of(text)
    port = text.rpartition(":")[2] if text != host and text.rpartition(":")[2].isdigit() else "3260"
    try:
        return str(portal(host, port))
    except EntityError:
        return f"iscsi-portal/{text}"
