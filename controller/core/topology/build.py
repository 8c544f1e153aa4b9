"""From facts to the graph of needs of everything but guests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from controller.core.facts import Facts
from controller.core.topology.access import Access, Portals, Way
from controller.core.topology.graph import Graph
from controller.core.topology.majorities import Ceph, add_quorum
from controller.core.topology.names import at, is_visible, properties
from controller.core.topology.network import Networks
from controller.core.topology.storages import StorageNeeds, is_below
from events.definitions import StorageDefined
from events.host import NodeNetworks

_OF_STORAGES: Final = ("storage/", "iscsi-portal/", "lun/")
"""What is reached through a network because it is storage."""


class Built:
    """The graph, and what was looked up for it. Built whole each time: it is a matter of milliseconds."""

    def __init__(self, facts: Facts, met: Iterable[Way] = ()) -> None:
        self.graph = Graph()
        self.nodes = facts.nodes()
        self.storages = dict(facts.of(StorageDefined))
        self.names = facts.addresses()
        self.networks = {node: Networks(known, self.names) for node, known in facts.of(NodeNetworks).items()}
        self._online = [node for node in self.nodes if facts.is_online(node)]
        self._offering: dict[tuple[str, ...], tuple[str, ...]] = {}
        access = Access(self.graph, self.networks)
        self.ceph = Ceph(self.graph, facts, self.nodes, self.networks)
        needs = StorageNeeds(self.graph, facts, access, self.ceph, Portals(facts, met))
        for name, storage in self.storages.items():
            for node in self.nodes:
                if is_visible(storage, node):
                    self.graph.set(at(f"storage/{name}", node), needs.needs(name, node))
        self.storage_networks = _storage_networks(self.graph)
        add_quorum(self.graph, facts, access)
        paths = ((properties(storage).get("path", "").rstrip("/"), name) for name, storage in self.storages.items())
        self._paths = sorted(((path, name) for path, name in paths if path), key=lambda one: (-len(one[0]), one))

    def offering(self, storages: tuple[str, ...]) -> tuple[str, ...]:
        """Return the online nodes that could use all of these storages, all being shared; any node when there are none."""
        found = self._offering.get(storages)
        if found is None:
            defined = [self.storages.get(name) for name in storages]
            shared = [one for one in defined if one is not None and one.shared]
            nodes = self._online if storages else self.nodes
            is_movable = len(shared) == len(storages)
            found = tuple(node for node in nodes if all(is_visible(one, node) for one in shared)) if is_movable else ()
            self._offering[storages] = found
        return found

    def storage_at(self, path: str) -> str:
        """Return the storage in whose directory or mount a path of a node lies, empty when it is none's."""
        return next((name for directory, name in self._paths if is_below(path, directory)), "") if path.startswith("/") else ""


def _storage_networks(graph: Graph) -> Mapping[str, tuple[str, ...]]:
    """Return each node's ways into all networks that storages are reached through."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in graph.names():
        if name.startswith("access/") and any(user.startswith(_OF_STORAGES) for user in graph.users(name)):
            found[name.split("/", 2)[1]].append(name)
    return {node: tuple(sorted(ways)) for node, ways in found.items()}
