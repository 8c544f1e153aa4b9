"""Guests as a failure meets them: where they are, what they need there, and what HA or an administrator could do for them."""

from __future__ import annotations

from typing import Final, NamedTuple

from controller.core.facts import service_of
from controller.core.topology.names import START, at
from controller.core.topology.topology import Topology
from events.definitions import HaResourceDefined


class Resident(NamedTuple):
    """A guest, and all that decides what a failure does to it."""

    name: str
    node: str
    storages: tuple[str, ...]
    """Those that it needs to run, start or migrate."""
    service: str
    """HA service id, empty when HA does not manage it."""
    is_restarted: bool
    """HA starts it elsewhere when its node is gone."""
    is_bound: bool
    """It uses a device or directory of its node: Proxmox VE refuses to move it."""
    runs: str
    """Vertex of what it needs to run."""
    starts: str
    """Vertex of what it needs to start or migrate."""


class Residents:
    """The guests of a topology that does not change, each looked at when it is first asked for."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._known: dict[str, Resident | None] = {}

    def get(self, vmid: str) -> Resident | None:
        """Return a guest; None when there is none, or it is a template, which nothing becomes of."""
        if vmid not in self._known:
            self._known[vmid] = _resident(self._topology, vmid)
        return self._known[vmid]


_RESIDENTS: Final = "residents"


def residents(topology: Topology) -> Residents:
    """Return the guests of a topology as it is now: any change forgets what was looked at."""
    known = topology.remembered.get(_RESIDENTS)
    if isinstance(known, Residents):
        return known
    found = Residents(topology)
    topology.remembered.keep(_RESIDENTS, found)
    return found


def _resident(topology: Topology, vmid: str) -> Resident | None:
    guest = topology.guests.get(vmid)
    if guest is None or guest.template:
        return None
    service = service_of(topology.facts, vmid) or ""
    return Resident(
        guest.name,
        guest.node,
        tuple(topology.storages_of(guest, "runtime", "start")),
        service,
        bool(service) and _is_started(topology, service),
        any(not use.storage and not use.shared and use.need == "runtime" for use in guest.uses),
        f"guest/{vmid}",
        at(f"guest/{vmid}", START),
    )


def _is_started(topology: Topology, service: str) -> bool:
    resource = topology.facts.get(HaResourceDefined, service)
    return resource is not None and resource.requested in ("started", "enabled")
