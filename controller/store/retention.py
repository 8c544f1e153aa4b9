"""Keep the database bounded: drop what is old, in small steps, and never silently what a stream has still to read."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

from controller.store.database import roll_back

STEP: Final = 2000
"""Most rows dropped in one transaction: a step must not hold up the engine."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept: µs of age for the log, and a bound in rows that even unread rows cannot exceed."""

    age: int
    rows: int


def prune(connection: sqlite3.Connection, retention: Retention, now: int) -> int:
    """Drop one step of what is too old or too much; return how many rows of the log went. Raises :class:`sqlite3.Error`.

    Rows that a sink has not read stay, unless the bound in rows is exceeded: then they go. The sink finds the hole in the
    cursors, which are otherwise without any, and tells it as a gap. A row that told it here would push out one more each time.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        dropped = _prune_log(connection, retention, now)
        old = now - retention.age
        connection.execute(
            "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE state <> 'pending' AND created_at < ? LIMIT ?)", (old, STEP)
        )
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise
    return dropped


def _prune_log(connection: sqlite3.Connection, retention: Retention, now: int) -> int:
    first, last = connection.execute("SELECT (SELECT min(cursor) FROM log), (SELECT max(cursor) FROM log)").fetchone()
    if first is None:
        return 0
    unread = connection.execute("SELECT min(cursor) FROM sinks").fetchone()[0]
    old = _last_old(connection, first, now - retention.age)
    target = min(max(old if unread is None else min(old, unread), last - retention.rows), first + STEP - 1)
    return connection.execute("DELETE FROM log WHERE cursor <= ?", (target,)).rowcount if target >= first else 0


def _last_old(connection: sqlite3.Connection, first: int, before: int) -> int:
    """Return the last cursor of the oldest rows, at most one step of them, that were all stored before a time.

    By when they were stored, not by when they were observed: one node with a wrong clock must neither shorten nor stop it.
    """
    oldest = "SELECT cursor, stored_at FROM log ORDER BY cursor LIMIT ?"
    young = connection.execute(f"SELECT min(cursor) FROM ({oldest}) WHERE stored_at >= ?", (STEP, before)).fetchone()[0]  # noqa: S608 - constant
    return first + STEP - 1 if young is None else int(young) - 1
