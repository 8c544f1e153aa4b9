"""Read the store: for the command line over its own read-only connection, for streams and notifiers through the store's thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

import msgpack

from controller.core.report import IncidentReport


@dataclass(frozen=True, slots=True)
class LogRow:
    """One row of the log; ``data`` as the type says (see migrations/0001_initial.sql)."""

    cursor: int
    type: str
    node: str
    kind: str
    at: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamRow:
    """One agent's stream."""

    node: str
    stream: str
    acked: int
    boot_id: str
    last_at: int


@dataclass(frozen=True, slots=True)
class PendingRow:
    """One thing to tell."""

    id: int
    performer: str
    incident: str
    number: int
    payload: str
    key: str
    created_at: int
    attempts: int
    next_at: int


@dataclass(frozen=True, slots=True)
class OutboxSummary:
    """How a performer stands: counts by state, and the last error of what is pending or dead."""

    performer: str
    pending: int
    sent: int
    dead: int
    last_error: str | None


def log_after(connection: sqlite3.Connection, cursor: int, limit: int) -> list[LogRow]:
    """Return rows of the log behind a cursor, oldest first."""
    rows = connection.execute(
        "SELECT cursor, type, node, kind, at, data FROM log WHERE cursor > ? ORDER BY cursor LIMIT ?", (cursor, limit)
    )
    return [LogRow(number, kind, node, what, at, _bytes(data)) for number, kind, node, what, at, data in rows]


def last_cursor(connection: sqlite3.Connection) -> int:
    """Return the newest cursor that was ever given out, 0 before the first."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'").fetchone()
    return int(row[0]) if row else 0


def first_cursor(connection: sqlite3.Connection) -> int:
    """Return the oldest cursor that is still there, 0 when there is none."""
    return int(connection.execute("SELECT ifnull(min(cursor), 0) FROM log").fetchone()[0])


def _bytes(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data


def streams(connection: sqlite3.Connection) -> list[StreamRow]:
    """Return all streams, newest activity first."""
    return [
        StreamRow(*row) for row in connection.execute("SELECT node, stream, acked, boot_id, last_at FROM streams ORDER BY last_at DESC")
    ]


def acked(connection: sqlite3.Connection, node: str, stream: str) -> int:
    """Return the sequence up to which a stream is durable, 0 for an unknown one."""
    row = connection.execute("SELECT acked FROM streams WHERE node = ? AND stream = ?", (node, stream)).fetchone()
    return int(row[0]) if row else 0


def core_state(connection: sqlite3.Connection) -> list[tuple[str, str, bytes]]:
    """Return the core's records as (table, key, msgpack value)."""
    return list(connection.execute("SELECT tab, key, value FROM core_state"))


def incidents(connection: sqlite3.Connection, *, unresolved_only: bool, limit: int) -> list[IncidentReport]:
    """Return incidents as they stand, oldest of the newest ``limit`` first."""
    where = "WHERE state <> 'resolved'" if unresolved_only else ""
    rows = connection.execute(f"SELECT report FROM incidents {where} ORDER BY opened_at DESC LIMIT ?", (limit,))  # noqa: S608 - constant
    return [IncidentReport.model_validate_json(report) for (report,) in rows][::-1]


def incident(connection: sqlite3.Connection, identity: str) -> IncidentReport | None:
    """Return one incident as it stands; ``identity`` may be an unambiguous beginning of its id."""
    escaped = identity.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    rows = connection.execute("SELECT report FROM incidents WHERE id LIKE ? ESCAPE '\\' LIMIT 2", (f"{escaped}%",)).fetchall()
    return IncidentReport.model_validate_json(rows[0][0]) if len(rows) == 1 else None


def changes(connection: sqlite3.Connection, identity: str) -> list[IncidentReport]:
    """Return what was told of one incident, change by change, each as it stood then."""
    rows = connection.execute("SELECT report FROM incident_changes WHERE incident = ? ORDER BY number", (identity,))
    return [IncidentReport.model_validate_json(report) for (report,) in rows]


def pending(connection: sqlite3.Connection, performer: str, limit: int) -> list[PendingRow]:
    """Return what a performer has still to tell: of each incident only the oldest change, due first."""
    # Beside min() SQLite takes the other columns from the row that has the minimum (https://sqlite.org/quirks.html, §6).
    rows = connection.execute(
        "SELECT id, performer, incident, one.number, payload, key, created_at, attempts, one.next_at"
        " FROM (SELECT id, next_at, min(number) FROM outbox WHERE state = 'pending' AND performer = ?"
        " GROUP BY incident ORDER BY next_at, id LIMIT ?) JOIN outbox AS one USING (id) ORDER BY one.next_at, id",
        (performer, limit),
    )
    return [PendingRow(*row) for row in rows]


def outbox(connection: sqlite3.Connection) -> list[OutboxSummary]:
    """Return how each performer stands."""
    rows = connection.execute(
        "SELECT performer, sum(state = 'pending'), sum(state = 'sent'), sum(state = 'dead') FROM outbox"
        " GROUP BY performer ORDER BY performer"
    ).fetchall()
    return [OutboxSummary(name, waiting, sent, dead, _last_error(connection, name)) for name, waiting, sent, dead in rows]


def _last_error(connection: sqlite3.Connection, performer: str) -> str | None:
    row = connection.execute(
        "SELECT last_error FROM outbox WHERE performer = ? AND state <> 'sent' AND last_error IS NOT NULL ORDER BY id DESC LIMIT 1",
        (performer,),
    ).fetchone()
    return str(row[0]) if row else None


def told(connection: sqlite3.Connection, incident_id: str) -> Iterator[tuple[str, int, str, int | None, str | None]]:
    """Yield what was told of an incident: (performer, change number, state, when, answer or error)."""
    yield from connection.execute(
        "SELECT performer, number, state, sent_at, coalesce(response, last_error) FROM outbox WHERE incident = ? ORDER BY id",
        (incident_id,),
    )


def liveness(connection: sqlite3.Connection) -> list[tuple[str, bool, int | None]]:
    """Return (node, whether it is silent, when it was last heard in UTC µs) of each node that the core knows."""
    rows = connection.execute("SELECT key, value FROM core_state WHERE tab = 'nodes' ORDER BY key")
    known = [(key, msgpack.unpackb(value)) for key, value in rows]
    return [(key, bool(value["silent"]), value["heard"] or None) for key, value in known]


def gaps(connection: sqlite3.Connection, limit: int = 20) -> list[tuple[str, str, int, int, str]]:
    """Return the newest gaps as (node, stream, first, last, reason)."""
    return list(connection.execute("SELECT node, stream, first, last, reason FROM gaps ORDER BY at DESC LIMIT ?", (limit,)))


def sink_cursor(connection: sqlite3.Connection, name: str) -> int | None:
    """Return how far a sink has read, None for one that never did."""
    row = connection.execute("SELECT cursor FROM sinks WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else None
