"""From facts to the graph of needs of everything but guests."""

from __future__ import annotations

from collections.abc import Iterable

from controller.core.facts import Facts
from controller.core.topology.access import Access, Portals, Way
from controller.core.topology.graph import Graph
from controller.core.topology.majorities import Ceph, add_quorum
from controller.core.topology.names import at, is_visible, properties
from controller.core.topology.network import Networks
from controller.core.topology.storages import StorageNeeds, is_below
from events.definitions import StorageDefined
from events.host import NodeNetworks


class Built:
    """The graph, and what was looked up for it. Built whole each time: it is a matter of milliseconds."""

    def __init__(self, facts: Facts, met: Iterable[Way] = ()) -> None:
        self.graph = Graph()
        self.nodes = facts.nodes()
        self.storages = dict(facts.of(StorageDefined))
        self.names = facts.addresses()
        self.networks = {node: Networks(known, self.names) for node, known in facts.of(NodeNetworks).items()}
        access = Access(self.graph, self.networks)
        self.ceph = Ceph(self.graph, facts, self.nodes, self.networks)
        needs = StorageNeeds(self.graph, facts, access, self.ceph, Portals(facts, met))
        for name, storage in self.storages.items():
            for node in self.nodes:
                if is_visible(storage, node):
                    self.graph.set(at(f"storage/{name}", node), needs.needs(name, node))
        add_quorum(self.graph, facts, access)
        paths = ((properties(storage).get("path", "").rstrip("/"), name) for name, storage in self.storages.items())
        self._paths = sorted(((path, name) for path, name in paths if path), key=lambda one: (-len(one[0]), one))

    def storage_at(self, path: str) -> str:
        """Return the storage in whose directory or mount a path of a node lies, empty when it is none's."""
        return next((name for directory, name in self._paths if is_below(path, directory)), "") if path.startswith("/") else ""
