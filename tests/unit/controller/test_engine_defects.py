"""What a defect of the core costs: the event with which it fails, and never the controller."""

import asyncio
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import pytest
from structlog.testing import capture_logs

import controller.engine
from controller.core.correlate import Input, Tick, take
from controller.core.state import CoreState
from controller.core.timings import Timings
from controller.engine import Engine
from controller.ingest import Delivery
from controller.store.database import open_readonly
from controller.store.store import Store
from events.codec import decode
from events.envelope import Envelope
from tests.reports import events

COUNT = 120
Raw = tuple[int, bytes, Envelope]


def items() -> list[Raw]:
    """Return real events under sequences of their own."""
    found = [(one[-1], decode(one[-1])) for one in events()]
    return [(seq, data, one) for seq, (data, one) in enumerate(found[:COUNT], 1) if isinstance(one, Envelope)]


class Outcome(NamedTuple):
    """What an engine acknowledged, its stored state, what it rejected, and the gaps."""

    acked: int
    state: dict[tuple[str, str], Any]
    rejects: list[tuple[str, bytes]]
    gaps: list[tuple[int, int]]


async def deliver(folder: Path, taken: list[Raw]) -> Outcome:
    """Let an engine take events as one delivery behind a gap."""
    store = await Store.open(folder / "faultline.db")
    now = max(one.observed_at for _, _, one in items())
    engine = Engine(store, "pve", Timings(), {}, lambda: now)
    await engine.load()
    running = asyncio.create_task(engine.run())
    accepted = asyncio.ensure_future(engine.accept(Delivery("pve1", "stream", "boot", tuple(taken), taken[-1][0], (100_000, 100_001))))
    try:
        await asyncio.wait([running, accepted], return_when=asyncio.FIRST_COMPLETED, timeout=60)
        if running.done():
            running.result()
        state = {(table, key): msgpack.unpackb(value) for table, key, value in await store.load_state()}
        with closing(open_readonly(store.path)) as connection:
            rejects = connection.execute("SELECT node, data FROM log WHERE type = 'reject'").fetchall()
            gaps = connection.execute("SELECT first, last FROM gaps").fetchall()
        return Outcome(accepted.result(), state, rejects, gaps)
    finally:
        for one in (running, accepted):
            one.cancel()
            with suppress(asyncio.CancelledError, KeyError):
                await one
        await store.close()


def failing(fails: Callable[[Input], bool]) -> Callable[..., None]:
    """Return a core that takes in nothing of what ``fails`` names, for a reason that nobody expected."""

    def taking(state: CoreState, item: Input, now: int, timings: Timings) -> None:
        if fails(item):
            raise KeyError("no such cell \udcff")  # a text that UTF-8 does not have
        take(state, item, now, timings)

    return taking


async def test_events_with_which_the_core_fails_are_kept_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are acknowledged and stored as they came, each is named in the log, and all others count as if they had never come."""
    everything = items()
    bad = [everything[place] for place in (0, 60, 61, COUNT - 1)]
    for name in ("well", "defect"):
        (tmp_path / name).mkdir()
    expected = await deliver(tmp_path / "well", [one for one in everything if one not in bad])
    monkeypatch.setattr(controller.engine, "take", failing(lambda item: any(item is one[2] for one in bad)))
    with capture_logs() as logs:
        found = await deliver(tmp_path / "defect", everything)

    assert found.acked == everything[-1][0]
    assert found.rejects == [("pve1", one[1]) for one in bad]
    assert found.gaps == [(100_000, 100_001)]
    assert len(found.state) > 20
    assert found.state == expected.state
    unread = [one for one in logs if one["event"] == "event cannot be read, kept as it is"]
    assert [one["seq"] for one in unread] == [one[0] for one in bad]
    assert {one["reason"] for one in unread} == {"the controller fails with it: KeyError: 'no such cell \\udcff'"}


async def test_a_verdict_that_fails_blames_no_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is acknowledged and nothing called unreadable: the controller ends, and agents keep what they have."""

    def failed(*_: Any) -> None:
        raise KeyError("no such incident")

    monkeypatch.setattr(controller.engine, "look_when_due", failed)
    with pytest.raises(KeyError):
        await deliver(tmp_path, items())
    with closing(open_readonly(tmp_path / "faultline.db")) as connection:
        assert connection.execute("SELECT count(*) FROM log").fetchone() == (0,)


def test_time_alone_takes_in_nothing() -> None:
    """A tick changes no state by itself: whatever fails then is the verdict."""
    state = CoreState("pve")
    take(state, Tick(), 1, Timings())
    assert list(state.take_changes()) == []
