"""Checks of iSCSI: targets, portals, sessions, who logs in, and who is who.

Sources: pve-storage ``PVE/Storage/ISCSIPlugin.pm``, open-iscsi's README and iscsid.conf, RFC 7143 for initiator names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from controller.check.finding import Check, Hit, Need, Severity
from controller.check.view import ISCSI, View, listed
from controller.core.topology.access import portal_named
from controller.core.topology.names import is_visible
from controller.core.topology.network import host_of
from events.definitions import StorageDefined
from events.host import NodeIscsi

_NEEDS: Final = (Need.STORAGES, Need.ISCSI)
_LOGGED_IN: Final = "LOGGED_IN"
_Seen = tuple[str, str, str, NodeIscsi]


def nodes(view: View) -> Iterable[str]:
    """Return the nodes that a kernel-mode iSCSI storage is offered on."""
    return [node for node in view.nodes if any(is_visible(storage, node) for _, storage, _ in view.of_type("iscsi"))]


def _seen(view: View) -> Iterator[_Seen]:
    """Yield storage, target, node and what the node told, for each node that offers the storage and told its sessions."""
    for name, storage, values in view.of_type("iscsi"):
        for node in view.visible(storage):
            if node in view.iscsi and values.get("target"):
                yield name, values["target"], node, view.iscsi[node]


def _portals(known: NodeIscsi, target: str) -> set[str]:
    """Return a node's portals of a target, with sessions or configured, as entities."""
    of_sessions = {portal_named(one.portal) for one in known.sessions if one.target == target}
    return of_sessions | {portal_named(one.portal) for one in known.records if one.target == target}


def _working(known: NodeIscsi, target: str) -> set[str]:
    return {portal_named(one.portal) for one in known.sessions if one.target == target and one.state == _LOGGED_IN}


def _raw_content(view: View) -> Iterator[Hit]:
    bases = _bases(view)
    for name, storage, _ in view.of_type(*ISCSI):
        if "images" in storage.content:
            below = f"; LVM storage {listed(bases[name])} lies on it" if name in bases else ""
            yield Hit(f"storage/{name}", f"content images: its LUNs are offered as disks{below}")


def _bases(view: View) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, _, values in view.of_type("lvm"):
        if base := values.get("base", "").partition(":")[0]:
            found.setdefault(base, []).append(name)
    return found


def _one_portal(view: View) -> Iterator[Hit]:
    for name, target, node, known in _seen(view):
        portals = _portals(known, target)
        if len(portals) == 1:
            yield Hit(f"storage/{name}", f"only one portal, {next(iter(portals)).partition('/')[2]}", node, {"target": target})


def _missing(view: View) -> Iterator[Hit]:
    every: dict[str, set[str]] = {}
    for _, target, _, known in _seen(view):
        every.setdefault(target, set()).update(_portals(known, target))
    for name, target, node, known in _seen(view):
        working = _working(known, target)
        lacking = sorted(one.partition("/")[2] for one in every[target] - working)
        if not working:
            yield Hit(f"storage/{name}", f"no session to {target} is logged in", node, {"target": target})
        elif lacking:
            yield Hit(
                f"storage/{name}", f"no session through {listed(lacking)}, which other nodes or records know", node, {"target": target}
            )


def _luns(view: View) -> Iterator[Hit]:
    every: dict[str, set[str]] = {}
    seen = [
        (name, node, {lun for one in known.sessions if one.target == target for lun in one.luns})
        for name, target, node, known in _seen(view)
    ]
    for name, _, luns in seen:
        every.setdefault(name, set()).update(luns)
    for name, node, luns in seen:
        if luns and (lacking := sorted(every[name] - luns)):
            yield Hit(f"storage/{name}", f"does not see LUN {listed(lacking, 2)}, which other nodes see", node)


def _one_network(view: View) -> Iterator[Hit]:
    for name, target, node, known in _seen(view):
        portals = [one.partition("/")[2] for one in sorted(_portals(known, target))]
        if node in view.networks and len(portals) > 1:
            ways = {view.networks[node].toward(host_of(one)) for one in portals}
            if len(ways) == 1 and "" not in ways:
                yield Hit(f"storage/{name}", f"all portals are reached through {next(iter(ways))}", node)


def _same_initiator(view: View) -> Iterator[Hit]:
    found: dict[str, list[str]] = {}
    for node, known in view.iscsi.items():
        if known.initiator:
            found.setdefault(known.initiator, []).append(node)
    for name, same in found.items():
        yield from (Hit(f"node/{node}", f"initiator name {name} is that of {listed(same)}", node) for node in same[1:])


def _manual(view: View) -> Iterator[Hit]:
    """Find targets that carry a shared volume group, whose records start by hand, and which no storage logs in to."""
    ours = {values.get("target") for _, _, values in view.of_type("iscsi")}
    for name, storage, values in view.of_type("lvm"):
        for node in view.visible(storage) if not values.get("base") else ():
            for target in sorted(_targets_below(view, node, values.get("vgname", "")) - ours):
                startups = {one.startup for one in view.iscsi[node].records if one.target == target}
                if startups and startups <= {"manual", "onboot", ""} and "onboot" not in startups:
                    yield Hit(f"storage/{name}", f"nothing logs in to {target} at boot: node.startup is manual", node, {"target": target})


def _targets_below(view: View, node: str, group: str) -> set[str]:
    if node not in view.iscsi or node not in view.volumes:
        return set()
    luns = {lun for one in view.volumes[node].groups if one.name == group for lun in one.luns}
    return {one.target for one in view.iscsi[node].sessions if luns & {*one.luns}}


def with_lvm(view: View) -> Iterable[str]:
    """Return the nodes that offer a shared LVM storage without `base`."""
    return [node for node in view.nodes if any(_is_open(storage, values, node) for _, storage, values in view.of_type("lvm"))]


def _is_open(storage: StorageDefined, values: Mapping[str, str], node: str) -> bool:
    return storage.shared and not values.get("base") and is_visible(storage, node)


CHECKS: Final = (
    Check(
        "iscsi-raw-content",
        Severity.WARNING,
        "LUNs of an iSCSI storage are offered as guests' disks",
        "`content` is images unless storage.cfg says none. Then the GUI offers each LUN as a disk, also the one that holds a volume group: "
        "a guest that formats it destroys all disks of all nodes on it.",
        "`pvesm set {name} --content none`, and use LVM on top.",
        _raw_content,
    ),
    Check(
        "iscsi-one-portal",
        Severity.WARNING,
        "an iSCSI target is reached through one portal only",
        "The loss of one link, switch or controller port freezes every guest on it: without a second session there is nothing that "
        "multipath could turn to. Guests see errors after replacement_timeout, 120 s by default.",
        "Give the target a second portal in another network, then on each node: `iscsiadm -m discovery -t sendtargets -p PORTAL`; "
        "pvestatd logs in to what it finds.",
        _one_portal,
        _NEEDS,
        nodes,
    ),
    Check(
        "iscsi-session-missing",
        Severity.ERROR,
        "a node lacks an iSCSI session that it should have",
        "Proxmox VE is content with one good portal: the storage stays active, and that the second path is gone is seen only when the "
        "first one goes too.",
        "On {node}: `iscsiadm -m node -T {target} --login`, then `iscsiadm -m session -P 1`; look at `journalctl -u iscsid`.",
        _missing,
        _NEEDS,
        nodes,
    ),
    Check(
        "iscsi-lun-missing",
        Severity.ERROR,
        "a node does not see a LUN that others see through the same target",
        "Access lists of the array are kept by initiator name: a node that was added or reinstalled is easily forgotten. Guests that "
        "migrate "
        "or fail over there do not start.",
        "Grant the LUN to the initiator of {node} (/etc/iscsi/initiatorname.iscsi), then `iscsiadm -m session --rescan`.",
        _luns,
        _NEEDS,
        nodes,
    ),
    Check(
        "iscsi-one-network",
        Severity.NOTE,
        "all portals of a target lie in one network",
        "Linux answers for all its addresses on every interface and sends to one network through one interface: two portals there often "
        "share one link and one switch, and fall together.",
        "Give each portal a network, VLAN and switch of its own.",
        _one_network,
        (Need.STORAGES, Need.ISCSI, Need.NETWORKS),
        nodes,
    ),
    Check(
        "iscsi-initiator-shared",
        Severity.ERROR,
        "two nodes have the same initiator name",
        "A target takes a second login with a known initiator name (and ISID) for the same host come back and drops the first session "
        "(RFC 7143): "
        "two nodes throw each other out in turn. It is what cloned installations do.",
        "On {node}, without guests on iSCSI: `iscsi-iname` gives a new name for /etc/iscsi/initiatorname.iscsi; restart iscsid and "
        "correct the array's access lists.",
        _same_initiator,
        _NEEDS,
        nodes,
    ),
    Check(
        "iscsi-startup-manual",
        Severity.ERROR,
        "after a reboot nobody logs in to the target below a volume group",
        "No iSCSI storage names this target, LVM has no `base`, and open-iscsi's record says manual: after a reboot the volume group is "
        "missing, "
        "of which pvestatd often logs nothing.",
        "Define an `iscsi` storage for {target} and name it as `base`, or on {node}: `iscsiadm -m node -T {target} -o update -n "
        "node.startup -v automatic`.",
        _manual,
        (Need.STORAGES, Need.ISCSI, Need.VOLUMES),
        with_lvm,
    ),
)
