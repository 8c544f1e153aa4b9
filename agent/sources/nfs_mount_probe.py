"""Asks mounts whether they answer, in child processes that may hang, while this process touches no mount.

One child asks one mount after the other, which is all there is to do while they are well. When it does not come on within a second it is
killed, and the mounts that it left are asked by a child of their own each, beside each other: nothing that is dead delays the word on
others.

The child is coreutils' ``stat --cached=never``: one statx(2) with AT_STATX_FORCE_SYNC, which for NFS is a GETATTR to the server whatever
the client has cached (Linux ``fs/nfs/inode.c``, nfs_getattr; as long as an attribute is asked for that may change, thus %Z), needs no
permission on the mount's root, and fails as the server answers: EACCES or ESTALE for an export that is taken away, ESTALE for a file
system that is another one now. statfs(2) would not do: of an export whose directory was replaced it gives the new one's numbers, and the
kernel only logs "fileid changed". The child starts in a millisecond and leaves no memory behind.

A child whose mount is dead sleeps in the kernel; whether a signal ends it there depends on what it waits for. It is left there; its
mount is not asked again before it has ended, by an agent that is started anew neither: the child's arguments say what it asks. A mount
that takes the place of a dead one is another mount: it is asked.
"""

from __future__ import annotations

import errno
import os
import select
import signal
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
_ALL: Final = "all"
"""Stands there for the mount when a child asks all of them; a mount begins with the number of its device."""
_STEP: Final = ": cannot statx '': No such file or directory"
"""How a line of the child ends that tells of an empty path. One stands behind each mount: nothing else says at once how far it has come."""
_NUMBERS: Final = {os.strerror(number): name for number, name in errno.errorcode.items()}
"""Text of the C library to the name of its errno. The child speaks the C locale, and so does this process unless it asks for another."""
_LONGEST: Final = 4096
_NO_WATCH: Final = -1
_MOST: Final = 128
"""Most children at a time. Each mount has one at most, but mounts that are dead may be replaced again and again."""
_PATIENCE: Final = 1.0
"""Seconds that a child which asks all mounts may take for one of them."""
_SHARE: Final = 0.5
"""Largest part of a look's time that it may take in all."""
_DEATH: Final = 0.2
"""Seconds that it has to die. One that does not is left in its mount like any other child."""
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
        found = self._ask_in_turn({mount: at for mount, at in mounts.items() if mount not in left_behind}, end - seconds * (1 - _SHARE))
        left_behind |= self._children.keys()
        for mount, at in mounts.items():
            if mount not in found and mount not in left_behind and (said := self._start(mount, at)) is not None:
                found[mount] = said
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

    def _ask_in_turn(self, mounts: Mapping[str, str], end: float) -> dict[str, Answer]:
        """Ask one mount after the other in one child, and return the answers of those before the first that gave none."""
        if len(mounts) < 2:
            return {}
        paths = [path for target in mounts.values() for path in (target, "")]
        try:
            process = self._run(_ALL, paths)
        except (OSError, ValueError):
            return {}
        found, waiting, began, reason = dict[str, Answer](), list(mounts), time.monotonic(), ""
        for line in _lines(process, end):
            if not line.endswith(_STEP):
                reason = line.rpartition(": ")[2]
                continue
            now = time.monotonic()
            found[waiting.pop(0)] = _answer(reason, now - began)
            if not waiting:
                break
            began, reason = now, ""
        self._end(process, waiting[0] if waiting else "", began)
        return found

    def _end(self, process: subprocess.Popen[bytes], mount: str, began: float) -> None:
        """End a child that asked all mounts and came as far as ``mount``. While it does not die no other asks that mount."""
        assert process.stderr is not None
        process.stderr.close()
        process.stderr = None
        if mount:
            process.kill()
        try:
            process.wait(_DEATH)
        except subprocess.TimeoutExpired:
            self._children[mount or f"{_ALL} {process.pid}"] = _Child(process, _watch(process), began)

    def _adopt(self) -> None:
        """Take in the children that an agent before this one has left in mounts that are dead still."""
        self._adopted = True
        for mount, watch in _orphans(self._command):
            if mount == _ALL:  # nobody heard how far it came
                with suppress(OSError):
                    signal.pidfd_send_signal(watch, signal.SIGKILL)
            if mount in self._children:
                os.close(watch)  # two agents before this one: the mount is dead as long as one of them hangs
            else:
                self._children[mount] = _Child(None, watch, time.monotonic())

    def _start(self, mount: str, target: str) -> Answer | None:
        began = time.monotonic()
        if len(self._children) >= _MOST:
            return Answer(BLIND, f"{_MOST} questions are unanswered", 0.0)
        try:
            process = self._run(mount, [target])
        except (OSError, ValueError) as error:
            return Answer(BLIND, str(error), 0.0)
        self._children[mount] = _Child(process, _watch(process), began)
        return None

    def _run(self, mount: str, paths: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - a fixed program; the paths stand behind --
            [*self._command, f"{_NOTED}{mount}", "--", *paths],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={"LC_ALL": "C"},
            cwd="/",
        )

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
        code = child.process.wait() if child.process is not None else 0
        if child.process is None or child.process.stderr is None:  # of an agent before this one, or one that asked all, dead at last
            return Answer(HUNG, "it has just ended to hang", took)
        with child.process.stderr as pipe:
            text = pipe.read(_LONGEST).decode("utf-8", "replace").strip()
        return _answer((text.rpartition(": ")[2] or f"exit code {code}") if code else "", took)


def _answer(reason: str, took: float) -> Answer:
    """Return the answer that a text of the C library is, empty for none."""
    return Answer(_NUMBERS.get(reason, BLIND), reason, took) if reason else Answer(WELL, "", took)


def _lines(process: subprocess.Popen[bytes], end: float) -> Iterator[str]:
    """Yield what a child says on its standard error, line by line, until it is silent for too long, says too much, or ends."""
    assert process.stderr is not None
    fd, rest, poller = process.stderr.fileno(), b"", select.poll()
    poller.register(fd, select.POLLIN)
    while (
        len(rest) <= _LONGEST and poller.poll(max(0.0, min(_PATIENCE, end - time.monotonic())) * 1000) and (more := os.read(fd, _LONGEST))
    ):
        *lines, rest = (rest + more).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in lines)


def _watch(process: subprocess.Popen[bytes]) -> int:
    """Return a descriptor for a process's end, or none where none is free: it is noticed all the same then, only later."""
    try:
        return os.pidfd_open(process.pid)
    except OSError:
        return _NO_WATCH


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
