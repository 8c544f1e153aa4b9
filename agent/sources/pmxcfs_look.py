"""One look at /etc/pve: what is there now, read in few short accesses. May hang; its caller gives it a deadline.

Rules of this file system (pve-cluster, src/pmxcfs): a dot file is made when it is looked up and kept in one shared buffer, so
it is read with a single call and a torn one is read again. Counters in ``.version`` say only "read again", are this node's
own and begin anew when ``starttime`` changes. No file stays open: one that is replaced while open leaves `.fuse_hidden` litter in
the cluster's database. The write bit of ``local`` is Proxmox VE's own quorum test.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

MAX_FILE: Final = 1024 * 1024
"""Longest file of pmxcfs, bytes (memdb.h)."""
STORAGE_CFG: Final = "storage.cfg"
FILES: Final = (STORAGE_CFG, "ceph.conf")
HA: Final = "ha"
"""Directory of which all files are watched but those that change all the time."""
_RESTLESS: Final = frozenset({"manager_status", "crm_commands"})
_TEMPORARY: Final = re.compile(r"\.tmp\.[0-9]+$")
"""PVE writes ``FILE.tmp.<pid>`` and renames it."""
_TRIES: Final = 3
_HEADER: Final = re.compile(rb"(\S+):\s*\S+\s*")
_SECRETS: Final = frozenset({b"password", b"keyring", b"encryption-key", b"master-pubkey"})
_LISTS: Final = frozenset({b"nodes", b"content"})
"""Properties whose values PVE writes in random order."""

How = Literal["served", "unmounted", "crashed", "hung"]


@dataclass(frozen=True, slots=True)
class Content:
    """A file as it was read. ``digest`` is the SHA-1 of its bytes in hex, None when there is no such file."""

    digest: str | None
    outline: str = ""
    """Of storage.cfg: its header lines as they are, of every other line only a fingerprint."""


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
    files: Mapping[str, Content] = field(default_factory=dict)


def look(root: Path, known: Look | None, plain: bool | None, *, everything: bool = False) -> Look:
    """Look at a pmxcfs mount or, when ``plain``, at a directory with a copy of its files; None is to find out which it is.

    ``known`` is the look before; files whose counter is the same since are not read again, unless ``everything``.

    :raises OSError: EAGAIN when what was read is torn each time; look again later.
    :raises PermissionError: when we may not even read what says that it is there.
    """
    try:
        found = _plain(root) if plain else _served(root, None if everything else known)
    except FileNotFoundError:
        return look(root, known, True, everything=everything) if plain is None and _still(root, True) else Look("unmounted")
    except OSError as error:
        if error.errno == errno.EAGAIN or isinstance(error, PermissionError):
            raise
        return Look("crashed")  # ENOTCONN: the mount is there, its server is not
    if any(content.digest is None for content in found.files.values()) and not _still(root, bool(plain)):
        return Look("unmounted")  # it went away while we looked: nothing was removed
    return found


def _still(root: Path, plain: bool) -> bool:
    try:
        return any(root.iterdir()) if plain else os.path.lexists(root / "local")
    except OSError:
        return False


def _served(root: Path, known: Look | None) -> Look:
    version = _json(root / ".version")
    starttime = str(version.get("starttime", ""))
    counters = {path: count for path, count in version.items() if _watched(path) and isinstance(count, int)}
    before = known.counters if known is not None and known.starttime == starttime else {}
    cluster, members = _members(root)
    files = dict(_read_all(root, [path for path, count in counters.items() if before.get(path) != count]))
    return Look("served", False, starttime, counters, _quorate(root), cluster, members, files)


def _plain(root: Path) -> Look:
    if not any(root.iterdir()):
        return Look("unmounted")
    cluster, members = _members(root)
    directory = root / HA
    names = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
    paths = [*FILES, *(path for name in names if _watched(path := f"{HA}/{name}"))]
    return Look("served", True, "", {}, _quorate(root), cluster, members, dict(_read_all(root, paths)))


def _watched(path: str) -> bool:
    directory, _, name = path.rpartition("/")
    return (path in FILES) if not directory else directory == HA and name not in _RESTLESS and not _TEMPORARY.search(name)


def _quorate(root: Path) -> bool | None:
    """Return None when there is no ``local``, as in a plain directory."""
    try:
        mode = os.lstat(root / "local").st_mode
    except FileNotFoundError:
        return None
    return bool(mode & 0o200) if stat.S_ISLNK(mode) else None


def _members(root: Path) -> tuple[str, dict[str, tuple[bool, str]]]:
    """Return the cluster's name and its members. A node alone has neither."""
    try:
        data = _json(root / ".members")
    except (FileNotFoundError, PermissionError):
        return "", {}
    nodes, cluster = _dict(data.get("nodelist")), _dict(data.get("cluster"))
    members = {name: (bool(_dict(node).get("online")), str(_dict(node).get("ip", ""))) for name, node in nodes.items()}
    return str(cluster.get("name", "")), members


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    """Read a dot file. Another process that looks it up meanwhile can make it a mix of two generations."""
    for _ in range(_TRIES):
        try:
            data = json.loads(_bytes(path))
        except ValueError:
            continue
        if isinstance(data, dict):
            return data
    raise OSError(errno.EAGAIN, "torn content", str(path))


def _read_all(root: Path, paths: list[str]) -> Iterator[tuple[str, Content]]:
    for path in paths:
        try:
            yield path, _content(root, path)
        except (PermissionError, IsADirectoryError):
            continue  # a file that we may not read is none of ours


def _content(root: Path, path: str) -> Content:
    """Read a file until two reads agree: an editor that truncates and writes shows half of it."""
    try:
        data = _bytes(root / path)
        for _ in range(_TRIES):
            again = _bytes(root / path)
            if again == data:
                break
            data = again
        else:
            raise OSError(errno.EAGAIN, "changes while it is read", path)
    except FileNotFoundError:
        return Content(None)
    return Content(hashlib.sha1(data, usedforsecurity=False).hexdigest(), outline(data) if path == STORAGE_CFG else "")


def _bytes(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, MAX_FILE)
    finally:
        os.close(descriptor)


def outline(data: bytes) -> str:
    """Return storage.cfg without any value: header and empty lines stay, comments go, every other line becomes a fingerprint.

    So which sections differ can be told, and no password that somebody typed into the file goes any further.
    """
    return "\n".join(_outline_line(line) for line in data.split(b"\n") if not line.lstrip().startswith(b"#"))


def _outline_line(line: bytes) -> str:
    header = _HEADER.fullmatch(line)
    if line in (b"", b"0") or (header and header[1].lower() not in _SECRETS):
        return line.decode(errors="replace")
    name, _, value = line.strip().partition(b" ")
    if name in _LISTS:
        value = b",".join(sorted(re.split(rb"[,;\s\0]+", value.strip())))
    return "\t" + hashlib.sha1(name + b" " + value.strip(), usedforsecurity=False).hexdigest()[:16]
