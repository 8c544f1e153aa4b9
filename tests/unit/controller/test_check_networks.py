from __future__ import annotations

import pytest

from events.base import Event
from events.cluster import MemberJoined, MemberLeft
from events.definitions import CephDefined, CephHostDefined
from events.entity import Entity, EntityKind
from tests import checks
from tests.checks import FSID, NODES, Case, ceph, corosync, datacenter, interfaces, nfs, osds, storage
from tests.sim import facts as make

TWO, THREE, FOUR = (tuple(f"pve{n}" for n in range(1, last + 1)) for last in (2, 3, 4))
NAS = nfs()
OWN = ("10.0.1.11/24", 25000, 9000)
ACTIVE = {(f"pve{n}", "storage/nas", "active"): "ok" for n in (1, 2, 3)}


def member(node: str, *, joined: bool) -> Event:
    """Return that a node is in the cluster, or is not."""
    kind = MemberJoined if joined else MemberLeft
    return kind(subject=Entity(EntityKind.NODE, node), seen=make.SEEN)


CASES = {
    "quorum-two-nodes": Case((make.nodes(*TWO), corosync(*TWO)), (make.nodes(*TWO), corosync(*TWO, device=True)), "cluster/prod"),
    "quorum-even-votes": Case((make.nodes(*FOUR), corosync(*FOUR)), (NODES, corosync(*THREE)), "cluster/prod"),
    "quorum-device-odd-nodes": Case(
        (NODES, corosync(*THREE, device=True)), (make.nodes(*FOUR), corosync(*FOUR, device=True)), "cluster/prod"
    ),
    "quorum-votes-unequal": Case((NODES, corosync(*THREE, votes=3)), (NODES, corosync(*THREE)), "cluster/prod"),
    "corosync-single-link": Case((NODES, corosync(*THREE, links=("10.0.0",))), (NODES, corosync(*THREE)), "cluster/prod"),
    "corosync-members-differ": Case((NODES, corosync(*TWO)), (NODES, corosync(*THREE)), "node/pve3"),
    "migration-over-corosync": Case(
        (NODES, corosync(*THREE, links=("10.0.0",))),
        (NODES, corosync(*THREE, links=("10.0.0",)), datacenter("10.0.2.0/24")),
        "cluster/prod",
    ),
    "node-offline": Case(
        (NODES, member("pve2", joined=False)), (NODES, member("pve2", joined=False), member("pve2", joined=True)), "node/pve2"
    ),
    "storage-and-corosync-one-network": Case(
        (NODES, NAS, corosync(*THREE, links=("10.0.1",)), interfaces("pve1", OWN)),
        (NODES, NAS, corosync(*THREE, links=("10.0.1", "10.0.0")), interfaces("pve1", OWN, ("10.0.0.1/24", 1000, 1500))),
        "cluster/prod",
    ),
    "ceph-and-corosync-one-network": Case(
        (NODES, ceph(), corosync(*THREE, links=("10.0.5",))), (NODES, ceph(), corosync(*THREE, links=("10.0.5", "10.0.0"))), "cluster/prod"
    ),
    "storage-link-slow": Case(
        (NODES, NAS, interfaces("pve1", ("10.0.1.11/24", 1000, 1500))),
        (NODES, NAS, interfaces("pve1", ("10.0.1.11/24", 2500, 1500))),
        "node/pve1",
    ),
    "storage-through-router": Case(
        (NODES, NAS, interfaces("pve1", ("10.0.0.11/24", None, 1500), gateway="10.0.0.1")),
        (NODES, NAS, interfaces("pve1", OWN)),
        "node/pve1",
    ),
    "storage-mtu-differs": Case(
        (NODES, NAS, interfaces("pve1", OWN), interfaces("pve2", ("10.0.1.12/24", 25000, 1500))),
        (
            NODES,
            NAS,
            interfaces("pve1", OWN, ("10.0.0.1/24", 1000, 1500)),
            interfaces("pve2", ("10.0.1.12/24", 25000, 9000), ("10.0.0.2/24", 1000, 9000)),
        ),
        "subnet/10.0.1.0/24",
    ),
    "storage-interface-down": Case((NODES, NAS, interfaces("pve1", OWN, up=False)), (NODES, NAS, interfaces("pve1", OWN)), "node/pve1"),
    "address-twice": Case(
        (NODES, interfaces("pve1", OWN), interfaces("pve2", OWN)),
        (NODES, interfaces("pve1", OWN), interfaces("pve2", ("10.0.1.12/24", 25000, 9000))),
        "node/pve2",
    ),
    "migration-network-missing": Case(
        (NODES, datacenter("10.0.2.0/24"), interfaces("pve1", OWN)),
        (NODES, datacenter("10.0.1.0/24"), interfaces("pve1", OWN)),
        "node/pve1",
    ),
    "ceph-few-monitors": Case((NODES, ceph(2)), (NODES, ceph(3)), f"ceph/{FSID}"),
    "ceph-even-monitors": Case((NODES, ceph(4)), (NODES, ceph(5)), f"ceph/{FSID}"),
    "ceph-monitor-outside-network": Case((NODES, ceph(first="10.0.7.1")), (NODES, ceph()), f"ceph/{FSID}"),
    "ceph-size-below-3": Case((NODES, ceph(size=2)), (NODES, ceph(size=None)), f"ceph/{FSID}"),
    "ceph-min-size-1": Case((NODES, ceph(min_size=1)), (NODES, ceph(min_size=2)), f"ceph/{FSID}"),
    "ceph-no-spare-copy": Case((NODES, ceph(min_size=3)), (NODES, ceph(min_size=2)), f"ceph/{FSID}"),
    "ceph-two-nodes": Case((make.nodes(*TWO), ceph(2)), (NODES, ceph(2)), f"ceph/{FSID}"),
    "ceph-fewer-hosts-than-copies": Case(
        (make.nodes(*THREE), ceph(), osds("pve1", 0), osds("pve2", 1), osds("pve3")),
        (make.nodes(*THREE), ceph(), osds("pve1", 0), osds("pve2", 1)),
        f"ceph/{FSID}",
    ),
    "ceph-no-spare-host": Case(
        (NODES, ceph(), osds("pve1", 0), osds("pve2", 1), osds("pve3", 2)),
        (make.nodes(*FOUR), ceph(), osds("pve1", 0), osds("pve2", 1), osds("pve3", 2), osds("pve4", 3)),
        f"ceph/{FSID}",
    ),
    "ceph-link-slow": Case(
        (NODES, ceph(), interfaces("pve1", ("10.0.5.1/24", 1000, 1500))),
        (NODES, ceph(), interfaces("pve1", ("10.0.5.1/24", 10000, 1500), ("10.0.0.1/24", 1000, 1500))),
        "node/pve1",
    ),
    "ceph-node-without-network": Case(
        (NODES, ceph(), interfaces("pve1", OWN)), (NODES, ceph(), interfaces("pve1", ("10.0.5.1/24", 10000, 1500))), "node/pve1"
    ),
    "ceph-few-monhosts": Case(
        (NODES, storage("far", "rbd", pool="p", monhost="10.0.7.1,10.0.7.2")),
        (NODES, storage("far", "rbd", pool="p", monhost="10.0.7.1 10.0.7.2;10.0.7.3"), storage("own", "rbd", pool="p")),
        "storage/far",
    ),
    "storage-inactive": Case((NODES, NAS), (NODES, NAS), "storage/nas", {**ACTIVE, ("pve2", "storage/nas", "active"): "bad"}, ACTIVE),
    "node-unwatched": Case(
        (NODES, NAS), (NODES, NAS), "node/pve3", {key: state for key, state in ACTIVE.items() if key[0] != "pve3"}, ACTIVE
    ),
    "node-status-stuck": Case(
        (NODES,), (NODES,), "node/pve1", {("pve2", "node/pve1", "status"): "bad"}, {("pve2", "node/pve1", "status"): "ok"}
    ),
    "quorum-lost": Case(
        (NODES,), (NODES,), "node/pve1", {("pve1", "node/pve1", "quorum"): "bad"}, {("pve1", "node/pve1", "status"): "bad"}
    ),
    "ceph-not-healthy": Case(
        (NODES, ceph()),
        (NODES, ceph()),
        f"ceph/{FSID}",
        {("pve1", f"ceph/{FSID}", "check"): "bad"},
        {("pve1", f"ceph/{FSID}", "check"): "ok"},
    ),
}


def crush(host: str, *numbers: int) -> Event:
    """Return a host with these OSDs in Ceph's CRUSH map."""
    return CephHostDefined(subject=f"ceph-host/{FSID}/{host}", seen=make.SEEN, osds=numbers)


def test_hosts_are_those_of_cephs_own_map() -> None:
    """Where Ceph's map is known no node need tell its OSDs, and what nodes tell counts no more; a host without OSDs is none."""
    facts = (make.nodes(*THREE), ceph(), crush("pve1", 0), crush("pve2", 1), crush("pve3"), osds("pve3", 2))

    assert checks.found("ceph-fewer-hosts-than-copies", facts, None) == [f"ceph/{FSID}"]
    assert checks.found("ceph-no-spare-host", (*facts, crush("pve3", 2)), None) == [f"ceph/{FSID}"]
    assert [gap for gap in checks.gaps(*facts) if gap.id in _OF_HOSTS] == []


def test_hosts_that_nobody_knows_are_not_none() -> None:
    """Where neither Ceph's map nor a node's daemons are known the checks of hosts say so, and find nothing."""
    facts = (make.nodes(*THREE), ceph(), osds("pve1", 0))
    gaps = [gap for gap in checks.gaps(*facts) if gap.id in _OF_HOSTS]

    assert {(gap.id, gap.node) for gap in gaps} == {(one, node) for one in _OF_HOSTS for node in ("pve2", "pve3")}
    assert all("not known" in gap.reason for gap in gaps)
    assert [checks.found(one, facts, None) for one in sorted(_OF_HOSTS)] == [[], []]


_OF_HOSTS = {"ceph-fewer-hosts-than-copies", "ceph-no-spare-host"}


def test_a_ceph_cluster_that_is_gone_is_not_checked() -> None:
    """Of two clusters that ceph.conf described one after the other only the last one is checked."""
    old = CephDefined(subject="ceph/00000000-dead-4000-8000-000000000000", seen=make.SEEN, size=2)

    assert checks.found("ceph-size-below-3", (NODES, old), None) == [str(old.subject)]
    assert checks.found("ceph-size-below-3", (NODES, old, ceph()), None) == []


@pytest.mark.parametrize("identity", CASES)
def test_it_is_found_and_the_near_miss_is_not(identity: str) -> None:
    """Each check finds the case that it is for, and keeps quiet about one that only looks like it."""
    case = CASES[identity]
    assert case.object in checks.found(identity, case.bad, case.states)
    assert checks.found(identity, case.near, case.near_states) == []
