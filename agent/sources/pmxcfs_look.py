"""One look at /etc/pve: what is there now, read in few short accesses. May hang; its caller gives it a deadline.

Rules of this file system (pve-cluster, src/pmxcfs): counters in ``.version`` say only "read again", are this node's own and begin
anew when ``starttime`` changes. The write bit of ``local`` is Proxmox VE's own quorum test. Statuses of local managers have no
counter, and ``.rrd`` and the manager's status change all the time: these are read in every slow look only. How files are read,
:mod:`agent.sources.pmxcfs_files` says.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple

from agent.sources.moment import utc_offset
from agent.sources.pmxcfs_files import ABSENT, Content, Files
from pve import members, version_file, vmlist
from pve.vmlist import VmListEntry

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

How = Literal["served", "unmounted", "crashed", "hung"]


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
    offset: int = 0
    """Minutes of local time east of UTC."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look at: ``node`` whose guests, ``everything`` anew whatever the counters say, ``slow`` the restless files too."""

    node: str
    everything: bool = False
    slow: bool = True


class _Version(NamedTuple):
    """What ``.version`` says that matters here."""

    starttime: str
    counters: Mapping[str, int]
    """Of the files that are watched, and ``vmlist``."""
    counted: frozenset[str]
    """All that has a counter."""


class _Cluster(NamedTuple):
    """The cluster's name, empty for a node alone, its members as (online, address), and all its nodes."""

    name: str
    online: Mapping[str, tuple[bool, str]]
    nodes: tuple[str, ...]


def look(files: Files, known: Look | None, plain: bool | None, wanted: Wanted) -> Look:
    """Look at a pmxcfs mount or, when ``plain``, at a directory with a copy of its files; None is to find out which it is.

    ``known`` is the look before, without the ``files`` and ``guests`` of a mount and without ``slow``; what is the same since is not
    read again, unless ``wanted`` says so. When all of it is the same, this very object is returned.

    :raises OSError: EAGAIN when what was read is torn each time; look again later.
    :raises PermissionError: when we may not even read what says that it is there.
    """
    before = known if known is not None and known.how == "served" and not wanted.everything else None
    if before is None:
        files.forget()
    found = _found(files, before, plain, wanted)
    return known if known is not None and found == known else found


def _found(files: Files, before: Look | None, plain: bool | None, wanted: Wanted) -> Look:
    files.begin()
    try:
        found = _plain(files, wanted) if plain else _served(files, before, wanted)
    except FileNotFoundError:
        return _found(files, before, True, wanted) if plain is None and _still(files.root, True) else Look("unmounted")
    except OSError as error:
        if error.errno == errno.EAGAIN or isinstance(error, PermissionError):
            raise
        return Look("crashed")  # ENOTCONN: the mount is there, its server is not
    gone = any(content.digest is None for content in found.files.values()) or found.present == {}
    if gone and not _still(files.root, bool(plain)):
        return Look("unmounted")  # it went away while we looked: nothing was removed
    return found


def _still(root: Path, plain: bool) -> bool:
    try:
        return any(root.iterdir()) if plain else os.path.lexists(root / "local")
    except OSError:
        return False


def _served(files: Files, known: Look | None, wanted: Wanted) -> Look:
    version = files.parsed(".version", _version)
    cluster = _cluster(files, wanted)
    quorate, offset = _quorate(files.root), utc_offset()
    now = (version.starttime, version.counters, quorate, *cluster, offset)
    if known is not None and not wanted.slow and now == _state(known):
        return known
    before = known.counters if known is not None and known.starttime == version.starttime else {}
    moved = [path for path, count in version.counters.items() if before.get(path) != count and path != "vmlist"]
    present, guests = _guests(files, known if before else None, version.counters, before, wanted.node)
    return Look(
        "served",
        False,
        version.starttime,
        version.counters,
        quorate,
        cluster.name,
        cluster.online,
        cluster.nodes,
        dict(_read_all(files.content, _together(moved, version.counted))),
        present,
        guests,
        _slow(files, cluster.online) if wanted.slow else {},
        offset,
    )


def _state(known: Look) -> tuple[object, ...]:
    """Return what says, as long as it is the same, that nothing of a mount is."""
    return (known.starttime, known.counters, known.quorate, known.cluster, known.members, known.nodes, known.offset)


def _plain(files: Files, wanted: Wanted) -> Look:
    root = files.root
    if not (here := os.listdir(root)):  # noqa: PTH208 - Path is slow
        return Look("unmounted")
    cluster = _cluster(files, wanted, anyway=True)
    there = [f"{HA}/{name}" for name in sorted(_names(f"{root}/{HA}"))] if HA in here else []
    paths = dict.fromkeys([*FILES, *filter(_watched, there)])
    listed = {*here, *there}
    present, guests = _listed_guests(files, cluster.nodes if wanted.node == ALL else [wanted.node])
    return Look(
        "served",
        True,
        "",
        {},
        _quorate(root),
        cluster.name,
        cluster.online,
        cluster.nodes,
        {path: ABSENT for path in paths if path not in listed} | dict(_read_all(files.copied, [path for path in paths if path in listed])),
        present,
        guests,
        _slow(files, cluster.online) if wanted.slow else {},
        utc_offset(),
    )


def _version(data: bytes) -> _Version:
    read = version_file.parse(data)
    watched = {path: count for path, count in read.counters.items() if _watched(path) or path == "vmlist"}
    return _Version(str(read.starttime), watched, frozenset(read.counters))


def _watched(path: str) -> bool:
    directory, _, name = path.rpartition("/")
    return (path in FILES) if not directory else directory == HA and name not in _RESTLESS and not _TEMPORARY.search(name)


def _together(moved: list[str], counted: frozenset[str]) -> list[str]:
    """Return the paths to read: when a file moved that says something only with others, also those. pmxcfs of 8 counts no rules."""
    others = [path for group in (HA_FILES, JOBS_FILES) if set(moved) & set(group) for path in group if path in counted]
    return list(dict.fromkeys([*moved, *others]))


def _quorate(root: Path) -> bool | None:
    """Return None when there is no ``local``, as in a plain directory."""
    try:
        mode = os.lstat(f"{root}/local").st_mode
    except FileNotFoundError:
        return None
    return bool(mode & 0o200) if stat.S_ISLNK(mode) else None


# Nodes


def _cluster(files: Files, wanted: Wanted, *, anyway: bool = False) -> _Cluster:
    """Return the cluster; its nodes are its members, or, where no list of them is, whoever has a directory."""
    try:
        told = files.parsed(".members", _members)
    except (FileNotFoundError, PermissionError):
        told = _Cluster("", {}, ())
    if told.online or (told.nodes and not anyway):
        return told
    try:
        nodes = tuple(sorted(os.listdir(f"{files.root}/nodes")))  # noqa: PTH208 - Path is slow
    except (FileNotFoundError, NotADirectoryError):
        nodes = () if wanted.node == ALL else (wanted.node,)
    return _Cluster(told.name, told.online, nodes)


def _members(data: bytes) -> _Cluster:
    read = members.parse(data)
    online = {name: (one.online, one.address or "") for name, one in read.nodes.items()}
    return _Cluster(read.cluster.name if read.cluster is not None else "", online, tuple(sorted(online)) or (read.nodename,))


# Guests


def _guests(
    files: Files, known: Look | None, counters: Mapping[str, int], before: Mapping[str, int], node: str
) -> tuple[dict[str, tuple[str, int]] | None, dict[str, GuestFile]]:
    """Return which guests of ours there are, and those of them whose count moved since ``known``, read."""
    if known is not None and known.present is not None and before.get("vmlist") == counters.get("vmlist"):
        return None, {}
    listed = files.parsed(".vmlist", vmlist.parse)
    ours = {str(vmid): one for vmid, one in listed.items() if node in (ALL, one.node) and one.kind in _KINDS}
    present = {vmid: (one.node, one.version) for vmid, one in ours.items()}
    old = known.present or {} if known is not None else {}
    return present, dict(_read_guests(files, {vmid: one for vmid, one in ours.items() if old.get(vmid) != present[vmid]}))


def _read_guests(files: Files, listed: Mapping[str, VmListEntry]) -> Iterator[tuple[str, GuestFile]]:
    for vmid, one in listed.items():
        content = files.content(f"nodes/{one.node}/{_KINDS[one.kind]}/{vmid}.conf")
        if content.digest is not None:  # else it moved just now: the next .vmlist will say where to
            yield vmid, GuestFile(one.node, one.kind, one.version, content)


def _listed_guests(files: Files, nodes: Iterable[str]) -> tuple[dict[str, tuple[str, int]], dict[str, GuestFile]]:
    """Return the guests of a plain directory: whatever files are there."""
    found: dict[str, GuestFile] = {}
    for node in nodes:
        for kind, folder in _KINDS.items():
            for name in sorted(_names(f"{files.root}/nodes/{node}/{folder}")):
                if match := _VMID.fullmatch(name):
                    found[match[1]] = GuestFile(node, kind, 0, files.copied(f"nodes/{node}/{folder}/{name}"))
    return {vmid: (one.node, one.version) for vmid, one in found.items()}, found


def _names(directory: str) -> list[str]:
    """Return what a directory holds; nothing when there is none."""
    try:
        return os.listdir(directory)  # noqa: PTH208 - Path is slow
    except (FileNotFoundError, NotADirectoryError):
        return []


# Restless files


def _slow(files: Files, nodes: Iterable[str]) -> dict[str, bytes]:
    """Return the files that change all the time, those of them that are there."""
    data: dict[str, bytes] = {}
    for path in (RRD, MANAGER, *(f"nodes/{node}/lrm_status" for node in nodes)):
        try:
            data[path] = files.data(path)
        except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError):
            continue
    return data


# Reading


def _read_all(read: Callable[[str], Content], paths: Iterable[str]) -> Iterator[tuple[str, Content]]:
    for path in paths:
        try:
            yield path, read(path)
        except (PermissionError, IsADirectoryError):
            continue  # a file that we may not read is none of ours
