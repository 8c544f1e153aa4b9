"""Lets a recording happen again: real journal files that grow as fast as a rehearsal clock runs.

The entries are the recorded ones, unchanged; systemd's own writer (systemd-journal-remote) puts them into a native journal file
when the clock reaches the time at which they were logged.
"""

from __future__ import annotations

import lzma
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final, cast

from agent.sources.export import Entry, entries

WRITER: Final = "/lib/systemd/systemd-journal-remote"
_TICK: Final = 0.02
"""Seconds between two looks at the clock."""


class RehearsalClock:
    """Shows ``start`` (UTC) in ``delay`` seconds, and runs ``speed`` times as fast as the world's clocks."""

    def __init__(self, start: datetime, speed: float, delay: float) -> None:
        self.start, self.speed = start, speed
        self.begun = time.time() + delay
        self._begin = time.monotonic() + delay

    def now(self) -> int:
        """Return the rehearsed time, UTC microseconds."""
        return int((self.start.timestamp() + (time.monotonic() - self._begin) * self.speed) * 1_000_000)


class Feed:
    """One node's journal, growing. What was logged before the clock's start is there at once."""

    def __init__(self, recording: Path, journal: Path) -> None:
        with lzma.open(recording) as packed:
            stream = cast("BinaryIO", packed)
            self._entries = [(int(entry["__REALTIME_TIMESTAMP"][0]), _export(entry)) for entry in entries(stream, str(recording))]
        self.journal = journal
        self.written = 0
        self._writer = subprocess.Popen(
            [WRITER, "-o", str(journal), "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def history(self, until: int) -> None:
        """Write everything that was logged before ``until``."""
        self._write(entry for at, entry in self._entries if at < until)

    def follow(self, clock: RehearsalClock, until: int) -> threading.Thread:
        """Start writing each entry at its time; the thread ends with the last one before ``until``."""
        thread = threading.Thread(target=self._follow, args=(clock, until), daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """End the writer."""
        assert self._writer.stdin is not None
        self._writer.stdin.close()
        self._writer.wait(10)

    def _follow(self, clock: RehearsalClock, until: int) -> None:
        while self.written < len(self._entries) and self._entries[self.written][0] <= until:
            due = self._entries[self.written][0]
            if clock.now() >= due:
                self._write([self._entries[self.written][1]])
            else:
                time.sleep(_TICK)

    def _write(self, some: Iterator[bytes] | list[bytes]) -> None:
        assert self._writer.stdin is not None
        for entry in some:
            self._writer.stdin.write(entry)
            self.written += 1
        self._writer.stdin.flush()


_OWN: Final = {"__CURSOR", "__SEQNUM", "__SEQNUM_ID"}
"""Fields that the writer numbers itself."""


def _export(entry: Entry) -> bytes:
    return b"".join(_field(name, value) for name, values in entry.items() if name not in _OWN for value in values) + b"\n"


def _field(name: str, value: bytes) -> bytes:
    if all(byte >= 32 for byte in value):
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
