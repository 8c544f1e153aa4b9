"""One Ceph daemon as a child process: started, killed, frozen, thawed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_MEMORY: Final = 2 << 30
"""Bytes of data that one daemon may hold before it is refused more: ten times what one of these was seen to hold."""


@dataclass(slots=True)
class Daemon:
    """A daemon that may run. ``name`` is Ceph's: `osd.3`.

    It dies with the thread that started it, even when that is killed (`setpriv --pdeathsig`); `preexec_fn` would do the same,
    but is not safe in a process with threads, and librados has some.
    """

    name: str
    conf: Path
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def running(self) -> bool:
        """Say whether the process is there, frozen or not."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it; nothing when it runs."""
        if self.running:
            return
        kind, _, number = self.name.partition(".")
        command = [
            "prlimit",
            f"--data={_MEMORY}",
            "setpriv",
            "--pdeathsig",
            "KILL",
            f"ceph-{kind}",
            "-f",
            "-i",
            number,
            "-c",
            str(self.conf),
        ]
        place = "/"  # where systemd starts services; Debian 13's Ceph finds its object classes by a path relative to it
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=place, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **self.environment}
            )

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.running:
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash does (SIGKILL), frozen or not, and wait until it is gone."""
        self._signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(10)

    def abort(self, seconds: float = 30.0) -> None:
        """End it as its own assertions do (SIGABRT): it writes a report of its crash first."""
        self._signal(signal.SIGABRT)
        if self.process is not None:
            self.process.wait(seconds)

    def terminate(self, seconds: float = 15.0) -> None:
        """End it as systemd does (SIGTERM), with SIGKILL after ``seconds``."""
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        try:
            if self.process is not None:
                self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def freeze(self) -> None:
        """Stop it where it stands (SIGSTOP): it holds its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        self._signal(signal.SIGCONT)
