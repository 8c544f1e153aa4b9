"""Checks of guests: whether each can start where it is, migrate without copying, and survive what its disks do not lie on.

Sources: qemu-server ``PVE/QemuMigrate.pm``, pve-container ``PVE/LXC/Migrate.pm``, pve-docs qm.adoc and pct.adoc.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from controller.check.finding import Check, Hit, Severity
from controller.check.view import View, is_on_node, listed
from controller.core.topology.names import is_visible


def _not_on_node(view: View) -> Iterator[Hit]:
    for vmid, guest in view.running():
        for name in view.storages_of(guest):
            storage = view.storages.get(name)
            if storage is not None and not storage.disabled and not is_visible(storage, guest.node):
                boot = "; onboot is set" if guest.onboot else ""
                yield Hit(f"guest/{vmid}", f"on {guest.node}, but {name} is not offered there{boot}", guest.node, {"storage": name})


def _copies(view: View) -> Iterator[Hit]:
    for vmid, guest in view.running():
        local = [one for one in view.storages_of(guest, "runtime") if one in view.storages and not view.storages[one].shared]
        if local and len(view.nodes) > 1 and not view.service(vmid):
            yield Hit(f"guest/{vmid}", f"has disks on {listed(local)}, which is not shared")


def _pinned(view: View) -> Iterator[Hit]:
    for vmid, guest in view.running():
        bound = [f"{use.key} ({use.volume})" for use in guest.uses if is_on_node(use) and use.need == "runtime"]
        if bound and len(view.nodes) > 1 and not view.service(vmid):
            yield Hit(f"guest/{vmid}", f"needs {listed(bound, 3)} of its node")


def _iso(view: View) -> Iterator[Hit]:
    for vmid, guest in view.running():
        disks = set(view.storages_of(guest, "runtime"))
        for use in guest.uses:
            if use.role == "cdrom" and use.storage and use.need == "start" and use.storage not in disks:
                yield Hit(f"guest/{vmid}", f"{use.key} holds {use.storage}:{use.volume}", values={"key": use.key})


def _claims(view: View) -> Iterator[Hit]:
    for vmid, guest in view.running():
        claimed = [f"{use.key} ({use.volume})" for use in guest.uses if use.shared and not use.storage and use.need == "runtime"]
        if claimed and len(view.nodes) > 1:
            yield Hit(f"guest/{vmid}", f"claims that {listed(claimed, 3)} is the same on all nodes")


def _leftovers(view: View) -> Iterator[Hit]:
    for vmid, guest in view.guests.items():
        needed = set(view.storages_of(guest))
        gone = [
            one
            for one in view.storages_of(guest, "history")
            if one not in needed and (one not in view.storages or view.storages[one].disabled)
        ]
        if gone:
            yield Hit(f"guest/{vmid}", f"snapshots or unused disks lie on {listed(gone)}, which is not defined or disabled")


def _starts_elsewhere(view: View) -> Iterator[Hit]:
    for vmid, guest in view.running():
        names = view.storages_of(guest, "start")
        late = [
            one for one in names if one not in view.storages_of(guest, "runtime") and one in view.storages and not view.storages[one].shared
        ]
        vital = [
            use.key
            for use in guest.uses
            if use.need == "start" and use.storage in late and use.role in ("hookscript", "cicustom", "cloudinit", "tpm")
        ]
        if vital and len(view.nodes) > 1 and not view.service(vmid) and not _has_local(view, vmid):
            yield Hit(f"guest/{vmid}", f"{listed(vital)} lies on {listed(late)}, which is not shared")


def _has_local(view: View, vmid: str) -> bool:
    return any(not view.storages[one].shared for one in view.storages_of(view.guests[vmid], "runtime") if one in view.storages)


CHECKS: Final = (
    Check(
        "guest-storage-not-on-node",
        Severity.ERROR,
        "a guest is on a node that is not offered its storage",
        "It may still run from before a change of `nodes`, but neither starts nor migrates: it is lost to the next reboot of its node.",
        "Offer {storage} on {node} (`pvesm set {storage} --nodes ...`), or move the guest or its disks.",
        _not_on_node,
    ),
    Check(
        "guest-migration-copies-disks",
        Severity.NOTE,
        "live migration of a guest copies its disks",
        "Draining its node takes as long as copying every byte, and when the node has failed there is nothing to copy from.",
        "`qm disk move {name} DISK SHARED-STORAGE` (containers: `pct move-volume`), where a node's failure must not stop it.",
        _copies,
    ),
    Check(
        "guest-bound-to-node",
        Severity.NOTE,
        "a guest needs a directory or device of its node",
        "Proxmox VE refuses to migrate it: draining the node means stopping it.",
        "Use a volume of a shared storage, or mark a path that is the same on all nodes with shared=1.",
        _pinned,
        (),
    ),
    Check(
        "guest-iso-attached",
        Severity.NOTE,
        "an ISO is still in a VM's drive",
        "Each start and each migration opens it. When that storage is dead or local, the VM neither starts nor moves, though its disks "
        "are well: drives forgotten after an installation make an ISO server a single point of failure.",
        "`qm set {name} --{key} none,media=cdrom`",
        _iso,
    ),
    Check(
        "guest-claims-shared-path",
        Severity.NOTE,
        "a guest claims that a path of its node is on all nodes",
        "shared=1 is a claim that Proxmox VE never checks: if it is wrong, the guest migrates to a node with other data under that path.",
        "Make sure that the path of guest {name} is the same mount on all nodes.",
        _claims,
        (),
    ),
    Check(
        "guest-leftovers-unreachable",
        Severity.NOTE,
        "snapshots or unused disks of a guest lie on a storage that is gone",
        "The guest runs, but rollback, deleting the snapshot and removing the guest fail until somebody edits its file by hand.",
        "Define the storage again, or remove these entries from the configuration of guest {name}.",
        _leftovers,
    ),
    Check(
        "guest-start-needs-local",
        Severity.WARNING,
        "a guest on shared disks needs a local storage to start",
        "Its disks could move at once, but its cloud-init disk, TPM state or script lies on one node: it cannot be started on another "
        "one after a failure.",
        "Move it to a shared storage (snippets too: content snippets on NFS or CephFS).",
        _starts_elsewhere,
    ),
)
