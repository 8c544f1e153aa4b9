"""Checks of votes and links: what the cluster needs to decide anything at all.

Sources: votequorum(5), corosync-qdevice(8), pve-docs pvecm.adoc, pve-ha-manager for what follows from a lost quorum.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from controller.check.finding import Check, Hit, Need, Severity
from controller.check.view import View, listed
from events.definitions import DatacenterDefined

_NEEDS: Final = (Need.COROSYNC,)
_FEWEST_EVEN: Final = 4


def _two(view: View) -> Iterator[Hit]:
    if view.corosync and len(view.corosync.nodes) == 2 and not view.corosync.device:
        mode = "two_node lets each half go on alone" if view.corosync.two_node else "the loss of either node costs the quorum"
        yield Hit(view.cluster, f"two nodes without a quorum device: {mode}")


def _even(view: View) -> Iterator[Hit]:
    if view.corosync and not view.corosync.device:
        votes = sum(one.votes for one in view.corosync.nodes)
        if votes >= _FEWEST_EVEN and votes % 2 == 0:
            yield Hit(view.cluster, f"{votes} votes without a quorum device: half of them decide nothing")


def _odd_with_device(view: View) -> Iterator[Hit]:
    if view.corosync and view.corosync.device and len(view.corosync.nodes) % 2:
        yield Hit(view.cluster, f"a quorum device beside {len(view.corosync.nodes)} nodes")


def _one_link(view: View) -> Iterator[Hit]:
    if view.corosync and len(view.corosync.nodes) > 1:
        single = [one.node for one in view.corosync.nodes if len(one.addresses) < 2]
        if single:
            every = "every node has" if len(single) == len(view.corosync.nodes) else f"{listed(single)} has"
            yield Hit(view.cluster, f"{every} one corosync link only")


def _unequal(view: View) -> Iterator[Hit]:
    if view.corosync:
        odd = [f"{one.node}: {one.votes}" for one in view.corosync.nodes if one.votes != 1]
        if odd and len(view.corosync.nodes) > 1:
            yield Hit(view.cluster, f"votes differ from 1: {listed(odd)}")


def _unlisted(view: View) -> Iterator[Hit]:
    if view.corosync:
        for node in sorted({one.node for one in view.corosync.nodes} ^ {*view.nodes}):
            known = node in view.nodes
            yield Hit(f"node/{node}", "is no node of corosync.conf" if known else "is in corosync.conf, but no member that pmxcfs knows")


def _migration(view: View) -> Iterator[Hit]:
    found = view.facts.get(DatacenterDefined)
    elsewhere = found is not None and found.migration_network
    if view.corosync and len(view.corosync.nodes) > 1 and not elsewhere and all(len(one.addresses) < 2 for one in view.corosync.nodes):
        yield Hit(view.cluster, "no migration network is set, and corosync has one link")


def _offline(view: View) -> Iterator[Hit]:
    yield from (Hit(f"node/{node}", "is not in the cluster now", node) for node in view.nodes if not view.facts.is_online(node))


CHECKS: Final = (
    Check(
        "quorum-two-nodes",
        Severity.WARNING,
        "two nodes without a quorum device",
        "Quorum needs more than half of the votes. With one of two nodes gone /etc/pve is read-only, nothing starts or moves, and a node "
        "with active HA "
        "services resets itself after 60 s; with two_node a cut link lets both go on.",
        "Set up a quorum device outside: `pvecm qdevice setup ADDRESS` (a small host is enough).",
        _two,
        _NEEDS,
    ),
    Check(
        "quorum-even-votes",
        Severity.NOTE,
        "an even number of votes without a quorum device",
        "A cut into two halves leaves both without quorum, and four nodes survive no more losses than three.",
        "`pvecm qdevice setup ADDRESS`, or one node more or less.",
        _even,
        _NEEDS,
    ),
    Check(
        "quorum-device-odd-nodes",
        Severity.NOTE,
        "a quorum device beside an odd number of nodes",
        "It then has one vote fewer than there are nodes, so that its own loss leaves no room for the loss of any node (pvecm(1)).",
        "`pvecm qdevice remove`, unless that is wanted.",
        _odd_with_device,
        _NEEDS,
    ),
    Check(
        "quorum-votes-unequal",
        Severity.NOTE,
        "a node has other than one vote",
        "The loss of that node costs more of the majority than the number of nodes lets one believe. It is often left from an emergency.",
        "Set quorum_votes of each node to 1 in /etc/pve/corosync.conf, with config_version one higher.",
        _unequal,
        _NEEDS,
    ),
    Check(
        "corosync-single-link",
        Severity.WARNING,
        "corosync has one link",
        "One cable, switch or storm on that network takes a node out of the cluster; if it runs HA services, its watchdog resets it after "
        "60 s, although its guests and storages were well.",
        "Add a second link in another network: ring1_addr for each node in /etc/pve/corosync.conf, with config_version one higher.",
        _one_link,
        _NEEDS,
    ),
    Check(
        "corosync-members-differ",
        Severity.WARNING,
        "the nodes of corosync.conf and those of the cluster differ",
        "A node that was removed in part still counts votes or still has guests' files: quorum and HA count on something that is not "
        "there.",
        "Compare `pvecm nodes` and /etc/pve/nodes; finish `pvecm delnode {name}` or the join.",
        _unlisted,
        _NEEDS,
    ),
    Check(
        "migration-over-corosync",
        Severity.NOTE,
        "migrations use the network that corosync has",
        "Without a migration network memory is copied over the address of the cluster network. A few migrations at once fill it, "
        "corosync's token is late "
        "(Token has not been received), and nodes drop out just while they are drained.",
        "`migration: secure,network=CIDR` in /etc/pve/datacenter.cfg, in a network without corosync.",
        _migration,
        _NEEDS,
    ),
    Check(
        "node-offline",
        Severity.ERROR,
        "a node of the cluster is offline",
        "Its votes are missing for quorum and its space for failover; HA groups are not migrated and storage.cfg changes are not seen "
        "there.",
        "Bring {name} back, or remove it with `pvecm delnode {name}`.",
        _offline,
        (),
    ),
)
