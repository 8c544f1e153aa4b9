"""Checks of Ceph: monitors, copies, hosts and links.

Sources: docs.ceph.com (monitor and pool configuration), pve-docs pveceph.adoc, pve-storage ``PVE/Storage/RBDPlugin.pm``. What ceph.conf
says of copies is the default of new pools: the pools' own settings only Ceph knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from controller.check.finding import Check, Hit, Need, Severity
from controller.check.networks import ceph_networks
from controller.check.view import View, listed
from controller.core.topology.network import address_of, network_of
from events.definitions import CephDefined, CephHostDefined
from events.host import NodeCeph, NodeNetworks

_FEWEST: Final = 3
_SIZE: Final = 3
_FAST: Final = 10_000
"""Mbit/s that Proxmox VE's manual asks for at least."""
_NEEDS: Final = (Need.CEPH,)


def _clusters(view: View) -> Iterator[tuple[str, CephDefined]]:
    own = view.facts.own_ceph()
    if (one := view.facts.get(CephDefined, own)) is not None:
        yield f"ceph/{own}", one


def _own(view: View) -> Iterable[str]:
    return view.nodes if view.facts.of(CephDefined) else ()


def _crush_hosts(view: View, fsid: str) -> list[str]:
    """Return the hosts with OSDs that Ceph itself names; none where no agent may ask it."""
    return sorted(key.partition("/")[2] for key, one in view.facts.of(CephHostDefined).items() if one.osds and key.startswith(f"{fsid}/"))


def _hosts(view: View, fsid: str) -> list[str]:
    """Return the hosts with OSDs: Ceph's own word, else the nodes', which no agent without privileges can give."""
    told = view.facts.of(NodeCeph)
    return _crush_hosts(view, fsid) or [node for node in view.nodes if node in told and told[node].osds and told[node].fsid in ("", fsid)]


def _untold(view: View) -> Iterable[str]:
    """Return the nodes whose own word on their OSDs is needed: all of them, unless Ceph's own is there."""
    return () if _crush_hosts(view, view.facts.own_ceph()) else _own(view)


def _all_told(view: View) -> bool:
    return all(node in view.facts.of(NodeCeph) for node in _untold(view))


def _few_monitors(view: View) -> Iterator[Hit]:
    for entity, one in _clusters(view):
        if len(one.monitors) < _FEWEST:
            yield Hit(entity, f"{len(one.monitors)} monitor(s): {listed([each.name or each.address for each in one.monitors])}")


def _even_monitors(view: View) -> Iterator[Hit]:
    for entity, one in _clusters(view):
        if len(one.monitors) > _FEWEST and len(one.monitors) % 2 == 0:
            yield Hit(entity, f"{len(one.monitors)} monitors")


def _outside(view: View) -> Iterator[Hit]:
    for entity, one in _clusters(view):
        nets = [net for text in one.public_networks if (net := network_of(text)) is not None]
        for each in one.monitors:
            address = address_of(each.address)
            if nets and address is not None and not any(net.version == address.version and address in net for net in nets):
                yield Hit(entity, f"monitor {each.name or each.address} ({each.address}) is in none of {listed(list(one.public_networks))}")


def _size(view: View) -> Iterator[Hit]:
    for entity, one in _clusters(view):
        if one.size is not None and one.size < _SIZE:
            yield Hit(entity, f"osd_pool_default_size = {one.size}")


def _min_size(view: View) -> Iterator[Hit]:
    for entity, one in _clusters(view):
        if one.min_size == 1:
            yield Hit(entity, "osd_pool_default_min_size = 1")


def _no_spare(view: View) -> Iterator[Hit]:
    for entity, one in _clusters(view):
        size = _SIZE if one.size is None else one.size
        if one.min_size is not None and one.min_size >= size > 1:
            yield Hit(entity, f"osd_pool_default_min_size = {one.min_size} with {size} copies")


def _two_nodes(view: View) -> Iterator[Hit]:
    for entity, one in _clusters(view):
        inside = {each.name for each in one.monitors} & {*view.nodes} or _hosts(view, entity.partition("/")[2])
        if inside and 1 < len(view.nodes) < _FEWEST:
            yield Hit(entity, f"Ceph on {len(view.nodes)} nodes")


def _few_hosts(view: View) -> Iterator[Hit]:
    for entity, one in _clusters(view):
        hosts, size = _hosts(view, entity.partition("/")[2]), _SIZE if one.size is None else one.size
        if hosts and _all_told(view) and len(hosts) < size:
            yield Hit(entity, f"{len(hosts)} host(s) with OSDs ({listed(hosts)}) for {size} copies")


def _no_healing(view: View) -> Iterator[Hit]:
    for entity, one in _clusters(view):
        hosts, size = _hosts(view, entity.partition("/")[2]), _SIZE if one.size is None else one.size
        if hosts and _all_told(view) and len(hosts) == size:
            yield Hit(entity, f"{len(hosts)} hosts with OSDs for {size} copies")


def _slow(view: View) -> Iterator[Hit]:
    nets = set(ceph_networks(view))
    for node, told in sorted(view.facts.of(NodeNetworks).items()):
        for one in told.interfaces:
            inside = sorted(nets & {str(network_of(address)) for address in one.addresses})
            if inside and one.speed is not None and one.speed < _FAST and node in view.nodes:
                yield Hit(
                    f"node/{node}", f"{one.name} into Ceph's network {inside[0]} has {one.speed} Mbit/s", node, {"interface": one.name}
                )


def _absent(view: View) -> Iterator[Hit]:
    for _, one in _clusters(view):
        nets = [net for text in one.public_networks if (net := network_of(text)) is not None]
        for node, known in view.networks.items():
            if nets and not any(address.version == net.version and address in net for address in known.addresses for net in nets):
                yield Hit(f"node/{node}", f"has no address in Ceph's public network {listed(list(one.public_networks))}", node)


def _few_addresses(view: View) -> Iterator[Hit]:
    for name, _, values in view.of_type("rbd", "cephfs"):
        hosts = values.get("monhost", "").replace(",", " ").replace(";", " ").split()
        if len(hosts) in (1, 2):
            yield Hit(f"storage/{name}", f"monhost names {len(hosts)} monitor(s): {listed(hosts)}")


CHECKS: Final = (
    Check(
        "ceph-few-monitors",
        Severity.ERROR,
        "fewer than three Ceph monitors",
        "Monitors decide by majority: of one or two none may fail. Without it no client connects anew, and maps do not change: failed "
        "OSDs are not marked "
        "down, and I/O to them hangs.",
        "`pveceph mon create` on further nodes until there are three.",
        _few_monitors,
        _NEEDS,
    ),
    Check(
        "ceph-even-monitors",
        Severity.NOTE,
        "an even number of Ceph monitors",
        "Four survive the loss of one, as three do, with one more that can fail.",
        "`pveceph mon create` on one more node, or `pveceph mon destroy NODE` on one.",
        _even_monitors,
        _NEEDS,
    ),
    Check(
        "ceph-monitor-outside-network",
        Severity.WARNING,
        "a Ceph monitor is not in the public network",
        "Clients and OSDs in the public network reach it through a router or not at all; a monitor made anew is bound to another address "
        "than the others know.",
        "Correct public_network or the monitor's address in /etc/pve/ceph.conf (destroy and create the monitor).",
        _outside,
        _NEEDS,
    ),
    Check(
        "ceph-size-below-3",
        Severity.ERROR,
        "Ceph keeps fewer than three copies by default",
        "With two copies the loss of one leaves one: any read error on it during recovery, which reads all of it, is lost data.",
        "`ceph osd pool set POOL size 3`, and osd_pool_default_size = 3 in /etc/pve/ceph.conf.",
        _size,
        _NEEDS,
    ),
    Check(
        "ceph-min-size-1",
        Severity.ERROR,
        "Ceph goes on with a single copy",
        "min_size 1 acknowledges writes that stand on one disk. If that disk fails before the others are back, they are gone, and the "
        "older "
        "copies cannot be told from the newest: lost or rolled back data.",
        "`ceph osd pool set POOL min_size 2`, and osd_pool_default_min_size = 2.",
        _min_size,
        _NEEDS,
    ),
    Check(
        "ceph-no-spare-copy",
        Severity.WARNING,
        "Ceph stops at the first lost copy",
        "min_size equals size: every host that reboots makes its placement groups inactive and freezes the guests on them.",
        "`ceph osd pool set POOL min_size 2` with size 3.",
        _no_spare,
        _NEEDS,
    ),
    Check(
        "ceph-two-nodes",
        Severity.ERROR,
        "Ceph on two nodes",
        "Three copies on three hosts and a majority of monitors cannot be had: either the loss of one node freezes everything, or size 2 "
        "and min_size 1 lose data.",
        "Add a third node with OSDs and monitor, or use ZFS replication between the two.",
        _two_nodes,
        _NEEDS,
    ),
    Check(
        "ceph-fewer-hosts-than-copies",
        Severity.ERROR,
        "fewer hosts with OSDs than copies",
        "With hosts as failure domain Ceph never places all copies: placement groups stay undersized, and the loss of one host may go "
        "below min_size.",
        "Add hosts with OSDs, or correct the pool's size.",
        _few_hosts,
        (Need.CEPH, Need.DAEMONS),
        _untold,
    ),
    Check(
        "ceph-no-spare-host",
        Severity.NOTE,
        "as many hosts with OSDs as copies",
        "After the loss of a host there is none to heal to: the cluster stays degraded until it is back, and the next loss freezes it.",
        "Add a host with OSDs; until then keep a spare, and maintain one host at a time.",
        _no_healing,
        (Need.CEPH, Need.DAEMONS),
        _untold,
    ),
    Check(
        "ceph-link-slow",
        Severity.WARNING,
        "Ceph on less than 10 Gbit/s",
        "Each write goes over the network once for each further copy before it is acknowledged; recovery of one 4 TB disk at 1 Gbit/s "
        "takes ten hours, "
        "in which guests compete with it.",
        "Use at least 10 Gbit/s (25 with NVMe) for Ceph; `ethtool {interface}` on {node} shows what was negotiated.",
        _slow,
        (Need.CEPH, Need.NETWORKS),
        _own,
    ),
    Check(
        "ceph-node-without-network",
        Severity.WARNING,
        "a node has no address in Ceph's public network",
        "It reaches monitors and OSDs through a router, or not at all: guests on Ceph that move there do not start.",
        "Give {node} an address in the public network, or limit the `nodes` of the Ceph storages.",
        _absent,
        (Need.CEPH, Need.NETWORKS),
        _own,
    ),
    Check(
        "ceph-few-monhosts",
        Severity.WARNING,
        "an external Ceph is known by fewer than three monitors",
        "A client that starts asks only these: with the one named monitor down no guest on it starts, although the cluster is well.",
        '`pvesm set {name} --monhost "A B C"` with all monitors.',
        _few_addresses,
    ),
)
