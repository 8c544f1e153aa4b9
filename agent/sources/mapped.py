"""Files that this process has mapped, and pages of libraries that nothing needs any more once they are loaded.

A library's tables of symbols and relocations are read once, when it is loaded, and so is its code for starting up; the kernel maps 64 kB
around each page that is touched. All of that stays in the process's resident memory until memory is short.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final, NamedTuple

_MAPS: Final = Path("/proc/self/smaps")
_DONTNEED: Final = 4
"""MADV_DONTNEED (asm-generic/mman-common.h)."""


class _Mapping(NamedTuple):
    start: int
    end: int
    path: str
    writable: bool
    own: int
    """kB of it that are this process's own copies of pages, such as relocated tables: nothing would bring those back."""


def mapped() -> frozenset[str]:
    """Return the paths of all files that are mapped now."""
    return frozenset(one.path for one in _mappings())


def give_back(paths: Collection[str]) -> None:
    """Unmap the pages of these files that are as they are on disk: whoever touches one again gets it from the page cache, or from disk.

    And give the kernel back what the C library holds and nobody uses, now that it has been freed.
    """
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for one in _mappings():
        if one.path in paths and not one.writable and not one.own:
            libc.madvise(one.start, one.end - one.start, _DONTNEED)  # where the kernel refuses, they stay
    libc.malloc_trim(0)


def _mappings() -> Iterator[_Mapping]:
    found: list[str] = []
    own = 0
    for line in [*_MAPS.read_text().splitlines(), "0-0"]:
        fields = line.split(maxsplit=5)
        if "-" in fields[0]:
            if len(found) == 6 and found[5].startswith("/"):
                start, _, end = found[0].partition("-")
                yield _Mapping(int(start, 16), int(end, 16), found[5], "w" in found[1], own)
            found, own = fields, 0
        elif fields[0] == "Anonymous:":
            own = int(fields[1])
