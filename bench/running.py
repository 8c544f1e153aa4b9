"""Starts the real programs in a directory of their own, on loopback, with keys made for the occasion, and ends them again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import zmq.auth

ROOT: Final = Path(__file__).resolve().parents[1]
_START: Final = 30.0
"""Seconds given to a program to be there, on a slow machine."""


class BenchError(Exception):
    """A measurement could not be made; the text says why."""


class NotHereError(Exception):
    """A measurement takes what this machine does not have; the text says what. It is left out."""


def wait(ready: Callable[[], object], what: str, seconds: float = _START, pause: float = 0.05) -> None:
    """Wait for a condition.

    :raises BenchError: when it is not fulfilled in time.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise BenchError(f"no {what} after {seconds:.0f} s")
        time.sleep(pause)


def free_port() -> int:
    """Return a TCP port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Running:
    """A controller and agents in ``place``; ending the context ends them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.endpoint = f"tcp://127.0.0.1:{free_port()}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.keys, self._allowed = place / "keys", place / "agents"
        for folder in (self.keys, self._allowed):
            folder.mkdir(parents=True)
        zmq.auth.create_certificates(self.keys, "controller")

    def __enter__(self) -> Self:
        """Do nothing yet."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End everything that was started."""
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()

    @property
    def database(self) -> Path:
        """Return where the controller's store is."""
        return self.place / "faultline.db"

    def allow(self, node: str) -> None:
        """Make a node's keys, and let it in."""
        zmq.auth.create_certificates(self.keys, node)
        shutil.copy(self.keys / f"{node}.key", self._allowed)

    def controller(self, more: str = "") -> subprocess.Popen[bytes]:
        """Start a controller with the default settings and ``more`` TOML; return when it listens."""
        text = (
            f'cluster = "bench"\n[ingest]\nbind = "{self.endpoint}"\nkey_dir = "{self.keys}"\nagents_dir = "{self._allowed}"\n'
            f'[store]\npath = "{self.database}"\n{more}'
        )
        process = self._start("controller", text, "controller")
        self._said("controller", "controller runs")
        return process

    def agent(self, node: str, sources: str) -> subprocess.Popen[bytes]:
        """Start an agent with the TOML of its ``sources``; return when it has a session."""
        self.allow(node)
        text = (
            f'{sources}\n[node]\nname = "{node}"\ncluster = "bench"\n[spool]\npath = "{self.place}/{node}.spool.db"\n'
            f'[uplink]\nkey_dir = "{self.keys}"\n'
            f'controllers = [{{ endpoint = "{self.endpoint}", public_key_file = "{self.keys}/controller.key" }}]\n'
        )
        process = self._start("agent", text, node)
        self._said(node, "session with controller")
        return process

    def _start(self, program: str, config: str, name: str) -> subprocess.Popen[bytes]:
        file = self.place / f"{name}.toml"
        file.write_text(config)
        with (self.place / f"{name}.log").open("wb") as log:
            command = [sys.executable, "-m", program, "run", "--config", str(file)]
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        self.processes.append(process)
        return process

    def _said(self, name: str, text: str) -> None:
        log = self.place / f"{name}.log"
        try:
            wait(lambda: text in log.read_text(errors="replace"), f"{text!r} of {name}")
        except BenchError as error:
            raise BenchError(f"{error}\n{log.read_text(errors='replace')[-2000:]}") from None
