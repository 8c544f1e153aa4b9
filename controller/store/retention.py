"""Keep the database bounded: drop what is old, in small steps, and never silently what a stream has still to read."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

_STEP = 2000
"""Most rows dropped in one transaction: a step must not hold up the engine."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept: µs of age for the log, and a bound in rows that even unread rows cannot exceed."""

    age: int
    rows: int


def prune(connection: sqlite3.Connection, retention: Retention, now: int) -> int:
    """Drop one step of what is too old or too much; return how many rows went. Raises :class:`sqlite3.Error`.

    Rows that a sink has not read stay, unless the bound in rows is exceeded: then they go, and a ``gap`` row says which.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        dropped = _prune_log(connection, retention, now)
        old = now - retention.age
        connection.execute(
            "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE state <> 'pending' AND created_at < ? LIMIT ?)", (old, _STEP)
        )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return dropped


def _prune_log(connection: sqlite3.Connection, retention: Retention, now: int) -> int:
    first, last, count = connection.execute("SELECT ifnull(min(cursor), 0), ifnull(max(cursor), 0), count(*) FROM log").fetchone()
    if not count:
        return 0
    row = connection.execute("SELECT min(cursor) FROM log WHERE at >= ?", (now - retention.age,)).fetchone()
    by_age = (row[0] if row[0] is not None else last + 1) - 1
    unread = connection.execute("SELECT min(cursor) FROM sinks").fetchone()[0]
    limit = by_age if unread is None else min(by_age, unread)
    forced = last - retention.rows
    target = min(max(limit, forced), first + _STEP - 1)
    if target < first:
        return 0
    if unread is not None and target > unread:
        facts = {"first_cursor": max(first, unread + 1), "last_cursor": target, "reason": "more unread rows than the store may keep"}
        connection.execute("INSERT INTO log (type, node, kind, at, data) VALUES ('gap', '', 'retention', ?, ?)", (now, json.dumps(facts)))
    return connection.execute("DELETE FROM log WHERE cursor <= ?", (target,)).rowcount
