"""A process of a bare interpreter that is asked one thing after the other, and is left alone as soon as it does not answer in time.

Why a process: what it asks may put it to sleep in the kernel until a disk or a server answers, where nobody should have to follow. Why it is
kept: starting a program costs a hundred times what a question does.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_CHUNK: Final = 1 << 16
"""Most bytes of one answer."""


def interpreter(program: Path) -> tuple[str, ...]:
    """Return the command that runs a program of ours without site packages, our own modules and what the environment asks for."""
    return sys.executable, "-I", "-S", str(program)


class Asker:
    """One such process, started when it is needed. For one thread at a time. It ends when its input does."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self._child: subprocess.Popen[bytes] | None = None

    def ask(self, question: bytes, seconds: float) -> bytes | None:
        """Return the line that answers a question, without its end.

        None when none came within ``seconds``, or when there is no process: it then must be left (:meth:`leave`) before the next question,
        for what it answers late would be taken for the next answer.
        """
        try:
            child = self._child = self._child or self._start()
            assert child.stdin is not None
            assert child.stdout is not None
            os.write(child.stdin.fileno(), question)
        except OSError:  # it cannot be started, or died
            return None
        return _line(child.stdout.fileno(), time.monotonic() + seconds)

    def leave(self) -> subprocess.Popen[bytes] | None:
        """Kill the process without waiting for its end, and return it: what sleeps in the kernel may die only when it wakes."""
        held, self._child = self._child, None
        if held is not None:
            for pipe in (held.stdin, held.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
            held.kill()
        return held

    def close(self) -> None:
        """End the process; one that sleeps in the kernel is not waited for."""
        if (held := self.leave()) is not None:
            with suppress(subprocess.TimeoutExpired):
                held.wait(1)

    def _start(self) -> subprocess.Popen[bytes]:
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        return subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=null, bufsize=0, cwd="/")  # noqa: S603 - our own file


def _line(fd: int, end: float) -> bytes | None:
    """Return one line; None when none came in time, or the process ended."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    line = b""
    while not line.endswith(b"\n"):
        if len(line) > _CHUNK or not poller.poll(max(0.0, end - time.monotonic()) * 1000):
            return None
        more = os.read(fd, _CHUNK)
        if not more:
            return None
        line += more
    return line[:-1]
