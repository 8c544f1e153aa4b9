"""What nodes see of NFS servers, and of storages whose servers no probe asks.

Delays are those of two real nodes: `tests/samples/lab/two-nodes-1`, and the table "What is seen, and how soon" of README. Where those are a
few only, the paces of the sources (`agent/sources`) give the rest of the range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from events.base import Seen, Source
from events.cluster import StorageActive, StorageInactive
from events.entity import Entity, EntityKind
from events.nfs import (
    NfsExportDenied,
    NfsExportGranted,
    NfsHandleStale,
    NfsHandleValid,
    NfsLatencyHigh,
    NfsLatencyNormal,
    NfsMounted,
    NfsMountResponsive,
    NfsMountUnresponsive,
    NfsNameResolved,
    NfsNameUnresolved,
    NfsServerReachable,
    NfsServerUnreachable,
    NfsSilence,
)
from tests.sim.plan import Server, Storage
from tests.sim.stage import SECOND, STORM, Stage, Watch
from tests.sim.world import REFUSED, SILENT

_PROBE = Seen(source=Source.NFS, excerpt="simulated")
_JOURNAL = Seen(source=Source.JOURNALD, excerpt="simulated")
_FEED = Seen(source=Source.PMXCFS, excerpt="simulated")
_KERNEL = 182
"""Seconds after which a hard mount's first blocked request is told by the kernel (measured)."""
_LIMIT, _SLOW, _FAST = 0.02, 0.15, 0.002
"""Seconds per operation."""


def nfs_watches(stage: Stage) -> Iterator[Watch]:
    """Yield what every node looks at: servers, their names, the mounts."""
    for server, nodes in stage.plan.servers.items():
        for node in nodes:
            yield server_watch(stage, node, server)
            yield _kernel(stage, node, server)
            if server.is_named:
                yield _name(stage, node, server)
    for storage in stage.plan.of_type("nfs"):
        for node in stage.plan.users(storage):
            yield from _mount(stage, node, storage)


def storage_watches(stage: Stage) -> Iterator[Watch]:
    """Yield what pvestatd finds of storages that it can test, each 10 s."""
    for storage in stage.plan.of_type("nfs", "cifs", "pbs", "iscsi"):
        for node in stage.plan.users(storage):
            yield _storage(stage, node, storage)


def server_watch(stage: Stage, node: str, server: Server, asked: Callable[[], bool] = lambda: True) -> Watch:
    """Return whether a node reaches an NFS server, as long as it is ``asked`` at all."""
    subject, world = Entity(EntityKind.NFS_SERVER, server.name), stage.world
    how = {SILENT: NfsSilence.NO_REPLY, REFUSED: NfsSilence.REFUSED}

    def wait(word: str) -> int:
        # RPC NULL each 2 s, deadline 0.75 s and 1.5 s over a new connection; 0.5 s pace while bad. Recorded: 2.3 to 4.5 s for silence,
        # 2.3 to 4.8 s for a service that was stopped, 0.4 to 2.4 s for its return.
        return stage.between(*{SILENT: (2.2, 4.8), REFUSED: (0.5, 4.8)}.get(word, (0.3, 2.5)))

    return Watch(
        node,
        lambda: world.service(node, server) if asked() else None,
        wait,
        lambda word: [NfsServerUnreachable(subject=subject, seen=_PROBE, how=how[word])],
        lambda: [NfsServerReachable(subject=subject, seen=_PROBE)],
        typical=SILENT,
    )


def _kernel(stage: Stage, node: str, server: Server) -> Watch:
    """Return what the kernel says where requests are under way: guests of this node have disks there."""
    subject, world = Entity(EntityKind.NFS_SERVER, server.name), stage.world
    mine = {one.id for one in stage.plan.of_type("nfs") if one.server == server}
    busy = any(guest.node == node and mine & set(guest.storages) for guest in stage.plan.guests)

    def then(word: str) -> None:
        if word:
            stage.emit(node, NfsServerUnreachable(subject=subject, seen=_JOURNAL, how=NfsSilence.STILL_TRYING))
        else:
            stage.emit(node, NfsServerReachable(subject=subject, seen=_JOURNAL))

    def wait(word: str) -> int:
        return _KERNEL * SECOND + stage.between(0, 2.1) if word else stage.between(3, 50)

    return Watch(node, lambda: world.service(node, server) if busy else "", wait, then=then, again=0, alike=True, blind=True)


def _name(stage: Stage, node: str, server: Server) -> Watch:
    subject, world = Entity(EntityKind.NFS_SERVER, server.name), stage.world
    return Watch(
        node,
        lambda: "unresolved" if world.has("unresolved", node, server.name) else "",
        # Recorded: 3.1 to 10.2 s, back in 2.2 to 4.2 s.
        lambda word: stage.between(2.5, 10.5) if word else stage.between(1.5, 4.5),
        lambda _: [NfsNameUnresolved(subject=subject, seen=_PROBE, reason="Temporary failure in name resolution")],
        lambda: [NfsNameResolved(subject=subject, seen=_PROBE, addresses=(server.address,))],
        typical="unresolved",
    )


def _mount(stage: Stage, node: str, storage: Storage) -> Iterator[Watch]:
    """Yield what a mount's probe says (each 10 s, a deadline of 5 s) and its statistics (each 10 s, two in a row)."""
    server, world, export = storage.server, stage.world, storage.export
    assert server is not None
    subject, place = Entity(EntityKind.NFS_EXPORT, export), f"/mnt/pve/{storage.id}"

    def found(mark: str) -> str | None:
        if world.service(node, server):
            return None
        return mark if world.has(mark, node, export) else ""

    def replaced(word: str) -> None:
        # The kernel's own "fileid changed" comes when the new directory is touched; it has none for a client that is refused.
        if word and all(world.has("stale", one, export) for one in stage.plan.users(storage)):
            stage.emit(node, NfsHandleStale(subject=Entity(EntityKind.NFS_SERVER, server.name), seen=_JOURNAL))

    # Recorded: 5.4 to 11.4 s after the server fell silent, back 1.9 to 5.0 s after it was there again.
    yield Watch(
        node,
        lambda: "hangs" if world.service(node, server) else "",
        lambda word: stage.between(5, 14) if word else stage.between(1.5, 5.5),
        lambda _: [NfsMountUnresponsive(subject=subject, seen=_PROBE, mountpoint=place, reason="no answer within 5 s")],
        lambda: [NfsMountResponsive(subject=subject, seen=_PROBE, mountpoint=place)],
    )
    # Recorded: 0.8 to 8.9 s; valid or granted again after 2.4 to 13 s.
    touched = partial(_touched, stage)
    yield Watch(
        node,
        lambda: found("denied"),
        touched,
        lambda _: [NfsExportDenied(subject=subject, seen=_PROBE)],
        lambda: [NfsExportGranted(subject=subject, seen=_PROBE), NfsMounted(subject=subject, seen=_PROBE, mountpoint=place)],
    )
    yield Watch(
        node,
        lambda: found("stale"),
        touched,
        lambda _: [NfsHandleStale(subject=subject, seen=_PROBE)],
        lambda: [NfsHandleValid(subject=subject, seen=_PROBE)],
        replaced,
    )
    # Recorded: 13.1 to 22.7 s, normal again after 17.0 to 24.3 s.
    yield Watch(
        node,
        lambda: found("slow"),
        lambda word: stage.between(12, 23) if word else stage.between(17, 25),
        lambda _: [NfsLatencyHigh(subject=subject, seen=_PROBE, per_operation=_SLOW, limit=_LIMIT)],
        lambda: [NfsLatencyNormal(subject=subject, seen=_PROBE, per_operation=_FAST)],  # means of 20 s: no false alarms
    )


def _touched(stage: Stage, word: str) -> int:
    return stage.between(0.8, 10) if word else stage.between(2, 13)


def _storage(stage: Stage, node: str, storage: Storage) -> Watch:
    """Return pvestatd's word: `is not online` in its log at once, or only missing in what it tells the cluster."""
    subject, world = Entity(EntityKind.STORAGE, storage.id), stage.world
    ends = storage.target.portals if storage.target else (storage.server,)
    logged = storage.type != "pbs"

    def look() -> str:
        return "inactive" if all(one is not None and world.service(node, one) for one in ends) else ""

    def wait(word: str) -> int:
        return stage.between(0.5, 12) if word and logged else stage.between(20, 40)

    return Watch(
        node,
        look,
        wait,
        lambda _: [StorageInactive(subject=subject, seen=_JOURNAL if logged else _FEED, reason=f"storage '{storage.id}' is not online")],
        lambda: [StorageActive(subject=subject, seen=_FEED)],
        again=STORM if logged else 0,
        repeats=False,
    )
