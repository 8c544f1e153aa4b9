"""Facts of small clusters in few words, and a core that has taken them in."""

from __future__ import annotations

from typing import Any

from controller.core.state import CoreState
from events import definitions, host
from events.base import Event, Seen, Source
from events.entity import Entity, EntityKind

SEEN = Seen(source=Source.PMXCFS)


def storage(name: str, type_: str, *, shared: bool = True, nodes: tuple[str, ...] | None = None, **properties: str) -> Event:
    """Return a storage's definition."""
    listed = tuple(definitions.Property(name=key.replace("_", "-"), value=value) for key, value in sorted(properties.items()))
    subject = Entity(EntityKind.STORAGE, name)
    return definitions.StorageDefined(subject=subject, seen=SEEN, type=type_, shared=shared, nodes=nodes, properties=listed)


def guest(vmid: int, node: str, *storages: str, start: tuple[str, ...] = (), history: tuple[str, ...] = (), **fields: Any) -> Event:
    """Return a VM with a disk on each storage, and what it needs to start or has snapshots on."""
    needs: list[tuple[str, Any]] = [*((one, "runtime") for one in storages), *((one, "start") for one in start)]
    needs += ((one, "history") for one in history)
    uses = tuple(
        definitions.VolumeUse(key=f"scsi{number}", storage=one, volume=f"vm-{vmid}-disk-{number}", role="disk", need=need)
        for number, (one, need) in enumerate(needs)
    )
    subject = Entity(EntityKind.GUEST, str(vmid))
    return definitions.GuestDefined(**{"subject": subject, "seen": SEEN, "guest": "qemu", "node": node, "uses": uses, **fields})


def managed(vmid: int, **fields: Any) -> Event:
    """Return the HA resource of a VM."""
    return definitions.HaResourceDefined(subject=Entity(EntityKind.HA, f"vm:{vmid}"), seen=SEEN, **fields)


def rule(name: str, *nodes: str, resources: tuple[str, ...], **fields: Any) -> Event:
    """Return a node-affinity rule."""
    listed = tuple(definitions.NodePriority(node=node) for node in nodes)
    given: dict[str, Any] = {"form": "node-affinity", "resources": resources, "nodes": listed, **fields}
    return definitions.HaRuleDefined(subject=Entity(EntityKind.HA_RULE, name), seen=SEEN, **given)


def backup_job(name: str, schedule: str, storage: str, **fields: Any) -> Event:
    """Return a backup job that saves all guests, unless told otherwise."""
    given: dict[str, Any] = {"schedule": schedule, "storage": storage, "everything": "guests" not in fields, **fields}
    return definitions.BackupJobDefined(subject=Entity(EntityKind.BACKUP_JOB, name), seen=SEEN, **given)


def nodes(*names: str) -> Event:
    """Return the list of the cluster's nodes."""
    return definitions.ClusterNodesListed(subject=Entity(EntityKind.CLUSTER, "prod"), seen=SEEN, nodes=names)


def corosync(*names: str, device: bool = False, network: str = "10.0.0") -> Event:
    """Return a cluster whose nodes have one link each, ``10.0.0.1`` and on."""
    listed = tuple(definitions.CorosyncNode(node=name, addresses=(f"{network}.{number}",)) for number, name in enumerate(names, 1))
    return definitions.CorosyncDefined(subject=Entity(EntityKind.CLUSTER, "prod"), seen=SEEN, nodes=listed, device=device)


def networks(node: str, *addresses: str, gateway: str = "") -> Event:
    """Return a node's addresses, one interface each, and a default route."""
    interfaces = tuple(host.Interface(name=f"eth{number}", addresses=(one,)) for number, one in enumerate(addresses))
    routes = (host.Route(destination="0.0.0.0/0", interface="eth0", gateway=gateway),) if gateway else ()
    return host.NodeNetworks(subject=Entity(EntityKind.NODE, node), seen=SEEN, interfaces=interfaces, routes=routes)


def sessions(node: str, target: str, *portals: str, luns: tuple[str, ...] = ()) -> Event:
    """Return a node's iSCSI sessions with one target."""
    listed = tuple(
        host.Session(number=number, target=target, portal=one, state="LOGGED_IN", luns=luns) for number, one in enumerate(portals, 1)
    )
    return host.NodeIscsi(subject=Entity(EntityKind.NODE, node), seen=SEEN, sessions=listed)


def volumes(node: str, group: str, *luns: str) -> Event:
    """Return a node's one volume group and the LUNs below it."""
    return host.NodeVolumes(subject=Entity(EntityKind.NODE, node), seen=SEEN, groups=(host.VolumeGroup(name=group, luns=luns),))


def mounted(node: str, source: str, target: str, type_: str) -> Event:
    """Return a node's one mount."""
    return host.NodeMounts(
        subject=Entity(EntityKind.NODE, node), seen=SEEN, mounted=(host.Mount(source=source, target=target, type=type_),)
    )


def osds(node: str, fsid: str, *numbers: int) -> Event:
    """Return the OSDs that a node has."""
    return host.NodeCeph(subject=Entity(EntityKind.NODE, node), seen=SEEN, fsid=fsid, osds=numbers)


def ceph(fsid: str, *monitors: tuple[str, str], public: str = "10.0.3.0/24") -> Event:
    """Return a Ceph cluster with (name, address) of its monitors."""
    listed = tuple(definitions.CephMonitor(name=name, address=address) for name, address in monitors)
    return definitions.CephDefined(subject=Entity(EntityKind.CEPH, fsid), seen=SEEN, monitors=listed, public_networks=(public,))


def core(*events: Event) -> CoreState:
    """Return a core that took these in, in this order."""
    state = CoreState("prod")
    for at, event in enumerate(events, 1):
        state.learn(event, at)
    return state
