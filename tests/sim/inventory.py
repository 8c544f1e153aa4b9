"""What agents say of a virtual cluster's make when they start: storages, guests, HA, networks, mounts, sessions, maps, volume groups."""

from __future__ import annotations

from collections.abc import Iterator

from events import definitions, host
from events.base import Event, Seen, Source
from events.entity import Entity, EntityKind
from tests.sim.plan import CLUSTER, FSID, Guest, Plan, Storage

_CONFIGURED = Seen(source=Source.PMXCFS)
_HOST = Seen(source=Source.HOST)
_SHARED = frozenset({"nfs", "cifs", "iscsi", "lvm", "rbd", "cephfs", "pbs"})


def configured(plan: Plan) -> Iterator[Event]:
    """Yield what /etc/pve says, which is the same on every node."""
    subject = Entity(EntityKind.CLUSTER, CLUSTER)
    yield definitions.ClusterNodesListed(subject=subject, seen=_CONFIGURED, nodes=plan.nodes)
    members = tuple(definitions.CorosyncNode(node=one, addresses=(_management(plan, one),)) for one in plan.nodes)
    yield definitions.CorosyncDefined(subject=subject, seen=_CONFIGURED, nodes=members)
    for storage in plan.storages:
        yield storage_defined(storage)
    if plan.ceph is not None:
        monitors = tuple(definitions.CephMonitor(name=one, address=plan.address(one, plan.ceph.public)) for one in plan.ceph.monitors)
        yield definitions.CephDefined(
            subject=Entity(EntityKind.CEPH, FSID),
            seen=_CONFIGURED,
            monitors=monitors,
            public_networks=(plan.ceph.public,),
            size=3,
            min_size=2,
        )
        for node, osds in plan.ceph.osds if plan.ceph.racks else ():
            subject = Entity(EntityKind.CEPH_HOST, f"{FSID}/{node}")
            yield definitions.CephHostDefined(subject=subject, seen=_CONFIGURED, osds=osds, within=plan.ceph.rack(node))
    for guest in plan.guests:
        yield from _guest(guest)
    for name, nodes, guests in plan.rules:
        yield definitions.HaRuleDefined(
            subject=Entity(EntityKind.HA_RULE, name),
            seen=_CONFIGURED,
            form="node-affinity",
            resources=tuple(f"vm:{one}" for one in guests),
            nodes=tuple(definitions.NodePriority(node=one) for one in nodes),
        )


def own(plan: Plan, node: str) -> Iterator[Event]:
    """Yield what a node says of itself."""
    subject = Entity(EntityKind.NODE, node)
    addresses = [f"{_management(plan, node)}/24", *(f"{plan.address(node, one)}/24" for one in plan.subnets)]
    interfaces = tuple(
        host.Interface(name="vmbr0" if not number else f"eno{number}", addresses=(one,)) for number, one in enumerate(addresses)
    )
    routes = (host.Route(destination="0.0.0.0/0", interface="vmbr0", gateway="10.0.0.254"),)
    yield host.NodeNetworks(subject=subject, seen=_HOST, interfaces=interfaces, routes=routes)
    yield host.NodeMounts(subject=subject, seen=_HOST, mounted=tuple(_mounts(plan, node)))
    targets = [one for one, nodes in plan.targets.items() if node in nodes]
    pairs = [(one, portal) for one in targets for portal in one.portals]
    sessions = tuple(
        host.Session(number=number, target=one.iqn, portal=portal.key, state="LOGGED_IN", luns=one.luns)
        for number, (one, portal) in enumerate(pairs, 1)
    )
    if sessions:
        yield host.NodeIscsi(subject=subject, seen=_HOST, sessions=sessions)
    maps = tuple(
        host.MultipathMap(
            wwid=lun,
            name=f"mpath{lun[-2:]}",
            paths=tuple(host.MapPath(device=f"sd{portal.key}", portal=portal.key, wwid=lun) for portal in one.portals),
        )
        for one in targets
        if one.multipath
        for lun in one.luns
    )
    if maps:
        yield host.NodeMultipath(subject=subject, seen=_HOST, running=True, maps=maps)
    groups = tuple(host.VolumeGroup(name=vg, luns=(one.lun,)) for vg, one in plan.volume_groups.items() if node in plan.users(one))
    if groups:
        yield host.NodeVolumes(subject=subject, seen=_HOST, groups=groups)
    if plan.ceph is not None:
        osds = dict(plan.ceph.osds).get(node, ())
        monitors = (node,) if node in plan.ceph.monitors else ()
        yield host.NodeCeph(subject=subject, seen=_HOST, fsid=FSID, osds=osds, monitors=monitors)


def _management(plan: Plan, node: str) -> str:
    return f"10.0.0.{1 + plan.nodes.index(node)}"


def _mounts(plan: Plan, node: str) -> Iterator[host.Mount]:
    for one in plan.of_type("nfs"):
        if node in plan.users(one):
            yield host.Mount(source=one.export, target=f"/mnt/pve/{one.id}", type="nfs4" if one.version.startswith("4") else "nfs")


def storage_defined(storage: Storage) -> Event:
    """Return what storage.cfg says of a storage."""
    values: dict[str, str] = {}
    server = storage.server.name if storage.server else ""
    match storage.type:
        case "nfs":
            values = {"server": server, "export": storage.path, "path": f"/mnt/pve/{storage.id}", "options": f"vers={storage.version}"}
        case "cifs":
            values = {"server": server, "share": storage.path, "path": f"/mnt/pve/{storage.id}"}
        case "pbs":
            values = {"server": server, "datastore": storage.path}
        case "iscsi":
            assert storage.target is not None
            values = {"portal": storage.target.portals[0].address, "target": storage.target.iqn}
        case "lvm":
            values = {"vgname": storage.vg, "base": f"{storage.base}:0.0.0.scsi-{storage.lun}"}
        case "lvmthin":
            values = {"vgname": storage.vg, "thinpool": "data"}
        case "dir":
            values = {"path": storage.path}
        case _:
            values = {"pool": storage.pool}
    listed = tuple(definitions.Property(name=key, value=value) for key, value in sorted(values.items()))
    return definitions.StorageDefined(
        subject=Entity(EntityKind.STORAGE, storage.id),
        seen=_CONFIGURED,
        type=storage.type,
        nodes=storage.nodes,
        shared=storage.type in _SHARED,
        properties=listed,
    )


def _guest(guest: Guest) -> Iterator[Event]:
    uses = tuple(
        definitions.VolumeUse(
            key=f"mp{number}" if guest.container else f"scsi{number}",
            storage=one,
            volume=f"vm-{guest.vmid}-disk-{number}",
            role="mountpoint" if guest.container else "disk",
            need="runtime",
        )
        for number, one in enumerate(guest.storages)
    )
    yield definitions.GuestDefined(
        subject=Entity(EntityKind.GUEST, str(guest.vmid)),
        seen=_CONFIGURED,
        guest="lxc" if guest.container else "qemu",
        node=guest.node,
        uses=uses,
    )
    if guest.managed:
        sid = f"{'ct' if guest.container else 'vm'}:{guest.vmid}"
        yield definitions.HaResourceDefined(subject=Entity(EntityKind.HA, sid), seen=_CONFIGURED)
