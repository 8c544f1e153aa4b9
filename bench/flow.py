"""Durable events a second through spool, uplink, CURVE, ingest, core and store, beside a bare loop of pyzmq and msgpack.

An event counts when the controller has acknowledged it, which it does when the event is committed and synced. The controller is
the real program; both loops run in two processes each, alternate, and carry the same bytes.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psutil
import zmq

from bench.bare import PLAIN
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
    encrypted: list[float] = []
    agent_cpu: list[float] = []
    controller_cpu: list[float] = []
    with ExitStack() as stack:
        running = stack.enter_context(Running(place))
        running.allow(NODE)
        controller = psutil.Process(running.controller().pid)
        agent = stack.enter_context(_child("bench.flow_agent", str(place), running.endpoint, str(events)))
        made = int(agent.answer()[0])
        plain = _bare(stack, PLAIN, made, events)
        curve = _bare(stack, ",".join(key.decode() for key in zmq.curve_keypair()), made, events)
        for _ in range(rounds + 1):
            bare.append(plain())
            encrypted.append(curve())
            used = _cpu(controller)
            seconds, cpu = agent.ask()
            ours.append(made / seconds)
            agent_cpu.append(cpu / made * 1e6)
            controller_cpu.append((_cpu(controller) - used) / made * 1e6)
        recorded = [made / agent.ask("recorded")[0] for _ in range(rounds // 2 + 1)]
    del ours[0], bare[0], encrypted[0], agent_cpu[0], controller_cpu[0]
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    same = [one / other for one, other in zip(ours, encrypted, strict=True)]
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
        Figure(GROUP, "ratio to a loop with CURVE", middle(same), note=f"the same encryption on both sides; {spread(same)}"),
        Figure(GROUP, "bare loop with CURVE", middle(encrypted), "events/s", note=f"no validation or disk; {spread(encrypted)}"),
        Figure(GROUP, "agent's CPU", middle(agent_cpu), "µs/event", note="spool, uplink, CURVE; all threads"),
        Figure(GROUP, "controller's CPU", middle(controller_cpu), "µs/event", note="CURVE, ingest, core, store; all threads"),
    ]


def _bare(stack: ExitStack, keys: str, made: int, events: int) -> Callable[[], float]:
    """Start a bare loop; return what runs a round of it and returns its events a second."""
    receiver = stack.enter_context(_child("bench.bare", "receive", keys))
    sender = stack.enter_context(_child("bench.bare", "send", keys, str(int(receiver.answer()[0])), str(events)))
    if made != int(sender.answer()[0]):
        raise BenchError("all loops should carry the same events")

    def round_() -> float:
        began = sender.ask()[0]
        return made / (receiver.answer()[0] - began)

    return round_


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
