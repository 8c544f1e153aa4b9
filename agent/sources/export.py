"""Reads files in the journal export format (``journalctl -o export``), plain or ``.xz``, as the same raw records.

For replay: a recording of a node needs no journal library and no root. What is wanted of it is decided by the very
definition that the journal's own matches are made from, so a native file and its export give the same records. Format:
systemd, docs/JOURNAL_EXPORT_FORMATS.md.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

from agent.record import RawRecord
from agent.sources.errors import ExportFormatError, JournalMissingError
from agent.sources.wanted import FIELDS, is_wanted, text
from events.base import Source

MAX_FIELD: Final = 16 * 1024 * 1024
"""Longest field, bytes. journald itself takes a core dump's worth, but nothing that is wanted comes near."""

Entry = dict[str, list[bytes]]
"""Field name to its values; most have one."""


def read_export(path: Path) -> Iterator[RawRecord]:
    """Yield the wanted entries of an export file in its order; a name ending in ``.xz`` is decompressed.

    :raises JournalMissingError: when the file is not there or not readable for us.
    :raises ExportFormatError: when it is not in the export format or is cut off; the entries before that were yielded.
    """
    try:
        opened = cast("BinaryIO", lzma.open(path)) if path.suffix == ".xz" else path.open("rb")  # noqa: SIM115  # see the with below
    except OSError as error:
        raise JournalMissingError(f"cannot open {path}: {error.strerror}") from error
    with opened as stream:
        try:
            for entry in entries(stream, str(path)):
                if is_wanted(entry):
                    yield _record(entry, str(path))
        except (lzma.LZMAError, EOFError, zlib.error) as error:
            raise ExportFormatError(f"{path} is damaged or cut off: {error}") from error


def entries(stream: BinaryIO, name: str) -> Iterator[Entry]:
    """Yield all entries of an export stream; ``name`` is what an error calls it.

    :raises ExportFormatError: when it is not in the export format, or ends within an entry.
    """
    entry: Entry = {}
    while line := stream.readline(MAX_FIELD):
        if line == b"\n":
            if entry:
                yield entry
            entry = {}
            continue
        if not line.endswith(b"\n"):
            raise _wrong(stream, name, "a line is cut off or too long")
        field, equals, value = line[:-1].partition(b"=")
        entry.setdefault(_field_name(stream, name, field), []).append(value if equals else _binary(stream, name))
    if entry:
        yield entry  # the last one needs no empty line behind it


def _field_name(stream: BinaryIO, name: str, field: bytes) -> str:
    if not field or not field.isascii() or not field.replace(b"_", b"").isalnum():
        raise _wrong(stream, name, f"{field[:40]!r} is not the name of a field")
    return field.decode()


def _binary(stream: BinaryIO, name: str) -> bytes:
    """Read a field's value in binary form: its length as 64 bits, little-endian, then the bytes and a newline."""
    length = int.from_bytes(stream.read(8), "little")
    if length > MAX_FIELD:
        raise _wrong(stream, name, f"a field of {length} bytes is longer than {MAX_FIELD}")
    value = stream.read(length)
    if len(value) < length or stream.read(1) != b"\n":
        raise _wrong(stream, name, "a binary field is cut off")
    return value


def _record(entry: Entry, name: str) -> RawRecord:
    try:
        at, monotonic = int(entry["__REALTIME_TIMESTAMP"][0]), int(entry["__MONOTONIC_TIMESTAMP"][0])
        boot_id = entry["_BOOT_ID"][0].decode()
    except (KeyError, ValueError) as error:
        raise ExportFormatError(f"{name}: an entry has no valid __REALTIME_TIMESTAMP, __MONOTONIC_TIMESTAMP or _BOOT_ID") from error
    cursor = entry.get("__CURSOR")
    fields = {field: text(entry[field]) for field in FIELDS if field in entry}
    return RawRecord(Source.JOURNALD, at, monotonic, boot_id, fields, text(cursor) if cursor else None)


def _wrong(stream: BinaryIO, name: str, what: str) -> ExportFormatError:
    return ExportFormatError(f"{name}: not in journal export format near byte {stream.tell()}: {what}")
