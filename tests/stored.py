"""What a controller's store holds, read beside it while it runs: events as they arrived, incidents as they were told."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from controller.core.report import IncidentReport
from events.base import Event
from events.codec import decode
from events.envelope import Envelope, UnknownEvent


@dataclass(frozen=True, slots=True)
class Arrived:
    """An event that the controller stored; ``at`` by this host's clock, Unix seconds."""

    at: float
    node: str
    event: Event | UnknownEvent

    @property
    def kind(self) -> str:
        """The event's kind."""
        return self.event.kind

    @property
    def subject(self) -> str:
        """What it is about, empty for a kind that is not known here."""
        return "" if isinstance(self.event, UnknownEvent) else str(self.event.subject)


@dataclass(frozen=True, slots=True)
class Told:
    """A change of an incident; ``at`` as :class:`Arrived`."""

    at: float
    report: IncidentReport


@dataclass(frozen=True, slots=True)
class Stored:
    """The log of a controller's store at ``path``; empty while the controller has not made it."""

    path: Path

    def cursor(self) -> int:
        """Return how far the log is."""
        with closing(self._open()) as connection:
            return int(connection.execute("SELECT ifnull(max(cursor), 0) FROM log").fetchone()[0])

    def since(self, cursor: int) -> tuple[list[Arrived], list[Told], int]:
        """Return what was stored behind a cursor, and the new cursor."""
        with closing(self._open()) as connection:
            rows = connection.execute(
                "SELECT cursor, type, stored_at, data FROM log WHERE cursor > ? ORDER BY cursor", (cursor,)
            ).fetchall()
        arrived, told = [], []
        for _, kind, at, data in rows:
            if kind == "event":
                envelope = decode(bytes(data))
                arrived.append(Arrived(at / 1e6, envelope.node, envelope.event))
            elif kind == "incident":
                told.append(Told(at / 1e6, IncidentReport.model_validate_json(data)))
        return arrived, told, rows[-1][0] if rows else cursor

    def envelopes(self) -> list[tuple[int, Envelope]]:
        """Return all events with the time at which they were stored, UTC µs."""
        with closing(self._open()) as connection:
            rows = connection.execute("SELECT stored_at, data FROM log WHERE type = 'event' ORDER BY cursor").fetchall()
        return [(at, decode(bytes(data))) for at, data in rows]

    def _open(self) -> sqlite3.Connection:
        with suppress(sqlite3.Error):
            connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
            try:
                connection.execute("SELECT 1 FROM log LIMIT 1")
            except sqlite3.Error:
                connection.close()
                raise
            return connection
        empty = sqlite3.connect(":memory:")
        empty.execute("CREATE TABLE log (cursor INTEGER, type TEXT, stored_at INTEGER, data BLOB)")
        return empty
