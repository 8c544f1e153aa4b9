"""Checks of HA: what it manages, where its rules send guests, and whether their storages are there.

HA never looks at storage (pve-ha-manager has no word of it): targets are chosen without any look at storages or their `nodes`, a start that
fails is tried again (max_restart) and elsewhere (max_relocate), then the service is in state error. Sources: ``PVE/HA/Manager.pm``,
``PVE/HA/LRM.pm``, ``PVE/HA/Rules.pm``, ``PVE/HA/Groups.pm``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from controller.check.finding import Check, Hit, Severity
from controller.check.view import View, is_on_node, listed
from controller.core.topology.names import is_visible
from events.definitions import GuestDefined, HaResourceDefined, HaRuleDefined, HaServiceState

_GUEST: Final = {"vm", "ct"}


def _managed(view: View) -> Iterator[tuple[str, str, GuestDefined]]:
    """Yield service id, VMID and definition of each guest that HA shall keep running."""
    resources = view.facts.of(HaResourceDefined)
    for vmid, guest in view.running():
        sid = view.service(vmid)
        if sid and resources[sid].requested in ("started", "enabled"):
            yield sid, vmid, guest


def _node_rules(view: View) -> Iterator[tuple[str, HaRuleDefined]]:
    """Yield rules and groups that say on which nodes services run, and that hold."""
    for name, rule in sorted(view.facts.of(HaRuleDefined).items()):
        if rule.form != "resource-affinity" and not rule.disabled and not rule.dropped:
            yield name, rule


def _named(rule: HaRuleDefined) -> set[str]:
    return {one.node for one in rule.nodes}


def _blind(view: View, guest: GuestDefined, nodes: set[str]) -> dict[str, list[str]]:
    """Return those of the nodes that are not offered a shared storage of the guest, each with these storages."""
    found: dict[str, list[str]] = {}
    for name in view.storages_of(guest):
        storage = view.storages.get(name)
        if storage is not None and storage.shared and not storage.disabled:
            for node in sorted(nodes & {*view.nodes}):
                if not is_visible(storage, node):
                    found.setdefault(node, []).append(name)
    return found


def _local(view: View, guest: GuestDefined) -> list[str]:
    return [name for name in view.storages_of(guest) if name in view.storages and not view.storages[name].shared]


def _on_local(view: View) -> Iterator[Hit]:
    for _, vmid, guest in _managed(view):
        local = [name for name in _local(view, guest) if view.storages[name].type != "zfspool"]
        if local and len(view.nodes) > 1:
            yield Hit(f"guest/{vmid}", f"managed by HA, needs {listed(local)}, which is no shared storage", values={"storage": local[0]})


def _on_local_zfs(view: View) -> Iterator[Hit]:
    for _, vmid, guest in _managed(view):
        local = _local(view, guest)
        if local and all(view.storages[name].type == "zfspool" for name in local) and len(view.nodes) > 1:
            yield Hit(f"guest/{vmid}", f"managed by HA, lies on local ZFS {listed(local)}")


def _bound(view: View) -> Iterator[Hit]:
    for _, vmid, guest in _managed(view):
        bound = [f"{use.key} ({use.volume})" for use in guest.uses if is_on_node(use) and use.need == "runtime"]
        if bound:
            yield Hit(f"guest/{vmid}", f"managed by HA, needs {listed(bound, 3)} of its node")


def _rule_blind(view: View) -> Iterator[Hit]:
    for name, rule in _node_rules(view):
        nodes = {*view.nodes} - _named(rule) if rule.negative else _named(rule)
        for sid, vmid, guest in _managed(view):
            if sid in rule.resources and (blind := _blind(view, guest, nodes)):
                what = "; ".join(f"{node} is not offered {listed(storages, 3)}" for node, storages in list(blind.items())[:4])
                yield Hit(
                    f"ha-rule/{name}", f"sends {sid} (guest {vmid}) where its storage is not: {what}", values={"nodes": ", ".join(blind)}
                )


def _unruled(view: View) -> Iterator[Hit]:
    ruled = {sid for _, rule in _node_rules(view) for sid in rule.resources}
    for sid, vmid, guest in _managed(view):
        if sid not in ruled and (blind := _blind(view, guest, {*view.nodes})):
            storages = sorted({one for names in blind.values() for one in names})
            yield Hit(f"guest/{vmid}", f"HA may choose {listed(list(blind))}, which is not offered {listed(storages)}", values={"sid": sid})


def _nowhere(view: View) -> Iterator[Hit]:
    for sid, vmid, guest in _managed(view):
        if len(view.nodes) > 1 and not _local(view, guest):
            allowed = _allowed(view, sid)
            homes = [node for node in sorted(allowed - {guest.node}) if not _blind(view, guest, {node})]
            if not homes:
                yield Hit(f"guest/{vmid}", f"HA can start it on {guest.node} only: rules and storages leave no other node")


def _allowed(view: View, sid: str) -> set[str]:
    """Return the nodes that strict rules leave to a service."""
    allowed = {*view.nodes}
    for _, rule in _node_rules(view):
        if sid in rule.resources and (rule.strict or rule.negative):
            allowed &= allowed - _named(rule) if rule.negative else _named(rule)
    return allowed


def _dropped(view: View) -> Iterator[Hit]:
    for name, rule in sorted(view.facts.of(HaRuleDefined).items()):
        if rule.dropped and not rule.disabled:
            yield Hit(f"ha-rule/{name}", f"the HA manager drops it: {rule.dropped}")


def _unknown_nodes(view: View) -> Iterator[Hit]:
    for name, rule in sorted(view.facts.of(HaRuleDefined).items()):
        unknown = sorted(_named(rule) - {*view.nodes})
        if unknown and view.nodes:
            yield Hit(f"ha-rule/{name}", f"names {listed(unknown)}, which the cluster does not have")


def _both(view: View) -> Iterator[Hit]:
    rules = view.facts.of(HaRuleDefined)
    groups = sorted(name for name, rule in rules.items() if rule.form == "group")
    if groups and len(groups) < len(rules):
        yield Hit(view.cluster, f"groups.cfg still holds {listed(groups)}, beside rules")


def _no_relocate(view: View) -> Iterator[Hit]:
    resources = view.facts.of(HaResourceDefined)
    for sid, vmid, _ in _managed(view):
        if resources[sid].max_relocate == 0 and len(view.nodes) > 1:
            yield Hit(f"guest/{vmid}", f"{sid} has max_relocate 0", values={"sid": sid})


def _without_guest(view: View) -> Iterator[Hit]:
    for sid in sorted(view.facts.of(HaResourceDefined)):
        kind, _, vmid = sid.partition(":")
        if kind in _GUEST and view.guests and vmid not in view.guests:
            yield Hit(f"ha/{sid}", "HA manages a guest that the cluster does not have")


def _in_error(view: View) -> Iterator[Hit]:
    for sid, one in sorted(view.facts.of(HaServiceState).items()):
        if one.service == "error" and view.facts.get(HaResourceDefined, sid):
            yield Hit(f"ha/{sid}", f"in state error{f' on {one.node}' if one.node else ''}")


def _off(view: View) -> Iterator[Hit]:
    for sid, one in sorted(view.facts.of(HaResourceDefined).items()):
        guest = view.guests.get(sid.partition(":")[2])
        if guest is not None and guest.onboot and one.requested in ("stopped", "disabled"):
            yield Hit(f"ha/{sid}", f"onboot is set, but HA is told {one.requested}")


CHECKS: Final = (
    Check(
        "ha-guest-on-local-storage",
        Severity.ERROR,
        "HA manages a guest that needs a local storage",
        "After a failure of its node HA starts the guest elsewhere, where its volume is not: the start fails, is retried and relocated, "
        "then the "
        "service is in state error, which only a person clears.",
        "Move the volumes to a shared storage (`qm disk move {name} DISK STORAGE`, eject ISOs from local storages), or take the guest "
        "out of HA.",
        _on_local,
    ),
    Check(
        "ha-guest-on-local-zfs",
        Severity.WARNING,
        "HA manages a guest on local ZFS",
        "It starts elsewhere only where a replication job has put a copy, and then with the state of the last replication: up to one "
        "interval (15 minutes by default) of writes is lost.",
        "Check `pvesr list`; if guest {name} is replicated to every node that HA may choose, suppress this with that reason.",
        _on_local_zfs,
    ),
    Check(
        "ha-guest-bound-to-node",
        Severity.ERROR,
        "HA manages a guest that needs a directory or device of its node",
        "Proxmox VE refuses to migrate it, also when the node is drained. After a failover the same path shows other files, or the start "
        "fails.",
        "Put the data of guest {name} on a volume of a shared storage. Set shared=1 only where the path is the same on all nodes.",
        _bound,
    ),
    Check(
        "ha-rule-nodes-without-storage",
        Severity.ERROR,
        "an HA rule or group sends a guest to nodes that are not offered its storage",
        "HA does not read the `nodes` of a storage. On such a node the start fails; after max_restart and max_relocate (1 each by "
        "default) the "
        "service is in state error, while a node that could run it stands by.",
        "Take {nodes} out of rule {name}, or offer the storage there (`pvesm set STORAGE --nodes ...`).",
        _rule_blind,
    ),
    Check(
        "ha-nodes-without-storage",
        Severity.WARNING,
        "HA may choose a node that is not offered the guest's storage",
        "No rule limits the guest, and neither HA nor its scheduler looks at the `nodes` of a storage.",
        "Proxmox VE 9: `ha-manager rules add node-affinity RULE --resources {sid} --nodes NODES --strict 1`; 8: a restricted group of "
        "the nodes that see the storage.",
        _unruled,
    ),
    Check(
        "ha-no-other-node",
        Severity.WARNING,
        "HA can start a guest on one node only",
        "Strict rules and the `nodes` of its storages leave no other: when its node fails, the guest waits until that node is back.",
        "Widen the rule or the storage's `nodes`, or take guest {name} out of HA so that nobody relies on it.",
        _nowhere,
    ),
    Check(
        "ha-rule-dropped",
        Severity.ERROR,
        "the HA manager drops a rule",
        "Rules that contradict each other do not hold, and only the log says so (`Drop rule '...', because ...`). Two node rules for one "
        "resource drop both: the guest runs anywhere.",
        "Correct {name} in /etc/pve/ha/rules.cfg: `ha-manager rules list` shows the rules with their errors.",
        _dropped,
        (),
    ),
    Check(
        "ha-rule-nodes-unknown",
        Severity.WARNING,
        "an HA rule or group names a node that the cluster does not have",
        "A strict rule whose nodes are gone leaves its guests nowhere to run.",
        "Correct the nodes of {name} (`ha-manager rules set TYPE {name} --nodes ...`, on Proxmox VE 8 `ha-manager groupset`).",
        _unknown_nodes,
        (),
    ),
    Check(
        "ha-groups-beside-rules",
        Severity.WARNING,
        "HA groups were not migrated to rules",
        "The manager migrates groups only while all nodes are online, run Proxmox VE 9 and have an idle or active local manager; until "
        "then groups hold and rules cannot be changed.",
        "Bring all nodes online and up to date; `journalctl -u pve-ha-crm` says what the migration waits for.",
        _both,
        (),
    ),
    Check(
        "ha-relocate-off",
        Severity.NOTE,
        "HA never tries another node for a guest",
        "With max_relocate 0 a start that fails for a reason of the node, such as its storage, ends in state error at once.",
        "`ha-manager set {sid} --max_relocate 1`",
        _no_relocate,
    ),
    Check(
        "ha-service-without-guest",
        Severity.WARNING,
        "HA manages a guest that does not exist",
        "It fills the log and the list of services, and a new guest with this id is under HA from its first second.",
        "`ha-manager remove {name}`",
        _without_guest,
        (),
    ),
    Check(
        "ha-service-in-error",
        Severity.ERROR,
        "an HA service is in state error",
        "HA touches it no more: it is not restarted, and not recovered when its node fails.",
        "Find the cause first, then `ha-manager set {name} --state disabled` and `--state started`.",
        _in_error,
        (),
    ),
    Check(
        "ha-onboot-but-off",
        Severity.NOTE,
        "a guest shall start at boot, but HA is told to keep it off",
        "HA decides over its guests alone: onboot has no effect, and the guest stays off after a reboot.",
        "`ha-manager set {name} --state started`, or set onboot of the guest to 0.",
        _off,
        (),
    ),
)
