"""A directory with real agents, their real journals and a real controller, as processes that a test starts, kills and stops."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import zmq.auth

from agent.classify.journald import JournalClassifier
from agent.sources.journald import read_files
from events.codec import decode
from events.envelope import Envelope, UnknownEvent
from tests.journals import join, recorded, write

ROOT = Path(__file__).resolve().parents[1]
_TIME = re.compile(rb"^__REALTIME_TIMESTAMP=(\d+)$", re.MULTILINE)
_BOOT = re.compile(rb"^_BOOT_ID=\w+$", re.MULTILINE)
_LATER = 2_000_000_000
"""µs between two repetitions of a recording, which lasts 23 minutes."""
_IN_A_FILE = 4
"""Repetitions in one journal file."""

AGENT = """
[node]
name = "{node}"
cluster = "lab"
[journal]
directory = "{place}/{node}.journals"
start = "beginning"
[pmxcfs]
enabled = false
[host]
enabled = false
[nfs]
enabled = false
[iscsi]
enabled = false
[multipath]
enabled = false
[lvm]
enabled = false
[spool]
path = "{place}/{node}/spool.db"
[uplink]
controllers = [{{ endpoint = "ipc://{place}/ingest", public_key_file = "{place}/keys/controller.key" }}]
key_dir = "{place}/keys"
heartbeat = 0.5
"""
CONTROLLER = """
cluster = "lab"
[ingest]
bind = "ipc://{place}/ingest"
key_dir = "{place}/keys"
agents_dir = "{place}/agents"
[store]
path = "{place}/faultline.db"
"""

Fact = tuple[int, int, str, str, str]
"""What an event is, without its place in a stream: observed-at, monotonic, boot, kind, subject."""


def fact(observed_at: int, monotonic: int, boot_id: str, envelope: Envelope | None, kind: str = "", subject: str = "") -> Fact:
    """Return an event's fact."""
    if envelope is not None:
        assert not isinstance(envelope.event, UnknownEvent)
        kind, subject = envelope.event.kind, str(envelope.event.subject)
    return observed_at, monotonic, boot_id, kind, subject


@dataclass
class Site:
    """A directory with agents, their journals and a controller, and the processes that run of them."""

    place: Path
    nodes: tuple[str, ...]
    agent: str = AGENT
    """An agent's configuration; ``{place}`` and ``{node}`` are filled in."""
    controller: str = CONTROLLER
    groups: Mapping[str, int] = field(default_factory=dict)
    """Group (gid) as which a node's agent runs, where it is not our own."""

    def __post_init__(self) -> None:
        """Make keys and configuration."""
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.began: dict[str, int] = {}
        """Length of each process's log when it was started last."""
        self.written = dict.fromkeys(self.nodes, 0)
        for name in ("keys", "agents", *(f"{node}.journals" for node in self.nodes)):
            (self.place / name).mkdir()
        for name in ("controller", *self.nodes):
            zmq.auth.create_certificates(self.place / "keys", name)
        for node in self.nodes:
            shutil.copy(self.place / "keys" / f"{node}.key", self.place / "agents")
            (self.place / f"{node}.toml").write_text(self.agent.format(place=self.place, node=node))
        (self.place / "controller.toml").write_text(self.controller.format(place=self.place))

    def feed(self, repetitions: int) -> None:
        """Let each node's recorded journal happen again so many times more, each time later and in another boot."""
        for node in self.nodes:
            text, numbers = join(recorded(node)), range(self.written[node], self.written[node] + repetitions)
            for number in numbers:
                again = _BOOT.sub(b"_BOOT_ID=%032x" % (number + 1), text)
                again = _TIME.sub(lambda at, by=number * _LATER: b"__REALTIME_TIMESTAMP=%d" % (int(at[1]) + by), again)  # type: ignore[misc]
                # A few in each file: a larger one would be rotated, and its first part then vacuumed, under the agent's eyes.
                write(self.place / f"{node}.journals" / f"{number // _IN_A_FILE:06}.journal", again)
            self.written[node] += repetitions

    def expected(self, node: str) -> list[Fact]:
        """Return what the node's whole journal stands for."""
        classifier, facts = JournalClassifier(node), list[Fact]()
        for batch in read_files(*sorted((self.place / f"{node}.journals").iterdir())):
            assert not batch.losses
            for one in batch.records:
                facts += [
                    fact(one.at, one.monotonic, one.boot_id, None, event.kind, str(event.subject)) for event in classifier.classify(one)
                ]
        return facts

    def start(self, name: str, **environment: str) -> None:
        """Start an agent or the controller."""
        program = "controller" if name == "controller" else "agent"
        self.began[name] = len(self.log(name))
        with (self.place / f"{name}.log").open("ab") as out:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", program, "run", "--config", self.place / f"{name}.toml"],
                cwd=ROOT,
                stdout=out,
                stderr=out,
                env=os.environ | environment,
                group=self.groups.get(name),
            )

    def kill(self, name: str) -> None:
        """Kill -9."""
        self.running[name].kill()
        self.running.pop(name).wait(5)

    def stop(self, name: str) -> int:
        """Ask to end; return the exit code."""
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(10)

    def log(self, name: str) -> str:
        """Return what a process logged."""
        return (self.place / f"{name}.log").read_text(errors="replace") if (self.place / f"{name}.log").exists() else ""

    def stored(self) -> list[Envelope]:
        """Return all events that the controller has, in the order in which it stored them."""
        return [decode(data) for (data,) in self._query("SELECT data FROM log WHERE type = 'event' ORDER BY cursor")]

    def other_rows(self) -> Counter[str]:
        """Return how many rows of other types than events and incidents the controller has."""
        return Counter(kind for (kind,) in self._query("SELECT type FROM log WHERE type NOT IN ('event', 'incident')"))

    def count(self) -> int:
        """Return how many events of the journals the controller has."""
        return sum(row[0] for row in self._query("SELECT count(*) FROM log WHERE type = 'event' AND kind NOT LIKE 'agent.%'"))

    def _query(self, sql: str) -> list[Any]:
        try:
            with closing(sqlite3.connect(f"file:{self.place}/faultline.db?mode=ro", uri=True, timeout=5)) as connection:
                return connection.execute(sql).fetchall()
        except sqlite3.OperationalError:
            return []  # not made yet

    def connected(self, node: str) -> bool:
        """Tell whether an agent has a session, by the log of the process that runs now."""
        return "session with controller" in self.log(node)[self.began[node] :].replace("no session with controller", "")

    def check(self) -> None:
        """Fail with its log when a process ended by itself."""
        for name, process in self.running.items():
            assert process.poll() is None, f"{name} ended with {process.returncode}:\n{self.log(name)[-3000:]}"

    def until(self, condition: Callable[[], object], what: str, seconds: float = 20) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                logs = "\n".join(f"== {file.name}\n{file.read_text(errors='replace')[-2000:]}" for file in self.place.glob("*.log"))
                pytest.fail(f"not within {seconds} s: {what}\n{logs}")
            time.sleep(0.02)

    def end(self) -> None:
        """Kill what still runs."""
        for name in list(self.running):
            self.kill(name)
