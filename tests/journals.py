"""Makes real journal files out of the recordings: text in journal export format in, native files out.

The writer is systemd's own (systemd-journal-remote), so the files are what journald writes. Entries come from
`tests/samples/recorded`; nothing here invents one.
"""

from __future__ import annotations

import lzma
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

RECORDED: Final = Path(__file__).parent / "samples" / "recorded" / "three-nodes-1"
NODES: Final = ("pve1", "pve2", "pve3")
_WRITER: Final = "/lib/systemd/systemd-journal-remote"
_NUMBERS: Final = re.compile(rb"^__(?:SEQNUM|SEQNUM_ID|CURSOR)=.*\n", re.MULTILINE)
"""What the writer numbers itself, and warns of for each entry when it is given."""

Entry = tuple[tuple[bytes, bytes], ...]
"""One entry's fields in order."""


def recording(node: str) -> Path:
    """Return the recorded journal of a node, in export format, xz."""
    return RECORDED / f"{node}.export.xz"


def recorded(node: str) -> list[Entry]:
    """Return all entries of a recording."""
    return list(split(lzma.decompress(recording(node).read_bytes())))


def split(data: bytes) -> Iterator[Entry]:
    """Take export format apart, binary fields included."""
    fields: list[tuple[bytes, bytes]] = []
    at = 0
    while at < len(data):
        end = data.index(b"\n", at)
        name, equals, value = data[at:end].partition(b"=")
        at = end + 1
        if not name:
            if fields:
                yield tuple(fields)
            fields = []
            continue
        if not equals:
            length = int.from_bytes(data[at : at + 8], "little")
            value = data[at + 8 : at + 8 + length]
            at += 8 + length + 1
        fields.append((name, value))
    if fields:
        yield tuple(fields)


def join(entries: Iterable[Entry]) -> bytes:
    """Put entries into export format, fields with newlines or control characters in binary form."""
    return b"".join(b"".join(_field(name, value) for name, value in entry) + b"\n" for entry in entries)


def _field(name: bytes, value: bytes) -> bytes:
    if all(byte >= 32 for byte in value):
        return name + b"=" + value + b"\n"
    return name + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"


def write(path: Path, data: bytes | Iterable[Entry]) -> Path:
    """Write entries to a native journal file, behind those that it has; they must not be older."""
    exported = data if isinstance(data, bytes) else join(data)
    written = subprocess.run([_WRITER, "-o", str(path), "-"], input=_NUMBERS.sub(b"", exported), capture_output=True, check=True)
    assert b"ignoring" not in written.stderr, written.stderr
    return path


def value(entry: Entry, name: str) -> str:
    """Return a field of an entry as text, empty when it has none."""
    return next((text.decode(errors="replace") for field, text in entry if field == name.encode()), "")


def sent_by(entries: Iterable[Entry], *identifiers: str) -> list[Entry]:
    """Return the entries of the named senders."""
    return [entry for entry in entries if value(entry, "SYSLOG_IDENTIFIER") in identifiers]
