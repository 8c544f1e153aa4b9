"""Open the database, keep its schema current, and translate SQLite's errors."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Final

from controller.store.errors import StoreBusyError, StoreUnusableError

_NAME: Final = re.compile(r"\d{4}_\w+\.sql")
_BUSY: Final = 5.0
"""Seconds to wait for another process's lock; only ``faultline`` commands read beside us, and never for long."""
_TEMPORARY: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN}


def migrations() -> list[tuple[int, str]]:
    """Return all migrations as (number, SQL), ascending without gaps."""
    names = {file.name: file for file in (files("controller.store") / "migrations").iterdir()}
    found = [(int(name[:4]), file.read_text(encoding="utf-8")) for name, file in sorted(names.items()) if _NAME.fullmatch(name)]
    assert [number for number, _ in found] == list(range(1, len(found) + 1)), "migrations are numbered without gaps"
    return found


def open_database(path: Path) -> sqlite3.Connection:
    """Open for writing: WAL, every commit synced; bring the schema up to date.

    :raises StoreBusyError: when the disk is full or the file cannot be opened now.
    :raises StoreUnusableError: when the file is no database, damaged, or from a newer version.
    """
    with translated(path):
        connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _migrate(connection, path)
        return connection


def open_readonly(path: Path) -> sqlite3.Connection:
    """Open for reading beside a running controller.

    :raises StoreBusyError: when the file is not there or cannot be read.
    :raises StoreUnusableError: as :func:`open_database`; an older schema counts, since reading must not change it.
    """
    with translated(path):
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY, isolation_level=None)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != len(migrations()):
            raise StoreUnusableError(
                f"{path}: schema {version}, this version reads {len(migrations())}: start the controller of this version once"
            )
        return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    known = migrations()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(known):
        raise StoreUnusableError(f"{path}: schema {version} is newer than this version's {len(known)}: install the newer Faultline again")
    for number, sql in known[version:]:
        connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Translate SQLite's errors, naming the file and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _TEMPORARY:
            hint = " (is the disk full?)" if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR} else ""
            raise StoreBusyError(f"{path}: {error}{hint}") from error
        raise StoreUnusableError(f"{path}: {error}: move the file away to start anew, or restore it") from error
