"""Durable events a second through spool, uplink, CURVE, ingest, core and store, beside a bare loop of pyzmq and msgpack.

An event counts when the controller has acknowledged it, which it does when the event is committed and synced. The controller is
the real program; both loops run in two processes each, alternate, and carry the same bytes.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psutil

from bench.figures import Figure, middle, spread
from bench.recorded_events import NODE
from bench.running import ROOT, BenchError, Running

GROUP: Final = "flow"
HEADING: Final = "Durable flow, agent's spool to controller's store, against bare pyzmq + msgpack"
LIMIT: Final = 0.20


class _Child:
    """A child that answers lines with lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, kind: str = "full") -> list[float]:
        """Start a round and return what it answers."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{kind}\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> list[float]:
        """Return the numbers of the next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"{self._process.args!r} ended")
        return [float(one) for one in line.split()]


@contextmanager
def _child(*arguments: str) -> Iterator[_Child]:
    process = subprocess.Popen([sys.executable, "-m", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield _Child(process)
    finally:
        process.kill()
        process.communicate()


def measure(place: Path, events: int, rounds: int) -> list[Figure]:
    """Return rates and their ratio, medians of alternating rounds of at least ``events`` events; one more round warms up."""
    ours: list[float] = []
    bare: list[float] = []
    agent_cpu: list[float] = []
    controller_cpu: list[float] = []
    with ExitStack() as stack:
        running = stack.enter_context(Running(place))
        running.allow(NODE)
        controller = psutil.Process(running.controller().pid)
        agent = stack.enter_context(_child("bench.flow_agent", str(place), running.endpoint, str(events)))
        receiver = stack.enter_context(_child("bench.bare", "receive"))
        sender = stack.enter_context(_child("bench.bare", "send", str(int(receiver.answer()[0])), str(events)))
        made = int(agent.answer()[0])
        if made != int(sender.answer()[0]):
            raise BenchError("both loops should carry the same events")
        for _ in range(rounds + 1):
            began = sender.ask()[0]
            bare.append(made / (receiver.answer()[0] - began))
            used = _cpu(controller)
            seconds, cpu = agent.ask()
            ours.append(made / seconds)
            agent_cpu.append(cpu / made * 1e6)
            controller_cpu.append((_cpu(controller) - used) / made * 1e6)
        recorded = [made / agent.ask("recorded")[0] for _ in range(rounds // 2 + 1)]
    del ours[0], bare[0], agent_cpu[0], controller_cpu[0]
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    return [
        Figure(GROUP, "ratio", middle(ratios), limit=LIMIT, note=spread(ratios)),
        Figure(
            GROUP,
            "durable end to end",
            middle(ours),
            "events/s",
            note=f"{made} events a round, 512 an append, as in a storm; {spread(ours)}",
        ),
        Figure(GROUP, "same, small appends", middle(recorded), "events/s", note=f"60 events an append, as recorded; {spread(recorded)}"),
        Figure(GROUP, "bare loop", middle(bare), "events/s", note=f"no CURVE, validation or disk; {spread(bare)}"),
        Figure(GROUP, "agent's CPU", middle(agent_cpu), "µs/event", note="spool, uplink, CURVE; all threads"),
        Figure(GROUP, "controller's CPU", middle(controller_cpu), "µs/event", note="CURVE, ingest, core, store; all threads"),
    ]


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
