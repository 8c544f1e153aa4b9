"""Small files of a host, or of a copied tree of them, read with bounds: what is not there reads as nothing.

No path that is read here leads to a mount point or a device; the callers name only files of /proc, /sys, /run, /etc and /var/lib.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_CHUNK: Final = 1 << 16
LONGEST: Final = 1 << 16
"""Most bytes that are read of a file when its reader does not say otherwise."""


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


def _read(path: str, longest: int) -> bytes:
    # Not blocking: in a copied tree anything may lie there, such as a pipe without a writer.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        data = b""
        while len(data) <= longest and (more := os.read(fd, min(_CHUNK, longest + 1 - len(data)))):
            data += more
        return data
    finally:
        os.close(fd)
