"""One open journal: entries to raw records, opening with typed errors, and what a cursor that is gone means.

The place in the flow: :mod:`agent.sources.journald` decides where to read; this module only knows how. The fields of an
entry are fetched in one call (``_get_all``) and the few that are wanted decoded: measured on python-systemd 235, that is
twice as fast as fetching eleven fields one by one and three times as fast as ``get_next``, which converts every field.
Each field alone is the way out when a damaged one makes the one call fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.record import RawRecord
from agent.sources.errors import JournalDamagedError, JournalError, JournalMissingError
from agent.sources.wanted import FIELDS, text
from events.base import Source
from systemd import journal

_HEADER: Final = 208
_N_ENTRIES: Final = 152
_TAIL_ENTRY_REALTIME: Final = 192
"""Shortest header of a journal file, and offsets of 64-bit numbers in it, bytes (systemd, docs/JOURNAL_FILE_FORMAT.md)."""
_HOST_DIRECTORIES: Final = (Path("/var/log/journal"), Path("/run/log/journal"))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a journal is: given files, else a directory, else this host's own."""

    directory: Path | None = None
    files: tuple[Path, ...] = ()

    def __str__(self) -> str:
        """Return what a message calls it."""
        return ", ".join(map(str, self.files)) if self.files else str(self.directory or "the journal of this host")

    def found(self) -> Iterator[Path]:
        """Yield the journal files that are there now: directly, or one directory (a machine id) below."""
        if self.files:
            yield from self.files
            return
        for directory in (self.directory,) if self.directory else _HOST_DIRECTORIES:
            for pattern in ("*.journal", "*.journal~", "*/*.journal", "*/*.journal~"):
                yield from sorted(directory.glob(pattern))


class EntryReader(journal.Reader):  # type: ignore[misc]  # the library has no types
    """A journal reader that yields raw records. For one thread at a time."""

    def __init__(self, **where: Any) -> None:
        super().__init__(**where)
        self._boots: dict[bytes, str] = {}

    def step(self) -> bool:
        """Go to the next entry; False at the end.

        :raises OSError: when the files are damaged there.
        """
        return bool(self._next())

    def step_back(self) -> bool:
        """Go to the previous entry; False at the beginning.

        :raises OSError: when the files are damaged there.
        """
        return bool(self._next(-1))

    def cursor(self) -> str:
        """Return the current entry's cursor.

        :raises OSError: when the entry cannot be read.
        """
        return str(self._get_cursor())

    def record(self) -> RawRecord:
        """Return the current entry.

        :raises OSError: when it cannot be read.
        """
        monotonic, boot = self._get_monotonic()
        boot_id = self._boots.get(boot) or self._boots.setdefault(boot, boot.hex())
        return RawRecord(Source.JOURNALD, self._get_realtime(), monotonic, boot_id, self._fields(), self._get_cursor())

    def _fields(self) -> dict[str, str]:
        try:
            entry = self._get_all()
        except (OSError, UnicodeDecodeError):  # one damaged field, maybe none of ours
            entry = dict(self._each_field())
        return {name: text(entry[name]) for name in FIELDS if name in entry}

    def _each_field(self) -> Iterator[tuple[str, bytes]]:
        for name in FIELDS:
            try:
                yield name, self._get(name)
            except KeyError:
                continue


def open_reader(place: Place) -> EntryReader:
    """Open a journal; the reader stands before its first entry and watches for changes from now on.

    Of this host only the system's own journal is read, not users': root's daemons and the kernel write there.

    :raises JournalMissingError: when it is not there or not readable for us.
    :raises JournalDamagedError: when its files are damaged.
    """
    try:
        if place.files:
            reader = EntryReader(files=[str(path) for path in place.files])
        elif place.directory:
            reader = EntryReader(path=str(place.directory))
        else:
            reader = EntryReader(flags=journal.LOCAL_ONLY | journal.SYSTEM)
            if not (reader.has_persistent_files() or reader.has_runtime_files()):
                raise JournalMissingError(
                    "no journal file of this host is readable: is journald running, and are we in group systemd-journal?"
                )
        reader.fileno()  # creates the watch: what changes after this line is noticed
    except OSError as error:
        raise _translate(place, error) from error
    return reader


def _translate(place: Place, error: OSError) -> JournalError:
    if isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)):
        return JournalMissingError(f"cannot open {place}: {error.strerror}")
    return JournalDamagedError(f"cannot open {place}: {error.strerror}")


def damage(place: Place, since: int | None) -> dict[Path, str]:
    """Return the damaged files of a journal, each with what is missing.

    libsystemd leaves files and entries that it cannot read out without a word. So each file is tried alone, and of those
    that end at or after ``since`` (UTC µs; None: none) all entries are stepped over and counted, half a microsecond each. A
    file that is empty was created this moment and one that is gone was vacuumed since: neither is damage.
    """
    damaged = {}
    for path in place.found():
        try:
            if path.stat().st_size and (missing := _unreachable(path, since)):
                damaged[path] = f"journal file {path} is damaged: {missing} entries are missing"
        except (FileNotFoundError, PermissionError):
            continue
        except OSError as error:
            damaged[path] = f"journal file {path} cannot be read ({error.strerror}): its entries are missing"
    return damaged


def _unreachable(path: Path, since: int | None) -> int:
    """Return how many of the entries that a file's header states cannot be reached; 0 when it ends before ``since``.

    :raises OSError: when the file cannot be opened.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER)
    written, end = (int.from_bytes(header[offset : offset + 8], "little") for offset in (_N_ENTRIES, _TAIL_ENTRY_REALTIME))
    with EntryReader(files=[str(path)]) as reader:
        if since is None or end < since:
            return 0
        with suppress(OSError):
            while reader.step():
                written -= 1
    return max(written, 0)  # below zero when some were added meanwhile


def gap(before: str, after: str | None) -> str | None:
    """Say what may be missing when the entry of cursor ``before`` is gone and ``after`` is the first one left.

    Returns None when nothing can be missing: journald numbers entries without gaps, so the successor proves that only
    what was read has been vacuumed.
    """
    if after is None:
        return "the journal no longer holds the entry that was read last, nor any later one: entries in between may be missing"
    was, now = _parts(before), _parts(after)
    if was.get("s") != now.get("s"):
        return "the journal no longer holds the entry that was read last, it was begun anew: entries in between may be missing"
    missing = int(now["i"], 16) - int(was["i"], 16) - 1
    return f"{missing} journal entries were removed before they were read" if missing > 0 else None


def _parts(cursor: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in cursor.split(";") if "=" in part)


def time_of(cursor: str) -> int:
    """Return the time in a cursor, UTC µs; 0 when it has none."""
    try:
        return int(_parts(cursor)["t"], 16)
    except (KeyError, ValueError):
        return 0
