"""Write one transaction of the engine."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Final

from controller.store.database import roll_back
from controller.store.transaction import Transaction

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOG = "INSERT INTO log (type, node, kind, at, stored_at, data) VALUES (?, ?, ?, ?, ?, ?)"
_TOGETHER: Final = 64
_LOG_TOGETHER = _LOG + ", (?, ?, ?, ?, ?, ?)" * (_TOGETHER - 1)
"""Many rows with one statement cost half of as many statements, and the event loop's thread is asked for the interpreter once."""


def write(connection: sqlite3.Connection, transaction: Transaction) -> None:
    """Write all rows, or none. Raises :class:`sqlite3.Error`."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        _log(connection, transaction)
        _streams(connection, transaction)
        _state(connection, transaction)
        _incidents(connection, transaction)
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise


def _log(connection: sqlite3.Connection, transaction: Transaction) -> None:
    """Append events, then gaps, then the incidents that follow from them: readers see causes first."""
    at, events = transaction.at, transaction.events
    whole = len(events) // _TOGETHER * _TOGETHER
    for start in range(0, whole, _TOGETHER):
        connection.execute(_LOG_TOGETHER, tuple(chain.from_iterable(events[start : start + _TOGETHER])))
    connection.executemany(_LOG, events[whole:])
    connection.executemany(_LOG, (("reject", one.node, one.reason[:200], one.at, at, one.data) for one in transaction.rejects))
    gaps = (
        ("gap", one.node, "gap", one.at, at, json.dumps({"stream": one.stream, "first": one.first, "last": one.last, "reason": one.reason}))
        for one in transaction.gaps
    )
    connection.executemany(_LOG, gaps)
    reports = (("incident", "", one.change.value, _micros(one.at), at, one.model_dump_json()) for one in transaction.incidents)
    connection.executemany(_LOG, reports)


def _streams(connection: sqlite3.Connection, transaction: Transaction) -> None:
    connection.executemany(
        "INSERT INTO streams (node, stream, acked, boot_id, last_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (node, stream) DO UPDATE SET acked = excluded.acked, boot_id = excluded.boot_id, last_at = excluded.last_at",
        ((one.node, one.stream, one.acked, one.boot_id, one.at) for one in transaction.advances),
    )
    connection.executemany(
        "INSERT OR REPLACE INTO gaps (node, stream, first, last, reason, at) VALUES (?, ?, ?, ?, ?, ?)",
        ((one.node, one.stream, one.first, one.last, one.reason, one.at) for one in transaction.gaps),
    )


def _state(connection: sqlite3.Connection, transaction: Transaction) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO core_state (tab, key, value) VALUES (?, ?, ?)",
        ((one.table, one.key, one.value) for one in transaction.state if one.value is not None),
    )
    connection.executemany(
        "DELETE FROM core_state WHERE tab = ? AND key = ?", ((one.table, one.key) for one in transaction.state if one.value is None)
    )


def _incidents(connection: sqlite3.Connection, transaction: Transaction) -> None:
    for one in transaction.incidents:
        text = one.model_dump_json()
        connection.execute(
            "INSERT INTO incidents (id, state, cause, entity, opened_at, updated_at, resolved_at, report) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET state = excluded.state, cause = excluded.cause, entity = excluded.entity,"
            " updated_at = excluded.updated_at, resolved_at = excluded.resolved_at, report = excluded.report",
            (one.id, one.state, one.cause, one.entity, one.opened_at, one.at, one.resolved_at, text),
        )
        connection.execute(
            "INSERT OR REPLACE INTO incident_changes (incident, number, at, change, report) VALUES (?, ?, ?, ?, ?)",
            (one.id, one.number, one.at, one.change.value, text),
        )
    connection.executemany(
        "INSERT INTO outbox (performer, incident, number, payload, key, created_at, next_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (key) DO NOTHING",
        ((one.performer, one.incident, one.number, one.payload, one.key, transaction.at, transaction.at) for one in transaction.outbox),
    )


def _micros(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)
