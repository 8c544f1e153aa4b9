"""What can be wrong with a file of Proxmox VE's, as :mod:`pve` says it."""

from __future__ import annotations


class PveError(Exception):
    """Root of this package's errors. Only :class:`TornError` is worth a retry; with the others the same bytes fail again."""


class ValueFormatError(PveError):
    """One value breaks its format. Who knows the place makes it a warning or a :class:`FormatError`."""


class FormatError(PveError):
    """A file is not what its grammar allows; the message says where, and what to do.

    ``file`` is the name as the caller knows it ("" when unknown), ``line`` counts from 1 (0: no line to name), ``field`` is the
    key or JSON path ("" for none), ``reason`` a short sentence without the place.
    """

    def __init__(self, reason: str, *, file: str = "", line: int = 0, field: str = "") -> None:
        place = f"{file or '<input>'}{f':{line}' if line else ''}"
        super().__init__(f"{place}: {f'{field}: ' if field else ''}{reason}")
        self.reason = reason
        self.file = file
        self.line = line
        self.field = field


class TornError(FormatError):
    """The bytes end early or mix two generations: a writer or pmxcfs was at work. Read the file again, then believe it.

    Source: pmxcfs makes the dot files in getattr and keeps one shared buffer (pve-cluster ``cfs-plug-func.c``), so a reader can
    get a mix; O_TRUNC and writes in chunks are not atomic for readers either (pve-cluster README).
    """
