"""Small files of a host, or of a copied tree of them, read with bounds: what is not there reads as nothing.

No path that is read here leads to a mount point or a device; the callers name only files of /proc, /sys, /run, /etc and /var/lib.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Final

_CHUNK: Final = 1 << 16
LONGEST: Final = 1 << 16
"""Most bytes that are read of a file when its reader does not say otherwise."""
_IN_PIECES: Final = "/proc/"
"""Where a read may end before the file does (fs/seq_file.c); elsewhere fewer bytes than were asked for are the last ones."""
_PAGE: Final = 4096
"""Most bytes of a file that is kept open: sysfs gives a page at most (Documentation/filesystems/sysfs.rst)."""
_MOST_KEPT: Final = 256
"""Most files that are kept open in one place; what is beyond them is opened each time."""


class Tree:
    """Files below ``root``. Paths are relative to it. What may not be read is remembered in ``denied``, as absolute paths."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self._base = f"{root}/".replace("//", "/")
        self.denied: set[str] = set()

    def text(self, path: str, longest: int = LONGEST) -> str:
        """Return a file's text without blanks at its ends; empty when it is not there, vanished or is not readable.

        Of a longer file the whole lines within the first ``longest`` bytes. Bytes that are not UTF-8 are replaced.
        """
        try:
            data = _read(self._base + path, longest)
        except PermissionError:
            self.denied.add(f"/{path}")
            return ""
        except OSError:  # sysfs also answers ENODEV and EINVAL
            return ""
        if len(data) > longest:
            data = data[:longest].rpartition(b"\n")[0]
        return data.decode("utf-8", "replace").strip()

    def names(self, path: str) -> list[str]:
        """Return the names in a directory in alphabetical order, without unprintable ones; none when it is not there or not readable."""
        try:
            return sorted(name for name in os.listdir(self._base + path) if name.isprintable())  # noqa: PTH208 - Path is slow
        except PermissionError:
            self.denied.add(f"/{path}")
        except OSError:
            pass
        return []


class Kept:
    """Small files below ``root`` that are read every second, left open in between: that costs half of what opening them anew does.

    An open file of sysfs keeps nothing alive: when its device goes, reading fails with ENODEV (fs/kernfs/file.c). Then, and when the
    file was replaced, it is opened anew. For one thread at a time.
    """

    def __init__(self, root: Path) -> None:
        self._tree, self._base = Tree(root), f"{root}/".replace("//", "/")
        self._open: dict[str, tuple[int, bool]] = {}
        self._said: dict[str, tuple[bytes, str]] = {}
        self.lost = 0
        """How many files were not the same any more: the thing that they told of went, and what is there now is another."""

    def text(self, path: str) -> str:
        """Return a file's text as :meth:`Tree.text` does."""
        if (held := self._open.get(path)) is not None:
            if (data := _reread(*held)) is not None:
                return self._text(path, data)
            self.lost += 1
            self._close(path)
        if len(self._open) >= _MOST_KEPT:
            return self._tree.text(path)
        try:
            fd = os.open(self._base + path, _FLAGS)
        except OSError:
            return ""
        held = self._open[path] = fd, os.fstat(fd).st_dev == _sysfs()
        return self._text(path, _reread(*held) or b"")

    def keep(self, paths: Collection[str]) -> None:
        """Close all other files."""
        for path in self._open.keys() - set(paths):
            self._close(path)

    def _text(self, path: str, data: bytes) -> str:
        said = self._said.get(path)
        if said is None or said[0] != data:
            said = self._said[path] = data, data.decode("utf-8", "replace").strip()
        return said[1]

    def _close(self, path: str) -> None:
        os.close(self._open.pop(path)[0])
        self._said.pop(path, None)


_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
"""Not blocking: in a copied tree anything may lie there, such as a pipe without a writer."""


@cache
def _sysfs() -> int:
    """Return the number of sysfs among the file systems, 0 where there is none."""
    try:
        return Path("/sys/kernel").stat().st_dev
    except OSError:
        return 0


def _reread(fd: int, of_sysfs: bool) -> bytes | None:
    """Return the beginning of an open file; None when it is not there any more. Elsewhere than in sysfs it is then without a name."""
    try:
        return os.pread(fd, _PAGE, 0) if of_sysfs or os.fstat(fd).st_nlink else None
    except OSError as error:
        return None if error.errno == errno.ENODEV else b""


def _read(path: str, longest: int) -> bytes:
    fd = os.open(path, _FLAGS)
    try:
        data = b""
        while len(data) <= longest and (more := os.read(fd, room := min(_CHUNK, longest + 1 - len(data)))):
            data += more
            if len(more) < room and not path.startswith(_IN_PIECES):
                break
        return data
    finally:
        os.close(fd)
