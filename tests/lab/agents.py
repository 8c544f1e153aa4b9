"""Faultline in the laboratory: the agent in every node under its own systemd unit, the controller on this host, and what reached it.

Agents reach the controller at the address by which a guest sees the host's loopback, so nothing listens outside this machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import zmq.auth

from events.envelope import Envelope
from tests.lab.guest import SHARE, Guest
from tests.lab.image import LabError
from tests.lab.net import HOST
from tests.lab.site import PVE
from tests.stored import Arrived, Stored, Told

ROOT: Final = Path(__file__).resolve().parents[2]
_CODE: Final = ("agent", "events", "pve")
_UNIT: Final = "faultline-agent.service"
_CONTROLLER: Final = """\
cluster = "lab"
[ingest]
bind = "tcp://127.0.0.1:{port}"
key_dir = "{place}/keys"
agents_dir = "{place}/agents"
[store]
path = "{place}/faultline.db"
"""
_AGENT: Final = """\
[node]
name = "{node}"
cluster = "lab"
[pmxcfs]
root = "{pve}"
[nfs]
latency_limit = 0.04  # emulated processors take 20 ms for an answer when all is well
[uplink]
controllers = [{{ endpoint = "tcp://{host}:{port}", public_key_file = "/etc/faultline/controller.key" }}]
"""
_PROGRAM: Final = """\
#!/usr/bin/python3 -P
import sys
sys.path.insert(0, "/usr/lib/faultline")
from agent.__main__ import main
sys.exit(main())
"""


class Faultline:
    """A controller and the agents of nodes. A context manager: all connected on entry, ended on exit."""

    def __init__(self, place: Path, nodes: dict[str, Guest]) -> None:
        self.place, self._nodes = place, nodes
        self._stored = Stored(place / "faultline.db")
        self._controller: subprocess.Popen[bytes] | None = None
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self._port = one.getsockname()[1]

    def __enter__(self) -> Self:
        """Start everything and wait until every agent has told all it sees."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """End the controller; the agents end with their guests."""
        self.stop()

    def stop(self) -> None:
        """End the controller."""
        if self._controller is not None:
            self._controller.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._controller.wait(10)
            self._controller.kill()
            self._controller = None

    def _start(self) -> None:
        for name in ("keys", "agents"):
            shutil.rmtree(self.place / name, ignore_errors=True)
            (self.place / name).mkdir(parents=True)
        for old in self.place.glob("faultline.db*"):
            old.unlink()
        for name in ("controller", *self._nodes):
            zmq.auth.create_certificates(self.place / "keys", name)
        for node in self._nodes:
            shutil.copy(self.place / "keys" / f"{node}.key", self.place / "agents")
        (self.place / "controller.toml").write_text(_CONTROLLER.format(port=self._port, place=self.place))
        with (self.place / "controller.log").open("wb") as log:
            self._controller = subprocess.Popen(
                [sys.executable, "-m", "controller", "run", "--config", str(self.place / "controller.toml")],
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )
        for node, guest in self._nodes.items():
            self._install(node, guest)
        for guest in self._nodes.values():
            guest.check(f"systemctl start --no-block {_UNIT}")
        for node in self._nodes:
            self.wait(partial(_is_last_of_picture, node), 0, 180, f"full picture of {node}")

    def _install(self, node: str, guest: Guest) -> None:
        with tarfile.open(guest.share / "code.tar", "w") as archive:
            for source in _sources():
                archive.add(ROOT / source, source)
        for file, text in (("program", _PROGRAM), ("agent.toml", _AGENT.format(node=node, pve=PVE, host=HOST, port=self._port))):
            (guest.share / file).write_text(text)
        keys = [self.place / "keys" / name for name in (f"{node}.key_secret", f"{node}.key", "controller.key")]
        for path in (*keys, *(ROOT / "systemd").iterdir()):
            shutil.copyfile(path, guest.share / path.name)
        guest.check(
            f"""set -eu; cd {SHARE}
mkdir -p /usr/lib/faultline /etc/faultline
tar -xf code.tar -C /usr/lib/faultline; python3 -m compileall -q /usr/lib/faultline
install -m 755 program /usr/bin/faultline-agent
install -m 644 agent.toml controller.key /etc/faultline/
install -m 644 {_UNIT} /etc/systemd/system/
install -m 644 faultline.sysusers /usr/lib/sysusers.d/faultline.conf; systemd-sysusers
install -d -o faultline -g faultline -m 700 /var/lib/faultline /var/lib/faultline/agent /var/lib/faultline/agent/keys
install -o faultline -g faultline -m 600 {node}.key_secret {node}.key /var/lib/faultline/agent/keys/
chown -R root:www-data {PVE}; chmod 750 {PVE}; chmod 640 {PVE}/*
rm -f *.key_secret; systemctl daemon-reload""",
            120,
        )

    def cursor(self) -> int:
        """Return how far the controller's log is."""
        return self._stored.cursor()

    def since(self, cursor: int) -> tuple[list[Arrived], list[Told], int]:
        """Return what was stored behind a cursor, and the new cursor."""
        return self._stored.since(cursor)

    def envelopes(self) -> list[tuple[int, Envelope]]:
        """Return all events with the time at which they were stored, UTC µs."""
        return self._stored.envelopes()

    def follow(self, cursor: int, seconds: float, pause: float = 0.1) -> Iterator[list[Arrived]]:
        """Yield what arrives, until the time is over."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            arrived, _, cursor = self.since(cursor)
            yield arrived
            time.sleep(pause)

    def wait(self, wanted: Callable[[Arrived], bool], cursor: int, seconds: float, what: str) -> Arrived:
        """Return the first event behind a cursor that is wanted.

        :raises LabError: when none has come by then.
        """
        for arrived in self.follow(cursor, seconds):
            for one in arrived:
                if wanted(one):
                    return one
        raise LabError(f"no {what} within {seconds:g} s\n{self._state()}")

    def _state(self) -> str:
        logs = [(self.place / "controller.log").read_text(errors="replace")[-1500:]]
        logs += [guest.run(f"journalctl -o cat -n 25 -u {_UNIT}").out[-2500:] for guest in self._nodes.values()]
        return "\n".join(logs)


def _is_last_of_picture(node: str, one: Arrived) -> bool:
    return one.node == node and one.kind == "lvm.vg.complete"


def _sources() -> list[str]:
    found = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *_CODE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"LC_ALL": "C"},
    )
    return [line for line in found.stdout.splitlines() if (ROOT / line).exists()]
