"""The dependency graph of a cluster, kept current from facts.

A change of storages, networks or nodes builds all but the guests anew; a guest's change touches that guest alone.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Mapping

from controller.core.facts import Facts
from controller.core.topology.access import Way
from controller.core.topology.build import Built
from controller.core.topology.graph import Graph, Group, State
from controller.core.topology.names import START, at
from controller.core.topology.network import Networks
from events.base import Event
from events.ceph import CephNearFull, CephRecoveryProgress
from events.definitions import BackupJobDefined, GuestDefined, GuestStatus, HaResourceDefined, HaRuleDefined, HaServiceState, StorageDefined

_APART: frozenset[type[Event]] = frozenset(
    {BackupJobDefined, GuestStatus, HaResourceDefined, HaRuleDefined, HaServiceState, CephRecoveryProgress, CephNearFull}
)
"""Kinds that are looked up when they are needed and change nothing that depends on anything."""

_REMEMBERED = 128
"""Most results that are remembered: a few for each fault that is live at one time."""


class Remembered:
    """The results that were last asked for, by what they are results of."""

    def __init__(self) -> None:
        self._results: dict[Hashable, object] = {}

    def get(self, of: Hashable) -> object | None:
        """Return a result, None when it is not known (any more)."""
        found = self._results.pop(of, None)
        if found is not None:
            self._results[of] = found  # the last one in the table is the one that was asked for last
        return found

    def keep(self, of: Hashable, result: object) -> None:
        """Take in a result, in the place of the one that nobody asked for for longest."""
        self._results.pop(of, None)
        if len(self._results) >= _REMEMBERED:
            del self._results[next(iter(self._results))]
        self._results[of] = result

    def clear(self) -> None:
        """Forget everything."""
        self._results.clear()


class Topology:
    """Answers what depends on what. ``facts`` belongs to the caller, who passes on what changed in it."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._guests: dict[str, GuestDefined] = {}
        self._built: Built | None = None
        self._met: set[Way] = set()
        self.remembered = Remembered()
        """What was computed of failures since the last change: a storm asks for the same again and again."""

    def meet(self, node: str, target: str, portal: str) -> None:
        """Take note of a session that an event tells of; ``portal`` is an entity."""
        if (node, target, portal) not in self._met:
            self._met.add((node, target, portal))
            self._built = None
            self.remembered.clear()

    def changed(self, kind: type[Event], key: str) -> None:
        """Take note that a fact changed."""
        self.remembered.clear()
        if kind is GuestDefined:
            if self._built is not None:
                self._guest(self._built.graph, key)
        elif kind not in _APART:
            self._built = None

    @property
    def _current(self) -> Built:
        if self._built is None:
            self._built = Built(self.facts, self._met)
            self._guests = {}
            for vmid in self.facts.keys(GuestDefined):
                self._guest(self._built.graph, vmid)
        return self._built

    @property
    def graph(self) -> Graph:
        """Return the graph as the facts now say."""
        return self._current.graph

    @property
    def nodes(self) -> list[str]:
        """Return the names of the cluster's nodes."""
        return self._current.nodes

    @property
    def storages(self) -> Mapping[str, StorageDefined]:
        """Return the storages by id."""
        return self._current.storages

    @property
    def guests(self) -> Mapping[str, GuestDefined]:
        """Return the guests by VMID, templates included."""
        assert self._current, "building it finds them"
        return self._guests

    @property
    def networks(self) -> Mapping[str, Networks]:
        """Return the networks of each node that told them."""
        return self._current.networks

    @property
    def names(self) -> Mapping[str, str]:
        """Return the address of each server that is given by name."""
        return self._current.names

    @property
    def storage_networks(self) -> Mapping[str, tuple[str, ...]]:
        """Return each node's ways into all networks that storages are reached through."""
        return self._current.storage_networks

    def spread(self, failed: Iterable[str], within: Container[str] | None = None) -> dict[str, State]:
        """Return everything that is not well when these have failed; ``within`` as :meth:`Graph.spread` takes it."""
        return self.graph.spread(failed, within)

    def offering(self, storages: tuple[str, ...]) -> tuple[str, ...]:
        """Return the online nodes that could use all of these storages, all being shared; any node when there are none."""
        return self._current.offering(storages)

    def storages_of(self, guest: GuestDefined, *needs: str) -> list[str]:
        """Return the storages that a guest needs in these ways, without repeats; those under its directories included."""
        built = self._current
        found = (use.storage or built.storage_at(use.volume) for use in guest.uses if use.need in needs)
        return list(dict.fromkeys(one for one in found if one))

    def _guest(self, graph: Graph, vmid: str) -> None:
        guest = self.facts.get(GuestDefined, vmid)
        if guest is None:
            self._guests.pop(vmid, None)
            graph.remove(f"guest/{vmid}")
            graph.remove(at(f"guest/{vmid}", START))
            return
        self._guests[vmid] = guest
        graph.set(f"guest/{vmid}", (Group((f"node/{guest.node}",)), *_groups(self.storages_of(guest, "runtime"), guest.node)))
        graph.set(at(f"guest/{vmid}", START), _groups(self.storages_of(guest, "start"), guest.node))


def _groups(storages: Iterable[str], node: str) -> tuple[Group, ...]:
    return tuple(Group((at(f"storage/{one}", node),)) for one in storages)
