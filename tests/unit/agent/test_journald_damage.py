import random
from pathlib import Path

import pytest

from agent.record import Batch
from agent.sources.errors import JournalDamagedError
from agent.sources.journal_reader import EntryReader, Place, gap
from agent.sources.journald import JournalSource, read_files
from events.base import Source
from tests.journals import Entry, recorded, sent_by, value, write
from tests.unit.agent.test_journald_follow import collect, drain, losses, messages, said

_TAIL_OBJECT = 136
"""Offset of the last object's offset in a journal file's header (systemd, docs/JOURNAL_FILE_FORMAT.md)."""


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    return recorded("pve1")


def end_of_data(data: bytes | bytearray) -> int:
    return int.from_bytes(data[_TAIL_OBJECT : _TAIL_OBJECT + 8], "little")


def spoil_end(path: Path, length: int = 30_000) -> None:
    """Overwrite the last objects of a journal file, as a lost disk write does."""
    data = bytearray(path.read_bytes())
    end = end_of_data(data)
    data[end - length : end] = random.Random(1).randbytes(length)
    path.write_bytes(data)


def test_garbage_file(tmp_path: Path) -> None:
    """A file that is no journal is a typed error, not an endless loop."""
    path = tmp_path / "a.journal"
    path.write_bytes(random.Random(1).randbytes(100_000))
    with pytest.raises(JournalDamagedError, match=r"a\.journal"):
        list(read_files(path))


def test_truncated_file(entries: list[Entry], tmp_path: Path) -> None:
    """A file that is cut off is a typed error when it is all there is."""
    path = write(tmp_path / "a.journal", entries)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(JournalDamagedError):
        list(read_files(path))


def test_bad_files_among_good_ones(entries: list[Entry], tmp_path: Path) -> None:
    """In a directory the readable files are read and each unreadable one is reported lost by name, once."""
    wanted = sent_by(entries, "kernel")
    write(tmp_path / "good.journal", wanted[:50])
    (tmp_path / "garbage.journal").write_bytes(b"\0" * 5000)
    cut = write(tmp_path / "cut.journal", wanted[50:100])
    cut.write_bytes(cut.read_bytes()[:4_000_000])
    source = JournalSource(Place(directory=tmp_path), start="beginning")
    batches = drain(source)
    assert said([record for batch in batches for record in batch.records]) == messages(wanted[:50])
    lost = [loss for batch in batches for loss in batch.losses]
    assert len(lost) == 2
    assert all(any(name in loss for loss in lost) for name in ("garbage.journal", "cut.journal"))
    source.close()


def test_unreachable_entries_are_counted(entries: list[Entry], tmp_path: Path) -> None:
    """When a file that is read once has a damaged end, the number of entries that could not be reached is told."""
    path = write(tmp_path / "a.journal", entries)
    spoil_end(path)
    batches = list(read_files(path))
    assert 0 < sum(len(batch.records) for batch in batches) < len(sent_by(entries, "kernel", "iscsid", "multipathd"))
    assert any("is damaged" in loss for batch in batches for loss in batch.losses)


def test_followed_file_with_damaged_end(entries: list[Entry], tmp_path: Path) -> None:
    """After a crash spoiled a file's end, the reader goes on with the new file and reports the loss."""
    wanted = sent_by(entries, "kernel", "iscsid")
    path = write(tmp_path / "system@1.journal", wanted[:300])
    spoil_end(path, 10_000)
    source = JournalSource(Place(directory=tmp_path), start="beginning")
    batches = drain(source)
    assert 0 < sum(len(batch.records) for batch in batches) < 300
    assert [loss for batch in batches for loss in batch.losses if "system@1.journal is damaged" in loss]
    write(tmp_path / "system.journal", wanted[300:310])
    assert said(collect(source, 10)) == messages(wanted[300:310])
    source.close()


def test_damaged_field(entries: list[Entry], tmp_path: Path) -> None:
    """An entry with a damaged field that nobody needs is read like any other."""
    wanted = sent_by(entries, "kernel")[:50]
    path = write(tmp_path / "a.journal", wanted)
    data = path.read_bytes()
    assert b"_SOURCE_MONOTONIC_TIMESTAMP=" in data
    path.write_bytes(data.replace(b"_SOURCE_MONOTONIC_TIMESTAMP=", b"_SOURCE_MON\xff\xfeONIC_TIMESTAMP="))
    batches = list(read_files(path))
    assert said([record for batch in batches for record in batch.records]) == messages(wanted)
    assert [loss for batch in batches for loss in batch.losses] == []


def test_any_damage_ends(entries: list[Entry], tmp_path: Path) -> None:
    """Whatever bytes of a file are overwritten: reading ends, in records or a typed error, with texts that are texts."""
    good = write(tmp_path / "a.journal", entries[:300]).read_bytes()
    end = end_of_data(good)
    path = tmp_path / "b.journal"
    for seed in range(25):
        chance = random.Random(seed)
        data = bytearray(good)
        for _ in range(chance.choice((1, 5, 50))):
            at = chance.randrange(264, end)
            data[at : at + 8] = chance.choice((bytes(8), chance.randbytes(8)))
        path.write_bytes(data)
        try:
            records = [record for batch in read_files(path) for record in batch.records]
        except JournalDamagedError:
            continue
        assert len(records) <= 300
        assert all(isinstance(text, str) for record in records for text in record.fields.values())


class FailingReader(EntryReader):
    """A real reader whose files fail at some entries. Real damage makes libsystemd stop quietly; a failing disk does not."""

    failing: set[str] = set()  # noqa: RUF012  # set by each test
    always = False

    def step(self) -> bool:
        """Fail instead of standing on a failing entry."""
        found = super().step()
        if found and (self.always or self.record().fields.get("MESSAGE") in self.failing):
            raise OSError(5, "Input/output error")
        return found


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> type[FailingReader]:
    monkeypatch.setattr("agent.sources.journal_reader.EntryReader", FailingReader)
    monkeypatch.setattr(FailingReader, "failing", set())
    monkeypatch.setattr(FailingReader, "always", False)
    return FailingReader


def test_unreadable_entry_is_passed(entries: list[Entry], tmp_path: Path, failing: type[FailingReader]) -> None:
    """Where the disk fails for one entry, reading goes on behind it and the loss is told."""
    wanted = list({value(entry, "MESSAGE"): entry for entry in sent_by(entries, "kernel")}.values())[:400]
    wanted.sort(key=lambda entry: value(entry, "__REALTIME_TIMESTAMP"))
    write(tmp_path / "a.journal", wanted)
    failing.failing = {messages(wanted)[20]}
    source = JournalSource(Place(directory=tmp_path), start="beginning")
    batches = drain(source)
    texts = said([record for batch in batches for record in batch.records])
    assert texts[:20] == messages(wanted)[:20]
    assert texts[20:] == messages(wanted)[len(wanted) - len(texts) + 20 :]
    assert len(texts) > 300  # some seconds at most are jumped over
    assert any("Input/output error" in loss for batch in batches for loss in batch.losses)
    source.close()


def test_unreadable_journal_is_an_error(entries: list[Entry], tmp_path: Path, failing: type[FailingReader]) -> None:
    """A journal of which nothing can be read raises a temporary error after a few tries: no loop."""
    write(tmp_path / "a.journal", sent_by(entries, "iscsid")[:5])
    source = JournalSource(Place(directory=tmp_path), start="beginning")
    failing.always = True
    lost = 0
    with pytest.raises(JournalDamagedError, match="Input/output error"):  # noqa: PT012  # the losses before it count
        for _ in range(10):
            lost += len((source.read_batch(timeout=0) or Batch(Source.JOURNALD, ())).losses)
    assert lost
    source.close()


@pytest.mark.parametrize(
    ("before", "after", "missing"),
    [
        ("s=a;i=64;b=1;m=1;t=1;x=1", "s=a;i=65;b=1;m=2;t=2;x=2", None),
        ("s=a;i=64;b=1;m=1;t=1;x=1", "s=a;i=70;b=1;m=2;t=2;x=2", "11 journal entries"),
        ("s=a;i=64;b=1;m=1;t=1;x=1", "s=b;i=65;b=1;m=2;t=2;x=2", "begun anew"),
        ("s=a;i=64;b=1;m=1;t=1;x=1", None, "nor any later one"),
    ],
)
def test_gap(before: str, after: str | None, missing: str | None) -> None:
    """Journald's own numbers tell a vacuum of what was read from one of what was not."""
    found = gap(before, after)
    assert (found is None) if missing is None else (found is not None and missing in found)


def test_loss_is_told_once(entries: list[Entry], tmp_path: Path) -> None:
    """A gap stays reported once, however often files come and go afterwards."""
    wanted = sent_by(entries, "kernel")
    write(tmp_path / "a.journal", wanted[:10])
    source = JournalSource(Place(directory=tmp_path), start="beginning")
    drain(source)
    (tmp_path / "a.journal").unlink()
    write(tmp_path / "b.journal", sent_by(entries, "bash"))
    assert len(losses(source)) == 1
    for name in ("c", "d"):
        write(tmp_path / f"{name}.journal", [entry for entry in entries if value(entry, "SYSLOG_IDENTIFIER") == "systemd"][:5])
        batches = [batch for _ in range(3) if (batch := source.read_batch(timeout=0.2))]
        assert [batch.losses for batch in batches if batch.losses] == []
    source.close()
