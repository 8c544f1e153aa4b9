"""The kernel's table of this process's mounts, line by line (proc_pid_mountinfo(5)). Pure: who reads it hands the text over."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


class Row(NamedTuple):
    """One mount. ``root`` is the directory of the file system that is mounted; ``options`` and ``superblock`` are the kernel's own text."""

    number: str
    parent: str
    device: str
    root: str
    target: str
    options: str
    type: str
    source: str
    superblock: str


def rows(text: str) -> Iterator[Row]:
    """Yield the mounts of a table; lines that are none are left out."""
    for line in text.split("\n"):
        left, _, right = line.partition(" - ")
        fields, rest = left.split(" "), right.split(" ")
        if len(fields) >= 6 and len(rest) >= 3:
            number, parent, device, root, target, options = fields[:6]
            yield Row(number, parent, device, plain(root), plain(target), options, rest[0], plain(rest[1]), " ".join(rest[2:]))


def plain(text: str) -> str:
    r"""Undo the escapes of the kernel and of fstab(5): blanks, tabs and line ends stand there as `\040` and the like."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)
