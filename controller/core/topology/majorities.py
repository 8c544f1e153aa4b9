"""What works while most of it does: the cluster's quorum, Ceph's monitors, and the replicas of a pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from controller.core.facts import Facts
from controller.core.topology.access import Access, Needs
from controller.core.topology.graph import Graph, Group, all_of
from controller.core.topology.names import QUORUM, at
from controller.core.topology.network import Networks, address_of, host_of
from events.definitions import CephDefined, CephHostDefined, CephPoolDefined, CorosyncDefined
from events.host import NodeCeph

DEVICE: Final = "quorum-device"
"""Vertex of a quorum device's vote. It is no entity: only corosync knows whether it answers."""
_SIZE, _MIN_SIZE = 3, 2
"""Ceph's defaults of `osd_pool_default_size` and `osd_pool_default_min_size`."""


def majority(votes: Sequence[str]) -> Group:
    """Return the group of which more than half must work."""
    return Group(tuple(votes), len(votes) // 2 + 1)


def add_quorum(graph: Graph, facts: Facts, access: Access) -> None:
    """Say that the cluster needs most of its votes, and each vote its node and one of the node's links."""
    corosync = facts.get(CorosyncDefined)
    if corosync is None or len(corosync.nodes) < 2:
        return
    votes = []
    for one in corosync.nodes:
        member = at(f"node/{one.node}", QUORUM)
        graph.set(member, (Group((f"node/{one.node}",)), *access.links(one.node, one.addresses)))
        votes += [member] * one.votes
    if corosync.device:
        votes.append(DEVICE)
    graph.set(f"cluster/{corosync.subject.key}", [majority(votes)])


class Ceph:
    """Ceph clusters as they describe themselves; those that nobody watches, as their configuration and the nodes' directories show them."""

    def __init__(self, graph: Graph, facts: Facts, nodes: Sequence[str], networks: Mapping[str, Networks]) -> None:
        self._graph, self._nodes, self._networks = graph, nodes, networks
        self._defined = facts.of(CephDefined)
        self._clusters = facts.monitors()
        self._daemons = facts.of(NodeCeph)
        self._pools = facts.of(CephPoolDefined)
        self._hosts: dict[str, list[str]] = {}
        for key in sorted(facts.of(CephHostDefined)):
            fsid, _, host = key.partition("/")
            self._hosts.setdefault(fsid, []).append(host)
        self.own = facts.own_ceph()
        """fsid of the cluster that these nodes run, empty when they run none."""
        for fsid in self._clusters:
            self._add(fsid)

    def networks(self, fsid: str) -> Sequence[str]:
        """Return the networks in which clients reach a cluster, CIDR."""
        return self._defined[fsid].public_networks if fsid in self._defined else ()

    def with_monitors(self, hosts: Sequence[str]) -> str:
        """Return the fsid of the known cluster that has one of these monitors, or nothing."""
        wanted = {address for one in hosts if (address := address_of(host_of(one))) is not None}
        return next(
            (fsid for fsid, monitors in sorted(self._clusters.items()) if wanted & {address_of(one.address) for one in monitors}), ""
        )

    def pool(self, fsid: str, pool: str) -> Needs:
        """Return the need of a pool.

        With replicas on different hosts, as many hosts may be lost as there are replicas more than `min_size`.
        """
        hosts = tuple(f"ceph-host/{fsid}/{node}" for node in self.hosts(fsid))
        size, least = self._copies(fsid, pool)
        spare = size - least
        replicas = [Group(hosts, max(1, len(hosts) - max(0, spare)))] if hosts else []
        self._graph.set(f"ceph-pool/{fsid}/{pool}", [Group((f"ceph/{fsid}",)), *replicas])
        return all_of(f"ceph-pool/{fsid}/{pool}")

    def _copies(self, fsid: str, pool: str) -> tuple[int, int]:
        """Return how many copies a pool has, and with how many it still serves I/O."""
        known, defined = self._pools.get(f"{fsid}/{pool}"), self._defined.get(fsid)
        if known is not None and known.size:
            return known.size, known.min_size
        size, least = (defined.size, defined.min_size) if defined is not None else (None, None)
        return _SIZE if size is None else size, _MIN_SIZE if least is None else least

    def hosts(self, fsid: str) -> list[str]:
        """Return the hosts that have OSDs."""
        return self._hosts.get(fsid) or sorted(node for node, one in self._daemons.items() if one.osds and one.fsid in ("", fsid))

    def _add(self, fsid: str) -> None:
        monitors = self._monitors(fsid)
        for monitor, node in monitors.items():
            self._graph.set(monitor, all_of(f"node/{node}") if node else ())
        self._graph.set(f"ceph/{fsid}", [majority(list(monitors))] if monitors else [])
        for node in self.hosts(fsid):
            self._graph.set(f"ceph-host/{fsid}/{node}", all_of(f"node/{node}") if node in self._nodes else ())

    def _monitors(self, fsid: str) -> dict[str, str]:
        """Return each monitor with the node on which it runs, which is empty for a host that is none of the cluster's nodes."""
        owners = {address: node for node, known in self._networks.items() for address in known.addresses}
        found = {}
        for one in self._clusters[fsid]:
            address = address_of(one.address)
            node = one.name if one.name in self._nodes else owners.get(address, "") if address else ""
            found[f"ceph-mon/{fsid}/{one.name or node or one.address}"] = node
        return found
