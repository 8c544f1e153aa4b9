"""Open the database, keep its schema current, and translate SQLite's errors."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Final

from controller.store.errors import StoreBusyError, StoreFullError, StoreUnusableError

_NAME: Final = re.compile(r"\d{4}_\w+\.sql")
_BUSY: Final = 5.0
"""Seconds to wait for another process's lock; only ``faultline`` commands read beside us, and never for long."""
_PAGE: Final = 16384
"""Bytes; of a new file. An event takes about 450: with SQLite's 4096 a storm costs half as much again in page splits."""
_TEMPORARY: Final = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN}
_DENIED: Final = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_TABLES: Final = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite@_%' ESCAPE '@'"


def migrations() -> list[tuple[int, str]]:
    """Return all migrations as (number, SQL), ascending without gaps."""
    names = {file.name: file for file in (files("controller.store") / "migrations").iterdir()}
    found = [(int(name[:4]), file.read_text(encoding="utf-8")) for name, file in sorted(names.items()) if _NAME.fullmatch(name)]
    assert [number for number, _ in found] == list(range(1, len(found) + 1)), "migrations are numbered without gaps"
    return found


def open_database(path: Path) -> sqlite3.Connection:
    """Open for writing: WAL, every commit synced; bring the schema up to date.

    :raises StoreBusyError: when the disk is full or the file cannot be opened now.
    :raises StoreUnusableError: when the file is no database of ours, damaged, or from a newer version; it is left as it is.
    """
    with translated(path):
        # Only ever used in the thread that opened it, and Python holds us to that: of two threads in one connection each takes the
        # other's error for its own, so that a write that failed looks like one that was done.
        connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None)
        with _closed_on_failure(connection):
            _check_ours(connection, path)
            connection.execute(f"PRAGMA page_size = {_PAGE}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            for number, sql in migrations():
                _migrate(connection, number, sql)
        return connection


def open_readonly(path: Path) -> sqlite3.Connection:
    """Open for reading beside a running controller.

    :raises StoreBusyError: when the file is not there or cannot be read.
    :raises StoreUnusableError: as :func:`open_database`; an older schema counts, since reading must not change it.
    """
    with translated(path):
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY, isolation_level=None)
        with _closed_on_failure(connection):
            version, known = _check_ours(connection, path), len(migrations())
            if version < known:
                raise StoreUnusableError(f"{path}: schema {version}, this version reads {known}: start the controller of this version once")
        return connection


@contextmanager
def _closed_on_failure(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _check_ours(connection: sqlite3.Connection, path: Path) -> int:
    """Return the schema's version, 0 for a new file; changes nothing."""
    connection.execute("BEGIN")  # both answers from one moment: another controller may be migrating
    version, known, tables = _version(connection), len(migrations()), connection.execute(_TABLES).fetchone()[0]
    connection.execute("COMMIT")
    if version > known:
        raise StoreUnusableError(f"{path}: schema {version} is newer than this version's {known}: install the newer Faultline again")
    if tables and not version:
        raise StoreUnusableError(f"{path}: is another program's database: name another path in [store]")
    return version


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _migrate(connection: sqlite3.Connection, number: int, sql: str) -> None:
    """Apply a migration, whole or not at all, unless it was applied before."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Asked under the lock: another controller that starts at the same time may just have done it.
        if _version(connection) < number:
            for statement in _statements(sql):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise


def _statements(sql: str) -> Iterator[str]:
    """Split a script into its statements: ``executescript`` would commit what stands before it."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    assert not statement.strip(), "a migration ends with its last statement"


def roll_back(connection: sqlite3.Connection) -> None:
    """Undo the open transaction, if SQLite has not done so by itself (it does for a full disk)."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Translate SQLite's errors, naming the file and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise StoreFullError(f"{path}: {error}: make room on its disk") from error
        if code in _TEMPORARY:
            hint = " (is the disk full?)" if code == sqlite3.SQLITE_IOERR else ""
            raise StoreBusyError(f"{path}: {error}{hint}") from error
        if code in _DENIED:
            raise StoreUnusableError(f"{path}: {error}: its owner must be who runs this program") from error
        raise StoreUnusableError(f"{path}: {error}: move the file away to start anew, or restore it") from error
