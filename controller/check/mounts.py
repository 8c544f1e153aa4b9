"""Checks of what is mounted, how, and whether it comes back after a reboot.

Sources: pve-storage ``PVE/Storage/DirPlugin.pm`` and ``CIFSPlugin.pm``, fstab(5), systemd.mount(5), mount.cifs(8).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from controller.check.finding import Check, Hit, Need, Severity
from controller.check.view import DIRECTORIES, GUEST_DATA, MOUNTED, View, options
from controller.core.topology.names import is_visible
from controller.core.topology.storages import is_below
from events.definitions import StorageDefined
from events.host import Mount

_LOCAL: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "vfat", "exfat"})
"""File systems that one host alone may mount."""
_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "fuse.glusterfs", "fuse.sshfs", "9p", "ceph"})
_UNCHECKED: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "fuse.glusterfs", "fuse.sshfs"})
_OF_SYSTEM: Final = frozenset({"/", "/var", "/var/lib", "/home"})
"""Mounts without which a node does not boot: nothing writes below them by mistake."""
_NO: Final = frozenset({"", "0", "no", "off", "false"})
_NEEDS: Final = (Need.STORAGES, Need.MOUNTS)
_Seen = tuple[str, StorageDefined, Mapping[str, str], str, Mount]


def _mounting(view: View) -> Iterable[str]:
    """Return the nodes that offer a storage which is, or may lie on, a mount."""
    kinds = MOUNTED | (DIRECTORIES if any(name != "local" for name, _, _ in view.of_type(*DIRECTORIES)) else frozenset())
    return [node for node in view.nodes if any(is_visible(storage, node) for _, storage, _ in view.of_type(*kinds))]


def _on_directories(view: View) -> Iterator[_Seen]:
    """Yield storages in directories with each node that told its mounts, and the mount that holds the directory."""
    for name, storage, values in view.of_type(*DIRECTORIES):
        for node in view.visible(storage):
            if (mount := view.mount_of(node, values.get("path", "").rstrip("/"))) is not None:
                yield name, storage, values, node, mount


def _of_another(view: View, path: str) -> bool:
    """Tell whether a directory lies below the mount of another storage."""
    return any(is_below(path, values.get("path", "").rstrip("/")) for _, _, values in view.of_type(*MOUNTED))


def _not_mounted(view: View) -> Iterator[Hit]:
    for name, storage, values in view.of_type(*MOUNTED):
        path = values.get("path", f"/mnt/pve/{name}").rstrip("/")
        for node in view.visible(storage):
            if node in view.mounts and all(one.target.rstrip("/") != path for one in view.mounts[node].mounted):
                yield Hit(f"storage/{name}", f"nothing is mounted on {path}", node)


def _read_only(view: View) -> Iterator[Hit]:
    for name, storage, values in view.of_type(*MOUNTED, *DIRECTORIES):
        if {"images", "rootdir", "backup"} & {*storage.content}:
            for node in view.visible(storage):
                mount = view.mount_of(node, values.get("path", f"/mnt/pve/{name}").rstrip("/"))
                if mount is not None and "ro" in options(mount.options):
                    yield Hit(f"storage/{name}", f"{mount.target} is mounted read-only", node, {"path": mount.target})


def _local_shared(view: View) -> Iterator[Hit]:
    for name, storage, values, node, mount in _on_directories(view):
        if storage.shared and mount.type in _LOCAL and not _of_another(view, values.get("path", "")) and len(view.visible(storage)) > 1:
            yield Hit(f"storage/{name}", f"marked shared, but {values.get('path', '')} lies on {mount.type} of {mount.source}", node)


def _unguarded(view: View) -> Iterator[Hit]:
    for name, _, values, node, mount in _on_directories(view):
        guarded = values.get("is_mountpoint", "").lower() not in _NO
        if not guarded and mount.target.rstrip("/") and mount.target not in _OF_SYSTEM and not _of_another(view, values.get("path", "")):
            where = "yes" if mount.target.rstrip("/") == values.get("path", "").rstrip("/") else mount.target
            yield Hit(f"storage/{name}", f"lies on the mount {mount.target}, but does not say is_mountpoint", node, {"where": where})


def _dir_on_network(view: View) -> Iterator[Hit]:
    for name, _, values, node, mount in _on_directories(view):
        if mount.type in _UNCHECKED and not _of_another(view, values.get("path", "")):
            yield Hit(f"storage/{name}", f"a directory on {mount.type} of {mount.source}, mounted by hand", node)


def _not_at_boot(view: View) -> Iterator[Hit]:
    for name, _, values, node, mount in _on_directories(view):
        at_boot = any(one.target.rstrip("/") == mount.target.rstrip("/") for one in view.mounts[node].configured)
        if mount.type in _NETWORK and not at_boot and not _of_another(view, values.get("path", "")):
            yield Hit(f"storage/{name}", f"{mount.target} is mounted now, but not in /etc/fstab", node, {"path": mount.target})


def _blocks_boot(view: View) -> Iterator[Hit]:
    for node, known in view.mounts.items():
        for one in known.configured:
            if one.type in _NETWORK and not {"nofail", "x-systemd.automount"} & options(one.options).keys():
                yield Hit(f"node/{node}", f"/etc/fstab mounts {one.target} from {one.source} without nofail", node, {"path": one.target})


def _needs_netdev(view: View) -> Iterator[Hit]:
    for node, known in view.mounts.items():
        maps = {f"/dev/mapper/{one.name}" for one in view.multipath[node].maps} if node in view.multipath else set()
        for one in known.configured:
            on_san = one.source in maps or one.source.startswith("/dev/disk/by-path/ip-")
            if on_san and one.type in _LOCAL and not {"_netdev", "nofail"} & options(one.options).keys():
                yield Hit(f"node/{node}", f"/etc/fstab mounts {one.target} from {one.source} without _netdev", node, {"path": one.target})


def _cifs_disks(view: View) -> Iterator[Hit]:
    for name, storage, _ in view.of_type("cifs"):
        if GUEST_DATA & {*storage.content}:
            yield Hit(f"storage/{name}", "guests' disks may lie on it")


def _cifs_old(view: View) -> Iterator[Hit]:
    for name, _, values in view.of_type("cifs"):
        if values.get("smbversion") in ("2.0", "2.1") or options(values.get("options", "")).get("vers") in ("1.0", "2.0", "2.1"):
            yield Hit(f"storage/{name}", f"fixed to SMB {values.get('smbversion') or options(values['options'])['vers']}")


def _own(view: View) -> Iterable[str]:
    return view.nodes


CHECKS: Final = (
    Check(
        "storage-not-mounted",
        Severity.ERROR,
        "the mount of a network storage is missing on a node",
        "Proxmox VE mounts it again only after its connection check succeeds; until then guests on it do not start there. Of a mount that "
        "vanished pvestatd logs nothing: the storage is silently inactive.",
        "On {node}: `pvesm status --storage {name}`, then look at `journalctl -u pvestatd`.",
        _not_mounted,
        _NEEDS,
        lambda view: [node for node in view.nodes if any(is_visible(storage, node) for _, storage, _ in view.of_type(*MOUNTED))],
    ),
    Check(
        "storage-mounted-read-only",
        Severity.ERROR,
        "a storage for disks or backups is mounted read-only",
        "Every write of a guest or backup fails. The status check reads only the size, so the storage looks active.",
        "Find out why (server's export, journal errors), then on {node}: `mount -o remount,rw {path}`.",
        _read_only,
        _NEEDS,
        _mounting,
    ),
    Check(
        "dir-shared-but-local",
        Severity.ERROR,
        "a directory marked shared lies on a node's own file system",
        "`shared` is a claim that Proxmox VE never checks. Migration then copies no disk: the guest arrives on a node that has other "
        "files, "
        "or none, under the same path. If the disk below is a LUN of several nodes, two mounts of it destroy the file system.",
        "`pvesm set {name} --delete shared`; for real sharing use NFS, Ceph, or LVM on the LUN.",
        _local_shared,
        _NEEDS,
        lambda view: [node for node in view.nodes if any(s.shared and is_visible(s, node) for _, s, _ in view.of_type(*DIRECTORIES))],
    ),
    Check(
        "dir-mountpoint-unguarded",
        Severity.WARNING,
        "a directory storage on a mount does not say is_mountpoint",
        "When the mount is missing, Proxmox VE makes the directory anew and writes backups and disks to the root file system until it is "
        "full; the next mount hides them.",
        "`pvesm set {name} --is_mountpoint {where}`",
        _unguarded,
        _NEEDS,
        _mounting,
    ),
    Check(
        "dir-on-network-mount",
        Severity.WARNING,
        "a directory storage lies on a network mount made by hand",
        "For `dir` Proxmox VE has no connection check: it goes straight to the mount. When the server of a hard mount is dead, a helper "
        "hangs in state D and pvestatd waits for it for ever: no status of any guest or storage of this node any more.",
        "Define it as `nfs` or `cifs` storage, which are asked with a deadline of 10 s before they are touched.",
        _dir_on_network,
        _NEEDS,
        _mounting,
    ),
    Check(
        "mount-not-at-boot",
        Severity.WARNING,
        "a mount that a storage lies on is not configured for the next boot",
        "After a reboot the directory is empty or missing: guests on it do not start, and backups go to the root file system.",
        "On {node}: add {path} to /etc/fstab with nofail,_netdev, or enable a systemd mount unit (then suppress this finding).",
        _not_at_boot,
        _NEEDS,
        _mounting,
    ),
    Check(
        "fstab-without-nofail",
        Severity.WARNING,
        "a network mount in /etc/fstab holds up the boot",
        "Without nofail the boot waits for the server until the mount times out (90 s by default). What comes after remote-fs.target, "
        "the start of the guests among it, comes late, just after a power failure, when everything boots at once.",
        "On {node}: add nofail,_netdev to the options of {path} in /etc/fstab, then `systemctl daemon-reload`.",
        _blocks_boot,
        (Need.MOUNTS,),
        _own,
    ),
    Check(
        "fstab-without-netdev",
        Severity.ERROR,
        "a file system on a SAN disk in /etc/fstab lacks _netdev",
        "systemd takes it for a local disk and wants it before the network is up, when no iSCSI session can exist: the node boots into "
        "the emergency shell.",
        "On {node}: add _netdev,nofail to the options of {path} in /etc/fstab, then `systemctl daemon-reload`.",
        _needs_netdev,
        (Need.MOUNTS,),
        _own,
    ),
    Check(
        "cifs-holds-disks",
        Severity.WARNING,
        "guests' disks may lie on CIFS",
        "Proxmox VE mounts CIFS with `soft`: in an outage writes do not wait, they fail. Guests see I/O errors, mount their file systems "
        "read-only or lose what they believed written.",
        "`pvesm set {name} --content backup,iso,vztmpl`, and keep disks on NFS (hard), iSCSI or Ceph.",
        _cifs_disks,
    ),
    Check(
        "cifs-old-protocol",
        Severity.WARNING,
        "a CIFS storage is fixed to an old SMB version",
        "SMB before 3.0 has no encryption and no persistent handles; newer servers and kernels switch it off, and then the mount fails "
        "after an update.",
        "`pvesm set {name} --smbversion 3`, or `--delete smbversion`.",
        _cifs_old,
    ),
)
