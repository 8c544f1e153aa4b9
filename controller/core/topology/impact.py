"""What a failure takes down: storages by node, guests and what becomes of them, HA services, the quorum.

HA never looks at storage (pve-ha-manager has no word of it): a guest whose storage hangs stays `started`, and HA helps only when a
node is gone. Where it can move a guest is computed from rules, storages and the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from controller.core.facts import service_of
from controller.core.topology.graph import State
from controller.core.topology.names import START, at, is_visible, split
from controller.core.topology.topology import Topology
from events.definitions import GuestDefined, HaResourceDefined, HaRuleDefined


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
    known = topology.remembered.get(given)
    if isinstance(known, Impact):
        return known
    found = _impact(topology, given)
    topology.remember(given, found)
    return found


def _impact(topology: Topology, given: tuple[str, ...]) -> Impact:
    states = topology.spread(given)
    homes = _Homes(topology, states)
    vmids = sorted({name.partition("/")[2].removesuffix(f"@{START}") for name in states if name.startswith("guest/")}, key=_number)
    guests = tuple(found for vmid in vmids if (found := _guest(topology, homes, states, vmid)) is not None)
    clusters = {name: state for name, state in states.items() if name.startswith("cluster/")}
    entities = {name: state for name, state in states.items() if not split(name)[1] and not name.startswith("guest/") and name not in given}
    return Impact(given, entities, _storages(topology, states), guests, State.FAILED in clusters.values())


def _number(vmid: str) -> tuple[int, str]:
    return (int(vmid), "") if vmid.isdigit() else (0, vmid)


def _storages(topology: Topology, states: Mapping[str, State]) -> tuple[StorageImpact, ...]:
    hit: dict[str, dict[str, State]] = {}
    for name, state in states.items():
        entity, node = split(name)
        if node and entity.startswith("storage/"):
            hit.setdefault(entity.removeprefix("storage/"), {})[node] = state
    found = []
    for storage in sorted(hit):
        nodes = hit[storage]
        defined = topology.storages.get(storage)
        works = [node for node in topology.nodes if defined is not None and node not in nodes and is_visible(defined, node)]
        failed = sorted(node for node, state in nodes.items() if state is State.FAILED)
        found.append(StorageImpact(storage, tuple(failed), tuple(sorted(set(nodes) - set(failed))), tuple(works)))
    return tuple(found)


def _guest(topology: Topology, homes: _Homes, states: Mapping[str, State], vmid: str) -> GuestImpact | None:
    guest = topology.guests.get(vmid)
    if guest is None or guest.template:
        return None
    service = service_of(topology.facts, vmid) or ""
    effect = _effect(states, guest, vmid)
    targets = () if effect in (Effect.AT_RISK, Effect.NO_START) else homes.of(guest, service)
    if effect is Effect.STOPPED and service and targets and _is_started(topology, service):
        effect = Effect.RESTARTED
    hit = tuple(one for one in topology.storages_of(guest, "runtime", "start") if at(f"storage/{one}", guest.node) in states)
    return GuestImpact(vmid, guest.name, guest.node, effect, hit, targets, service)


def _effect(states: Mapping[str, State], guest: GuestDefined, vmid: str) -> Effect:
    if states.get(f"node/{guest.node}") is State.FAILED:
        return Effect.STOPPED
    match states.get(f"guest/{vmid}"):
        case State.FAILED:
            return Effect.FROZEN
        case State.DEGRADED:
            return Effect.AT_RISK
        case _:
            return Effect.NO_START if states.get(at(f"guest/{vmid}", START)) is State.FAILED else Effect.AT_RISK


def _is_started(topology: Topology, service: str) -> bool:
    resource = topology.facts.get(HaResourceDefined, service)
    return resource is not None and resource.requested in ("started", "enabled")


class _Homes:
    """Where guests could run. Guests with the same storages and rules have the same homes: each set is looked at once."""

    def __init__(self, topology: Topology, states: Mapping[str, State]) -> None:
        self._topology = topology
        self._states = states
        self._known: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._rules = [one for one in topology.facts.of(HaRuleDefined).values() if not one.disabled and not one.dropped]

    def of(self, guest: GuestDefined, service: str) -> tuple[str, ...]:
        """Return the nodes other than its own on which a guest could run now."""
        storages = tuple(sorted(set(self._topology.storages_of(guest, "runtime", "start"))))
        if any(not use.storage and not use.shared and use.need == "runtime" for use in guest.uses):
            return ()  # a device or directory of its node: Proxmox VE refuses to move it
        if storages not in self._known:
            self._known[storages] = tuple(node for node in self._topology.nodes if all(self._works(one, node) for one in storages))
        allowed = self._allowed(service)
        return tuple(node for node in self._known[storages] if node != guest.node and (allowed is None or node in allowed))

    def _works(self, storage: str, node: str) -> bool:
        defined = self._topology.storages.get(storage)
        return (
            defined is not None
            and defined.shared
            and is_visible(defined, node)
            and self._topology.facts.is_online(node)
            and self._states.get(f"node/{node}") is not State.FAILED
            and self._states.get(at(f"storage/{storage}", node)) is not State.FAILED
        )

    def _allowed(self, service: str) -> set[str] | None:
        """Return the nodes that a strict rule leaves to a service; None when it may run anywhere."""
        for rule in self._rules:
            if service in rule.resources and rule.form != "resource-affinity":
                nodes = {one.node for one in rule.nodes}
                if rule.negative:
                    return set(self._topology.nodes) - nodes
                if rule.strict:
                    return nodes
        return None
