from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from agent.errors import PermanentError, TemporaryError
from agent.spool import Limits, Spool, SpoolDamagedError, SpoolForeignError, SpoolFullError
from events.codec import decode
from tests.observed import observed

ROOT = Path(__file__).resolve().parents[3]
ROOMY = Limits(bytes=1024 * 1024 * 1024, age=10**15)
EVERYTHING = (10**6, 2**40)
DISK = 32 * 1024 * 1024
BATCH = 1000


def utc() -> int:
    """Return a time; it does not matter here."""
    return 1_795_000_000_000_000


async def opened(path: Path) -> Spool:
    """Open a spool for one controller."""
    return await Spool.open(path, ("lab", "pve1"), ROOMY, utc, ("one",))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return the mount point of a real file system of 32 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", place], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
async def small(disk: Path) -> AsyncIterator[Spool]:
    """Return a spool on the small disk."""
    spool = await opened(disk / "spool.db")
    yield spool
    await spool.close()


async def fill(spool: Spool) -> int:
    """Append until the disk is full; return the last sequence that is durable."""
    last = 0
    for number in range(10_000):
        try:
            last = await spool.append("journald", observed(BATCH), f"c{number}", {"number": number})
        except SpoolFullError as error:
            assert isinstance(error, TemporaryError)
            assert "make room" in str(error)
            assert "the journal keeps what is not spooled" in str(error)
            return last
    pytest.fail("the disk never was full")


async def test_a_full_disk_writes_nothing_by_half(small: Spool) -> None:
    """When the disk is full an append fails as retryable; what was durable stays, with the cursor that belongs to it."""
    last = await fill(small)

    assert last == small.last
    assert last % BATCH == 0
    assert await small.cursor("journald") == f"c{last // BATCH - 1}"
    assert await small.memory("journald") == {"number": last // BATCH - 1}
    rows = await small.read_after(0, *EVERYTHING)
    assert [seq for seq, _ in rows] == list(range(1, last + 1))


async def test_a_full_disk_is_left_behind_when_there_is_room(tmp_path: Path, disk: Path) -> None:
    """Somebody else fills the disk, and makes room again: appending goes on as if nothing had been."""
    spool = await opened(disk / "spool.db")
    await spool.append("journald", observed(BATCH), "c0", None)
    other = disk / "other"
    fill_up(other)
    with pytest.raises(SpoolFullError):
        await spool.append("journald", observed(BATCH), "c1", None)
    with pytest.raises(SpoolFullError):  # SQLite itself finds no room either
        await spool.renew(spool.stream, "")
    other.unlink()
    assert await spool.cursor("journald") == "c0"

    assert await spool.append("journald", observed(BATCH), "later", None) == spool.last
    assert await spool.cursor("journald") == "later"
    await spool.close()


async def test_a_spool_that_fills_its_disk_gets_out_by_itself(small: Spool) -> None:
    """When the spool itself took all room, acknowledgements alone make some: it never locks itself up."""
    for _ in range(3):
        await fill(small)
        await small.acknowledge("one", small.last)
        assert (await small.position()).first == small.last + 1
        assert await small.append("journald", observed(BATCH), "after", None) == small.last


async def test_a_full_disk_survives_a_restart(disk: Path) -> None:
    """Closed and opened on a full disk, the spool still has everything that was durable."""
    spool = await opened(disk / "spool.db")
    last = await fill(spool)
    await spool.close()
    again = await opened(disk / "spool.db")

    assert again.last == last
    assert len(await again.read_after(0, *EVERYTHING)) == last
    await again.close()


def fill_up(path: Path) -> None:
    """Write a file that takes all the room that is left."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass


def spoil_middle(path: Path) -> None:
    """Overwrite pages in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 8192] = Random(1).randbytes(8192)
    path.write_bytes(data)


def spoil_head(path: Path) -> None:
    """Overwrite the beginning."""
    path.write_bytes(b"\0" * 64 + path.read_bytes()[64:])


def spoil_length(path: Path) -> None:
    """Cut the file off."""
    os.truncate(path, path.stat().st_size // 2)


def spoil_books(path: Path) -> None:
    """Take the stream's head away."""
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM stream")
    connection.close()


@pytest.mark.parametrize("spoil", [spoil_middle, spoil_head, spoil_length, spoil_books])
async def test_damage_is_told_apart(tmp_path: Path, spoil: object) -> None:
    """A damaged file is found when it is opened, as an error that names it; it is not changed further."""
    path = tmp_path / "spool.db"
    spool = await opened(path)
    await spool.append("journald", observed(2000), "c", None)
    await spool.close()
    spoil(path)  # type: ignore[operator]
    before = path.read_bytes()

    with pytest.raises(SpoolDamagedError, match=r"spool\.db") as caught:
        await opened(path)
    assert isinstance(caught.value, PermanentError)
    assert path.read_bytes() == before


async def test_damage_that_shows_later_is_an_error_for_good(tmp_path: Path) -> None:
    """A file that breaks under a running agent fails with the error that ends it, not with one to try again."""
    path = tmp_path / "spool.db"
    spool = await opened(path)
    await spool.append("journald", observed(2000), "c", None)
    spool._file._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    spool._file._connection.execute("PRAGMA shrink_memory")
    spool._file._connection.execute("PRAGMA cache_size = 0")
    spoil_middle(path)

    with pytest.raises(SpoolDamagedError):
        await spool.read_after(0, *EVERYTHING)
    await spool.close()


@pytest.mark.parametrize(("sql", "advice"), [("PRAGMA user_version = 99", "newer"), ("CREATE TABLE theirs (x)", "another program")])
async def test_what_is_not_ours_is_left_alone(tmp_path: Path, sql: str, advice: str) -> None:
    """A spool of a newer version, and another program's database, are refused with advice and stay as they are."""
    path = tmp_path / "spool.db"
    with sqlite3.connect(path) as connection:
        connection.execute(sql)
    connection.close()
    before = path.read_bytes()

    with pytest.raises(SpoolForeignError, match=advice):
        await opened(path)
    assert path.read_bytes() == before


async def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Where no spool can be, the error names the place and is no crash."""
    (tmp_path / "file").write_text("not a directory")

    with pytest.raises(SpoolFullError, match=r"file/spool\.db"):
        await opened(tmp_path / "file" / "spool.db")


WRITER = """
import asyncio, sys
from contextlib import suppress
from pathlib import Path
from agent.spool import Limits, Spool
from tests.observed import observed

async def main():
    spool = await Spool.open(Path(sys.argv[1]), ("lab", "pve1"), Limits(2**30, 10**15), lambda: 1, ("one",))
    number = spool.last
    while True:
        jobs = []
        for size in (7, 1, 30):
            number += size
            jobs.append(spool.append("journald", observed(size), str(number), {"seen": number}))
        for last in await asyncio.gather(*jobs):
            print(last, flush=True)

asyncio.run(main())
"""


def write_and_kill(path: Path, seconds: float) -> int:
    """Let a process append for a while, kill it, and return the last sequence that it had called durable."""
    with subprocess.Popen([sys.executable, "-c", WRITER, path], cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        first = int(writer.stdout.readline())
        time.sleep(seconds)
        writer.send_signal(signal.SIGKILL)
        return max([first, *(int(line) for line in writer.stdout.read().split("\n")[:-1])])


async def test_kill_9_leaves_events_cursor_and_memory_in_step(tmp_path: Path) -> None:
    """Killed at any moment, the spool has everything that it had called durable, no hole, and the cursor of exactly what it has."""
    path, dice = tmp_path / "spool.db", Random(9)
    for _ in range(4):
        durable = await asyncio.to_thread(write_and_kill, path, dice.uniform(0, 0.2))
        spool = await opened(path)
        rows = await spool.read_after(0, *EVERYTHING)
        seen, cursor, memory = spool.last, await spool.cursor("journald"), await spool.memory("journald")
        await spool.close()

        assert seen >= durable
        assert [seq for seq, _ in rows] == list(range(1, seen + 1))
        assert all(decode(data).seq == seq for seq, data in rows)
        assert (cursor, memory) == (str(seen), {"seen": seen})


async def test_a_thread_that_dies_leaves_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the writing thread ends all the same, whoever waits gets an error, and so does whoever asks later."""
    spool = await opened(tmp_path / "spool.db")

    class End(BaseException):
        """What no edge of a request stops."""

    def bug(_: object) -> None:
        raise End

    reported: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", reported.append)
    waiting = [asyncio.ensure_future(spool._call(bug)), asyncio.ensure_future(spool.append("journald", observed(1), None, None))]
    results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    spool._thread.join(5)
    assert [one.exc_type for one in reported] == [End]
    assert [type(one) for one in results] == [SpoolDamagedError, SpoolDamagedError]
    assert not spool.alive
    with pytest.raises(SpoolDamagedError):
        await spool.append("journald", observed(1), None, None)
