"""Recorded journals of either form: told apart by content, not by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from agent.record import RawRecord
from agent.sources.errors import JournalMissingError
from agent.sources.export import read_export
from agent.sources.journald import read_files

_SIGNATURE: Final = b"LPKSHHRH"
"""First bytes of a native journal file (systemd, docs/JOURNAL_FILE_FORMAT.md)."""


def read_recorded(path: Path, lost: Callable[[str], None]) -> Iterator[RawRecord]:
    """Yield a file's wanted entries, oldest first; ``lost`` is told of entries that could not be read.

    :raises JournalMissingError: when the file is not there or not readable for us.
    :raises ExportFormatError: when it is neither a native journal nor in export format, or is cut off.
    :raises JournalDamagedError: when it is a native journal that cannot be read at all.
    """
    try:
        with path.open("rb") as file:
            native = file.read(len(_SIGNATURE)) == _SIGNATURE
    except OSError as error:
        raise JournalMissingError(f"cannot open {path}: {error.strerror}") from error
    if not native:
        yield from read_export(path)
        return
    for batch in read_files(path):
        for reason in batch.losses:
            lost(reason)
        yield from batch.records
