# a folder of programs, not a package
"""Reads a big journal with the agent's journal source and with ``journalctl -o json``, side by side, and prints the ratio.

The file is made from the recordings through systemd-journal-remote, each repetition later in time and of another boot. Records
per second = entries in the file / seconds; the source reads only what is wanted, journalctl everything, as a program that pipes it
would. The runs alternate, so that what else the machine does hits both. Target: at least 1.0, with classification.

    python -m bench.journal_source [entries] [runs]
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from agent.record import RawRecord
from agent.sources.journald import read_files
from tests.journals import NODES, join, recorded, write

_LATER = 2_000_000_000
"""Microseconds between two repetitions; a recording lasts 23 minutes."""
_TIME = re.compile(rb"^__REALTIME_TIMESTAMP=(\d+)$", re.MULTILINE)
_BOOT = re.compile(rb"^_BOOT_ID=\w+$", re.MULTILINE)


def repeated(entries: int) -> Iterator[tuple[int, bytes]]:
    """Yield (number of entries, export text) until there are at least ``entries``."""
    recordings = [recorded(node) for node in NODES]
    texts = [join(recording) for recording in recordings]
    made = 0
    for number in count():
        if made >= entries:
            return
        which = number % len(texts)
        made += len(recordings[which])
        text = _BOOT.sub(b"_BOOT_ID=%032x" % (number + 1), texts[which])
        yield len(recordings[which]), _TIME.sub(lambda time, by=number * _LATER: b"__REALTIME_TIMESTAMP=%d" % (int(time[1]) + by), text)  # type: ignore[misc]


def make_journal(path: Path, entries: int) -> int:
    """Write a journal of at least so many entries; return how many."""
    parts = list(repeated(entries))
    write(path, b"".join(text for _, text in parts))
    return sum(number for number, _ in parts)


def read_with_source(path: Path, classify: Callable[[RawRecord], object]) -> float:
    """Return the seconds that the journal source needs, each record handed to ``classify``."""
    started = time.perf_counter()
    for batch in read_files(path):
        for record in batch.records:
            classify(record)
    return time.perf_counter() - started


def read_with_journalctl(path: Path) -> float:
    """Return the seconds that journalctl needs to print all entries as JSON to nowhere."""
    started = time.perf_counter()
    command = ["/usr/bin/journalctl", "-o", "json", "--file", str(path)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)  # a path of ours
    return time.perf_counter() - started


def ratio(entries: int = 200_000, runs: int = 5, classify: Callable[[RawRecord], object] = bool) -> float:
    """Return the journal source's records per second over journalctl's, medians of alternating runs, and print all three."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "big.journal"
        made = make_journal(path, entries)
        pairs = [(read_with_source(path, classify), read_with_journalctl(path)) for _ in range(runs)]
    ours, theirs = (made / statistics.median(seconds) for seconds in zip(*pairs, strict=True))
    print(f"{made} entries: source {ours:.0f}/s, journalctl -o json {theirs:.0f}/s, ratio {ours / theirs:.2f}")
    return float(ours / theirs)


if __name__ == "__main__":
    ratio(int(sys.argv[1]) if sys.argv[1:] else 200_000, int(sys.argv[2]) if sys.argv[2:] else 5)
