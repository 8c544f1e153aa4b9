"""corosync.conf, ceph.conf and datacenter.cfg to events, and the list of the cluster's nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from agent.record import RawRecord
from events.base import Event, Seen
from events.definitions import (
    CephDefined,
    CephMonitor,
    ClusterNodesListed,
    CorosyncDefined,
    CorosyncNode,
    DatacenterDefined,
)
from events.entity import Entity, EntityKind
from pve import ceph_conf, corosync_conf, datacenter_cfg
from pve.ceph_conf import CephConf

_MOST: Final = 256


def nodes(record: RawRecord, subject: Entity, seen: Seen) -> Iterator[Event]:
    """Yield the nodes that the cluster has."""
    names = tuple(name for name in record.fields.get("names", "").split() if len(name) <= _MOST)[:_MOST]
    if names:
        yield ClusterNodesListed(subject=subject, seen=seen, nodes=names)


def corosync(data: bytes, subject: Entity, seen: Seen) -> Iterator[Event]:
    """Yield nodes and links of the cluster."""
    found = corosync_conf.parse(data)
    listed = tuple(
        CorosyncNode(
            node=one.name[:_MOST],
            addresses=tuple(address[:_MOST] for _, address in sorted(one.addresses.items()))[:8],
            votes=max(0, one.votes),
        )
        for one in found.nodes[:_MOST]
        if one.name
    )
    if listed:
        yield CorosyncDefined(subject=subject, seen=seen, nodes=listed, device=found.qdevice is not None, two_node=found.two_node)


def ceph(data: bytes, _subject: Entity, seen: Seen) -> Iterator[Event]:
    """Yield the Ceph cluster that ceph.conf describes, if it names one."""
    found = ceph_conf.parse(data)
    if not found.fsid or len(found.fsid) > _MOST:
        return
    yield CephDefined(
        subject=Entity(EntityKind.CEPH, found.fsid),
        seen=seen,
        monitors=tuple(_monitors(found))[:32],
        public_networks=tuple(one[:_MOST] for one in found.public_network)[:16],
        cluster_networks=tuple(one[:_MOST] for one in found.cluster_network)[:16],
        size=_count(found.osd_pool_default_size),
        min_size=_count(found.osd_pool_default_min_size),
    )


def _monitors(found: CephConf) -> Iterator[CephMonitor]:
    """Yield monitors by their sections, then those that only `mon_host` knows."""
    named = {address: name for name, address in found.monitors.items()}
    for address, name in named.items():
        yield CephMonitor(name=name[:_MOST], address=address[:_MOST])
    for host in found.mon_host:
        first = next(iter(host), None)
        if first is not None and first.host not in named:
            yield CephMonitor(address=first.host[:_MOST])


def _count(number: int | None) -> int | None:
    return number if number is None or 0 <= number < 2**63 else None


def datacenter(data: bytes, subject: Entity, seen: Seen) -> Iterator[Event]:
    """Yield what is said of migration and HA."""
    found = datacenter_cfg.parse(data)
    yield DatacenterDefined(
        subject=subject,
        seen=seen,
        migration_network=found.migration.network[:_MOST],
        migration_type=found.migration.type[:_MOST],
        shutdown_policy=found.shutdown_policy[:_MOST],
    )


FILES: Final[Mapping[str, Callable[[bytes, Entity, Seen], Iterator[Event]]]] = {
    "corosync.conf": corosync,
    "ceph.conf": ceph,
    "datacenter.cfg": datacenter,
}
"""What makes events of each file."""
