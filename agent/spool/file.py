"""The spool's file: one SQLite database (WAL, every commit synced), used by one thread of one process.

Rules: events, their sequence, the source's cursor and the classifier's memory are committed together, so that after a crash the
source goes on exactly behind what is spooled. What a full spool must drop is told by an event in the stream, in the same commit.
An event that cannot be written is replaced by one that says so: it must not stop those behind it for ever.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from shutil import disk_usage
from typing import Any, Final

import msgpack
import structlog

from agent.spool.values import Entry, Limits, Observed, Position, SpoolDamagedError, SpoolError, SpoolForeignError, SpoolFullError
from events.agent import AgentJournalLost, AgentSpoolDropped
from events.base import Event, Seen, Source
from events.codec import decode, encode
from events.entity import Entity, EntityKind
from events.envelope import Envelope
from events.errors import CodecError

log = structlog.get_logger()

_VERSION: Final = 1
_SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE spool (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE cursors (source TEXT PRIMARY KEY, cursor TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE memories (source TEXT PRIMARY KEY, memory BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE acks (controller TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE stream (id TEXT NOT NULL, last INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO stream SELECT lower(hex(randomblob(16))), 0, 0;
PRAGMA user_version = {_VERSION};
COMMIT;
"""
"""A new spool is a new stream, with an id that no other has."""
_TEMPORARY: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}
_TAKEN: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_MEANWHILE: Final = "meanwhile the journal keeps what is not spooled"
RESERVE: Final = 16 * 1024 * 1024
"""Bytes of the disk that appending leaves free: forgetting needs some (the WAL and its checkpoint), or a spool that filled its
disk could never empty itself. And a monitor should not take the last room of a node."""
_CACHE: Final = 512
"""KiB of the file kept in memory: it is written and read in order, so that more helps nothing."""
_STEP: Final = 10_000
"""Envelopes forgotten in one commit, about 4 MB: what it writes must fit into the reserve."""
_INSERT: Final = "INSERT INTO spool (seq, at, data) VALUES (?, ?, ?)"
_TOGETHER: Final = 64
_INSERT_TOGETHER: Final = _INSERT + ", (?, ?, ?)" * (_TOGETHER - 1)
"""Many rows with one statement cost less than as many statements, and the event loop's thread is asked for the interpreter once."""
_KEPT: Final = (9, 10)
"""A spool that is too large is cut to nine tenths, so that the next event does not cut it again."""


@dataclass(slots=True)
class Head:
    """The stream's head: its id, the newest sequence and the bytes of all envelopes held."""

    stream: str
    last: int
    bytes: int


class SpoolFile:
    """An open spool file. ``name`` is (cluster, node) of the envelopes; ``now`` returns UTC µs.

    Every method raises :class:`sqlite3.Error`, which :func:`translate` makes ours; nothing is changed then.

    :raises SpoolForeignError: when the file is of a newer version or another program's.
    :raises SpoolDamagedError: when the file is damaged.
    """

    def __init__(self, path: Path, name: tuple[str, str], limits: Limits, now: Callable[[], int]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        self.path = path
        self._cluster, self._node = name
        self._limits = limits
        self._now = now
        self._connection = sqlite3.connect(path, timeout=2, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
            self.head = self._load()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def append(self, entries: Sequence[Entry]) -> list[int]:
        """Commit all entries at once; return the last sequence of each.

        :raises SpoolFullError: when the disk has no more room than the spool itself needs to get rid of what was acknowledged.
        """
        if (room := self._room()) < RESERVE:
            raise SpoolFullError(f"{self.path}: {room} bytes left on its disk, {RESERVE} are kept free: make room; {_MEANWHILE}")
        results = []
        with self._transaction() as head:
            for entry in entries:
                self._write(head, entry)
                results.append(head.last)
            self._bound(head)
        return results

    def acknowledge(self, controller: str, seq: int) -> None:
        """Note that a controller has everything up to a sequence; forget what all controllers have."""
        with self._transaction() as head:
            self._connection.execute("UPDATE acks SET seq = max(seq, ?) WHERE controller = ?", (min(seq, head.last), controller))
        done = self._one("SELECT min(seq) FROM acks") or 0
        while (first := self._one("SELECT min(seq) FROM spool WHERE seq <= ?", done)) is not None:
            with self._transaction() as head:
                self._forget(head, min(done, first + _STEP - 1))

    def configure(self, controllers: Sequence[str]) -> None:
        """Set which controllers must acknowledge. A new one gets what is still held; one that is gone holds nothing back."""
        known = {row[0] for row in self._connection.execute("SELECT controller FROM acks")}
        with self._transaction():
            gone = [(name,) for name in known - set(controllers)]
            self._connection.executemany("DELETE FROM acks WHERE controller = ?", gone)
            new = [(name,) for name in set(controllers) - known]
            self._connection.executemany("INSERT INTO acks (controller, seq) VALUES (?, 0)", new)

    def read_after(self, seq: int, count: int, size: int) -> list[tuple[int, bytes]]:
        """Return envelopes behind a sequence, without a hole: at most ``count``, at most ``size`` bytes but at least one."""
        rows: list[tuple[int, bytes]] = []
        for row in self._connection.execute("SELECT seq, data FROM spool WHERE seq > ? ORDER BY seq LIMIT ?", (seq, count)):
            size -= len(row[1])
            if rows and (size < 0 or row[0] != rows[-1][0] + 1):
                break
            rows.append(row)
        return rows

    def cursor(self, source: str) -> str | None:
        """Return where a source goes on."""
        found: str | None = self._one("SELECT cursor FROM cursors WHERE source = ?", source)
        return found

    def memory(self, source: str) -> dict[str, Any] | None:
        """Return a classifier's memory."""
        packed = self._one("SELECT memory FROM memories WHERE source = ?", source)
        return None if packed is None else msgpack.unpackb(packed, strict_map_key=False)

    def position(self) -> Position:
        """Return what is held."""
        first = self._one("SELECT min(seq) FROM spool")
        return Position(self.head.stream, self.head.last + 1 if first is None else first, self.head.last)

    def renew(self, stream: str, reason: str) -> None:
        """Go on as another stream, with all that is held, unless the stream is no longer ``stream``.

        For a file that is older than what a controller has of it (restored from a backup): its next sequences would name events
        that the controller has already. What is held may come twice then; the other way it would never come.
        """
        if self.head.stream != stream:
            return
        with self._transaction() as head:
            held = self._connection.execute("SELECT at, data FROM spool ORDER BY seq").fetchall()
            self._connection.execute("DELETE FROM spool")
            self._connection.execute("UPDATE acks SET seq = 0")
            head.stream, head.last, head.bytes = self._one("SELECT lower(hex(randomblob(16)))"), 0, 0
            for at, data in held:
                # What we cannot read any more would only have been rejected.
                with suppress(CodecError):
                    head.last += 1
                    self._insert(head, at, encode(decode(data)._replace(stream=head.stream, seq=head.last)))
            self._say(head, self._lost(reason))

    def tell(self, reason: str) -> None:
        """Append the event that something may be missing."""
        with self._transaction() as head:
            self._say(head, self._lost(reason))

    # -- how ----------------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Take the file for ourselves, check it, and lay it out when it is new."""
        # Exclusive: a second agent on the same file is told so, and the index of the WAL needs no file of its own.
        self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        version = self._one("PRAGMA user_version")
        if version > _VERSION:
            raise SpoolForeignError(
                f"{self.path}: spool of version {version}, this one writes {_VERSION}: install the newer one again, or move the file away"
            )
        if not version and self._one("SELECT count(*) FROM sqlite_schema"):
            raise SpoolForeignError(f"{self.path}: is another program's database: name another path in [spool]")
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA journal_size_limit = 16777216")
        self._connection.execute(f"PRAGMA cache_size = -{_CACHE}")
        if not version:
            self._connection.executescript(_SCHEMA)

    def _load(self) -> Head:
        if (found := self._one("PRAGMA quick_check(1)")) != "ok":
            raise SpoolDamagedError(f"{self.path}: {found}")
        row = self._connection.execute("SELECT id, last, bytes FROM stream").fetchone()
        newest = self._one("SELECT max(seq) FROM spool") or 0
        if row is None or newest > row[1]:
            raise SpoolDamagedError(f"{self.path}: holds sequence {newest}, which its head does not know")
        return Head(*row)

    def _room(self) -> int:
        """Return the bytes that are free on the disk and, when those are few, also within the file."""
        free = disk_usage(self.path.parent).free
        if free >= RESERVE:
            return free
        return free + int(self._one("PRAGMA freelist_count")) * int(self._one("PRAGMA page_size"))

    @contextmanager
    def _transaction(self) -> Iterator[Head]:
        """Commit what the body writes, with the head as the body leaves it; or nothing."""
        head = replace(self.head)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield head
            self._connection.execute("UPDATE stream SET id = ?, last = ?, bytes = ?", (head.stream, head.last, head.bytes))
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
            raise
        self.head = head

    def _write(self, head: Head, entry: Entry) -> None:
        at, rows = self._now(), []
        for observed in entry.events:
            head.last += 1
            data = self._envelope(head, observed)
            head.bytes += len(data)
            rows.append((head.last, at, data))
        whole = len(rows) // _TOGETHER * _TOGETHER
        for start in range(0, whole, _TOGETHER):
            self._connection.execute(_INSERT_TOGETHER, tuple(chain.from_iterable(rows[start : start + _TOGETHER])))
        self._connection.executemany(_INSERT, rows[whole:])
        if entry.cursor is not None:
            self._connection.execute("INSERT OR REPLACE INTO cursors (source, cursor) VALUES (?, ?)", (entry.source, entry.cursor))
        if entry.memory is not None:
            packed = msgpack.packb(entry.memory)
            self._connection.execute("INSERT OR REPLACE INTO memories (source, memory) VALUES (?, ?)", (entry.source, packed))

    def _envelope(self, head: Head, one: Observed) -> bytes:
        try:
            return encode(Envelope(self._cluster, self._node, one.boot_id, head.stream, head.last, one.at, one.monotonic, one.event))
        except (CodecError, ValueError, OverflowError) as error:
            log.error("event cannot be written, replaced by one that says so", kind=one.event.kind, error=str(error))
            lost = self._lost(f"an event {one.event.kind} could not be written: {type(error).__name__}", one.event.seen.source)
            return encode(Envelope(self._cluster, self._node, one.boot_id, head.stream, head.last, self._now(), 0, lost))

    def _lost(self, reason: str, source: Source = Source.AGENT) -> Event:
        return AgentJournalLost(subject=Entity(EntityKind.NODE, self._node), seen=Seen(source=source), reason=reason[:256])

    def _say(self, head: Head, event: Event) -> None:
        head.last += 1
        now = self._now()
        self._insert(head, now, self._envelope(head, Observed(event, now, 0, "-")))

    def _insert(self, head: Head, at: int, data: bytes) -> None:
        head.bytes += len(data)
        self._connection.execute(_INSERT, (head.last, at, data))

    def _bound(self, head: Head) -> None:
        """Drop the oldest beyond the limits, and put an event into the stream that says which."""
        last, reason = self._too_old(head), "older than the spool keeps them"
        if head.bytes > self._limits.bytes and (beyond := self._beyond_size(head)) > last:
            last, reason = beyond, "the spool was full"
        if not last:
            return
        first = self._one("SELECT min(seq) FROM spool")
        self._forget(head, last)
        log.warning("events dropped before every controller had them", first=first, last=last, reason=reason)
        subject = Entity(EntityKind.NODE, self._node)
        self._say(head, AgentSpoolDropped(subject=subject, seen=Seen(source=Source.AGENT), first=first, last=last, reason=reason))

    def _too_old(self, head: Head) -> int:
        """Return the last of the oldest sequences that were all spooled too long ago, 0 for none."""
        limit = self._now() - self._limits.age
        oldest = self._one("SELECT at FROM spool ORDER BY seq LIMIT 1")
        if oldest is None or oldest >= limit:
            return 0
        young = self._one("SELECT seq FROM spool WHERE at >= ? ORDER BY seq LIMIT 1", limit)
        return head.last if young is None else int(young) - 1

    def _beyond_size(self, head: Head) -> int:
        last, held = 0, head.bytes
        for seq, size in self._connection.execute("SELECT seq, length(data) FROM spool ORDER BY seq"):
            if held <= self._limits.bytes * _KEPT[0] // _KEPT[1]:
                break
            last, held = seq, held - size
        return last

    def _forget(self, head: Head, last: int) -> None:
        head.bytes -= self._one("SELECT sum(length(data)) FROM spool WHERE seq <= ?", last) or 0
        self._connection.execute("DELETE FROM spool WHERE seq <= ?", (last,))

    def _one(self, sql: str, *arguments: object) -> Any:
        row = self._connection.execute(sql, arguments).fetchone()
        return row[0] if row else None


def translate(path: Path, error: Exception) -> SpoolError:
    """Return our error for one of SQLite or the file system; it names the file and what to do."""
    if isinstance(error, SpoolError):
        return error
    if isinstance(error, OSError):
        return SpoolFullError(f"{path}: {error.strerror or error}: its directory must be writable for the agent")
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _TAKEN:
        return SpoolFullError(f"{path}: another process uses it: does another agent run?")
    if code in _TEMPORARY:
        return SpoolFullError(f"{path}: {error}: make room on its disk; {_MEANWHILE}")
    return SpoolDamagedError(f"{path}: {error}")
