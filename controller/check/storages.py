"""Checks of storage.cfg itself, whatever the types: sections, nodes, contents, what stands beside what.

Sources: pve-common ``PVE/SectionConfig.pm``, pve-storage ``PVE/Storage/Plugin.pm`` and ``PVE/Storage.pm``, pve-manager
``PVE/Service/pvestatd.pm``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from controller.check.finding import Check, Hit, Severity
from controller.check.view import GUEST_DATA, View, listed
from events.cluster import StorageConfigBroken
from events.definitions import StorageConfigWarned

_UNSUPPORTED: Final = "unsupported type"
"""What Proxmox VE says of a type whose plugin it does not have (PVE/SectionConfig.pm)."""


def _broken(view: View) -> Iterator[Hit]:
    for name, one in sorted(view.facts.of(StorageConfigBroken).items()):
        yield Hit(f"storage/{name}", f"line {one.line}: {one.reason}", values={"line": str(one.line)})


def _warned(view: View) -> tuple[str, ...]:
    warned = view.facts.get(StorageConfigWarned)
    return warned.warnings if warned else ()


def _ignored(view: View) -> Iterator[Hit]:
    broken = tuple(f"(skip section '{name}')" for name in view.facts.of(StorageConfigBroken))
    for one in _warned(view):
        if _UNSUPPORTED not in one and not any(text in one for text in broken):  # these have a check of their own
            yield Hit(view.cluster, one)


def _foreign(view: View) -> Iterator[Hit]:
    for one in _warned(view):
        if _UNSUPPORTED in one:
            section = one.partition("(skip section '")[2].partition("'")[0]
            yield Hit(f"storage/{section}" if section else view.cluster, one)


def _unknown_nodes(view: View) -> Iterator[Hit]:
    for name, storage, _ in view.of_type():
        unknown = sorted(set(storage.nodes or ()) - set(view.nodes))
        if unknown and view.nodes:
            left = sorted(set(storage.nodes or ()) & set(view.nodes))
            none = "" if left else "; no node of the cluster is left, so nobody can use it"
            yield Hit(
                f"storage/{name}", f"names {listed(unknown)}, which the cluster does not have{none}", values={"nodes": ",".join(left)}
            )


def _hidden(view: View) -> Iterator[Hit]:
    for name, storage, _ in view.of_type():
        without = [node for node in view.nodes if node not in view.visible(storage)]
        if storage.shared and view.visible(storage) and without:
            yield Hit(f"storage/{name}", f"shared, but not offered on {listed(without)}")


def _disabled(view: View) -> Iterator[Hit]:
    for name, users in view.users.items():
        if name in view.storages and view.storages[name].disabled:
            yield Hit(f"storage/{name}", f"disabled, but guests {listed(users)} need it")


def _undefined(view: View) -> Iterator[Hit]:
    broken = view.facts.of(StorageConfigBroken)
    for name, users in view.users.items():
        if name not in view.storages and name not in broken:
            yield Hit(f"storage/{name}", f"not defined, but guests {listed(users)} need it")


def _secrets(view: View) -> Iterator[Hit]:
    for name, storage in view.storages.items():
        for one in storage.properties:
            if one.name in ("password", "keyring") or (one.name == "options" and "=***" in one.value):
                yield Hit(f"storage/{name}", f"storage.cfg itself holds a secret in `{one.name}`", values={"property": one.name})


def _beside(view: View) -> Iterator[Hit]:
    data: dict[str, list[str]] = {}
    for name, storage, _ in view.of_type():
        if GUEST_DATA & {*storage.content} or (storage.type in ("iscsi", "iscsidirect") and storage.content == ("none",)):
            for place in _places(view, name):
                data.setdefault(place, []).append(name)
    for name, storage, _ in view.of_type():
        if "backup" in storage.content and storage.shared:
            same = sorted({one for place in _places(view, name) for one in data.get(place, ())})
            if same:
                yield Hit(f"storage/{name}", f"backups lie on the same server as the guests' disks on {listed(same)}")


def _places(view: View, name: str) -> list[str]:
    """Return what a storage is lost with: its servers, or the cluster's own Ceph."""
    storage = view.storages[name]
    servers = list(view.servers(storage))
    return servers or (["ceph"] if storage.type in ("rbd", "cephfs") else [])


def _esxi(view: View) -> Iterator[Hit]:
    yield from (Hit(f"storage/{name}", "an import source stays enabled") for name, _, _ in view.of_type("esxi"))


def _always_active(view: View) -> Iterator[Hit]:
    yield from (Hit(f"storage/{name}", "Proxmox VE never shows it as inactive") for name, _, _ in view.of_type("iscsidirect"))


CHECKS: Final = (
    Check(
        "storage-section-broken",
        Severity.ERROR,
        "a section of storage.cfg lacks what its type requires",
        "Proxmox VE keeps such a section registered without content. Then storage_info() dies with \"storage 'X' does not exist\", and "
        "pvestatd updates no storage at all, on every node: one bad hand edit blinds the whole cluster.",
        "Complete or remove section {name} (line {line}) of /etc/pve/storage.cfg; then `pvesm status` must list all storages again.",
        _broken,
    ),
    Check(
        "storage-line-ignored",
        Severity.WARNING,
        "Proxmox VE ignores a line of storage.cfg",
        "What the parser does not understand it skips with a warning in pvestatd's log, and it vanishes at the next change through the "
        "GUI or API. A missing blank line or Windows line ends glue two sections into one.",
        "Correct the line: properties begin with a tab, each section ends with a really empty line, no CR at line ends.",
        _ignored,
    ),
    Check(
        "storage-type-unknown",
        Severity.NOTE,
        "storage of a type that Proxmox VE does not bring itself",
        "A plugin's Perl module must be on every node under /usr/share/perl5/PVE/Storage/Custom; a node without it drops the section. "
        "GlusterFS is gone with Proxmox VE 9. Faultline checks nothing of such a storage.",
        "On each node: `pvesm status --storage {name}`. Install the plugin where it is missing, or remove the section.",
        _foreign,
    ),
    Check(
        "storage-nodes-unknown",
        Severity.WARNING,
        "`nodes` of a storage names a node that the cluster does not have",
        "A removed or misspelt node stays in the list unnoticed; if no other is left, the storage is offered nowhere, and guests on it "
        "do not start.",
        "`pvesm set {name} --nodes {nodes}`, or `pvesm set {name} --delete nodes` for all nodes.",
        _unknown_nodes,
    ),
    Check(
        "storage-hidden-from-nodes",
        Severity.NOTE,
        "a shared storage is not offered on all nodes",
        "HA and its scheduler never look at a storage's `nodes`: they may choose a node that cannot see it, where the guest fails to "
        "start.",
        "`pvesm set {name} --delete nodes` if all nodes reach it; otherwise tie its HA guests to the nodes that do with a strict rule.",
        _hidden,
    ),
    Check(
        "storage-disabled-in-use",
        Severity.ERROR,
        "guests need a storage that is disabled",
        "Running guests go on, but none of them starts or migrates: after the next reboot of their node they stay off.",
        "`pvesm set {name} --disable 0`, or move the disks away first (`qm disk move VMID DISK STORAGE`).",
        _disabled,
    ),
    Check(
        "storage-undefined-in-use",
        Severity.ERROR,
        "guests need a storage that storage.cfg does not define",
        "Every start of these guests fails with \"storage 'X' does not exist\". Removing a section does not check who uses it.",
        "Define storage {name} again, or remove or move the volumes that name it in the guests' configuration.",
        _undefined,
    ),
    Check(
        "storage-secret-in-file",
        Severity.WARNING,
        "a password or key stands in storage.cfg",
        "storage.cfg is readable for the group www-data and is copied into backups and bug reports. Proxmox VE keeps secrets in "
        "/etc/pve/priv, where only root reads.",
        "Change the secret, set it with `pvesm set {name} --{property}` and delete the line.",
        _secrets,
    ),
    Check(
        "backup-beside-data",
        Severity.WARNING,
        "backups lie on the server that holds the guests' disks",
        "One failure of that server takes disks and backups together: then there is nothing to restore from, or nowhere to restore to.",
        "Send backups of these guests to another machine: a Proxmox Backup Server on its own disks, or sync this one to a remote.",
        _beside,
    ),
    Check(
        "esxi-left-enabled",
        Severity.NOTE,
        "an ESXi import source is still enabled",
        "Each node asks it in each status round (a TCP connect of up to 2 s); when the old host is switched off, every round of "
        "pvestatd on every node waits for it.",
        "When the import is done: `pvesm set {name} --disable 1`, or remove it.",
        _esxi,
    ),
    Check(
        "iscsidirect-always-active",
        Severity.NOTE,
        "the status of a user-mode iSCSI storage means nothing",
        "Proxmox VE has no check for `iscsidirect`: it answers active=1 always. An outage is seen only in the guests.",
        "Watch the portal of {name} by other means, or use `iscsi` with multipath and LVM on top.",
        _always_active,
    ),
)
