"""Checks of the networks between nodes and storages: what they share, how fast they are, whether their sizes match.

Sources: pve-docs pvecm.adoc (cluster network requirements) and pveceph.adoc, Linux Documentation/ABI/testing/sysfs-class-net.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from controller.check.finding import Check, Hit, Need, Severity
from controller.check.view import View, listed
from controller.core.topology.network import address_of, network_of
from events.definitions import CephDefined, DatacenterDefined
from events.host import Interface, NodeNetworks

_GIGABIT: Final = 1000
_CEPH: Final = "ceph"
_NEEDS: Final = (Need.STORAGES, Need.NETWORKS)
_OWN: Final = frozenset({"iscsi", "iscsidirect", "nfs", "cifs", "rbd", "cephfs", "zfs"})
"""Types whose network carries guests' reads and writes."""


def ceph_networks(view: View) -> list[str]:
    """Return the networks of the cluster's own Ceph, CIDR."""
    ceph = view.facts.get(CephDefined, view.facts.own_ceph())
    found = [*ceph.public_networks, *ceph.cluster_networks] if ceph is not None else []
    return list(dict.fromkeys(str(net) for one in found if (net := network_of(one)) is not None))


def _hosts(view: View, node: str) -> dict[str, list[str]]:
    """Return the hosts that guests' data is reached at from a node, each with its storages."""
    found: dict[str, list[str]] = {}
    for name, storage, _ in view.of_type(*_OWN):
        if node in view.visible(storage):
            for host in view.servers(storage):
                found.setdefault(host, []).append(name)
    return found


def storage_networks(view: View, node: str) -> dict[str, list[str]]:
    """Return the networks through which a node reaches guests' data, CIDR, each with what is reached there."""
    known, found = view.networks.get(node), dict[str, list[str]]()
    if known is not None:
        for host, names in _hosts(view, node).items():
            if network := known.toward(host):
                found.setdefault(network, []).extend(names)
        connected = set(known.connected())
        for one in ceph_networks(view):
            if one in connected:
                found.setdefault(one, []).append(_CEPH)
    return {network: list(dict.fromkeys(names)) for network, names in found.items()}


def with_storage(view: View) -> Iterable[str]:
    """Return the nodes that reach guests' data over a network."""
    own = bool(view.facts.of(CephDefined))
    return [node for node in view.nodes if own or _hosts(view, node)]


def without_address(view: View) -> Iterator[tuple[str, str]]:
    """Yield ("", reason) for each storage server that is given by name: which network it is in cannot be told."""
    names: dict[str, list[str]] = {}
    for name, storage, _ in view.of_type(*_OWN):
        for host in view.servers(storage):
            if address_of(host) is None:
                names.setdefault(host, []).append(name)
    yield from (("", f"{host} ({listed(users)}) is a name: in which network it is cannot be told") for host, users in sorted(names.items()))


def _with_corosync(view: View) -> Iterator[Hit]:
    for one in view.corosync.nodes if view.corosync else ():
        known = view.networks.get(one.node)
        if known is not None and one.addresses:
            busy = storage_networks(view, one.node)
            links = {known.toward(address) for address in one.addresses}
            if links and "" not in links and links <= busy.keys():
                names = list(dict.fromkeys(name for link in sorted(links) for name in busy[link]))
                if names == [_CEPH]:
                    continue  # the next check says so
                yield Hit(
                    view.cluster,
                    f"every corosync link is in a network that carries storage ({', '.join(sorted(links))}: {listed(names)})",
                    one.node,
                )


def _ceph_with_corosync(view: View) -> Iterator[Hit]:
    nets = [net for one in ceph_networks(view) if (net := network_of(one)) is not None]
    inside = (
        [one.node for one in view.corosync.nodes if one.addresses and all(_within(address, nets) for address in one.addresses)]
        if view.corosync
        else []
    )
    if inside:
        yield Hit(view.cluster, f"every corosync link of {listed(inside)} is in a network of Ceph")


def _within(text: str, nets: list[IPv4Network | IPv6Network]) -> bool:
    address = address_of(text)
    return address is not None and any(address.version == net.version and address in net for net in nets)


def _slow(view: View) -> Iterator[Hit]:
    for node, known in view.networks.items():
        for host, names in sorted(_hosts(view, node).items()):
            speed = known.speed_toward(host)
            if speed is not None and speed <= _GIGABIT:
                yield Hit(f"node/{node}", f"reaches {host} ({listed(names)}) at {speed} Mbit/s", node)


def _routed(view: View) -> Iterator[Hit]:
    for node, known in view.networks.items():
        for host, names in sorted(_hosts(view, node).items()):
            address, net = address_of(host), network_of(known.toward(host)) if known.toward(host) else None
            if address is not None and net is not None and (net.version != address.version or address not in net):
                yield Hit(f"node/{node}", f"reaches {host} ({listed(names)}) through a router in {net}", node)


def _interfaces(view: View) -> Iterator[tuple[str, Interface, str]]:
    """Yield node, interface and network of each address."""
    for node, told in sorted(view.facts.of(NodeNetworks).items()):
        for interface in told.interfaces:
            for address in interface.addresses:
                if node in view.nodes and (net := network_of(address)) is not None:
                    yield node, interface, str(net)


def _mtu(view: View) -> Iterator[Hit]:
    busy = {network for node in view.nodes for network in storage_networks(view, node)}
    sizes: dict[str, dict[int, list[str]]] = {}
    for node, interface, network in _interfaces(view):
        if network in busy:
            sizes.setdefault(network, {}).setdefault(interface.mtu, []).append(node)
    for network, by_size in sorted(sizes.items()):
        if len(by_size) > 1:
            yield Hit(f"subnet/{network}", "; ".join(f"MTU {size} on {listed(nodes)}" for size, nodes in sorted(by_size.items())))


def _down(view: View) -> Iterator[Hit]:
    for node, interface, network in _interfaces(view):
        if not interface.up and network in storage_networks(view, node):
            yield Hit(f"node/{node}", f"{interface.name} into storage network {network} is down", node, {"interface": interface.name})


def _twice(view: View) -> Iterator[Hit]:
    seen: dict[str, list[str]] = {}
    for node, interface, _ in _interfaces(view):
        for address in interface.addresses:
            seen.setdefault(address.partition("/")[0], []).append(node)
    for address, nodes in sorted(seen.items()):
        if len(several := sorted(set(nodes))) > 1:
            yield Hit(f"node/{several[1]}", f"has address {address}, which {several[0]} has too", several[1])


def _migration(view: View) -> Iterator[Hit]:
    found = view.facts.get(DatacenterDefined)
    wanted = network_of(found.migration_network) if found and found.migration_network else None
    for node, known in view.networks.items() if wanted is not None else ():
        if wanted is not None and not any(one.version == wanted.version and one in wanted for one in known.addresses):
            yield Hit(f"node/{node}", f"has no address in the migration network {wanted}", node)


def _migrating(view: View) -> Iterable[str]:
    found = view.facts.get(DatacenterDefined)
    return view.nodes if found and found.migration_network and len(view.nodes) > 1 else ()


CHECKS: Final = (
    Check(
        "storage-and-corosync-one-network",
        Severity.WARNING,
        "storage and corosync share their only networks",
        "Corosync needs small delays more than bandwidth: while storage traffic fills the link (a backup, a rebuild), tokens come too "
        "late, nodes "
        "lose quorum, and those with HA services reset themselves after 60 s. A cable that fails takes both at once.",
        "Give corosync a network of its own (1 Gbit/s is enough), the storage's as second link at most.",
        _with_corosync,
        (Need.STORAGES, Need.COROSYNC, Need.NETWORKS),
        lambda view: with_storage(view) if view.corosync and len(view.corosync.nodes) > 1 else (),
    ),
    Check(
        "ceph-and-corosync-one-network",
        Severity.WARNING,
        "Ceph and corosync share their only networks",
        "A rebalance or recovery fills Ceph's network for hours; corosync's tokens then come too late, nodes lose quorum, and those with "
        "HA services reset "
        "themselves, which starts the next recovery.",
        "Add a corosync link in a network without Ceph and give it the higher knet_link_priority.",
        _ceph_with_corosync,
        (Need.COROSYNC,),
    ),
    Check(
        "storage-link-slow",
        Severity.WARNING,
        "a node reaches a storage at 1 Gbit/s or less",
        "1 Gbit/s is about 110 MB/s for all guests of the node together; one backup or disk move fills it, and latency rises until the "
        "storage is taken for dead.",
        "Use 10 Gbit/s or more toward storages; check what was negotiated: `ethtool INTERFACE` on {node}.",
        _slow,
        _NEEDS,
        with_storage,
    ),
    Check(
        "storage-through-router",
        Severity.NOTE,
        "a storage is reached through a router",
        "The router is one more thing that all guests' disks hang on, and firewalls in the way drop idle sessions.",
        "Give {node} an address in the storage's own network.",
        _routed,
        _NEEDS,
        with_storage,
    ),
    Check(
        "storage-mtu-differs",
        Severity.ERROR,
        "nodes have different MTUs in one storage network",
        "Small packets pass, so logins, mounts and pings work; full-size ones vanish. Storages then hang under load and recover when it "
        "ends.",
        "Set the same MTU on all nodes, switches and the storage; test with `ping -M do -s SIZE` (MTU minus 28).",
        _mtu,
        _NEEDS,
        with_storage,
    ),
    Check(
        "storage-interface-down",
        Severity.ERROR,
        "an interface into a storage network is down",
        "The node lives on another path or on none: a second failure freezes its guests.",
        "On {node}: `ip -s link show {interface}`; cable, switch port, bond.",
        _down,
        _NEEDS,
        with_storage,
    ),
    Check(
        "address-twice",
        Severity.ERROR,
        "two nodes have the same address",
        "Switches and servers send answers now here, now there: sessions of both nodes break at random.",
        "Correct /etc/network/interfaces of {node}.",
        _twice,
        (Need.NETWORKS,),
        lambda view: view.nodes if len(view.nodes) > 1 else (),
    ),
    Check(
        "migration-network-missing",
        Severity.ERROR,
        "a node has no address in the migration network",
        'Proxmox VE then aborts each migration from or to it ("could not get migration ip"): the node cannot be drained, also not by HA '
        "maintenance.",
        "Give {node} an address there, or correct `migration` in /etc/pve/datacenter.cfg.",
        _migration,
        (Need.NETWORKS,),
        _migrating,
    ),
)
