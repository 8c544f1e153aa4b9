"""One look at /etc/pve: what is there now, read in few short accesses. May hang; its caller gives it a deadline.

Rules of this file system (pve-cluster, src/pmxcfs): a dot file is made when it is looked up and kept in one shared buffer, so
it is read with a single call and a torn one is read again. Counters in ``.version`` say only "read again", are this node's
own and begin anew when ``starttime`` changes. No file stays open: one that is replaced while open leaves `.fuse_hidden` litter in
the cluster's database. The write bit of ``local`` is Proxmox VE's own quorum test. Statuses of local managers have no counter, and
``.rrd`` and the manager's status change all the time: these are read in every slow look only.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeVar

from pve import members, version_file, vmlist
from pve.errors import FormatError
from pve.members import Members
from pve.version_file import VersionFile
from pve.vmlist import VmListEntry

MAX_FILE: Final = 1024 * 1024
"""Longest file of pmxcfs, bytes (memdb.h)."""
STORAGE_CFG: Final = "storage.cfg"
HA: Final = "ha"
HA_FILES: Final = ("ha/resources.cfg", "ha/groups.cfg", "ha/rules.cfg")
"""Read together: only together they say where a guest may run."""
JOBS_FILES: Final = ("jobs.cfg", "user.cfg")
"""Read together: a backup job may name a pool, whose guests only the second knows."""
MANAGER: Final = "ha/manager_status"
RRD: Final = ".rrd"
FILES: Final = (STORAGE_CFG, "ceph.conf", "corosync.conf", "datacenter.cfg", *HA_FILES, *JOBS_FILES)
ALL: Final = "*"
"""In place of a node's name: the guests of all nodes, as the command line wants them."""
_RESTLESS: Final = frozenset({"manager_status", "crm_commands"})
_TEMPORARY: Final = re.compile(r"\.tmp\.[0-9]+$")
"""PVE writes ``FILE.tmp.<pid>`` and renames it."""
_KINDS: Final = {"qemu": "qemu-server", "lxc": "lxc"}
"""Kind of guest to the directory of its files."""
_VMID: Final = re.compile(r"([1-9][0-9]{2,8})\.conf", re.ASCII)
_TRIES: Final = 3

How = Literal["served", "unmounted", "crashed", "hung"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Content:
    """A file as it was read. ``digest`` is the SHA-1 of its bytes in hex, None when there is no such file."""

    digest: str | None
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class GuestFile:
    """A guest's file as it was read; ``version`` is its count in .vmlist, 0 in a plain directory."""

    node: str
    kind: str
    version: int
    content: Content


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found. ``files`` holds those that were read: all of a plain directory, else those whose counter moved."""

    how: How
    plain: bool | None = None
    """True for a directory with a copy of the files; None when there was nothing to tell by."""
    starttime: str = ""
    counters: Mapping[str, int] = field(default_factory=dict)
    quorate: bool | None = None
    cluster: str = ""
    members: Mapping[str, tuple[bool, str]] = field(default_factory=dict)
    """Node to (online, address)."""
    nodes: tuple[str, ...] = ()
    """All nodes of the cluster, online or not."""
    files: Mapping[str, Content] = field(default_factory=dict)
    present: Mapping[str, tuple[str, int]] | None = None
    """VMID of each guest of ours to (node, version); None when that was not looked at, since nothing moved."""
    guests: Mapping[str, GuestFile] = field(default_factory=dict)
    """Those of them that were read: new ones and changed ones."""
    slow: Mapping[str, bytes] = field(default_factory=dict)
    """What only a slow look reads, by path."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look at: ``node`` whose guests, ``everything`` anew whatever the counters say, ``slow`` the restless files too."""

    node: str
    everything: bool = False
    slow: bool = True


def look(root: Path, known: Look | None, plain: bool | None, wanted: Wanted) -> Look:
    """Look at a pmxcfs mount or, when ``plain``, at a directory with a copy of its files; None is to find out which it is.

    ``known`` is the look before; files whose counter is the same since are not read again.

    :raises OSError: EAGAIN when what was read is torn each time; look again later.
    :raises PermissionError: when we may not even read what says that it is there.
    """
    try:
        found = _plain(root, wanted) if plain else _served(root, None if wanted.everything else known, wanted)
    except FileNotFoundError:
        return look(root, known, True, wanted) if plain is None and _still(root, True) else Look("unmounted")
    except OSError as error:
        if error.errno == errno.EAGAIN or isinstance(error, PermissionError):
            raise
        return Look("crashed")  # ENOTCONN: the mount is there, its server is not
    gone = any(content.digest is None for content in found.files.values()) or found.present == {}
    if gone and not _still(root, bool(plain)):
        return Look("unmounted")  # it went away while we looked: nothing was removed
    return found


def _still(root: Path, plain: bool) -> bool:
    try:
        return any(root.iterdir()) if plain else os.path.lexists(root / "local")
    except OSError:
        return False


def _served(root: Path, known: Look | None, wanted: Wanted) -> Look:
    version = _parsed(f"{root}/.version", version_file.parse)
    starttime = str(version.starttime)
    before = known.counters if known is not None and known.starttime == starttime else {}
    counters = {path: count for path, count in version.counters.items() if _watched(path) or path == "vmlist"}
    moved = [path for path, count in counters.items() if before.get(path) != count and path != "vmlist"]
    cluster = _members(root)
    present, guests = _guests(root, known if before else None, counters, before, wanted.node)
    return Look(
        "served",
        False,
        starttime,
        counters,
        _quorate(root),
        _name(cluster),
        _online(cluster),
        _nodes(root, cluster, wanted),
        dict(_read_all(root, _together(moved, version))),
        present,
        guests,
        _slow(root, cluster) if wanted.slow else {},
    )


def _plain(root: Path, wanted: Wanted) -> Look:
    if not (here := os.listdir(root)):  # noqa: PTH208 - Path is slow
        return Look("unmounted")
    cluster = _members(root)
    there = [f"{HA}/{name}" for name in sorted(os.listdir(root / HA))] if HA in here and (root / HA).is_dir() else []  # noqa: PTH208
    paths = dict.fromkeys([*FILES, *filter(_watched, there)])
    listed = {*here, *there}
    nodes = _nodes(root, cluster, wanted, anyway=True)
    present, guests = _listed_guests(root, nodes if wanted.node == ALL else [wanted.node])
    return Look(
        "served",
        True,
        "",
        {},
        _quorate(root),
        _name(cluster),
        _online(cluster),
        nodes,
        {path: Content(None) for path in paths if path not in listed} | dict(_read_all(root, [path for path in paths if path in listed])),
        present,
        guests,
        _slow(root, cluster) if wanted.slow else {},
    )


def _watched(path: str) -> bool:
    directory, _, name = path.rpartition("/")
    return (path in FILES) if not directory else directory == HA and name not in _RESTLESS and not _TEMPORARY.search(name)


def _together(moved: list[str], version: VersionFile) -> list[str]:
    """Return the paths to read: when a file moved that says something only with others, also those. pmxcfs of 8 counts no rules."""
    others = [path for group in (HA_FILES, JOBS_FILES) if set(moved) & set(group) for path in group if path in version.counters]
    return list(dict.fromkeys([*moved, *others]))


def _quorate(root: Path) -> bool | None:
    """Return None when there is no ``local``, as in a plain directory."""
    try:
        mode = os.lstat(f"{root}/local").st_mode
    except FileNotFoundError:
        return None
    return bool(mode & 0o200) if stat.S_ISLNK(mode) else None


# Nodes


def _members(root: Path) -> Members | None:
    try:
        return _parsed(f"{root}/.members", members.parse)
    except (FileNotFoundError, PermissionError):
        return None


def _name(found: Members | None) -> str:
    """Return the cluster's name. A node alone has none."""
    return found.cluster.name if found is not None and found.cluster is not None else ""


def _online(found: Members | None) -> dict[str, tuple[bool, str]]:
    return {name: (one.online, one.address or "") for name, one in found.nodes.items()} if found is not None else {}


def _nodes(root: Path, found: Members | None, wanted: Wanted, *, anyway: bool = False) -> tuple[str, ...]:
    """Return the cluster's nodes: its members, or, where no list of them is, whoever has a directory."""
    if found is not None and found.nodes:
        return tuple(sorted(found.nodes))
    if found is not None and not anyway:
        return (found.nodename,)
    try:
        return tuple(sorted(path.name for path in (root / "nodes").iterdir()))
    except (FileNotFoundError, NotADirectoryError):
        return () if wanted.node == ALL else (wanted.node,)


# Guests


def _guests(
    root: Path, known: Look | None, counters: Mapping[str, int], before: Mapping[str, int], node: str
) -> tuple[dict[str, tuple[str, int]] | None, dict[str, GuestFile]]:
    """Return which guests of ours there are, and those of them whose count moved since ``known``, read."""
    if known is not None and known.present is not None and before.get("vmlist") == counters.get("vmlist"):
        return None, {}
    listed = _parsed(f"{root}/.vmlist", vmlist.parse)
    ours = {str(vmid): one for vmid, one in listed.items() if node in (ALL, one.node) and one.kind in _KINDS}
    present = {vmid: (one.node, one.version) for vmid, one in ours.items()}
    old = known.present or {} if known is not None else {}
    return present, dict(_read_guests(root, {vmid: one for vmid, one in ours.items() if old.get(vmid) != present[vmid]}))


def _read_guests(root: Path, listed: Mapping[str, VmListEntry]) -> Iterator[tuple[str, GuestFile]]:
    for vmid, one in listed.items():
        content = _content(root, f"nodes/{one.node}/{_KINDS[one.kind]}/{vmid}.conf")
        if content.digest is not None:  # else it moved just now: the next .vmlist will say where to
            yield vmid, GuestFile(one.node, one.kind, one.version, content)


def _listed_guests(root: Path, nodes: Iterable[str]) -> tuple[dict[str, tuple[str, int]], dict[str, GuestFile]]:
    """Return the guests of a plain directory: whatever files are there."""
    found: dict[str, GuestFile] = {}
    for node in nodes:
        for kind, folder in _KINDS.items():
            directory = root / "nodes" / node / folder
            names = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
            for name in names:
                if match := _VMID.fullmatch(name):
                    found[match[1]] = GuestFile(node, kind, 0, _content(root, f"nodes/{node}/{folder}/{name}"))
    return {vmid: (one.node, one.version) for vmid, one in found.items()}, found


# Restless files


def _slow(root: Path, found: Members | None) -> dict[str, bytes]:
    """Return the files that change all the time, those of them that are there."""
    paths = [RRD, MANAGER, *(f"nodes/{node}/lrm_status" for node in (found.nodes if found is not None else ()))]
    data: dict[str, bytes] = {}
    for path in paths:
        try:
            data[path] = _bytes(f"{root}/{path}")
        except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError):
            continue
    return data


# Reading


def _parsed(path: str, parse: Callable[[bytes], T]) -> T:
    """Read a dot file. Another process that looks it up meanwhile can make it a mix of two generations."""
    for _ in range(_TRIES):
        try:
            return parse(_bytes(path))
        except FormatError:
            continue
    raise OSError(errno.EAGAIN, "torn content", path)


def _read_all(root: Path, paths: Iterable[str]) -> Iterator[tuple[str, Content]]:
    for path in paths:
        try:
            yield path, _content(root, path)
        except (PermissionError, IsADirectoryError):
            continue  # a file that we may not read is none of ours


def _content(root: Path, path: str) -> Content:
    """Read a file until two reads agree: an editor that truncates and writes shows half of it."""
    try:
        data = _bytes(f"{root}/{path}")
        for _ in range(_TRIES):
            again = _bytes(f"{root}/{path}")
            if again == data:
                break
            data = again
        else:
            raise OSError(errno.EAGAIN, "changes while it is read", path)
    except (FileNotFoundError, NotADirectoryError):
        return Content(None)
    return Content(hashlib.sha1(data, usedforsecurity=False).hexdigest(), data)


def _bytes(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, MAX_FILE)
    finally:
        os.close(descriptor)
