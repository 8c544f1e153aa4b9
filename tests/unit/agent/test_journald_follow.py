import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.record import Batch, RawRecord
from agent.sources.errors import JournalMissingError
from agent.sources.journal_reader import Place
from agent.sources.journald import JournalSource
from tests.journals import Entry, recorded, sent_by, value, write

Make = Callable[..., JournalSource]


@pytest.fixture
def make() -> Iterator[Make]:
    sources: list[JournalSource] = []

    def new(place: Path | Place, **options: object) -> JournalSource:
        where = place if isinstance(place, Place) else Place(directory=place) if place.is_dir() else Place(files=(place,))
        sources.append(JournalSource(where, **options))  # type: ignore[arg-type]
        return sources[-1]

    yield new
    for source in sources:
        source.close()


@pytest.fixture(scope="module")
def wanted() -> list[Entry]:
    return sent_by(recorded("pve1"), "kernel", "iscsid", "multipathd", "lvm")


@pytest.fixture(scope="module")
def unwanted() -> list[Entry]:
    return sent_by(recorded("pve1"), "systemd", "bash", "LABMARK")


def collect(source: JournalSource, count: int, *, max_records: int = 512, seconds: float = 10) -> list[RawRecord]:
    """Read until there are ``count`` records, then what else is there at once."""
    records: list[RawRecord] = []
    end = time.monotonic() + seconds
    while len(records) < count:
        assert time.monotonic() < end, f"{len(records)} of {count} records within {seconds} s"
        batch = source.read_batch(max_records, 0.2)
        records += batch.records if batch else ()
    while (batch := source.read_batch(max_records, 0)) and batch.records:
        records += batch.records
    return records


def losses(source: JournalSource, seconds: float = 10) -> tuple[str, ...]:
    """Read until something is reported lost."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (batch := source.read_batch(timeout=0.2)) and batch.losses:
            return batch.losses
    raise AssertionError("no loss was reported")


def drain(source: JournalSource) -> list[Batch]:
    """Read what is there now."""
    batches = []
    while batch := source.read_batch(timeout=0):
        batches.append(batch)
    return batches


def messages(entries: list[Entry]) -> list[str]:
    return [value(entry, "MESSAGE") for entry in entries]


def said(records: list[RawRecord]) -> list[str]:
    return [record.fields["MESSAGE"] for record in records]


def test_growing_file(make: Make, wanted: list[Entry], tmp_path: Path) -> None:
    """What is appended to a followed file comes in order, once."""
    path = write(tmp_path / "a.journal", wanted[:100])
    source = make(path, start="beginning")
    assert said(collect(source, 100)) == messages(wanted[:100])
    for start in (100, 101, 150):
        end = {100: 101, 101: 150, 150: 300}[start]
        write(path, wanted[start:end])
        assert said(collect(source, end - start)) == messages(wanted[start:end])


def test_new_file_in_directory(make: Make, wanted: list[Entry], tmp_path: Path) -> None:
    """A directory that is still empty can be followed; its first file is read from the beginning."""
    source = make(tmp_path, start="now")
    assert source.read_batch(timeout=0) is None
    write(tmp_path / "a.journal", wanted[:10])
    assert said(collect(source, 10)) == messages(wanted[:10])


def test_now_skips_the_past(make: Make, wanted: list[Entry], tmp_path: Path) -> None:
    """A first start reads nothing old, and everything from then on."""
    path = write(tmp_path / "a.journal", wanted[:100])
    source = make(path, start="now")
    batches = drain(source)
    assert [batch.records for batch in batches] == [()]  # only the place to start from
    write(path, wanted[100:103])
    assert said(collect(source, 3)) == messages(wanted[100:103])


def test_now_without_any_wanted_entry(make: Make, wanted: list[Entry], unwanted: list[Entry], tmp_path: Path) -> None:
    """A first start on a journal where nothing matches yet misses nothing that comes later."""
    path = write(tmp_path / "a.journal", unwanted[:50])
    source = make(path, start="now")
    drain(source)
    late = [entry for entry in wanted if value(entry, "__REALTIME_TIMESTAMP") > value(unwanted[49], "__REALTIME_TIMESTAMP")][:3]
    write(path, late)
    assert said(collect(source, 3)) == messages(late)


def test_unwanted_entries_never_come(make: Make, unwanted: list[Entry], tmp_path: Path) -> None:
    """Entries of no use are not read; the cursor passes them nevertheless, and going on from it is no gap."""
    path = write(tmp_path / "a.journal", unwanted[:80])
    batches = drain(make(path, start="beginning"))
    assert [batch.records for batch in batches] == [()]
    assert batches[0].cursor
    again = make(path, cursor=batches[0].cursor)
    assert drain(again) == []
    kernel = [entry for entry in recorded("pve1") if value(entry, "__REALTIME_TIMESTAMP") > value(unwanted[79], "__REALTIME_TIMESTAMP")]
    write(path, sent_by(kernel, "iscsid")[:2])
    assert len(collect(again, 2)) == 2


def test_resume_at_every_record(make: Make, wanted: list[Entry], tmp_path: Path) -> None:
    """A reader that is started anew after each batch reads each record exactly once."""
    path = write(tmp_path / "a.journal", wanted[:60])
    read: list[RawRecord] = []
    cursor = None
    while True:
        batch = make(path, cursor=cursor, start="beginning").read_batch(max_records=7, timeout=0)
        if batch is None or not batch.records:
            break
        assert batch.losses == ()
        read += batch.records
        cursor = batch.cursor
    assert said(read) == messages(wanted[:60])


def test_rotation_loses_nothing(make: Make, wanted: list[Entry], tmp_path: Path) -> None:
    """Renaming the file and going on in a new one, again and again, neither loses nor repeats a record nor reports a loss."""
    source = make(tmp_path, start="beginning")
    path = tmp_path / "system.journal"
    read: list[RawRecord] = []
    for number in range(12):
        write(path, wanted[number * 10 : number * 10 + 10])
        if number % 3:  # sometimes read up to here before the rotation, sometimes only after several
            read += collect(source, number * 10 + 10 - len(read))
        path.rename(tmp_path / f"system@{number:02}.journal")
    assert said(read) == messages(wanted[:120])
    assert all(batch.losses == () for batch in drain(source))


def test_vacuum_of_read_files(make: Make, wanted: list[Entry], tmp_path: Path) -> None:
    """Files that were read may go while the entry read last stays; nothing is reported lost."""
    write(tmp_path / "system.journal", wanted[:20])
    source = make(tmp_path, start="beginning")
    collect(source, 20)
    (tmp_path / "system.journal").rename(tmp_path / "system@1.journal")
    write(tmp_path / "system.journal", wanted[20:40])
    collect(source, 20)
    (tmp_path / "system@1.journal").unlink()
    write(tmp_path / "system.journal", wanted[40:50])
    end = time.monotonic() + 10
    batches: list[Batch] = []
    while sum(len(batch.records) for batch in batches) < 10:
        assert time.monotonic() < end
        if batch := source.read_batch(timeout=0.2):
            batches.append(batch)
    assert [batch.losses for batch in batches] == [()] * len(batches)


def test_vacuum_while_down(make: Make, wanted: list[Entry], tmp_path: Path) -> None:
    """When the entry of the stored cursor is gone, that is reported once and reading goes on with what is left."""
    old = write(tmp_path / "system@1.journal", wanted[:20])
    cursor = make(tmp_path, start="beginning").read_batch(10, 0).cursor  # type: ignore[union-attr]
    write(tmp_path / "system.journal", wanted[30:40])
    old.unlink()
    source = make(tmp_path, cursor=cursor)
    batches = drain(source)
    assert said([record for batch in batches for record in batch.records]) == messages(wanted[30:40])
    assert len([loss for batch in batches for loss in batch.losses]) == 1
    write(tmp_path / "system.journal", wanted[40:41])
    assert said(collect(source, 1)) == messages(wanted[40:41])


def test_vacuum_of_unread_files(make: Make, wanted: list[Entry], tmp_path: Path) -> None:
    """Files that came and went between two looks are reported lost."""
    write(tmp_path / "system.journal", wanted[:20])
    source = make(tmp_path, start="beginning")
    collect(source, 20)
    (tmp_path / "system.journal").unlink()
    write(tmp_path / "gone.journal", wanted[20:30])
    (tmp_path / "gone.journal").unlink()
    write(tmp_path / "system.journal", wanted[30:40])
    assert "may be missing" in losses(source)[0]


def test_behind_reader_keeps_its_files(make: Make, wanted: list[Entry], tmp_path: Path) -> None:
    """Files deleted while a slow consumer is behind are still read to their end."""
    path = write(tmp_path / "system@1.journal", wanted[:100])
    source = make(tmp_path, start="beginning")
    first = source.read_batch(10, 0)
    path.unlink()
    write(tmp_path / "system.journal", wanted[100:110])
    assert first
    assert said([*first.records, *collect(source, 100, max_records=10)]) == messages(wanted[:110])


def test_journal_begun_anew_with_an_earlier_clock(make: Make, wanted: list[Entry], tmp_path: Path) -> None:
    """When all that is left is older than the cursor, whatever comes next is read nevertheless."""
    write(tmp_path / "a.journal", wanted[200:210])
    cursor = make(tmp_path, start="beginning").read_batch().cursor  # type: ignore[union-attr]
    (tmp_path / "a.journal").unlink()
    write(tmp_path / "a.journal", wanted[:10])
    source = make(tmp_path, cursor=cursor)
    assert losses(source)
    write(tmp_path / "a.journal", wanted[10:15])
    assert said(collect(source, 5)) == messages(wanted[10:15])


def test_emptied_journal_with_an_earlier_clock(make: Make, wanted: list[Entry], tmp_path: Path) -> None:
    """When nothing at all is left, whatever comes is read, be it older than the cursor."""
    write(tmp_path / "a.journal", wanted[200:210])
    cursor = make(tmp_path, start="beginning").read_batch().cursor  # type: ignore[union-attr]
    (tmp_path / "a.journal").unlink()
    source = make(tmp_path, cursor=cursor)
    assert losses(source)
    write(tmp_path / "a.journal", wanted[:5])
    assert said(collect(source, 5)) == messages(wanted[:5])


def test_deleted_files_are_let_go(make: Make, wanted: list[Entry], tmp_path: Path) -> None:
    """A reader at the end keeps no deleted journal file open: its disk space is free again."""
    path = write(tmp_path / "system@1.journal", wanted[:10])
    write(tmp_path / "system.journal", wanted[10:20])
    source = make(tmp_path, start="beginning")
    collect(source, 20)
    path.unlink()
    source.read_batch(timeout=1)
    held = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert not [name for name in held if name.startswith(str(tmp_path)) and name.endswith("(deleted)")]


def test_missing_place_is_temporary(make: Make, wanted: list[Entry], tmp_path: Path) -> None:
    """A directory or file that is not there is a typed error, and the same source works once it is."""
    source = make(Place(directory=tmp_path / "later"), start="beginning")
    with pytest.raises(JournalMissingError):
        source.read_batch(timeout=0)
    (tmp_path / "later").mkdir()
    write(tmp_path / "later" / "a.journal", wanted[:5])
    assert len(collect(source, 5)) == 5
    with pytest.raises(JournalMissingError):
        make(Place(files=(tmp_path / "no.journal",))).read_batch()


def test_senseless_cursor(make: Make, wanted: list[Entry], tmp_path: Path) -> None:
    """A stored cursor that is none is reported, and reading starts at the beginning: rather twice than never."""
    write(tmp_path / "a.journal", wanted[:5])
    batches = drain(make(tmp_path, cursor="no cursor"))
    assert batches[0].losses
    assert sum(len(batch.records) for batch in batches) == 5
