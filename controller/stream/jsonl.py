"""The log as a file of JSON lines, for log shippers: rotated by size, repaired after a crash, reopened after logrotate.

Each batch is synced before the sink's cursor moves, and so are the names of new and rotated files. A crash in between repeats
lines, which their cursors show; it never tears or loses one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from controller.errors import TemporaryError
from controller.store.reading import LogRow
from controller.stream.record import line

_MODE: Final = 0o640
"""The group of log readers may read it."""


class FileError(TemporaryError):
    """The file cannot be written: disk full, directory gone, no permission."""


class JsonlSink:
    """Appends to ``path``; at ``max_bytes`` it becomes ``path.1``, and ``keep`` old files stay. Works in a thread of its own."""

    name = "jsonl"

    def __init__(self, path: Path, max_bytes: int, keep: int, cluster: str) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._cluster = cluster
        self._file: int | None = None
        self._thread = ThreadPoolExecutor(1, "jsonl")

    def close(self) -> None:
        """Close the file; a write opens it again."""
        self._thread.submit(self._close).result()
        self._thread.shutdown()

    async def write(self, rows: Sequence[LogRow]) -> None:
        """Append rows and sync them. See :class:`controller.stream.follow.Sink`."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self.write_now, rows)

    def write_now(self, rows: Sequence[LogRow]) -> None:
        """Append rows; blocks.

        :raises FileError: when they cannot be written; what was written of them is taken back.
        """
        try:
            start = 0
            while start < len(rows):
                start += self._write_some(rows[start:])
        except OSError as error:
            self._close()
            raise FileError(f"{self._path}: {error.strerror or error}") from error

    def _write_some(self, rows: Sequence[LogRow]) -> int:
        """Write as many rows as the file may still take, at least one; return how many."""
        file = self._open()
        size = begin = os.fstat(file).st_size
        lines: list[bytes] = []
        for row in rows:
            text = line(row, self._cluster)
            if size + len(text) > self._max_bytes and size:
                break
            lines.append(text)
            size += len(text)
        try:
            if lines:
                _write_all(file, b"".join(lines))
                os.fdatasync(file)
        except OSError:
            # A torn line would be read as a broken record: take it back while we can, else the next opening does.
            os.ftruncate(file, begin)
            raise
        if len(lines) < len(rows):
            self._rotate()
        return len(lines)

    def _open(self) -> int:
        """Return the open file; a file that was moved or deleted under us (logrotate) is begun anew.

        Unbuffered: a buffer would keep what a full disk refused and write it later, behind what was written again.
        """
        if self._file is not None and self._moved(self._file):
            self._close()
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _repair(self._path)
            self._file = _append_to(self._path)
            _sync_directory(self._path.parent)
        return self._file

    def _moved(self, file: int) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return True
        ours = os.fstat(file)
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            with suppress(OSError):  # everything was synced, or is written again from the log
                os.close(file)

    def _rotate(self) -> None:
        self._close()
        if not self._keep:
            self._path.unlink(missing_ok=True)
            return
        for number in range(self._keep, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path.with_name(f"{self._path.name}.{number - 1}") if number > 1 else self._path
            if newer.exists():
                newer.replace(older)
        _sync_directory(self._path.parent)


def _append_to(path: Path) -> int:
    """Open a file; a new one gets our mode whatever the umask is, one that logrotate made keeps its own."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
    try:
        file = os.open(path, flags | os.O_CREAT | os.O_EXCL, _MODE)
    except FileExistsError:
        return os.open(path, flags)
    os.fchmod(file, _MODE)
    return file


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _sync_directory(directory: Path) -> None:
    """Make names of files durable: synced bytes in a file that has no name after a power cut are lost all the same."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _repair(path: Path) -> None:
    """Cut off a last line that a crash tore: it is still in the log and is written again."""
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        at = end
        while at > 0:
            step = min(65536, at)
            at -= step
            file.seek(at)
            found = file.read(step).rfind(b"\n")
            if found >= 0:
                at += found + 1
                break
        if at < end:
            file.truncate(at)
