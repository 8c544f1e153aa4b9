import lzma
from pathlib import Path

import pytest

from agent.classify.journald import TABLES
from agent.record import RawRecord
from agent.sources.errors import ExportFormatError, JournalMissingError
from agent.sources.export import read_export
from agent.sources.journald import read_files
from agent.sources.wanted import FIELDS, UNIT_STOPPED, WANTED, text
from tests.journals import NODES, Entry, join, recorded, recording, sent_by, split, value, write

DAEMONS = ("iscsid", "multipathd", "lvm", "corosync")
"""Senders in the recordings, besides the kernel, that are wanted."""


def native(path: Path) -> list[RawRecord]:
    return [record for batch in read_files(path) for record in batch.records]


def content(records: list[RawRecord]) -> list[object]:
    """Return what records say; the cursor belongs to the file."""
    return [(record.at, record.monotonic, record.boot_id, dict(record.fields)) for record in records]


@pytest.mark.parametrize("node", NODES)
def test_export_and_native_agree(node: str, tmp_path: Path) -> None:
    """A recording gives the same records whether read as it is or as the native journal that systemd makes of it."""
    file = write(tmp_path / "a.journal", lzma.decompress(recording(node).read_bytes()))
    exported = list(read_export(recording(node)))
    assert len(exported) > 900
    assert content(native(file)) == content(exported)


@pytest.mark.parametrize("node", NODES)
def test_exactly_the_wanted_entries(node: str) -> None:
    """All lines of the kernel and of the storage daemons are read, in order, and systemd's of stopped services; no line of anybody else."""

    def is_wanted(entry: Entry) -> bool:
        kernel = value(entry, "_TRANSPORT") == "kernel" and value(entry, "SYSLOG_FACILITY") == "0"
        stopped = value(entry, "MESSAGE_ID") == UNIT_STOPPED and value(entry, "_PID") == "1"
        return kernel or stopped or value(entry, "SYSLOG_IDENTIFIER") in DAEMONS

    expected = [value(entry, "MESSAGE") for entry in recorded(node) if is_wanted(entry)]
    assert [record.fields["MESSAGE"] for record in read_export(recording(node))] == expected


def test_records_hold_only_what_is_needed() -> None:
    """A record has the entry's time, boot and cursor and no fields but the listed ones: no command lines, no paths."""
    records = list(read_export(recording("pve1")))
    assert all(set(record.fields) <= set(FIELDS) for record in records)
    first = records[0]
    assert (first.at, first.monotonic, first.boot_id) == (1795401980757863, 59269253, "691e5d2f535a417a8906fdb7a61a246e")
    assert first.cursor
    assert first.cursor.startswith("s=0783bebb7593443c88416293275ff7d1;i=1;")
    assert any(record.fields.get("_KERNEL_DEVICE") for record in records)


def altered(entry: Entry, name: bytes, new: bytes) -> Entry:
    return tuple((field, new if field == name else text) for field, text in entry)


def test_forged_identity_is_refused(tmp_path: Path) -> None:
    """A line that a user logs under a daemon's name, or writes to the kernel's buffer, is no evidence; both readers agree."""
    stopped = [entry for entry in recorded("pve1") if value(entry, "MESSAGE_ID") == UNIT_STOPPED]
    daemon, kernel = sent_by(recorded("pve1"), "iscsid")[:5], sent_by(recorded("pve1"), "kernel")[-5:]
    forged = [altered(entry, b"_UID", b"1000") for entry in daemon] + [altered(entry, b"SYSLOG_FACILITY", b"1") for entry in kernel]
    forged += [altered(entry, b"_PID", b"1000") for entry in stopped]
    path = tmp_path / "a.export"
    path.write_bytes(join(forged))
    assert list(read_export(path)) == []
    assert native(write(tmp_path / "a.journal", forged)) == []
    path.write_bytes(join(daemon + kernel + stopped))
    assert len(list(read_export(path))) == 11


def test_every_table_is_fed() -> None:
    """Whatever sender the classifiers have a table for is read from the journal."""
    identifiers = {name for group in WANTED for name in group.get("SYSLOG_IDENTIFIER", ())}
    assert set(TABLES) - {"kernel"} <= identifiers


def test_text_of_odd_values() -> None:
    """Bytes that are no UTF-8 become text, and a field given twice is one text, whatever its order in a file."""
    assert text(b"ok") == "ok"
    assert "�" in text(b"\xff\xfe")
    assert text([b"b", b"a"]) == text([b"a", b"b"]) == "a"


def test_newlines_within_a_message_are_kept(tmp_path: Path) -> None:
    """A value in binary form arrives whole, newlines included."""
    entries = sent_by(recorded("pve1"), "iscsid")
    raw = next(entry for entry in entries if any(b"\n" in text for _, text in entry))
    assert list(split(join([raw]))) == [raw]
    path = tmp_path / "a.export"
    line = b"NFS: server 10.0.3.1 error: fileid changed\nfsid 0:45: expected fileid 0x47d0, got 0x4725"  # measured on Linux 6.12
    path.write_bytes(join([altered(raw, b"MESSAGE", line), *entries[-1:]]))
    assert [record.fields["MESSAGE"] for record in read_export(path)] == [line.decode(), value(entries[-1], "MESSAGE")]


@pytest.mark.parametrize("cut", [200, 1000, 1100])
def test_cut_off_export(cut: int, tmp_path: Path) -> None:
    """A file that ends within a line is an error that names it, after the whole entries before."""
    data = lzma.decompress(recording("pve1").read_bytes())
    path = tmp_path / "a.export"
    path.write_bytes(data[:cut])
    records: list[RawRecord] = []
    with pytest.raises(ExportFormatError, match=r"a\.export"):
        records.extend(read_export(path))
    assert len(records) in (0, 1)


def test_not_an_export(tmp_path: Path) -> None:
    """Other files, damaged compression, absurd lengths and missing files are typed errors."""
    path = tmp_path / "a.export"
    for data in (
        b"Nov 23 03:06:59 pve1 iscsid: text\n",
        b"\0\1\2\n",
        b"MESSAGE\n" + b"\xff" * 8,
        b"_TRANSPORT=kernel\nSYSLOG_FACILITY=0\n\n",
    ):
        path.write_bytes(data)
        with pytest.raises(ExportFormatError):
            list(read_export(path))
    compressed = tmp_path / "a.export.xz"
    compressed.write_bytes(recording("pve1").read_bytes()[:5000])
    with pytest.raises(ExportFormatError):
        list(read_export(compressed))
    compressed.write_bytes(b"no xz")
    with pytest.raises(ExportFormatError):
        list(read_export(compressed))
    with pytest.raises(JournalMissingError):
        list(read_export(tmp_path / "none"))
