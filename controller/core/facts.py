"""The latest word on everything that the cluster is made of: what the dependency graph and the checks are computed from.

Facts come from many agents that look at the same files; of two words on one subject the later observed one holds. They are kept as
events, so that there is one form of each. Nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from events import definitions, host
from events.base import Event
from events.ceph import CephNearFull, CephRecoveryProgress
from events.cluster import MemberJoined, MemberLeft, StorageConfigBroken, StorageConfigValid
from events.nfs import NfsNameResolved
from events.vocabulary import build, kind_name, kinds_of

E = TypeVar("E", bound=Event)
Changed = tuple[type[Event], str]
"""Kind and key of a fact that came, went or is another one now."""

_GONE: Final[dict[type[Event], type[Event]]] = {
    definitions.StorageUndefined: definitions.StorageDefined,
    definitions.GuestGone: definitions.GuestDefined,
    definitions.HaResourceGone: definitions.HaResourceDefined,
    definitions.HaRuleGone: definitions.HaRuleDefined,
    definitions.BackupJobGone: definitions.BackupJobDefined,
    definitions.CephHostGone: definitions.CephHostDefined,
    definitions.CephPoolGone: definitions.CephPoolDefined,
}
"""Kind that ends a fact, to the kind that began it."""
KINDS: Final[frozenset[type[Event]]] = frozenset(
    {
        *kinds_of(definitions),
        *kinds_of(host),
        *(StorageConfigBroken, StorageConfigValid),
        *(MemberJoined, MemberLeft),
        NfsNameResolved,
        *(CephRecoveryProgress, CephNearFull),
    }
)
"""Kinds that are facts."""
BY_NAME: Final[Mapping[str, type[Event]]] = {kind_name(kind): kind for kind in KINDS}
_SINGLE: Final = frozenset(
    {
        definitions.StorageConfigWarned,
        definitions.CorosyncDefined,
        definitions.ClusterNodesListed,
        definitions.HaManagerState,
        definitions.DatacenterDefined,
    }
)
ALONE: Final = "cluster"
"""Key of facts of which a cluster has one: their subject changes when a node that stood alone joins a cluster."""


@dataclass(slots=True)
class Fact:
    """One fact: the event, and when it was observed (UTC µs)."""

    event: Event
    at: int


_OF_MEMBERS: Final = frozenset({MemberJoined, MemberLeft})


class Facts:
    """Tables of facts, one for each kind, by their subject's key: ``facts.of(StorageDefined)["nfs-store"]``."""

    def __init__(self) -> None:
        self._tables: dict[type[Event], dict[str, Fact]] = {}

    def of(self, kind: type[E]) -> Mapping[str, E]:
        """Return all facts of a kind by key: storage id, VMID, service id, node, fsid."""
        return {key: cast("E", fact.event) for key, fact in self._tables.get(kind, {}).items()}

    def get(self, kind: type[E], key: str = ALONE) -> E | None:
        """Return one fact, or None."""
        fact = self._tables.get(kind, {}).get(key)
        return None if fact is None else cast("E", fact.event)

    def keys(self, kind: type[Event]) -> Iterator[str]:
        """Yield the keys of a kind's facts."""
        yield from self._tables.get(kind, {})

    def nodes(self) -> list[str]:
        """Return the names of all nodes that the cluster is known to have."""
        listed = self.get(definitions.ClusterNodesListed)
        names = set(listed.nodes) if listed else set()
        corosync = self.get(definitions.CorosyncDefined)
        if not names and corosync:
            names = {one.node for one in corosync.nodes}
        if not names:
            names = {*self._tables.get(MemberJoined, {}), *self._tables.get(MemberLeft, {}), *self._reporting()}
        return sorted(names)

    def addresses(self) -> dict[str, str]:
        """Return the address of each NFS server's name (of several the smallest, for their order changes) and of each Ceph monitor."""
        servers = {name: min(one.addresses) for name, one in self.of(NfsNameResolved).items() if one.addresses}
        return servers | {f"{fsid}/{one.name}": one.address for fsid, listed in self.monitors().items() for one in listed if one.name}

    def monitors(self) -> dict[str, tuple[definitions.CephMonitor, ...]]:
        """Return the monitors of each Ceph cluster: those that it lists itself, else those of its configuration; without ports.

        Those of a cluster that was the nodes' own once are no more: another one has their addresses.
        """
        found = {fsid: one.monitors for fsid, one in self.of(definitions.CephDefined).items()}
        gone = set(found) - {self.own_ceph()}
        found |= {fsid: one.monitors for fsid, one in self.of(definitions.CephMonitorsListed).items()}
        found = {fsid: monitors for fsid, monitors in found.items() if fsid not in gone}
        bare = definitions.CephMonitor
        return {
            fsid: tuple(bare(name=one.name, address=_without_port(one.address)) for one in monitors) for fsid, monitors in found.items()
        }

    def own_ceph(self) -> str:
        """Return the fsid of the Ceph cluster that the nodes run, as ceph.conf said last; empty when they run none."""
        told = self._tables.get(definitions.CephDefined, {})
        return max(told, key=lambda fsid: (told[fsid].at, fsid), default="")

    def monitor_at(self, address: str) -> str:
        """Return the name, ``fsid/name``, of the monitor at an address; empty where none is, or several are."""
        host = _without_port(address)
        found = [f"{fsid}/{one.name}" for fsid, listed in self.monitors().items() for one in listed if one.name and one.address == host]
        return found[0] if len(found) == 1 else ""

    def _reporting(self) -> set[str]:
        return {node for kind in kinds_of(host) for node in self._tables.get(kind, {})}

    def is_online(self, node: str) -> bool:
        """Tell whether a node is known to be a member; one of which nothing is known is."""
        joined, left = self._tables.get(MemberJoined, {}).get(node), self._tables.get(MemberLeft, {}).get(node)
        return left is None or (joined is not None and joined.at >= left.at)

    def take(self, event: Event, at: int) -> list[Changed]:
        """Take in an event of one of :data:`KINDS`, observed at ``at`` (UTC µs); return the facts that it changed."""
        kind = type(event)
        if kind in _GONE:
            return self._end(_GONE[kind], event, at)
        if kind is StorageConfigValid:
            return [(StorageConfigBroken, section) for section in self._tables.pop(StorageConfigBroken, {})]
        own = self.own_ceph()
        changed = self._hold(kind, key_of(event), event, at)
        # A cluster that was described before and is again says the same: that it is the own one makes the difference.
        return changed or ([(kind, key_of(event))] if own != self.own_ceph() else [])

    def _hold(self, kind: type[Event], key: str, event: Event, at: int) -> list[Changed]:
        table = self._tables.setdefault(kind, {})
        known = table.get(key)
        if known is not None and at < known.at:
            return []
        was_online = self.is_online(key)
        table[key] = Fact(event, at)
        if known is None or not _same(known.event, event):
            return [(kind, key)]
        # A member that comes back says the same as before it left: when it said so last makes the difference.
        return [(kind, key)] if kind in _OF_MEMBERS and was_online != self.is_online(key) else []

    def _end(self, kind: type[Event], event: Event, at: int) -> list[Changed]:
        table, key = self._tables.get(kind, {}), key_of(event)
        known = table.get(key)
        if known is None or at < known.at:
            return []
        if isinstance(event, definitions.GuestGone) and cast("definitions.GuestDefined", known.event).node != event.node:
            return []  # it moved: its new node said so already
        del table[key]
        return [(kind, key)]

    def latest(self) -> int:
        """Return when the newest was observed (UTC µs), 0 without any."""
        return max((fact.at for table in self._tables.values() for fact in table.values()), default=0)

    def move(self, was: Callable[[int], int]) -> list[Changed]:
        """Give every fact another time; return all of them."""
        for table in self._tables.values():
            for fact in table.values():
                fact.at = was(fact.at)
        return [(kind, key) for kind, table in self._tables.items() for key in table]

    def dump(self, name: str) -> dict[str, Any] | None:
        """Return a fact as plain data by its :func:`record_name`, None when it is gone."""
        kind_text, _, key = name.partition(" ")
        kind = BY_NAME[kind_text]
        fact = self._tables.get(kind, {}).get(key)
        if fact is None:
            return None
        body = fact.event.model_dump(mode="json", exclude_defaults=True)
        body.pop("kind", None)
        return {"kind": kind_text, "key": key, "at": fact.at, "body": body}

    def load(self, record: Mapping[str, Any]) -> None:
        """Take up what :meth:`dump` returned."""
        event = build(record["kind"], dict(record["body"]))
        self._tables.setdefault(type(event), {})[record["key"]] = Fact(event, record["at"])


def _without_port(address: str) -> str:
    """Return the host of an address as Ceph writes it: ``10.0.0.1:3300``, ``[fd00::1]:3300``, or without a port."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address


def record_name(changed: Changed) -> str:
    """Return the name under which a fact is stored."""
    return f"{kind_name(changed[0])} {changed[1]}"


def key_of(event: Event) -> str:
    """Return the key under which an event's fact is kept."""
    if type(event) in _SINGLE:
        return ALONE
    if isinstance(event, StorageConfigBroken):
        return event.section
    return event.subject.key


def _same(one: Event, other: Event) -> bool:
    """Compare what is said, not how it was seen."""
    return {**one.__dict__, "seen": None, "subject": None} == {**other.__dict__, "seen": None, "subject": None}


def service_of(facts: Facts, vmid: str) -> str | None:
    """Return the HA service id of a guest that HA manages."""
    guest = facts.get(definitions.GuestDefined, vmid)
    sid = f"{'ct' if guest and guest.guest == 'lxc' else 'vm'}:{vmid}"
    return sid if facts.get(definitions.HaResourceDefined, sid) else None
