"""What a storm of rejected logins costs: recorded lines of iscsid, 50,000 within a minute, into the journal that a real agent follows.

Each target that refuses a wrong secret makes iscsid log two lines for every attempt, every two seconds for every path, for ever. The agent
must read them all, and may neither take the node's processor for it nor pass the storm on.
"""

from __future__ import annotations

import re
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Final

import psutil

from bench.figures import Figure
from bench.running import BenchError, Running, wait
from tests.journals import join, recorded, value

GROUP: Final = "storm"
HEADING: Final = "A storm of rejected CHAP logins (lines written within the time by systemd-journal-remote, read by a real agent)"
CPU: Final = 5.0
"""Per cent of one core."""
_WRITER: Final = "/lib/systemd/systemd-journal-remote"
_NODE: Final = "pve1"
_LINES: Final = re.compile(r"session \d+ login rejected: Initiator failed authentication|Login failed to authenticate with target")
_LOGINS: Final = re.compile(r"Connection\d+:0 to .* is operational now")
_TIMES: Final = re.compile(rb"^__(?:REALTIME|MONOTONIC)_TIMESTAMP=.*\n|^__(?:CURSOR|SEQNUM|SEQNUM_ID)=.*\n", re.MULTILINE)
_PIECES: Final = 20
"""Writes in a second."""


def measure(place: Path, lines: int, seconds: float) -> list[Figure]:
    """Return what ``lines`` within ``seconds`` cost the agent, and what of them the controller gets."""
    logins, entries = _recorded(_LOGINS), _recorded(_LINES)
    with Running(place) as running:
        journal = place / "node.journal"
        writer = subprocess.Popen([_WRITER, "-o", str(journal), "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        try:
            _write(writer, logins)
            wait(journal.exists, "journal file")
            running.controller()
            agent = running.agent(_NODE, f'[journal]\nfiles = ["{journal}"]\n[pmxcfs]\nenabled = false\n')
            _write(writer, logins)  # which sessions there are: an agent on a node reads it from the kernel
            time.sleep(5)
            process = psutil.Process(agent.pid)
            idle = _used(process)
            time.sleep(min(seconds, 10.0))
            idle = (_used(process) - idle) / min(seconds, 10.0)
            before = _used(process)
            took = _storm(writer, entries, lines, seconds)
            wait(lambda: _is_still(process), "agent that has read everything")
            used = _used(process) - before
        finally:
            assert writer.stdin is not None
            writer.stdin.close()
            writer.wait(10)
        told = _told(running.database)
    share = used / took * 100
    return [
        Figure(
            GROUP, "agent, CPU", share, "% of a core", CPU, "at most", f"{lines} lines in {took:.0f} s; idle it takes {idle * 100:.2f} %"
        ),
        Figure(GROUP, "a line", used / lines * 1e6, "µs", note="journal, filter, classifier, held back"),
        Figure(
            GROUP, "bad events", told, "", 1 + took // 60, "at most", "one when it begins, one with a counter for each minute that it lasts"
        ),
    ]


def _recorded(wanted: re.Pattern[str]) -> list[bytes]:
    found = [_TIMES.sub(b"", join([one])) for one in recorded(_NODE) if wanted.search(value(one, "MESSAGE"))]
    if not found:
        raise BenchError(f"the recording has no line like {wanted.pattern}")
    return found


def _storm(writer: subprocess.Popen[bytes], entries: list[bytes], lines: int, seconds: float) -> float:
    """Write the lines evenly over the time; return how long it took, seconds."""
    began, written = time.monotonic(), 0
    pieces = max(1, int(seconds * _PIECES))
    for piece in range(1, pieces + 1):
        upto = lines * piece // pieces
        _write(writer, [entries[number % len(entries)] for number in range(written, upto)])
        written = upto
        time.sleep(max(0.0, began + piece * seconds / pieces - time.monotonic()))
    return time.monotonic() - began


def _write(writer: subprocess.Popen[bytes], entries: list[bytes]) -> None:
    assert writer.stdin is not None
    at, monotonic = time.time_ns() // 1000, time.monotonic_ns() // 1000
    for number, entry in enumerate(entries):
        writer.stdin.write(b"__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n%s" % (at + number, monotonic + number, entry))
    writer.stdin.flush()


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _is_still(process: psutil.Process) -> bool:
    before = _used(process)
    time.sleep(1)
    return _used(process) - before < 0.05


def _told(database: Path) -> int:
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as log:
        return int(log.execute("SELECT count(*) FROM log WHERE kind = 'iscsi.login.rejected'").fetchone()[0])
