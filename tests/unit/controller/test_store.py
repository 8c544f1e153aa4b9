import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from controller.core.report import Change, IncidentReport
from controller.errors import PermanentError, TemporaryError
from controller.store import database, reading
from controller.store.database import migrations, open_database, open_readonly
from controller.store.errors import StoreBusyError, StoreFullError, StoreUnusableError
from controller.store.store import Store
from controller.store.transaction import Advance, Gap, OutboxRow, RejectRow, StateRow, Transaction
from tests.reports import events, one_incident, told

ROOT = Path(__file__).resolve().parents[3]
TABLES = ("streams", "log", "gaps", "core_state", "incidents", "incident_changes", "outbox", "sinks")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Return an open store in a directory that does not exist yet."""
    opened = await Store.open(tmp_path / "var" / "faultline.db")
    yield opened
    await opened.close()


def look(store: Store) -> sqlite3.Connection:
    """Return a second connection, as the command line has it."""
    return open_readonly(store.path)


def contents(store: Store) -> dict[str, list[Any]]:
    """Return all rows of all tables."""
    with closing(look(store)) as connection:
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}  # noqa: S608 - constants


def everything(number: int = 1) -> Transaction:
    """Return a transaction with a row of each sort."""
    report = one_incident()[0]
    return Transaction(
        at=number * 1_000_000,
        events=list(events()[:3]),
        rejects=[RejectRow("pve2", "s2", 9, 5, b"\xff\x00", "not msgpack")],
        gaps=[Gap("pve1", "s1", 4, 6, 7, "the spool was full")],
        advances=[Advance("pve1", "s1", 6, "boot", 7)],
        state=[StateRow("cells", "a|b", b"\x01"), StateRow("nodes", "pve1", b"\x02")],
        incidents=[report],
        outbox=[OutboxRow("webhook:chat", report.id, report.number, report.model_dump_json(), f"webhook-chat-{report.id}-{number}")],
    )


async def test_one_transaction_is_readable_everywhere(store: Store) -> None:
    """What one commit wrote is there for every reader, and the commit says how far the log now goes."""
    cursor = await store.commit(everything())
    report = one_incident()[0]

    assert cursor == await store.last_cursor() == 6
    assert await store.acked("pve1", "s1") == 6
    assert await store.acked("pve1", "other") == 0
    assert sorted(await store.load_state()) == [("cells", "a|b", b"\x01"), ("nodes", "pve1", b"\x02")]
    with closing(look(store)) as connection:
        assert [one.node for one in reading.streams(connection)] == ["pve1"]
        assert reading.incidents(connection, unresolved_only=True, limit=10) == [report]
        assert reading.changes(connection, report.id) == [report]
        assert reading.gaps(connection) == [("pve1", "s1", 4, 6, "the spool was full")]
        assert [(one.performer, one.pending, one.sent, one.dead) for one in reading.outbox(connection)] == [("webhook:chat", 1, 0, 0)]


async def test_log_keeps_bytes_and_order(store: Store) -> None:
    """The log holds each event's bytes as they came, and tells an incident after the events that it follows from."""
    await store.commit(everything())
    rows = await store.log_after(0, 100)

    assert [row.type for row in rows] == ["event", "event", "event", "reject", "gap", "incident"]
    assert [row.data for row in rows[:3]] == [event[-1] for event in events()[:3]]
    assert rows[3].data == b"\xff\x00"
    assert IncidentReport.model_validate_json(rows[5].data) == one_incident()[0]
    assert [row.cursor for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row.cursor for row in await store.log_after(4, 1)] == [5]


async def test_state_is_replaced_and_removed(store: Store) -> None:
    """A record of the core has its last value after a restart, and a removed one is gone."""
    await store.commit(Transaction(at=1, state=[StateRow("cells", "a", b"1"), StateRow("cells", "b", b"1")]))
    await store.commit(Transaction(at=2, state=[StateRow("cells", "a", b"2"), StateRow("cells", "b", None)]))
    again = await Store.open(store.path)

    assert list(await again.load_state()) == [("cells", "a", b"2")]
    await again.close()


async def test_incident_keeps_every_change(store: Store) -> None:
    """An incident stands as it was last told, and each of its changes can be read as it stood then."""
    for report in one_incident():
        await store.commit(Transaction(at=1, incidents=[report]))
    last = one_incident()[-1]

    with closing(look(store)) as connection:
        assert reading.changes(connection, last.id) == one_incident()
        assert reading.incident(connection, last.id[:6]) == last
        assert reading.incident(connection, "%") is None
        assert reading.incidents(connection, unresolved_only=True, limit=10) == []
        assert reading.incidents(connection, unresolved_only=False, limit=10) == [last]


async def test_what_must_be_told_is_told_once(store: Store) -> None:
    """A transaction that is written again (its commit's answer was lost) puts nothing into the outbox twice."""
    await store.commit(everything())
    await store.commit(everything())

    assert len(await store.pending("webhook:chat", 10)) == 1


async def test_pending_gives_the_oldest_change_of_each_incident(store: Store) -> None:
    """A performer is handed each incident's oldest untold change only, and of these the longest due first; never another's."""
    rows = [
        OutboxRow(who, report.id, report.number, report.model_dump_json(), f"{who}-{report.id}-{report.number}")
        for who in "ab"
        for report in told()
    ]
    await store.commit(Transaction(at=1, outbox=rows))
    first = await store.pending("a", 100)

    assert [(row.incident, row.number) for row in first] == [(report.id, 1) for report in told() if report.change is Change.OPENED]
    assert {row.performer for row in first} == {"a"}

    await store.mark_failed(first[0].id, 9_000_000, "no answer")
    await store.mark_sent(first[1].id, 5, "HTTP 204")
    await store.mark_dead(first[2].id, "gone")
    then = await store.pending("a", 100)

    assert [(row.incident, row.number) for row in then[-1:]] == [(first[0].incident, 1)], "what waits is last"
    assert {(row.incident, row.number) for row in then} >= {(first[1].incident, 2), (first[2].incident, 2)}
    with closing(look(store)) as connection:
        assert next(reading.told(connection, first[1].incident)) == ("a", 1, "sent", 5, "HTTP 204")
        assert reading.outbox(connection)[0].last_error == "gone"


async def limit(store: Store, more: int) -> None:
    """Let the database grow by so many pages only, as if its disk were full then."""

    def work() -> None:
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count = {pages + more}").fetchall()

    await store._run(work)


async def test_full_disk_writes_nothing_and_passes(store: Store) -> None:
    """Without room a commit fails as a temporary error and leaves no row of it anywhere; with room again it succeeds."""
    await store.commit(everything())
    before = contents(store)
    await limit(store, 1)
    large = everything(2)
    large.events = [("event", "pve1", "k", 1, 1, bytes(2000))] * 100

    with pytest.raises(StoreFullError, match="make room") as caught:
        await store.commit(large)
    assert isinstance(caught.value, TemporaryError)
    assert contents(store) == before

    await limit(store, 10_000)
    assert await store.commit(large) == 6 + 103
    assert [row.cursor for row in await store.log_after(0, 1000)] == list(range(1, 110)), "a refused commit leaves no hole"


COMMITS = """
import asyncio, sys
from pathlib import Path
from controller.store.store import Store
from controller.store.transaction import Advance, StateRow, Transaction

async def main():
    store = await Store.open(Path(sys.argv[1]))
    seq = await store.acked("pve1", "s")
    while True:
        rows = [("event", "pve1", "k", seq + n, 1, bytes(300)) for n in range(1, 201)]
        seq += 200
        state = [StateRow("sum", "seq", str(seq).encode())]
        await store.commit(Transaction(at=seq, events=rows, advances=[Advance("pve1", "s", seq, "b", seq)], state=state))
        print(seq, flush=True)

asyncio.run(main())
"""


def test_kill_loses_no_commit_and_halves_none(tmp_path: Path) -> None:
    """Killed at any moment, the store has every commit that was confirmed, and of each the events, the state and the ack together."""
    path, chance = tmp_path / "faultline.db", random.Random(7)
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", COMMITS, path], cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            first = child.stdout.readline()
            time.sleep(chance.uniform(0.0, 0.1))  # the moment of the kill is the test's dice, nothing is waited for
            child.send_signal(signal.SIGKILL)
            confirmed = int((first + child.stdout.read()).split()[-1])
        with closing(open_database(path)) as connection:
            acked = reading.acked(connection, "pve1", "s")
            assert acked >= confirmed > 0
            assert reading.last_cursor(connection) == acked
            assert connection.execute("SELECT count(*), max(at) FROM log").fetchone() == (acked, acked)
            assert reading.core_state(connection) == [("sum", "seq", str(acked).encode())]
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_nobody_else_uses_the_writers_connection(store: Store) -> None:
    """Python itself refuses a second thread in the writer's connection: there each would take the other's errors for its own."""
    with pytest.raises(sqlite3.ProgrammingError, match="same thread"):
        store._connection.execute("SELECT 1")


def test_every_commit_is_synced(tmp_path: Path) -> None:
    """The writer's connection is in WAL mode and syncs each commit: an ack to an agent outlives a power cut."""
    with closing(open_database(tmp_path / "faultline.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_reader_cannot_write(tmp_path: Path) -> None:
    """The command line's connection can change nothing."""
    open_database(tmp_path / "faultline.db").close()

    with closing(open_readonly(tmp_path / "faultline.db")) as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM log")


async def test_reader_does_not_hold_up_the_writer(store: Store) -> None:
    """A command that reads for long sees one moment, while commits go on."""
    await store.commit(everything())
    with closing(look(store)) as connection:
        connection.execute("BEGIN")
        before = reading.last_cursor(connection)
        await asyncio.wait_for(store.commit(everything(2)), 5)

        assert reading.last_cursor(connection) == before
        connection.execute("COMMIT")
        assert reading.last_cursor(connection) == before + 6


def version(path: Path, number: int) -> None:
    """Set a database's schema version."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {number}")


@pytest.mark.parametrize("opened", [open_database, open_readonly])
def test_newer_database_is_refused(tmp_path: Path, opened: Any) -> None:
    """A database of a newer version is left alone, and the error says what to do; trying again cannot help."""
    path = tmp_path / "faultline.db"
    open_database(path).close()
    version(path, len(migrations()) + 1)

    with pytest.raises(StoreUnusableError, match=r"faultline\.db: schema \d+ is newer.*install the newer") as caught:
        opened(path)
    assert isinstance(caught.value, PermanentError)


def test_older_database_is_not_read_before_it_is_migrated(tmp_path: Path) -> None:
    """A command cannot read a schema that it does not know, and says who brings it up to date."""
    path = tmp_path / "faultline.db"
    open_database(path).close()
    version(path, 0)
    with closing(sqlite3.connect(path)) as connection:
        for table in TABLES:
            connection.execute(f"DROP TABLE {table}")

    with pytest.raises(StoreUnusableError, match="start the controller"):
        open_readonly(path)


def test_foreign_files_are_left_as_they_are(tmp_path: Path) -> None:
    """Another program's database and a file that is none are refused by name, and not a byte of them changes."""
    other, text = tmp_path / "other.db", tmp_path / "notes.txt"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE songs (name)")
    text.write_bytes(b"this is not a database, but a text that is long enough to be taken for one " * 20)

    for path, reason in ((other, "another program"), (text, "not a database")):
        before = path.read_bytes()
        with pytest.raises(StoreUnusableError, match=f"{path.name}: .*{reason}"):
            open_database(path)
        assert path.read_bytes() == before


async def test_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """When the database's directory cannot be made the error names it, as an error of the store."""
    (tmp_path / "var").write_text("a file, where a directory should be")

    with pytest.raises(StoreUnusableError, match=r"faultline\.db: its directory cannot be made"):
        await Store.open(tmp_path / "var" / "faultline.db")


def test_failed_migration_leaves_nothing(tmp_path: Path) -> None:
    """A migration that fails half-way is undone whole: the next start tries it again from the same state."""
    with closing(open_database(tmp_path / "faultline.db")) as connection:
        number = len(migrations()) + 1
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            database._migrate(connection, number, "CREATE TABLE extra (a); -- one;\nCREATE TABLE log (a);\n")

        assert connection.execute("PRAGMA user_version").fetchone() == (number - 1,)
        assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'extra'").fetchone() == (0,)
        database._migrate(connection, number, "CREATE TABLE extra (a);\nINSERT INTO extra VALUES ('; --');\n")
        assert connection.execute("SELECT a FROM extra").fetchall() == [("; --",)]


def test_two_that_open_at_once_migrate_once(tmp_path: Path) -> None:
    """Controllers that start at the same time on a new file migrate it once; who loses a lock is told that it may try again."""

    def start(_: int) -> bool:
        try:
            with closing(open_database(tmp_path / "faultline.db")) as connection:
                return bool(connection.execute("SELECT count(*) = 0 FROM log").fetchone()[0])
        except StoreBusyError:
            return False

    with ThreadPoolExecutor(4) as pool:
        assert any(pool.map(start, range(4)))
    assert start(0)
