"""Checks of LVM on LUNs: shared or not, the base that must be logged in first, and whether all nodes see the same disks.

Sources: pve-storage ``PVE/Storage/LVMPlugin.pm``, ``LvmThinPlugin.pm`` and ``PVE/Storage.pm`` (activate_storage), lvmthin(7).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from controller.check.finding import Check, Hit, Need, Severity
from controller.check.view import ISCSI, View, listed
from controller.core.topology.names import is_visible
from events.definitions import StorageDefined
from events.host import VolumeGroup

_NEEDS: Final = (Need.STORAGES, Need.VOLUMES)


def _offering(view: View, *types: str) -> Iterable[str]:
    return [node for node in view.nodes if any(is_visible(storage, node) for _, storage, _ in view.of_type(*types))]


def _group(view: View, node: str, name: str) -> VolumeGroup | None:
    known = view.volumes.get(node)
    return next((one for one in known.groups if one.name == name), None) if known else None


def _seen(view: View, *types: str) -> Iterator[tuple[str, StorageDefined, Mapping[str, str], str]]:
    """Yield storages of these types with each node that offers them and told its volume groups."""
    for name, storage, values in view.of_type(*types):
        yield from ((name, storage, values, node) for node in view.visible(storage) if node in view.volumes)


def _luns(view: View, storage: StorageDefined, group: str) -> dict[str, tuple[str, ...]]:
    """Return the LUNs below a group on each node that offers the storage and has the group."""
    found = {node: _group(view, node, group) for node in view.visible(storage)}
    return {node: one.luns for node, one in found.items() if one is not None}


def _on_several(luns: Mapping[str, tuple[str, ...]]) -> bool:
    return sum(bool(one) for one in luns.values()) > 1


def _not_shared(view: View) -> Iterator[Hit]:
    for name, storage, values in view.of_type("lvm"):
        base = values.get("base", "").partition(":")[0]
        if not storage.shared and len(view.visible(storage)) > 1:
            if base:
                yield Hit(f"storage/{name}", f"lies on {base}, but is not marked shared")
            elif _on_several(_luns(view, storage, values.get("vgname", ""))):
                yield Hit(f"storage/{name}", "several nodes see its LUN, but it is not marked shared")


def _without_base(view: View) -> Iterator[Hit]:
    lonely = _lonely(view)
    for name, storage, values in view.of_type("lvm"):
        if storage.shared and not values.get("base"):
            below = _storages_below(view, storage, values.get("vgname", ""))
            if below or (lonely and not any(_luns(view, storage, values.get("vgname", "")).values())):
                yield Hit(
                    f"storage/{name}",
                    f"no base, though {listed(below or lonely)} must be logged in first",
                    values={"iscsi": (below or lonely)[0]},
                )


def _lonely(view: View) -> list[str]:
    """Return iSCSI storages that hold nothing themselves and that no LVM storage names: something must lie on them."""
    bases = {values.get("base", "").partition(":")[0] for _, _, values in view.of_type("lvm")}
    return [name for name, storage, _ in view.of_type("iscsi") if storage.content == ("none",) and name not in bases]


def _storages_below(view: View, storage: StorageDefined, group: str) -> list[str]:
    """Return the iSCSI storages through whose targets a node reaches the LUNs of a group."""
    targets = set()
    for node, luns in _luns(view, storage, group).items():
        if node in view.iscsi:
            targets |= {one.target for one in view.iscsi[node].sessions if {*luns} & {*one.luns}}
    return [name for name, _, values in view.of_type("iscsi") if values.get("target") in targets]


def _wrong_base(view: View) -> Iterator[Hit]:
    for name, storage, values in view.of_type("lvm"):
        base = values.get("base", "").partition(":")[0]
        if base and (reason := _base_reason(view, storage, base)):
            yield Hit(f"storage/{name}", f"base {base} {reason}", values={"base": base})


def _base_reason(view: View, storage: StorageDefined, base: str) -> str:
    below = view.storages.get(base)
    if below is None:
        return "is not defined"
    if below.disabled:
        return "is disabled"
    if below.type not in ISCSI:
        return f"is of type {below.type}, not iscsi"
    without = [node for node in view.visible(storage) if not is_visible(below, node)]
    return f"is not offered on {listed(without)}, where this storage is" if without else ""


def _missing(view: View) -> Iterator[Hit]:
    for name, _, values, node in _seen(view, "lvm", "lvmthin"):
        if _group(view, node, values.get("vgname", "")) is None:
            yield Hit(f"storage/{name}", f"there is no volume group {values.get('vgname')}", node, {"vg": values.get("vgname", "")})


def _incomplete(view: View) -> Iterator[Hit]:
    for name, _, values, node in _seen(view, "lvm", "lvmthin"):
        group = _group(view, node, values.get("vgname", ""))
        if group is not None and not group.complete:
            yield Hit(f"storage/{name}", f"volume group {group.name} lacks physical volumes", node, {"vg": group.name})


def _differs(view: View) -> Iterator[Hit]:
    for name, storage, values in view.of_type("lvm"):
        luns = {node: tuple(sorted(one)) for node, one in _luns(view, storage, values.get("vgname", "")).items() if one}
        if storage.shared and len(set(luns.values())) > 1:
            first = next(iter(luns))
            for node, one in luns.items():
                if one != luns[first]:
                    yield Hit(
                        f"storage/{name}", f"{values.get('vgname')} lies on {listed(one, 2)}, on {first} on {listed(luns[first], 2)}", node
                    )


def _local(view: View) -> Iterator[Hit]:
    for name, storage, values, node in _seen(view, "lvm"):
        group = _group(view, node, values.get("vgname", ""))
        if storage.shared and not values.get("base") and group is not None and not group.luns and len(view.visible(storage)) > 1:
            yield Hit(f"storage/{name}", f"marked shared, but {group.name} lies on the node's own disks", node)


def _thin(view: View) -> Iterator[Hit]:
    for name, storage, values in view.of_type("lvmthin"):
        luns = _luns(view, storage, values.get("vgname", ""))
        if _on_several(luns) and _overlap(luns):
            yield Hit(
                f"storage/{name}", f"thin pool {values.get('thinpool')} on a LUN of {listed(sorted(node for node in luns if luns[node]))}"
            )


def _overlap(luns: Mapping[str, tuple[str, ...]]) -> bool:
    every = [lun for one in luns.values() for lun in set(one)]
    return len(every) > len(set(every))


CHECKS: Final = (
    Check(
        "lvm-not-shared",
        Severity.ERROR,
        "LVM on a LUN is not marked shared",
        "Proxmox VE then takes the volume group for local on each node: HA cannot start its guests elsewhere, and a migration copies the "
        "disk onto the very LUN "
        "that it lies on.",
        "`pvesm set {name} --shared 1`",
        _not_shared,
    ),
    Check(
        "lvm-without-base",
        Severity.WARNING,
        "LVM on iSCSI does not name its base",
        "Before a storage Proxmox VE activates its `base`. Without it nothing ties LVM to the iSCSI login: after a reboot guests are "
        "started while "
        "the volume group is missing, and of that status says nothing, often not one log line.",
        "Add to section {name} of /etc/pve/storage.cfg: `base {iscsi}:CHANNEL.ID.LUN.scsi-WWID` (`pvesm list {iscsi}` shows the volume).",
        _without_base,
    ),
    Check(
        "lvm-base-wrong",
        Severity.ERROR,
        "the base of an LVM storage cannot be activated",
        "Proxmox VE activates the base first and gives up with its error: the LVM storage is inactive although its LUN may be there.",
        "Correct `base` of {name}, or define, enable and offer {base} on the same nodes.",
        _wrong_base,
    ),
    Check(
        "lvm-vg-missing",
        Severity.ERROR,
        "a node does not have the volume group of a storage that it offers",
        "A missing volume group gives no status and often no log line: the storage is silently inactive, and guests there fail to start.",
        "On {node}: `pvs` and `vgs {vg}`, then the sessions below (`iscsiadm -m session`, `multipath -ll`); or limit `nodes` of {name}.",
        _missing,
        _NEEDS,
        lambda view: _offering(view, "lvm", "lvmthin"),
    ),
    Check(
        "lvm-vg-incomplete",
        Severity.ERROR,
        "a volume group lacks physical volumes",
        "Volumes on the missing disk do not activate, and LVM refuses every change of the group.",
        "On {node}: `vgs -o +vg_missing_pv_count {vg}`, `pvs`; bring the LUN back. Do not run `vgreduce --removemissing` before that.",
        _incomplete,
        _NEEDS,
        lambda view: _offering(view, "lvm", "lvmthin"),
    ),
    Check(
        "lvm-vg-differs",
        Severity.ERROR,
        "a shared volume group lies on different LUNs on different nodes",
        "Same name, other disks: a guest that migrates arrives on other data or none. It comes from copied LUNs, snapshots that were "
        "presented to a host, or one group made twice.",
        "Compare `pvs -o pv_name,vg_name,vg_uuid` on all nodes; unmap the wrong LUN from {node} before any guest starts there.",
        _differs,
        _NEEDS,
        lambda view: [node for node in view.nodes if any(s.shared and is_visible(s, node) for _, s, _ in view.of_type("lvm"))],
    ),
    Check(
        "lvm-shared-on-local-disks",
        Severity.ERROR,
        "LVM marked shared lies on a node's own disks",
        "`shared` is a claim that Proxmox VE never checks. Migration copies nothing, and the guest does not start on the other node; HA "
        "relocates it until it ends in state error.",
        "`pvesm set {name} --shared 0`",
        _local,
        _NEEDS,
        lambda view: [node for node in view.nodes if any(s.shared and is_visible(s, node) for _, s, _ in view.of_type("lvm"))],
    ),
    Check(
        "lvmthin-on-shared-lun",
        Severity.ERROR,
        "a thin pool lies on a LUN that several nodes see",
        "A thin pool may be active on one host only; Proxmox VE has no `shared` for it and activates it on each node that offers the "
        "storage. Two hosts "
        "writing its metadata destroy every volume in it.",
        "Limit `nodes` of {name} to one node now; move the disks to thick LVM marked shared.",
        _thin,
        _NEEDS,
        lambda view: _offering(view, "lvmthin"),
    ),
)
