"""All checks on one cluster: what they found, and what they could not look at.

A check whose facts are missing is never passed in silence: it stands in :attr:`Report.not_checked` with what would be needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from controller.check import live, networks
from controller.check.catalog import CHECKS
from controller.check.finding import LIVE, Check, Finding, Gap, Hit, Need, Report, States
from controller.check.view import View, listed
from controller.core.facts import Facts
from controller.core.topology.topology import Topology
from events.base import Event
from events.definitions import CephDefined
from events.host import NodeCeph, NodeIscsi, NodeMounts, NodeMultipath, NodeNetworks, NodeVolumes

_OF_NODES: Final[Mapping[Need, tuple[type[Event], str]]] = {
    Need.MOUNTS: (NodeMounts, "mounts"),
    Need.ISCSI: (NodeIscsi, "iSCSI sessions"),
    Need.MULTIPATH: (NodeMultipath, "multipath maps"),
    Need.VOLUMES: (NodeVolumes, "volume groups"),
    Need.NETWORKS: (NodeNetworks, "addresses"),
    Need.DAEMONS: (NodeCeph, "Ceph daemons, and Ceph's own map is not known"),
}
"""Needs that each node fills itself, with the kind of fact and its name in a sentence."""


def check(facts: Facts, topology: Topology, states: States | None = None, checks: Iterable[Check] = CHECKS) -> Report:
    """Run checks on a cluster; ``states`` is None when nobody knows live states. Findings come sorted, the worst first."""
    view, chosen = View(facts, topology, states), tuple(checks)
    findings = [finding for one in chosen if not _lacking(one, view) for finding in _findings(one, view)]
    gaps = dict.fromkeys(gap for one in chosen for gap in _gaps(one, view))
    return Report(tuple(sorted(findings, key=lambda one: one.order)), tuple(gaps), len(chosen))


def _findings(one: Check, view: View) -> Iterator[Finding]:
    """Yield a check's findings; what is the same on several nodes is one finding that names them."""
    nodes: dict[tuple[str, str], list[str]] = {}
    first: dict[tuple[str, str], Hit] = {}
    for hit in one.find(view):
        key = (hit.object, hit.message)
        first.setdefault(key, hit)
        where = nodes.setdefault(key, [])
        if hit.node and hit.node not in where:
            where.append(hit.node)
    yield from (one.finding(hit, tuple(sorted(nodes[key]))) for key, hit in first.items())


def _gaps(one: Check, view: View) -> Iterator[Gap]:
    if missing := _lacking(one, view):
        yield Gap(one.id, "", missing)
        return
    for node in one.where(view):
        lacking = [name for need, (kind, name) in _OF_NODES.items() if need in one.needs and node not in view.facts.of(kind)]
        if lacking:
            yield Gap(one.id, node, f"no agent on {node} told its {' and '.join(lacking)}")
    yield from (Gap(one.id, node, reason) for node, reason in _UNKNOWN.get(one.id, _no_unknown)(view))
    if one.id.startswith("guest-"):
        yield from (Gap(one.id, "", reason) for reason in _omitted(view))


def _lacking(one: Check, view: View) -> str:
    """Return why a check cannot be done at all, empty when it can."""
    return next((reason for need in one.needs if (reason := _missing(need, view))), "")


def _missing(need: Need, view: View) -> str:
    match need:
        case Need.STORAGES if not view.storages:
            return "storage.cfg is not known: neither an agent nor --pve gave it"
        case Need.COROSYNC if view.corosync is None and len(view.nodes) > 1:
            return "corosync.conf is not known, though there are several nodes"
        case Need.CEPH if not view.facts.of(CephDefined) and (own := _own_ceph(view)):
            return f"ceph.conf is not known, though {listed(own)} lies on the cluster's own Ceph"
        case Need.STATES if view.states is None:
            return LIVE
        case _:
            return ""


def _own_ceph(view: View) -> list[str]:
    return [name for name, _, values in view.of_type("rbd", "cephfs") if not values.get("monhost")]


def _no_unknown(_view: View) -> Iterator[tuple[str, str]]:
    yield from ()


_UNKNOWN: Final[Mapping[str, Callable[[View], Iterator[tuple[str, str]]]]] = {
    "storage-inactive": live.unknown_storages,
    "ceph-not-healthy": live.unknown_ceph,
    "storage-and-corosync-one-network": networks.without_address,
    "storage-link-slow": networks.without_address,
    "storage-through-router": networks.without_address,
    "storage-mtu-differs": networks.without_address,
}
"""Checks with what yields the (node, reason) of things that they cannot judge though their facts are there."""


def _omitted(view: View) -> Iterator[str]:
    more = [vmid for vmid, guest in view.guests.items() if guest.omitted]
    if more:
        yield f"guest {listed(more)} has more volumes than its node's agent could tell"
