"""Runs one check on a few facts: what the tests of checks share."""

from __future__ import annotations

from typing import Any, NamedTuple

from controller.check.catalog import BY_ID
from controller.check.finding import Gap, States
from controller.check.run import check
from events import definitions, host
from events.base import Event
from events.entity import Entity, EntityKind
from tests.sim import facts as make

WWID = "36001405e1069b6f08584509b666ec5a5"
OTHER = "36001405aaaabbbbccccddddeeeeffff0"
TARGET = "iqn.2005-10.org.freenas.ctl:pve"
FSID = "4b5c8c0a-ff60-454b-a1b4-9747aa737d19"
NODES = make.nodes("pve1", "pve2", "pve3")
Events = tuple[Event, ...]


class Case(NamedTuple):
    """A cluster that a check must find something in, and one like it in which it must not."""

    bad: Events
    near: Events
    object: str
    """What is found."""
    states: States | None = None
    near_states: States | None = None


def found(identity: str, events: Events, states: States | None = None) -> list[str]:
    """Return the objects that one check finds in a cluster of these facts."""
    state = make.core(*events)
    report = check(state.facts, state.topology, states, [BY_ID[identity]])
    return [one.object for one in report.findings]


def gaps(*events: Event) -> list[Gap]:
    """Return what all checks could not look at in a cluster of these facts."""
    state = make.core(*events)
    return list(check(state.facts, state.topology).not_checked)


def storage(name: str, type_: str, *content: str, **fields: Any) -> Event:
    """Return a storage with these contents; ``shared`` as Proxmox VE has it for the type unless it is given."""
    own = {key: fields.pop(key) for key in ("nodes", "disabled", "shared") if key in fields}
    own.setdefault("shared", type_ not in ("dir", "btrfs", "lvm", "lvmthin", "zfspool", "esxi"))
    listed = tuple(definitions.Property(name=key.replace("_", "-"), value=value) for key, value in sorted(fields.items()))
    return definitions.StorageDefined(
        subject=Entity(EntityKind.STORAGE, name), seen=make.SEEN, type=type_, content=content or ("images",), properties=listed, **own
    )


def directory(name: str, path: str, *content: str, **fields: Any) -> Event:
    """Return a directory storage; ``is_mountpoint`` keeps its underscore."""
    guard = fields.pop("is_mountpoint", None)
    made = storage(name, "dir", *content, path=path, **fields)
    assert isinstance(made, definitions.StorageDefined)
    more = (definitions.Property(name="is_mountpoint", value=guard),) if guard else ()
    return made.model_copy(update={"properties": (*made.properties, *more)})


def nfs(name: str = "nas", **fields: Any) -> Event:
    """Return an NFS storage at 10.0.1.100."""
    given = {"server": "10.0.1.100", "export": "/srv", "path": f"/mnt/pve/{name}", **fields}
    return storage(name, "nfs", **given)


def mounts(node: str, *mounted: tuple[str, str, str, str], fstab: tuple[tuple[str, str, str, str], ...] = ()) -> Event:
    """Return a node's mounts beside its root, as (source, target, type, options)."""
    root = ("/dev/mapper/pve-root", "/", "ext4", "rw")
    return host.NodeMounts(
        subject=Entity(EntityKind.NODE, node),
        seen=make.SEEN,
        mounted=tuple(host.Mount(source=a, target=b, type=c, options=d) for a, b, c, d in (root, *mounted)),
        configured=tuple(host.Mount(source=a, target=b, type=c, options=d) for a, b, c, d in fstab),
    )


def interfaces(node: str, *found: tuple[str, int | None, int], up: bool = True, gateway: str = "") -> Event:
    """Return a node's networks; each interface as (address with prefix length, Mbit/s, MTU)."""
    listed = tuple(host.Interface(name=f"ens{n}", addresses=(a,), speed=speed, mtu=mtu, up=up) for n, (a, speed, mtu) in enumerate(found))
    routes = (host.Route(destination="0.0.0.0/0", interface="ens0", gateway=gateway),) if gateway else ()
    return host.NodeNetworks(subject=Entity(EntityKind.NODE, node), seen=make.SEEN, interfaces=listed, routes=routes)


def iscsi(
    node: str, *portals: str, luns: tuple[str, ...] = (WWID,), initiator: str = "", state: str = "LOGGED_IN", startup: str = ""
) -> Event:
    """Return a node's sessions with one target, and a record for each when ``startup`` is given."""
    sessions = tuple(host.Session(number=n, target=TARGET, portal=one, state=state, luns=luns) for n, one in enumerate(portals, 1))
    records = tuple(host.NodeRecord(target=TARGET, portal=one, startup=startup) for one in portals) if startup else ()
    return host.NodeIscsi(
        subject=Entity(EntityKind.NODE, node), seen=make.SEEN, initiator=initiator or node, sessions=sessions, records=records
    )


def multipath(node: str, *paths: tuple[str, str, str], running: bool = True, wwid: str = WWID) -> Event:
    """Return a node's one map with (device, state, WWID) of its paths; none when there are no paths."""
    listed = tuple(host.MapPath(device=a, state=b, wwid=c) for a, b, c in paths)
    maps = (host.MultipathMap(wwid=wwid, name="mpatha", paths=listed),) if paths else ()
    return host.NodeMultipath(subject=Entity(EntityKind.NODE, node), seen=make.SEEN, running=running, maps=maps)


def volumes(node: str, group: str = "", *luns: str, complete: bool = True) -> Event:
    """Return a node's volume groups: one, or none."""
    groups = (host.VolumeGroup(name=group, luns=luns, complete=complete),) if group else ()
    return host.NodeVolumes(subject=Entity(EntityKind.NODE, node), seen=make.SEEN, groups=groups)


def uses(vmid: int, node: str, *found: tuple[str, str, str, str, str], **fields: Any) -> Event:
    """Return a VM with uses as (key, storage, volume, role, need)."""
    listed = tuple(definitions.VolumeUse(key=a, storage=b, volume=c, role=d, need=e) for a, b, c, d, e in found)
    return definitions.GuestDefined(
        subject=Entity(EntityKind.GUEST, str(vmid)), seen=make.SEEN, guest="qemu", node=node, uses=listed, **fields
    )


def ceph(
    monitors: int = 3, *, size: int | None = 3, min_size: int | None = 2, public: str = "10.0.5.0/24", first: str = "10.0.5.1"
) -> Event:
    """Return a Ceph cluster with monitors on pve1 and on, the first at ``first``, the others in 10.0.5.0/24."""
    listed = tuple(
        definitions.CephMonitor(name=f"pve{number}", address=first if number == 1 else f"10.0.5.{number}")
        for number in range(1, monitors + 1)
    )
    subject = Entity(EntityKind.CEPH, FSID)
    return definitions.CephDefined(
        subject=subject,
        seen=make.SEEN,
        monitors=listed,
        public_networks=(public,),
        cluster_networks=(public,),
        size=size,
        min_size=min_size,
    )


def corosync(*nodes: str, links: tuple[str, ...] = ("10.0.0", "10.0.9"), device: bool = False, votes: int = 1) -> Event:
    """Return a cluster; ``votes`` are the first node's."""
    listed = tuple(
        definitions.CorosyncNode(node=name, addresses=tuple(f"{link}.{number}" for link in links), votes=votes if number == 1 else 1)
        for number, name in enumerate(nodes, 1)
    )
    return definitions.CorosyncDefined(subject=Entity(EntityKind.CLUSTER, "prod"), seen=make.SEEN, nodes=listed, device=device)


def datacenter(network: str = "") -> Event:
    """Return datacenter.cfg with a migration network."""
    return definitions.DatacenterDefined(subject=Entity(EntityKind.CLUSTER, "prod"), seen=make.SEEN, migration_network=network)


def osds(node: str, *numbers: int) -> Event:
    """Return the OSDs that a node has."""
    return make.osds(node, FSID, *numbers)
