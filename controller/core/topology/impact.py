"""What a failure takes down: storages by node, guests and what becomes of them, HA services, the quorum.

HA never looks at storage (pve-ha-manager has no word of it): a guest whose storage hangs stays `started`, and HA helps only when a
node is gone. Where it can move a guest is computed from rules, storages and the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from controller.core.topology.graph import State
from controller.core.topology.names import START, at, is_visible, split
from controller.core.topology.residents import Resident, residents
from controller.core.topology.topology import Topology
from events.definitions import HaRuleDefined


class Effect(StrEnum):
    """What becomes of a guest. In order, the worst first."""

    FROZEN = "frozen"
    """Its node runs, its I/O hangs: the guest stands still, and HA does nothing about it."""
    STOPPED = "stopped"
    """Its node is gone, and nothing starts it elsewhere."""
    RESTARTED = "restarted"
    """Its node is gone; HA starts it on another one."""
    AT_RISK = "at_risk"
    """It runs on what is left: the next failure freezes it."""
    NO_START = "no_start"
    """It runs, but can neither start nor migrate: something that it needs for that is gone."""


@dataclass(frozen=True, slots=True)
class GuestImpact:
    """One guest that a failure hits."""

    vmid: str
    name: str
    node: str
    effect: Effect
    storages: tuple[str, ...]
    """Those that it needs and that are not well on its node."""
    targets: tuple[str, ...]
    """Nodes on which it could run now: its rules and storages allow it, and they work there."""
    service: str
    """HA service id, empty when HA does not manage it."""


@dataclass(frozen=True, slots=True)
class StorageImpact:
    """One storage, and the nodes on which it no longer works, or works without redundancy."""

    storage: str
    failed: tuple[str, ...]
    degraded: tuple[str, ...]
    works: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Impact:
    """All that a failure does."""

    failed: tuple[str, ...]
    """What was said to have failed."""
    entities: Mapping[str, State]
    """Everything else that is not well, by entity."""
    storages: tuple[StorageImpact, ...]
    guests: tuple[GuestImpact, ...]
    quorum_lost: bool = False
    """Then /etc/pve is read-only on the rest, and nodes with active HA services fence themselves."""

    def with_effect(self, *effects: Effect) -> tuple[GuestImpact, ...]:
        """Return the guests that one of these effects hits."""
        return tuple(one for one in self.guests if one.effect in effects)

    @property
    def ha_can_help(self) -> bool:
        """Tell whether a guest that stands still could run on another node."""
        return any(one.targets for one in self.with_effect(Effect.FROZEN, Effect.STOPPED, Effect.RESTARTED))


def impact(topology: Topology, failed: Iterable[str]) -> Impact:
    """Compute what happens when these vertices fail (entities, or ``<entity>@<node>`` for one node's view)."""
    given = tuple(dict.fromkeys(failed))
    known = topology.remembered.get((_ALONE, given))
    if isinstance(known, Impact):
        return known
    found = _impact(topology, given)
    topology.remembered.keep((_ALONE, given), found)
    return found


def amid(topology: Topology, alone: Impact, failed: Iterable[str]) -> Impact:
    """Return what one failure touches, in the state that all that failed has brought it to."""
    given = tuple(failed)
    known = topology.remembered.get((_AMID, alone.failed))
    if isinstance(known, _Amid) and known.failed == given:
        return known.impact
    damage = _Damage(topology, topology.spread(given, _reach(topology, alone)))
    found = replace(
        alone,
        guests=tuple(damage.guest(one.vmid) or one for one in alone.guests),
        storages=tuple(damage.storage(one.storage) or one for one in alone.storages),
    )
    topology.remembered.keep((_AMID, alone.failed), _Amid(given, found))
    return found


_ALONE, _AMID, _REACH = "alone", "amid", "reach"
"""What is remembered of a failure."""


class _Amid(NamedTuple):
    """What a failure touches when all of these failed; of each failure the last of them is remembered."""

    failed: tuple[str, ...]
    impact: Impact


def _reach(topology: Topology, alone: Impact) -> frozenset[str]:
    """Return everything by which the guests and storages that a failure touches could suffer, with all that it needs."""
    known = topology.remembered.get((_REACH, alone.failed))
    if isinstance(known, frozenset):
        return known
    known_guests = residents(topology)
    touched = [guest for one in alone.guests if (guest := known_guests.get(one.vmid)) is not None]
    guests = [name for one in touched for name in (one.runs, one.starts)]
    storages = {one.storage for one in alone.storages}.union(*(one.storages for one in touched))
    views = [at(f"storage/{storage}", node) for storage in storages for node in topology.nodes]
    found = topology.graph.below(*guests, *views).union(guests, views)
    topology.remembered.keep((_REACH, alone.failed), found)
    return found


def _impact(topology: Topology, given: tuple[str, ...]) -> Impact:
    states = topology.spread(given)
    damage = _Damage(topology, states)
    vmids = {name.partition("/")[2].removesuffix(f"@{START}") for name in states if name.startswith("guest/")}
    guests = tuple(found for vmid in sorted(vmids, key=_number) if (found := damage.guest(vmid)) is not None)
    storages = tuple(one for storage in sorted(damage.on_nodes) if (one := damage.storage(storage)) is not None)
    wholes = {name: state for name, state in states.items() if not name.startswith("guest/") and not split(name)[1]}
    quorum_lost = any(state is State.FAILED and name.startswith("cluster/") for name, state in states.items())
    for name in given:
        wholes.pop(name, None)
    return Impact(given, wholes, storages, guests, quorum_lost)


def _number(vmid: str) -> tuple[int, str]:
    return (int(vmid), "") if vmid.isdigit() else (0, vmid)


class _Damage:
    """What is not well, and what that means for each storage and guest."""

    def __init__(self, topology: Topology, states: Mapping[str, State]) -> None:
        self._topology = topology
        self._states = states
        self.on_nodes = _on_nodes(states)
        """Storages that are not well, and how they are on which nodes."""
        self._homes = _Homes(topology, states, self.on_nodes)
        self._residents = residents(topology)

    def storage(self, storage: str) -> StorageImpact | None:
        """Return what became of a storage, None when it is well everywhere."""
        nodes = self.on_nodes.get(storage)
        if nodes is None:
            return None
        defined = self._topology.storages.get(storage)
        works = [node for node in self._topology.nodes if defined is not None and node not in nodes and is_visible(defined, node)]
        failed = sorted(node for node, state in nodes.items() if state is State.FAILED)
        return StorageImpact(storage, tuple(failed), tuple(sorted(set(nodes) - set(failed))), tuple(works))

    def guest(self, vmid: str) -> GuestImpact | None:
        """Return what became of a guest, None when it is well, gone or a template."""
        guest = self._residents.get(vmid)
        if guest is None or not (guest.runs in self._states or guest.starts in self._states):
            return None
        effect = _effect(self._states, guest)
        targets = () if effect in (Effect.AT_RISK, Effect.NO_START) else self._homes.of(guest)
        if effect is Effect.STOPPED and guest.is_restarted and targets:
            effect = Effect.RESTARTED
        hit = tuple(one for one in guest.storages if guest.node in self.on_nodes.get(one, ()))
        return GuestImpact(vmid, guest.name, guest.node, effect, hit, targets, guest.service)


def _on_nodes(states: Mapping[str, State]) -> Mapping[str, Mapping[str, State]]:
    """Return the storages that are not well, and how they are on which nodes."""
    found: dict[str, dict[str, State]] = {}
    for name, state in states.items():
        if name.startswith("storage/"):
            entity, node = split(name)
            if node:
                found.setdefault(entity.removeprefix("storage/"), {})[node] = state
    return found


def _effect(states: Mapping[str, State], guest: Resident) -> Effect:
    if states.get(f"node/{guest.node}") is State.FAILED:
        return Effect.STOPPED
    match states.get(guest.runs):
        case State.FAILED:
            return Effect.FROZEN
        case State.DEGRADED:
            return Effect.AT_RISK
        case _:
            return Effect.NO_START if states.get(guest.starts) is State.FAILED else Effect.AT_RISK


class _Homes:
    """Where guests could run. Guests with the same storages and rules have the same homes: each set is looked at once."""

    def __init__(self, topology: Topology, states: Mapping[str, State], storages: Mapping[str, Mapping[str, State]]) -> None:
        self._topology = topology
        self._gone = {node for node in topology.nodes if states.get(f"node/{node}") is State.FAILED}
        self._without = {name: {node for node, state in nodes.items() if state is State.FAILED} for name, nodes in storages.items()}
        self._known: dict[tuple[tuple[str, ...], str], tuple[str, ...]] = {}
        self._allowed = _allowed(topology)

    def of(self, guest: Resident) -> tuple[str, ...]:
        """Return the nodes other than its own on which a guest could run now."""
        if guest.is_bound:
            return ()
        free = self._known.get((guest.storages, guest.node))
        if free is None:
            free = self._known[guest.storages, guest.node] = self._free(guest.storages, guest.node)
        allowed = self._allowed.get(guest.service)
        return free if allowed is None else tuple(node for node in free if node in allowed)

    def _free(self, needed: tuple[str, ...], own: str) -> tuple[str, ...]:
        without = self._gone.union(*(self._without.get(one, ()) for one in needed)) if needed else ()
        return tuple(node for node in self._topology.offering(needed) if node != own and node not in without)


def _allowed(topology: Topology) -> Mapping[str, set[str]]:
    """Return the nodes that strict rules leave to services; those that are not listed may run anywhere."""
    found: dict[str, set[str]] = {}
    for rule in topology.facts.of(HaRuleDefined).values():
        if rule.disabled or rule.dropped or rule.form == "resource-affinity" or not (rule.negative or rule.strict):
            continue
        nodes = {one.node for one in rule.nodes}
        for service in rule.resources:
            found.setdefault(service, set(topology.nodes) - nodes if rule.negative else nodes)
    return found
