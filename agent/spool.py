"""The spool: events wait here, durably, until every controller has acknowledged them.

Events, their sequence, the source's cursor and the classifier's memory are committed together: after a crash the source goes
on exactly behind what is spooled. One thread owns the database; appends that wait while a commit runs share the next one
(group commit). What a full spool must drop is counted, and an event in the stream says exactly which sequences are gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Self, TypeVar

import msgpack
import structlog

from agent.errors import AgentError, PermanentError, TemporaryError
from events.agent import AgentSpoolDropped
from events.base import Event, Seen, Source
from events.codec import encode
from events.entity import Entity, EntityKind
from events.envelope import Envelope

log = structlog.get_logger()
T = TypeVar("T")

_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE spool (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE cursors (source TEXT PRIMARY KEY, cursor TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE memories (source TEXT PRIMARY KEY, memory BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE acks (controller TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE stream (id TEXT NOT NULL, last INTEGER NOT NULL, bytes INTEGER NOT NULL);
"""
_FIRST: Final = "INSERT INTO stream SELECT lower(hex(randomblob(16))), 0, 0;"
"""A new spool is a new stream, with an id that no other has."""
_TEMPORARY: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN}


class SpoolError(AgentError):
    """Root of the spool's errors."""


class SpoolFullError(SpoolError, TemporaryError):
    """The disk under the spool is full or fails. Nothing was written: keep what you have and try again."""


class SpoolDamagedError(SpoolError, PermanentError):
    """The spool's file is no spool of this version."""


@dataclass(frozen=True, slots=True)
class Observed:
    """An event with its times: ``at`` UTC µs, ``monotonic`` µs since the boot ``boot_id``."""

    event: Event
    at: int
    monotonic: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What the spool may hold: bytes of envelopes, and µs of age. The oldest go first."""

    bytes: int
    age: int


@dataclass(frozen=True, slots=True)
class Position:
    """The stream's id, the oldest sequence still held (last + 1 when none is) and the newest."""

    stream: str
    first: int
    last: int


@dataclass(slots=True)
class _Append:
    source: str
    events: Sequence[Observed]
    cursor: str | None
    memory: dict[str, Any] | None
    done: asyncio.Future[int]


@dataclass(slots=True)
class _Call:
    work: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]


@dataclass(slots=True)
class _Stream:
    """The stream's head, as committed."""

    id: str
    last: int
    bytes: int


class Spool:
    """An open spool. Use :meth:`open`. ``now`` returns UTC µs; ``name`` is (cluster, node) of the envelopes."""

    def __init__(self, path: Path, name: tuple[str, str], limits: Limits, now: Callable[[], int]) -> None:
        self.path = path
        self._cluster, self._node = name
        self._limits = limits
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._requests: SimpleQueue[_Append | _Call | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._appended = asyncio.Event()
        self._head = _Stream("", 0, 0)
        self._controllers: frozenset[str] = frozenset()

    @classmethod
    async def open(cls, path: Path, name: tuple[str, str], limits: Limits, now: Callable[[], int], controllers: Sequence[str]) -> Self:
        """Open or create; ``controllers`` are the names that must acknowledge before anything is forgotten.

        :raises SpoolFullError: when the disk fails.
        :raises SpoolDamagedError: when the file is damaged or of a newer version.
        """
        spool = cls(path, name, limits, now)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        spool._thread.start()
        await spool._opened
        await spool.configure(controllers)
        return spool

    async def close(self) -> None:
        """Finish what is queued and close."""
        self._requests.put(None)
        await asyncio.to_thread(self._thread.join, 5)

    # -- what the event loop calls ------------------------------------------------------------------------------------

    async def append(self, source: str, events: Sequence[Observed], cursor: str | None, memory: dict[str, Any] | None) -> int:
        """Make events durable together with their source's cursor and memory; return the last sequence.

        :raises SpoolFullError: when they could not be written; nothing was.
        """
        done: asyncio.Future[int] = self._loop.create_future()
        self._requests.put(_Append(source, events, cursor, memory, done))
        return await done

    async def read_after(self, seq: int, count: int, size: int) -> list[tuple[int, bytes]]:
        """Return envelopes behind a sequence, oldest first: at most ``count``, at most ``size`` bytes but at least one."""
        return await self._call(lambda connection: _read_after(connection, seq, count, size))

    async def acknowledge(self, controller: str, seq: int) -> None:
        """Note that a controller has everything up to ``seq``; forget what all controllers have."""
        await self._call(lambda connection: self._acknowledge(connection, controller, seq))

    async def configure(self, controllers: Sequence[str]) -> None:
        """Set which controllers count."""
        self._controllers = frozenset(controllers)
        await self._call(lambda connection: _keep_controllers(connection, self._controllers))

    async def cursor(self, source: str) -> str | None:
        """Return where a source goes on."""
        return await self._call(lambda connection: _one(connection, "SELECT cursor FROM cursors WHERE source = ?", source))

    async def memory(self, source: str) -> dict[str, Any] | None:
        """Return a classifier's memory."""
        blob = await self._call(lambda connection: _one(connection, "SELECT memory FROM memories WHERE source = ?", source))
        return None if blob is None else msgpack.unpackb(blob, strict_map_key=False)

    async def position(self) -> Position:
        """Return what the spool holds."""
        first = await self._call(lambda connection: _one(connection, "SELECT min(seq) FROM spool"))
        return Position(self._head.id, self._head.last + 1 if first is None else first, self._head.last)

    @property
    def stream(self) -> str:
        """The stream's id."""
        return self._head.id

    @property
    def last(self) -> int:
        """The newest durable sequence."""
        return self._head.last

    async def appended(self, seq: int) -> None:
        """Wait until there is a sequence behind ``seq``."""
        while self._head.last <= seq:
            self._appended.clear()
            await self._appended.wait()

    @property
    def alive(self) -> bool:
        """Whether the writing thread lives."""
        return self._thread.is_alive()

    async def _call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        done: asyncio.Future[T] = self._loop.create_future()
        self._requests.put(_Call(work, done))
        return await done

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            connection = _open(self.path)
            self._head = _Stream(*connection.execute("SELECT id, last, bytes FROM stream").fetchone())
        except (sqlite3.Error, OSError, SpoolError) as error:
            self._finish(self._opened, None, _translate(self.path, error))
            return
        self._finish(self._opened, None, None)
        with contextlib.closing(connection):
            while (request := self._requests.get()) is not None:
                if isinstance(request, _Call):
                    self._serve(connection, request)
                elif not self._commit_group(connection, self._group(connection, request)):
                    return

    def _group(self, connection: sqlite3.Connection, first: _Append) -> list[_Append]:
        """Take all appends that wait already; calls in between are served first, they do not depend on these."""
        group = [first]
        while not self._requests.empty() and len(group) < _GROUP:
            request = self._requests.get()
            if request is None:
                self._requests.put(None)
                break
            if isinstance(request, _Call):
                self._serve(connection, request)
            else:
                group.append(request)
        return group

    def _serve(self, connection: sqlite3.Connection, request: _Call) -> None:
        try:
            result = request.work(connection)
        except sqlite3.Error as error:
            _rollback(connection)
            self._finish(request.done, None, _translate(self.path, error))
        else:
            self._finish(request.done, result, None)

    def _commit_group(self, connection: sqlite3.Connection, group: list[_Append]) -> bool:
        """Commit appends as one transaction. Return False when the loop is gone and nobody waits any more."""
        head = _Stream(self._head.id, self._head.last, self._head.bytes)
        results: list[int] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for request in group:
                self._write(connection, head, request)
                results.append(head.last)
            self._bound(connection, head)
            connection.execute("UPDATE stream SET last = ?, bytes = ?", (head.last, head.bytes))
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            _rollback(connection)
            return all(self._finish(request.done, None, _translate(self.path, error)) for request in group)
        self._head = head
        self._later(self._appended.set)
        return all(self._finish(request.done, last, None) for request, last in zip(group, results, strict=True))

    def _write(self, connection: sqlite3.Connection, head: _Stream, request: _Append) -> None:
        rows = []
        for observed in request.events:
            head.last += 1
            data = self._envelope(head, observed)
            head.bytes += len(data)
            rows.append((head.last, observed.at, data))
        connection.executemany("INSERT INTO spool (seq, at, data) VALUES (?, ?, ?)", rows)
        if request.cursor is not None:
            connection.execute("INSERT OR REPLACE INTO cursors (source, cursor) VALUES (?, ?)", (request.source, request.cursor))
        if request.memory is not None:
            packed = msgpack.packb(request.memory)
            connection.execute("INSERT OR REPLACE INTO memories (source, memory) VALUES (?, ?)", (request.source, packed))

    def _envelope(self, head: _Stream, one: Observed) -> bytes:
        return encode(Envelope(self._cluster, self._node, one.boot_id, head.id, head.last, one.at, one.monotonic, one.event))

    def _bound(self, connection: sqlite3.Connection, head: _Stream) -> None:
        """Drop the oldest beyond the limits, and put an event into the stream that says which."""
        too_old, limit = 0, self._now() - self._limits.age
        if (_one(connection, "SELECT at FROM spool ORDER BY seq LIMIT 1") or limit) < limit:
            too_old = _one(connection, "SELECT max(seq) FROM spool WHERE at < ?", limit)
        last_dropped, freed = too_old, 0
        if head.bytes > self._limits.bytes:
            for seq, size in connection.execute("SELECT seq, length(data) FROM spool ORDER BY seq"):
                if head.bytes - freed <= self._limits.bytes * 9 // 10 and seq > too_old:
                    break
                last_dropped, freed = seq, freed + size
        if not last_dropped:
            return
        first = _one(connection, "SELECT min(seq) FROM spool")
        freed = _one(connection, "SELECT sum(length(data)) FROM spool WHERE seq <= ?", last_dropped) or 0
        connection.execute("DELETE FROM spool WHERE seq <= ?", (last_dropped,))
        head.bytes -= freed
        reason = "older than the spool's age" if last_dropped == too_old else "the spool was full"
        log.warning("events dropped before any controller had them", first=first, last=last_dropped, reason=reason)
        event = AgentSpoolDropped(
            subject=Entity(EntityKind.NODE, self._node), seen=Seen(source=Source.AGENT), first=first, last=last_dropped, reason=reason
        )
        head.last += 1
        data = self._envelope(head, Observed(event, self._now(), 0, "-"))
        head.bytes += len(data)
        connection.execute("INSERT INTO spool (seq, at, data) VALUES (?, ?, ?)", (head.last, self._now(), data))

    def _acknowledge(self, connection: sqlite3.Connection, controller: str, seq: int) -> None:
        seq = min(seq, self._head.last)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "INSERT INTO acks (controller, seq) VALUES (?, ?) ON CONFLICT (controller) DO UPDATE SET seq = max(seq, excluded.seq)",
            (controller, seq),
        )
        done = _one(connection, "SELECT min(seq) FROM acks") if self._controllers else 0
        freed = _one(connection, "SELECT sum(length(data)) FROM spool WHERE seq <= ?", done) or 0
        connection.execute("DELETE FROM spool WHERE seq <= ?", (done,))
        connection.execute("UPDATE stream SET bytes = bytes - ?", (freed,))
        connection.execute("COMMIT")
        self._head.bytes -= freed

    def _finish(self, done: asyncio.Future[T], result: T | None, error: AgentError | None) -> bool:
        def settle() -> None:
            if done.done():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)  # type: ignore[arg-type]

        return self._later(settle)

    def _later(self, call: Callable[[], object]) -> bool:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop is closed: nobody is left to be told
            return False
        return True


_GROUP: Final = 64
"""Most appends in one commit."""


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 16777216")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > _SCHEMA_VERSION:
        raise SpoolDamagedError(f"{path}: spool of version {version}, this Faultline writes {_SCHEMA_VERSION}: install the newer one again")
    if version == 0:
        connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}{_FIRST}PRAGMA user_version = {_SCHEMA_VERSION};COMMIT;")
    return connection


def _rollback(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _translate(path: Path, error: Exception) -> SpoolError:
    if isinstance(error, SpoolError):
        return error
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, OSError) or (code is not None and code & 0xFF in _TEMPORARY):
        return SpoolFullError(f"{path}: {error}: is the disk full? The journal keeps what is not spooled")
    return SpoolDamagedError(f"{path}: {error}")


def _one(connection: sqlite3.Connection, sql: str, *arguments: object) -> Any:
    row = connection.execute(sql, arguments).fetchone()
    return row[0] if row else None


def _read_after(connection: sqlite3.Connection, seq: int, count: int, size: int) -> list[tuple[int, bytes]]:
    rows: list[tuple[int, bytes]] = []
    for row in connection.execute("SELECT seq, data FROM spool WHERE seq > ? ORDER BY seq LIMIT ?", (seq, count)):
        size -= len(row[1])
        # A batch's sequences follow each other without a hole.
        if rows and (size < 0 or row[0] != rows[-1][0] + 1):
            break
        rows.append(row)
    return rows


def _keep_controllers(connection: sqlite3.Connection, controllers: frozenset[str]) -> None:
    """Forget acks of controllers that are configured no longer; new ones count from what is still held."""
    known = {row[0] for row in connection.execute("SELECT controller FROM acks")}
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("DELETE FROM acks WHERE controller = ?", [(name,) for name in known - controllers])
    connection.executemany("INSERT INTO acks (controller, seq) VALUES (?, 0)", [(name,) for name in controllers - known])
    connection.execute("COMMIT")
