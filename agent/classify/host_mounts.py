"""A node's mounts out of the kernel's table (proc_pid_mountinfo(5)) and /etc/fstab (fstab(5)).

Left out: file systems without data of their own (proc, tmpfs, overlay, …), what another mount covers, mounts that show what would be
there without them (systemd makes such around its services), and lines longer than an event can carry. Values of options that
are named like a secret are cut away: an fstab may hold a CIFS password.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from agent.classify.host_bounds import ROOM, fitting
from agent.mountinfo import plain, rows
from events.base import Seen
from events.entity import Entity
from events.host import Mount, NodeMounts

_MOST: Final = 256
_LONGEST: Final = 1024
_KERNEL_ONLY: Final = (
    "autofs bdev binder binfmt_misc bpf cgroup cgroup2 configfs cpuset debugfs devpts devtmpfs efivarfs fuse.lxcfs "
    "fuse.portal fuse.snapfuse fusectl hugetlbfs mqueue nfsd nsfs overlay pipefs proc pstore ramfs resctrl rpc_pipefs "
    "securityfs selinuxfs sockfs squashfs swap sysfs tmpfs tracefs"
)
_WITHOUT_DATA: Final = frozenset(_KERNEL_ONLY.split())
_OVER_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "fuse.glusterfs", "fuse.ceph", "fuse.sshfs"})
"""These come first when there is not room for all."""
_SECRET: Final = re.compile(r"pass|pwd|secret|key|token|cred", re.IGNORECASE)
_USER: Final = frozenset({"user", "username"})
_IN_ADDRESS: Final = re.compile(r"://[^/@]*@")


class Entry(NamedTuple):
    """A line of the kernel's table."""

    number: str
    parent: str
    device: str
    root: str
    mount: Mount


def mounts(found: Mapping[str, Any], node: Entity, seen: Seen) -> NodeMounts:
    """Return the event of what :mod:`agent.sources.host_mounts` found."""
    mounted = [entry.mount for entry in _visible(list(_entries(found["mountinfo"]))) if _holds_data(entry.mount)]
    configured = [mount for mount in _configured(found["fstab"]) if _holds_data(mount)]
    return NodeMounts(subject=node, seen=seen, mounted=_listed(mounted, ROOM), configured=_listed(configured, ROOM // 4))


def _listed(found: Iterable[Mount], room: int) -> tuple[Mount, ...]:
    first = sorted(found, key=lambda one: (one.type not in _OVER_NETWORK, len(one.target), one.target))
    return tuple(sorted(fitting(first, _MOST, room), key=lambda one: one.target))


def _holds_data(mount: Mount) -> bool:
    return mount.type not in _WITHOUT_DATA and mount.source != "/dev/fuse" and mount.target.startswith("/")


def _entries(text: str) -> Iterator[Entry]:
    for row in rows(text):
        if (mount := _mount(row.type, row.target, row.source, plain(_merged(row.options, row.superblock)))) is not None:
            yield Entry(row.number, row.parent, row.device, row.root, mount)


def _merged(options: str, of_superblock: str) -> str:
    """Join both lists. `ro` of either makes a mount read-only, so the other's `rw` must not be read beside it."""
    first, second = options.split(","), of_superblock.split(",")
    joined = dict.fromkeys([*first, *second])
    if "ro" in joined:
        joined.pop("rw", None)
    return ",".join(joined)


def _visible(entries: list[Entry]) -> Iterator[Entry]:
    by_number = {entry.number: entry for entry in entries}
    covered = {one.parent for one in entries if one.parent in by_number and one.mount.target == by_number[one.parent].mount.target}
    for one in entries:
        under = by_number.get(one.parent)
        if one.number not in covered and not (under is not None and _shows_the_same(one, under)):
            yield one


def _shows_the_same(one: Entry, under: Entry) -> bool:
    """Tell whether a mount shows, of the same device, the directory that it lies on."""
    below = one.mount.target.removeprefix(under.mount.target.rstrip("/"))
    return one.device == under.device and one.root.rstrip("/") == (under.root.rstrip("/") + below).rstrip("/")


def _configured(text: str) -> Iterator[Mount]:
    for line in text.split("\n"):
        fields = re.split("[ \t]+", line.strip(" \t\r"))
        if len(fields) < 3 or fields[0].startswith("#"):
            continue
        source, target, type_, options = *fields[:3], fields[3] if len(fields) > 3 else ""
        if "noauto" not in options.split(",") or "x-systemd.automount" in options.split(","):
            mount = _mount(type_, plain(target), plain(source), plain(options))
            yield from (mount,) if mount is not None else ()


def _mount(type_: str, target: str, source: str, options: str) -> Mount | None:
    source = _IN_ADDRESS.sub("://", source)
    if not type_ or len(type_) > _LONGEST // 4 or max(len(source), len(target)) > _LONGEST:
        return None
    shown = ",".join(_without_secret(one) for one in options.split(","))
    return Mount(source=source, target=target, type=type_, options=shown[:_LONGEST])


def _without_secret(option: str) -> str:
    name, equals, value = option.partition("=")
    if _SECRET.search(name):
        return name + equals
    # user=NAME%PASSWORD was cifs's way, and user=NAME:PASSWORD is curlftpfs's
    return f"{name}={re.split('[%:]', value, maxsplit=1)[0]}" if name in _USER and equals else option
