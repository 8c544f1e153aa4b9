"""Asks mounts whether they answer: each in a child process of its own that may hang, while this process touches no mount.

The child is coreutils' ``stat --cached=never``: one statx(2) with AT_STATX_FORCE_SYNC, which for NFS is a GETATTR to the server whatever
the client has cached (Linux ``fs/nfs/inode.c``, nfs_getattr; as long as an attribute is asked for that may change, thus %Z), needs no
permission on the mount's root, and fails as the server answers: EACCES or ESTALE for an export that is taken away, ESTALE for a file
system that is another one now. statfs(2) would not do: of an export whose directory was replaced it gives the new one's numbers, and the
kernel only logs "fileid changed". The child starts in a millisecond and leaves no memory behind.

A child whose mount is dead sleeps in the kernel, where no signal reaches it until the server answers. It is left there; its mount is not
asked again before it has ended, by an agent that is started anew neither: the child's arguments say what it asks. A mount that takes the
place of a dead one is another mount: it is asked.
"""

from __future__ import annotations

import errno
import os
import select
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

_COMMAND: Final = ("/usr/bin/stat", "--cached=never")
_NOTED: Final = "--format=%Z "
"""Beginning of the argument by which a child is known again; what it prints is thrown away."""
_NUMBERS: Final = {os.strerror(number): name for number, name in errno.errorcode.items()}
"""Text of the C library to the name of its errno. The child speaks the C locale, and so does this process unless it asks for another."""
_LONGEST: Final = 4096
_NO_WATCH: Final = -1
_MOST: Final = 128
"""Most children at a time. Each mount has one at most, but mounts that are dead may be replaced again and again."""
WELL, HUNG, BLIND = "ok", "hung", "blind"
"""Answers beside the names of errno values. ``blind``: the question could not be asked."""


class Answer(NamedTuple):
    """How a mount answered; ``seconds`` that it took or has been taking."""

    answer: str
    detail: str
    seconds: float


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes] | None
    """None: it is the child of an agent before this one. How it ends nobody will tell."""
    watch: int
    """A descriptor that becomes readable when the child ends (pidfd_open(2)), or none."""
    began: float


class Prober:
    """Asks mounts. For one thread at a time."""

    def __init__(self, command: tuple[str, ...] = _COMMAND) -> None:
        self._command = command
        self._children: dict[str, _Child] = {}
        self._adopted = False

    @property
    def outstanding(self) -> int:
        """Return how many children have not ended."""
        return len(self._children)

    def ask(self, mounts: Mapping[str, str], seconds: float) -> dict[str, Answer]:
        """Ask all mounts at once and return how each answered within ``seconds``. ``mounts``: where each is, by what tells it apart."""
        if not self._adopted:
            self._adopt()
        left_behind, end = set(self._children), time.monotonic() + seconds
        found = {mount: said for mount, at in mounts.items() if mount not in left_behind and (said := self._start(mount, at)) is not None}
        # What was left behind earlier is only looked after: a mount that is dead for an hour does not delay each look of that hour.
        fresh = self._children.keys() - left_behind
        while fresh and (left := end - time.monotonic()) > 0:
            ended = self._ended(fresh, left)
            found |= ended
            fresh -= ended.keys()
        found |= self._ended(left_behind, 0.0)
        now = time.monotonic()
        for mount in mounts:
            if mount not in found:
                waited = now - self._children[mount].began
                found[mount] = Answer(HUNG, f"no answer for {waited:.0f} s", waited)
        return {mount: found[mount] for mount in mounts}

    def _adopt(self) -> None:
        """Take in the children that an agent before this one has left in mounts that are dead still."""
        self._adopted = True
        for mount, watch in _orphans(self._command):
            if mount in self._children:
                os.close(watch)  # two agents before this one: the mount is dead as long as one of them hangs
            else:
                self._children[mount] = _Child(None, watch, time.monotonic())

    def _start(self, mount: str, target: str) -> Answer | None:
        began = time.monotonic()
        if len(self._children) >= _MOST:
            return Answer(BLIND, f"{_MOST} questions are unanswered", 0.0)
        try:
            process = subprocess.Popen(  # noqa: S603 - a fixed program; the target stands behind --
                [*self._command, f"{_NOTED}{mount}", "--", target],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={"LC_ALL": "C"},
                cwd="/",
            )
        except (OSError, ValueError) as error:
            return Answer(BLIND, str(error), 0.0)
        watch = _NO_WATCH
        with suppress(OSError):  # no descriptor is free: its end is noticed all the same, only later
            watch = os.pidfd_open(process.pid)
        self._children[mount] = _Child(process, watch, began)
        return None

    def _ended(self, mounts: set[str], seconds: float) -> dict[str, Answer]:
        """Wait until a child ends, at most so long, and return what those that ended say."""
        poller = select.poll()
        by_fd = {watch: mount for mount in mounts if (watch := self._children[mount].watch) != _NO_WATCH}
        for fd in by_fd:
            poller.register(fd, select.POLLIN)
        ended = {by_fd[fd] for fd, _ in poller.poll(seconds * 1000)}
        ended |= {mount for mount in mounts - set(by_fd.values()) if _has_ended(self._children[mount].process)}
        return {mount: self._reap(mount) for mount in ended}

    def _reap(self, mount: str) -> Answer:
        child = self._children.pop(mount)
        took = time.monotonic() - child.began
        if child.watch != _NO_WATCH:
            os.close(child.watch)
        if child.process is None:
            return Answer(HUNG, "it has just ended to hang", took)
        code = child.process.wait()
        assert child.process.stderr is not None
        with child.process.stderr as pipe:
            text = pipe.read(_LONGEST).decode("utf-8", "replace").strip()
        if code == 0:
            return Answer(WELL, "", took)
        reason = text.rpartition(": ")[2]
        return Answer(_NUMBERS.get(reason, BLIND), reason or f"exit code {code}", took)


def _has_ended(process: subprocess.Popen[bytes] | None) -> bool:
    return process is not None and process.poll() is not None


def _orphans(command: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Yield what each process asks that is ours, runs the command and has lost its parent: the mount, and a descriptor for its end."""
    for name in os.listdir("/proc"):  # noqa: PTH208 - Path is slow
        place = Path("/proc", name)
        with suppress(OSError, ValueError):  # no process, or it ends just now
            # Only our own user's: nobody else shall make a mount look dead. And whoever reads arguments of others may wait for them.
            if not name.isdecimal() or place.stat().st_uid != os.geteuid():
                continue
            watch = os.pidfd_open(int(name))  # first, for the number may be another process's in a moment
            if mount := _asked_by(place, command):
                yield mount, watch
            else:
                os.close(watch)


def _asked_by(process: Path, command: tuple[str, ...]) -> str:
    """Return the mount that a process asks for an agent before this one; empty when it does something else."""
    with suppress(OSError, ValueError):
        arguments = (process / "cmdline").read_text("utf-8", "surrogateescape").split("\0")
        noted = "".join(arguments[len(command) : len(command) + 1])
        if tuple(arguments[: len(command)]) == command and noted.startswith(_NOTED) and not _is_child(process):
            return noted.removeprefix(_NOTED)
    return ""


def _is_child(process: Path) -> bool:
    """Tell whether a process is one of this very process (proc_pid_stat(5)); its name may hold blanks and brackets."""
    return int((process / "stat").read_text("utf-8", "replace").rpartition(") ")[2].split()[1]) == os.getpid()
