import asyncio
import base64
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from structlog.testing import capture_logs

from controller.core.report import IncidentReport
from controller.notify.base import Message
from controller.notify.drain import FIRST_PAUSE, LONGEST_PAUSE, Drain, backoff
from controller.notify.webhook import WebhookNotifier
from controller.store.database import open_readonly
from controller.store.store import Store
from controller.store.transaction import OutboxRow, Transaction
from tests.receivers import Answer, Close, Hang, HttpReceiver
from tests.reports import one_incident, told

NAME = "webhook:chat"
KEY = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
GIVE_UP = 7200.0
BEGIN = 1_700_000_000_000_000


class Clock:
    """Time that only passes when told."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> int:
        """Return UTC µs."""
        return self.now

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.now += int(seconds * 1_000_000)

    @property
    def passed(self) -> float:
        """Return the seconds since the beginning."""
        return (self.now - BEGIN) / 1_000_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Return an open, empty store."""
    opened = await Store.open(tmp_path / "faultline.db")
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands."""
    return Clock()


async def never() -> None:
    """Wait for ever."""
    await asyncio.Event().wait()


@asynccontextmanager
async def notifier(receiver: HttpReceiver, patience: float = 5.0) -> AsyncIterator[WebhookNotifier]:
    """Return a webhook notifier for a receiver."""
    made = WebhookNotifier(receiver.url, [KEY], patience, None, "test")
    yield made
    await made.close()


def drain(store: Store, clock: Callable[[], int], to: Any, name: str = NAME, wait: Callable[[], Awaitable[None]] = never) -> Drain:
    """Return what delivers, giving up after two hours."""
    return Drain(name, to, store, GIVE_UP, clock, wait, Random(1), retry=0.02)


async def put(store: Store, reports: Sequence[IncidentReport], clock: Clock, name: str = NAME) -> None:
    """Put reports into the outbox, as the engine does."""
    rows = [OutboxRow(name, one.id, one.number, one.model_dump_json(), f"{name}:{one.id}:{one.number}") for one in reports]
    await store.commit(Transaction(at=clock(), incidents=list(reports), outbox=rows))


async def work(sender: Drain, clock: Clock, done: Callable[[], bool], most: float = 2 * GIVE_UP) -> None:
    """Let a drain work, time passing as fast as it waits, until something is so."""
    while not done():
        clock.pass_by(await sender.once())
        assert clock.passed < most, "waited longer than promised"


def rows(store: Store) -> list[Any]:
    """Return (incident, number, state, attempts) of all rows of the outbox."""
    return asked(store, "SELECT incident, number, state, attempts FROM outbox ORDER BY id")


def asked(store: Store, sql: str) -> list[Any]:
    """Ask over another connection: the store's own belongs to its thread."""
    with closing(open_readonly(store.path)) as connection:
        return connection.execute(sql).fetchall()


def settled(store: Store) -> Callable[[], bool]:
    """Return a condition: nothing is still to be told."""
    return lambda: all(row[2] != "pending" for row in rows(store))


def ids(receiver: HttpReceiver) -> list[str]:
    """Return the webhook ids that a receiver got, in order."""
    return [call.headers["webhook-id"] for call in receiver.calls]


def expected(reports: Sequence[IncidentReport]) -> list[str]:
    """Return the webhook ids that reports must have."""
    return [f"{NAME}:{one.id}:{one.number}" for one in reports]


async def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


async def test_a_failed_delivery_is_tried_again_under_the_same_id(store: Store, clock: Clock) -> None:
    """A receiver that answers 500 once gets every change, in order, the failed one twice with the same id and body."""
    changes = one_incident()
    await put(store, changes, clock)
    with HttpReceiver(Answer(500)) as receiver:
        async with notifier(receiver) as to:
            await work(drain(store, clock, to), clock, settled(store))

    assert ids(receiver) == expected([changes[0], *changes])
    assert receiver.calls[0].body == receiver.calls[1].body == changes[0].model_dump_json().encode()
    assert rows(store) == [(one.id, one.number, "sent", 2 if one.number == 1 else 1) for one in changes]


async def test_a_defect_is_a_failed_delivery(store: Store, clock: Clock) -> None:
    """What fails by what nobody expected is tried again, is a dead letter at last, with that reason, and never ends the controller."""
    changes = one_incident()
    await put(store, changes, clock)

    class Defect:
        """A notifier that cannot render the first change."""

        def __init__(self, to: WebhookNotifier) -> None:
            self._to = to

        async def send(self, message: Message) -> str:
            """Fail, or send."""
            if message.report.number == changes[0].number:
                raise KeyError("no such cause")
            return await self._to.send(message)

    with HttpReceiver() as receiver:
        async with notifier(receiver) as to:
            with capture_logs() as logs:
                await work(drain(store, clock, Defect(to)), clock, settled(store))

    assert ids(receiver) == expected(changes[1:])
    assert [row[2] for row in rows(store)] == ["dead", *["sent"] * (len(changes) - 1)]
    assert rows(store)[0][3] > 10
    assert "KeyError: 'no such cause'" in next(one["reason"] for one in logs if one["event"] == "dead letter")


async def test_hanging_and_broken_connections_are_failures(store: Store, clock: Clock) -> None:
    """A receiver that hangs, then breaks off, then works: all is delivered, each change under its one id."""
    changes = one_incident()
    await put(store, changes, clock)
    with HttpReceiver(Hang(), Close()) as receiver:
        async with notifier(receiver, patience=0.3) as to:
            await work(drain(store, clock, to), clock, settled(store))

    assert ids(receiver) == expected([changes[0], changes[0], *changes])
    assert {state for _, _, state, _ in rows(store)} == {"sent"}


async def test_receiver_gone_for_an_hour_loses_nothing(store: Store, clock: Clock) -> None:
    """After an hour of refused connections each change of each incident arrives once, in its incident's order, within minutes."""
    await put(store, told(), clock)
    with HttpReceiver() as receiver:
        async with notifier(receiver) as to:
            sender = drain(store, clock, to)
            receiver.stop()
            await work(sender, clock, lambda: clock.passed >= 3600)
            attempts = sum(row[3] for row in rows(store))
            receiver.start()
            await work(sender, clock, settled(store), most=3600 + LONGEST_PAUSE + 5)

    assert attempts > 50
    assert sorted(ids(receiver)) == sorted(expected(told()))
    for identity in {one.id for one in told()}:
        assert [one for one in ids(receiver) if f":{identity}:" in one] == expected([one for one in told() if one.id == identity])


async def test_restart_in_the_middle_repeats_at_most_what_was_under_way(store: Store, clock: Clock) -> None:
    """What was being sent when the controller ended is sent again under the same id; what was sent before is not."""
    changes = one_incident()
    await put(store, changes, clock)
    with HttpReceiver(Answer(), Hang()) as receiver:
        async with notifier(receiver, patience=60) as to:
            running = asyncio.create_task(drain(store, clock, to).run())
            await eventually(lambda: len(receiver.calls) == 2)
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
        again = await Store.open(store.path)
        async with notifier(receiver) as to:
            await work(drain(again, clock, to), clock, settled(again))
        await again.close()

    assert ids(receiver) == expected([*changes[:2], *changes[1:]])


async def test_no_later_change_overtakes(store: Store, clock: Clock) -> None:
    """While an incident's change cannot be delivered its next ones wait, and those of other incidents do not."""
    first, other = one_incident(), next(one for one in told() if one.id != one_incident()[0].id)
    await put(store, [*first, other], clock)
    with HttpReceiver(Answer(503)) as receiver:
        async with notifier(receiver) as to:
            sender = drain(store, clock, to)
            await sender.once()
            assert ids(receiver) == expected([first[0], other])
            await work(sender, clock, settled(store))

    assert ids(receiver) == expected([first[0], other, *first])


async def test_dead_letter_after_its_time(store: Store, clock: Clock) -> None:
    """A change that could not be delivered in time becomes a dead letter that stays on record, and the next change gets its turn."""
    changes = one_incident()[:2]
    await put(store, changes, clock)
    with HttpReceiver(*[Answer(500)] * 5000) as receiver:
        async with notifier(receiver) as to:
            sender = drain(store, clock, to)
            await work(sender, clock, lambda: rows(store)[0][2] == "dead")
            assert GIVE_UP <= clock.passed <= GIVE_UP + LONGEST_PAUSE
            receiver.script.clear()
            await work(sender, clock, settled(store))

    assert [row[2] for row in rows(store)] == ["dead", "sent"]
    assert asked(store, "SELECT last_error FROM outbox")[0][0].endswith("attempts: HTTP 500")


async def test_what_waited_too_long_is_still_tried(store: Store, clock: Clock) -> None:
    """A controller that was off for longer than it would try still tries once: off is not undeliverable."""
    await put(store, one_incident(), clock)
    clock.pass_by(3 * GIVE_UP)
    with HttpReceiver() as receiver:
        async with notifier(receiver) as to:
            await work(drain(store, clock, to), clock, settled(store), most=4 * GIVE_UP)

    assert ids(receiver) == expected(one_incident())


async def test_a_clock_that_is_set_back_delays_nothing(store: Store, clock: Clock) -> None:
    """What was put off while the clock was hours ahead is tried at once when it is right again."""
    clock.pass_by(5 * GIVE_UP)
    await put(store, one_incident()[:1], clock)
    with HttpReceiver(Answer(503)) as receiver:
        async with notifier(receiver) as to:
            sender = drain(store, clock, to)
            await sender.once()
            clock.pass_by(-5 * GIVE_UP)
            await sender.once()

    assert [row[2:] for row in rows(store)] == [("sent", 2)]


async def test_a_clock_that_is_set_forward_gives_nothing_up(store: Store, clock: Clock) -> None:
    """A notice that failed once before the clock jumped by a day has not been tried for a day: it gets its attempts."""
    await put(store, one_incident()[:1], clock)
    with HttpReceiver(Answer(503), Answer(503)) as receiver:
        async with notifier(receiver) as to:
            sender = drain(store, clock, to)
            await sender.once()
            clock.pass_by(12 * GIVE_UP)
            await work(sender, clock, settled(store), most=13 * GIVE_UP)

    assert [row[2:] for row in rows(store)] == [("sent", 3)]


async def test_gone_for_good_is_not_tried_again(store: Store, clock: Clock) -> None:
    """410 Gone makes a dead letter at once (Standard Webhooks: stop sending)."""
    await put(store, one_incident()[:1], clock)
    with HttpReceiver(Answer(410)) as receiver:
        async with notifier(receiver) as to:
            await work(drain(store, clock, to), clock, settled(store))

    assert [row[2:] for row in rows(store)] == [("dead", 1)]
    assert clock.passed < 10


@pytest.mark.parametrize("form", ["120", "date"])
@pytest.mark.parametrize("status", [429, 503])
async def test_receiver_says_when(store: Store, clock: Clock, status: int, form: str) -> None:
    """A receiver that names a time, in seconds or as a date, is left alone until then, and not for much longer."""
    when = form if form == "120" else format_datetime(datetime.fromtimestamp(clock() / 1_000_000 + 120, UTC), usegmt=True)
    await put(store, one_incident()[:1], clock)
    with HttpReceiver(Answer(status, {"Retry-After": when})) as receiver:
        async with notifier(receiver) as to:
            sender = drain(store, clock, to)
            await work(sender, clock, lambda: clock.passed >= 119)
            assert len(receiver.calls) == 1
            await work(sender, clock, settled(store), most=126)

    assert len(receiver.calls) == 2


async def test_pauses_grow_and_are_spread(store: Store, clock: Clock) -> None:
    """The bound of the pause doubles up to five minutes, and pauses lie anywhere below it: no two receivers' retries march in step."""
    assert [backoff(attempts) for attempts in range(4)] == [1.0, 2.0, 4.0, 8.0]
    assert backoff(1000) == LONGEST_PAUSE
    await put(store, one_incident()[:1], clock)
    with HttpReceiver(*[Answer(500)] * 40) as receiver:
        async with notifier(receiver) as to:
            sender, last = drain(store, clock, to), clock.passed
            pauses: list[float] = []
            while len(pauses) < 40:
                before = len(receiver.calls)
                clock.pass_by(await sender.once())
                if len(receiver.calls) > before:
                    pauses.append(clock.passed - last)
                    last = clock.passed

    assert all(pause <= backoff(number) + 5 for number, pause in enumerate(pauses))
    late = pauses[12:]
    assert min(late) < 0.3 * LONGEST_PAUSE
    assert max(late) > 0.7 * LONGEST_PAUSE
    assert FIRST_PAUSE == 1.0


async def test_one_hanging_receiver_delays_no_other(store: Store, clock: Clock) -> None:
    """While one receiver takes everything and never answers, another gets its notices at once."""
    await put(store, one_incident(), clock, "webhook:stuck")
    await put(store, one_incident(), clock)
    with HttpReceiver(*[Hang()] * 10) as stuck, HttpReceiver() as well:
        async with notifier(stuck, patience=60) as to_stuck, notifier(well) as to_well, asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(drain(store, clock, to_stuck, "webhook:stuck").run()),
                tasks.create_task(drain(store, clock, to_well).run()),
            ]
            await eventually(lambda: bool(stuck.calls))
            await eventually(lambda: len(well.calls) == len(one_incident()), seconds=3)
            for task in running:
                task.cancel()

    assert ids(well) == expected(one_incident())


async def test_new_rows_are_told_at_once(store: Store, clock: Clock) -> None:
    """A change that is committed while the drain sleeps is told without waiting for its next look."""
    stored = asyncio.Event()

    async def wait() -> None:
        await stored.wait()
        stored.clear()

    with HttpReceiver() as receiver:
        async with notifier(receiver) as to, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(drain(store, clock, to, wait=wait).run())
            for number, report in enumerate(one_incident(), 1):
                await put(store, [report], clock)
                stored.set()
                await eventually(lambda number=number: len(receiver.calls) == number, seconds=2)  # type: ignore[misc]
            running.cancel()


async def test_delivered_but_not_noted_is_not_told_again(store: Store, clock: Clock) -> None:
    """While the store cannot note a delivery nothing is sent twice; it is noted as soon as that works."""
    await put(store, one_incident()[:1], clock)
    await store._run(lambda: store._connection.execute("PRAGMA busy_timeout = 10").fetchall())
    tried: list[str] = []
    await store._run(lambda: store._connection.set_trace_callback(tried.append))
    with HttpReceiver() as receiver, closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        async with notifier(receiver) as to, asyncio.TaskGroup() as tasks:
            other.execute("BEGIN IMMEDIATE")
            with capture_logs() as logs:
                running = tasks.create_task(drain(store, clock, to).run())
                await eventually(lambda: any("cannot note" in entry["event"] for entry in logs))
                await eventually(lambda: sum(one.startswith("UPDATE outbox") for one in tried) > 5)
            assert (len(receiver.calls), rows(store)[0][2]) == (1, "pending")
            other.execute("COMMIT")
            await eventually(lambda: rows(store)[0][2] == "sent")
            running.cancel()

    assert len(receiver.calls) == 1
    assert len([entry for entry in logs if "cannot note" in entry["event"]]) == 1


async def test_row_of_another_version_is_a_dead_letter(store: Store, clock: Clock) -> None:
    """A row that this version cannot read ends as a dead letter and not the controller; what follows is told."""
    changes = one_incident()[:2]
    await put(store, changes, clock)
    await store._execute("UPDATE outbox SET payload = ? WHERE number = 1", ('{"type":"incident","future":true}',))
    with HttpReceiver() as receiver:
        async with notifier(receiver) as to:
            await work(drain(store, clock, to), clock, settled(store))

    assert [row[2] for row in rows(store)] == ["dead", "sent"]
    assert ids(receiver) == expected(changes[1:])


async def test_notices_for_a_removed_notifier_are_given_up(store: Store, clock: Clock) -> None:
    """What waits for a notifier that is no longer configured ends as a dead letter; the others' notices stay."""
    changes = one_incident()[:2]
    await put(store, changes, clock)

    await store.keep_performers({NAME})
    assert [row[2] for row in rows(store)] == ["pending", "pending"]
    await store.keep_performers({"email:oncall"})
    assert asked(store, "SELECT state, last_error FROM outbox") == [("dead", "no longer configured")] * 2


async def test_the_same_trouble_is_logged_once(store: Store, clock: Clock) -> None:
    """A receiver that fails the same way for hours makes one line when it begins and one when it is over."""
    await put(store, one_incident()[:1], clock)
    with HttpReceiver(*[Answer(500)] * 30) as receiver, capture_logs() as logs:
        async with notifier(receiver) as to:
            await work(drain(store, clock, to), clock, settled(store))

    assert [entry["event"] for entry in logs] == ["cannot deliver, trying again", "delivering again"]
