import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from controller.errors import TemporaryError
from controller.store.database import open_database, open_readonly, translated
from controller.store.errors import StoreBusyError, StoreUnusableError


def test_what_may_not_be_written_says_who_may(tmp_path: Path) -> None:
    """A database that we have no right to write is not called damaged: the error says whose it must be."""
    path = tmp_path / "faultline.db"
    open_database(path).close()

    with (
        closing(open_readonly(path)) as connection,
        pytest.raises(StoreUnusableError, match=r"faultline\.db: .*readonly.*: its owner must be who runs this program"),
        translated(path),
    ):
        connection.execute("DELETE FROM log")


def test_damaged_database_is_left_alone(tmp_path: Path) -> None:
    """A damaged database is an error that names it and says what to do, and its bytes stay for whoever repairs it."""
    path = tmp_path / "faultline.db"
    with closing(open_database(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damaged = path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096)
    path.write_bytes(damaged)

    with (
        pytest.raises(StoreUnusableError, match=r"faultline\.db: .*malformed.*: move the file away to start anew, or restore it"),
        closing(open_database(path)) as connection,
        translated(path),
    ):
        connection.execute("SELECT count(*) FROM log").fetchone()
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("opened", [open_database, open_readonly])
def test_directory_in_its_place_is_named(tmp_path: Path, opened: object) -> None:
    """What cannot be opened now may be opened later, a missing disk for one: the error names it and may be tried again."""
    assert callable(opened)
    with pytest.raises(StoreBusyError, match=str(tmp_path)) as caught:
        opened(tmp_path)
    assert isinstance(caught.value, TemporaryError)


def test_reading_makes_no_file(tmp_path: Path) -> None:
    """A command beside no controller says that there is no database; it does not make an empty one."""
    with pytest.raises(StoreBusyError, match=r"faultline\.db: unable to open"):
        open_readonly(tmp_path / "faultline.db")
    assert list(tmp_path.iterdir()) == []


def test_lock_of_another_program_may_pass(tmp_path: Path) -> None:
    """While another program holds the database for itself a write fails as busy, and works when it lets go."""
    path = tmp_path / "faultline.db"
    with closing(open_database(path)) as connection, closing(sqlite3.connect(path, isolation_level=None)) as other:
        connection.execute("PRAGMA busy_timeout = 10")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusyError, match="locked"), translated(path):
            connection.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("COMMIT")
