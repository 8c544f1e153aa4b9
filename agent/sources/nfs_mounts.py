"""Looks at NFS mounts: whether each answers, whether what storage.cfg wants is mounted, and how long the kernel's requests take.

Looks: ``mounts`` (rows of the mounts, with the answer of :mod:`agent.sources.nfs_mount_probe`, and of the storages that are enabled
and not mounted) and ``statistics`` (the kernel's counters of each mount since it was mounted, :mod:`agent.mountstats`).
The table of mounts and the counters come from /proc, which the kernel answers from memory: no mount is touched.

A denial may be the server's, or this node's own: a mount below a directory that the agent's user may not enter (`/srv/private/nas`)
cannot be asked. Which it is the directory above the mount tells, asked in the same way, for it may lie on a dead mount itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from agent.mountstats import totals
from agent.sources.configured import Configured
from agent.sources.host_files import Tree
from agent.sources.host_mounts import MOUNTINFO, TABLE
from agent.sources.looking import Found, Look
from agent.sources.nfs_mount_probe import BLIND, WELL, Answer, Prober
from agent.sources.nfs_places import NfsMount, nfs_mounts, options_of
from pve.storage_cfg import Storage

_FAST: Final = 2.0
"""Seconds between two looks at mounts while one of them is bad."""
_SLACK: Final = 5.0
"""Seconds beyond its own deadline after which a look itself counts as hung: a busy machine starts children slowly."""
_WAIT: Final = 2.0
"""Seconds that the first look waits for storage.cfg."""
_MOST: Final = 64
"""Most mounts that are asked."""
_DENIALS: Final = frozenset({"EACCES", "EPERM"})
_ABOVE: Final = 1.0
"""Seconds that the directory above a mount that was denied has to answer: mostly it is a local one."""
_COUNTERS: Final = "proc/self/mountstats"
_LONGEST: Final = 1 << 22
"""Most bytes of the counters that are read: each mount has about 5 KiB."""


def mount_looks(
    configured: Configured, *, root: Path = Path("/"), interval: float = 10.0, deadline: float = 5.0, latency_interval: float = 10.0
) -> list[Look]:
    """Return the looks ``mounts`` and ``statistics``."""
    watch = Mounts(configured, root, deadline)
    return [
        Look("mounts", watch.look, interval, min(_FAST, interval), deadline + _SLACK, again=0.0),
        Look("statistics", watch.statistics, latency_interval, latency_interval, deadline + _SLACK, again=0.0),
    ]


class Mounts:
    """The NFS mounts of this node. Each look is for one thread at a time."""

    def __init__(self, configured: Configured, root: Path, deadline: float, prober: Prober | None = None) -> None:
        self._configured, self._tree, self._deadline = configured, Tree(root), deadline
        self._prober = prober or Prober()
        self._well: set[str] = set()
        """Mounts, as the prober tells them apart, that answered once: whoever asks them may enter the directories above."""
        self._first = True

    def look(self) -> Found:
        """Ask all mounts and return how they answered, and what is not mounted although it should be."""
        if self._first:
            self._configured.wait(_WAIT)
            self._first = False
        # Of two mounts at one place the later one covers the other.
        mounts = list({mount.target: mount for mount in nfs_mounts(self._tree.text(MOUNTINFO, TABLE))}.values())[:_MOST]
        # What is mounted where a dead mount was has another device: it does not wait for the answer of the dead one.
        asked = {f"{mount.device} {mount.target}": mount.target for mount in mounts}
        answers = self._without_own(self._prober.ask(asked, self._deadline), asked)
        storages = {path: one for one in self._configured.storages("nfs") if (path := one.values.get("path", "").rstrip("/"))}
        rows = [_mounted(mount, answers[f"{mount.device} {mount.target}"], storages.get(mount.target)) for mount in mounts]
        rows += _missing(storages, {mount.target for mount in mounts})
        return Found(rows, any(row["answer"] not in (WELL, BLIND) or row["ro"] for row in rows if row["mounted"]))

    def _without_own(self, answers: dict[str, Answer], asked: dict[str, str]) -> dict[str, Answer]:
        """Return the answers without denials that are this node's own."""
        self._well = {mount for mount in asked if answers[mount].answer == WELL or mount in self._well}
        denied = [mount for mount in asked if answers[mount].answer in _DENIALS]
        if not denied:
            return answers
        # Behind the slash stands a name, for only that takes the right to enter the directory. No mount's place ends so.
        above = {mount: f"{asked[mount].rpartition('/')[0]}/." for mount in denied}
        found = self._prober.ask({f"{mount.partition(' ')[0]} {place}": place for mount, place in above.items()}, _ABOVE)
        for mount, place in above.items():
            said = found[f"{mount.partition(' ')[0]} {place}"].answer
            if said in _DENIALS or (said != WELL and mount not in self._well):
                answers[mount] = Answer(BLIND, f"{place.removesuffix('.')} cannot be entered", answers[mount].seconds)
        return answers

    def statistics(self) -> Found:
        """Return the kernel's counters by source."""
        return Found({source: list(sums) for source, sums in totals(self._tree.text(_COUNTERS, _LONGEST)).items()})


def _mounted(mount: NfsMount, answer: Answer, storage: Storage | None) -> dict[str, Any]:
    wanted = options_of(storage.values.get("options", "")) if storage is not None else mount.options
    return {
        "mounted": True,
        "source": mount.source,
        "target": mount.target,
        "storage": storage.id if storage is not None else "",
        "security": mount.options.get("sec", "sys"),
        "ro": "ro" in mount.options and "ro" not in wanted,
        "answer": answer.answer,
        "detail": answer.detail,
    }


def _missing(storages: dict[str, Storage], mounted: set[str]) -> Iterator[dict[str, Any]]:
    for path, storage in storages.items():
        server, export = storage.values.get("server", ""), storage.values.get("export", "")
        if path not in mounted and server and export:
            host = f"[{server}]" if ":" in server and not server.startswith("[") else server
            yield {"mounted": False, "source": f"{host}:{export}", "target": path, "storage": storage.id}
