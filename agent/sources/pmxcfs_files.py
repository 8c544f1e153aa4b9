"""Reads files of /etc/pve, or of a copy of it, whole, and does not repeat what would give the same. Every access may hang.

Rules of this file system (pve-cluster, src/pmxcfs): a dot file is made when it is looked up and kept in one shared buffer, so
it is read with a single call and a torn one is read again. No file stays open: one that is replaced while open leaves
`.fuse_hidden` litter in the cluster's database. Times and inodes of pmxcfs say nothing, since they are cached, made up, and those
of the node that wrote: there every file is read that is asked for. Only of a copy do they tell that a file is as it was.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar, cast

from pve.errors import FormatError

MAX_FILE: Final = 1024 * 1024
"""Longest file of pmxcfs, bytes (memdb.h)."""
_TRIES: Final = 3
_SETTLED: Final = 3.0
"""Seconds for which a signature must have been seen before what is read under it holds for good. Until then a file may be rewritten
without a trace: clocks of file systems tick, at worst each 2 s (FAT). Only our own clock is asked, so that theirs may be wrong."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Content:
    """A file as it was read. ``digest`` is the SHA-1 of its bytes in hex, None when there is no such file."""

    digest: str | None
    data: bytes = b""


ABSENT: Final = Content(None)


class _Copied(NamedTuple):
    """A file of a copy: its signature, when that was seen first (monotonic seconds), and what was read, for good when ``settled``."""

    signature: tuple[int, ...]
    since: float
    settled: bool
    content: Content


class Files:
    """Reads files below ``root``, by their path from there. For one thread at a time.

    What is read of a copy holds, once it was as it is for ``settled`` seconds, until the file's signature is another.
    """

    def __init__(self, root: Path, settled: float = _SETTLED) -> None:
        self.root, self._settled = root, settled
        self._parsed: dict[str, tuple[bytes, Any]] = {}
        self._copied: dict[str, _Copied] = {}
        self._asked: dict[str, _Copied] = {}

    def forget(self) -> None:
        """Trust no file's signature any more: what is below ``root`` may be another file system."""
        self._asked = {}

    def begin(self) -> None:
        """Begin a look. Files that nobody asked for in the last one are forgotten."""
        self._copied, self._asked = self._asked, {}

    def data(self, path: str) -> bytes:
        """Return a file's bytes, read with one call; raises OSError."""
        descriptor = os.open(f"{self.root}/{path}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, MAX_FILE)
        finally:
            os.close(descriptor)

    def parsed(self, path: str, parse: Callable[[bytes], T]) -> T:
        """Read a dot file; the same bytes give the very object that they gave before. A path has one ``parse``.

        Another process that looks the file up meanwhile can make it a mix of two generations.

        :raises OSError: EAGAIN when it is torn each time.
        """
        for _ in range(_TRIES):
            data = self.data(path)
            before = self._parsed.get(path)
            if before is not None and before[0] == data:
                return cast("T", before[1])
            try:
                value = parse(data)
            except FormatError:
                continue
            self._parsed[path] = data, value
            return value
        raise OSError(errno.EAGAIN, "torn content", path)

    def content(self, path: str) -> Content:
        """Read a file until two reads agree: an editor that truncates and writes shows half of it.

        :raises OSError: EAGAIN when they never do.
        """
        try:
            data = self.data(path)
            for _ in range(_TRIES):
                again = self.data(path)
                if again == data:
                    break
                data = again
            else:
                raise OSError(errno.EAGAIN, "changes while it is read", path)
        except (FileNotFoundError, NotADirectoryError):
            return ABSENT
        return Content(hashlib.sha1(data, usedforsecurity=False).hexdigest(), data)

    def copied(self, path: str) -> Content:
        """Return a file of a copy: while what was read before holds, that very object, unread. Raises as :meth:`content`."""
        try:
            found = os.stat(f"{self.root}/{path}")  # noqa: PTH116 - Path is slow
        except (FileNotFoundError, NotADirectoryError):
            return ABSENT
        signature = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        now = time.monotonic()
        before = self._copied.get(path)
        if before is None or before.signature != signature:
            one = _Copied(signature, now, False, self.content(path))
        elif before.settled:
            one = before
        else:
            one = _Copied(signature, before.since, now - before.since >= self._settled, self.content(path))
        self._asked[path] = one
        return one.content
