"""What an administrator does to a virtual cluster, from a script's words to what nodes say of it.

- ``maintenance NODE on|off``, ``arm``, ``disarm``: HA's manager writes it, every node reads it.
- ``flags [FLAG…]``: the flags of Ceph's OSD map that are set from now on; ``noout`` makes what is down planned.
- ``check CODE raised|cleared``: a health check of Ceph that is serious in itself; here since nothing that breaks follows from it.
- ``change STORAGE PROPERTY BEFORE AFTER``: a property in storage.cfg; ``-`` for none.
- ``point STORAGE ADDRESS``: storage.cfg names this NFS server for a storage from now on. Only the storage's own ever answered.
- ``iscsid NODE``: iscsid is stopped in order; ``announced SAN TEXT…``: the target says that it will go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from events.base import Event, Seen, Source
from events.ceph import CephCheckCleared, CephCheckRaised, CephFlagsChanged
from events.cluster import HaArming, HaNodeMaintenance, PropertyChange, StorageConfigChanged
from events.entity import Entity, EntityKind
from events.iscsi import IscsiInitiatorStopped, IscsiTargetAnnouncement
from tests.sim.inventory import storage_defined
from tests.sim.plan import CLUSTER, FSID, Server
from tests.sim.reaching import server_watch
from tests.sim.stage import Stage

_FILES = Seen(source=Source.PMXCFS, excerpt="simulated")
_JOURNAL = Seen(source=Source.JOURNALD, excerpt="simulated")
_CEPH = Seen(source=Source.CEPH, excerpt="simulated")
_DIGEST = "1" * 40


class Happenings:
    """Lets an administrator work."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._flags: tuple[str, ...] = ()
        self._pointed: dict[str, str] = {}
        """Servers that storage.cfg names now instead of the storages' own."""

    def happen(self, words: Sequence[str]) -> None:
        """Do what these words say now.

        :raises ValueError: when there is no such verb.
        """
        stage = self._stage
        for node, event, wait in self._said(list(words)):
            if stage.is_up(node):
                stage.emit(node, event, stage.between(*wait))

    def _said(self, words: list[str]) -> Iterator[tuple[str, Event, tuple[float, float]]]:
        match words:
            case ["maintenance", node, how]:
                subject = Entity(EntityKind.NODE, node)
                yield from self._all(lambda: HaNodeMaintenance(subject=subject, seen=_FILES, active=how == "on"))
            case ["arm" | "disarm" as how]:
                subject = Entity(EntityKind.CLUSTER, CLUSTER)
                yield from self._all(lambda: HaArming(subject=subject, seen=_FILES, armed=how == "arm"))
            case ["change", storage, name, before, after]:
                change = PropertyChange(storage=storage, name=name, before=_value(before), after=_value(after))
                yield from self._all(lambda: _changed(storage, change))
            case ["point", storage, address]:
                yield from self._point(storage, address)
            case ["flags", *flags]:
                yield from self._flagged(tuple(flags))
            case ["check", code, how]:
                yield from ((node, _check(code, how == "raised"), (0.5, 2.5)) for node in self._stage.plan.nodes)
            case ["iscsid", node]:
                yield node, IscsiInitiatorStopped(subject=Entity(EntityKind.NODE, node), seen=_JOURNAL), (0.05, 0.3)
            case ["announced", san, *text]:
                target = next(one for one in self._stage.plan.of_type("iscsi") if one.id == san).target
                assert target is not None
                event = IscsiTargetAnnouncement(subject=Entity(EntityKind.ISCSI_TARGET, target.iqn), seen=_JOURNAL, text=" ".join(text))
                for node in self._stage.plan.targets[target]:
                    yield node, event, (0.05, 0.3)
            case _:
                raise ValueError(f"no such happening: {' '.join(words)}")

    def _all(self, make: Callable[[], Event]) -> Iterator[tuple[str, Event, tuple[float, float]]]:
        # Each agent looks at /etc/pve once a second and sees the change at a moment of its own.
        yield from ((node, make(), (0.3, 1.5)) for node in self._stage.plan.nodes)

    def _point(self, name: str, address: str) -> Iterator[tuple[str, Event, tuple[float, float]]]:
        """Let all nodes read that a storage has another server, and those that use it ask that server from then on."""
        stage = self._stage
        storage = next(one for one in stage.plan.of_type("nfs") if one.id == name)
        assert storage.server is not None
        before, server = self._pointed.get(name, storage.server.name), Server(address, address, storage.server.subnet)
        self._pointed[name] = address
        change = PropertyChange(storage=name, name="server", before=before, after=address)
        yield from self._all(lambda: _changed(name, change))
        yield from self._all(lambda: storage_defined(replace(storage, server=server)))
        if server.name != storage.server.name:
            stage.set([("silent", server.entity)])
            stage.watch(server_watch(stage, node, server, lambda: self._pointed[name] == address) for node in stage.plan.users(storage))
        stage.changed()

    def _flagged(self, flags: tuple[str, ...]) -> Iterator[tuple[str, Event, tuple[float, float]]]:
        before, self._flags = self._flags, flags
        new, gone = tuple(one for one in flags if one not in before), tuple(one for one in before if one not in flags)
        self._stage.set(("flag", one) for one in new)
        self._stage.clear(("flag", one) for one in gone)
        event = CephFlagsChanged(subject=Entity(EntityKind.CEPH, FSID), seen=_CEPH, flags=flags, set=new, unset=gone)
        yield from ((node, event, (0.1, 1.5)) for node in self._stage.plan.nodes)


def _check(code: str, is_raised: bool) -> Event:
    cluster = Entity(EntityKind.CEPH, FSID)
    if not is_raised:
        return CephCheckCleared(subject=cluster, seen=_CEPH, code=code)
    return CephCheckRaised(subject=cluster, seen=_CEPH, code=code, severity="HEALTH_ERR", summary="simulated", serious=True)


def _value(text: str) -> str | None:
    return None if text == "-" else text


def _changed(storage: str, change: PropertyChange) -> Event:
    subject = Entity(EntityKind.CLUSTER, CLUSTER)
    return StorageConfigChanged(subject=subject, seen=_FILES, digest=_DIGEST, previous="0" * 40, changed=(storage,), changes=(change,))
