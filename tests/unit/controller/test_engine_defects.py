"""What a defect of the core costs: the event with which it fails, and never the controller."""

import asyncio
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgpack
import pytest
from structlog.testing import capture_logs

import controller.engine
from controller.core.correlate import Heard, Input, Tick, step
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
    """Return real events of one node under sequences of their own."""
    found = [(one[-1], decode(one[-1])) for one in events()]
    return [(seq, data, one) for seq, (data, one) in enumerate(found[:COUNT], 1) if isinstance(one, Envelope)]


def delivery(taken: list[Raw]) -> Delivery:
    """Return them as one delivery, behind a gap."""
    return Delivery("pve1", "stream", "boot", tuple(taken), taken[-1][0], (100_000, 100_001))


class Defect:
    """A core that fails whenever ``fails`` says so of a state and what came; it has changed the state by then."""

    def __init__(self, fails: Callable[[CoreState, Input], bool]) -> None:
        self._fails = fails

    def __call__(self, state: CoreState, item: Input, now: int, timings: Timings) -> Any:
        """Do a step, and then fail."""
        result = step(state, item, now, timings)
        if self._fails(state, item):
            raise KeyError("no such cell")
        return result


async def take(folder: Path, taken: list[Raw]) -> tuple[int, dict[Any, Any], list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Let an engine take a delivery; return what it acknowledged, the stored state, what it rejected, and the gaps."""
    store = await Store.open(folder / "faultline.db")
    now = max(one.observed_at for _, _, one in taken)
    engine = Engine(store, "pve", Timings(), {}, lambda: now)
    await engine.load()
    running = asyncio.create_task(engine.run())
    accepted = asyncio.ensure_future(engine.accept(delivery(taken)))
    try:
        await asyncio.wait([running, accepted], return_when=asyncio.FIRST_COMPLETED, timeout=60)
        if running.done():
            running.result()
        state = {(table, key): msgpack.unpackb(value) for table, key, value in await store.load_state()}
        with closing(open_readonly(store.path)) as connection:
            rejects = connection.execute("SELECT node, data FROM log WHERE type = 'reject'").fetchall()
            gaps = connection.execute("SELECT first, last FROM gaps").fetchall()
        return accepted.result(), state, rejects, gaps
    finally:
        for one in (running, accepted):
            one.cancel()
            with suppress(asyncio.CancelledError, KeyError):
                await one
        await store.close()


def answers(state: dict[Any, Any]) -> dict[Any, Any]:
    """Return what each cell answers, and since when. What a verdict adds depends on how often it was asked for."""
    found = {key: (one["answer"], one["since"], one["broke"]) for (table, key), one in state.items() if table == "cells"}
    assert len(found) > 20
    return found


@pytest.mark.parametrize("place", [0, 77, COUNT - 1])
@pytest.mark.parametrize("when", ["taken", "judged"])
async def test_an_event_with_which_the_core_fails_is_kept_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int, when: str
) -> None:
    """It is acknowledged, stored as it came, and the state is as if it had never come: whether it fails or the verdict after it."""
    everything = items()
    bad = everything[place]
    tainted = list[CoreState]()

    def fails(state: CoreState, item: Input) -> bool:
        if item is bad[2]:
            tainted.append(state)
            return when == "taken"
        return isinstance(item, Tick) and any(one is state for one in tainted)

    for name in ("well", "defect"):
        (tmp_path / name).mkdir()
    _, expected, _, _ = await take(tmp_path / "well", [one for one in everything if one is not bad])
    monkeypatch.setattr(controller.engine, "step", Defect(fails))
    with capture_logs() as logs:
        acked, state, rejects, gaps = await take(tmp_path / "defect", everything)

    assert acked == everything[-1][0]
    assert answers(state) == answers(expected)
    assert rejects == [("pve1", bad[1])]
    assert gaps == [(100_000, 100_001)]
    assert [(one["node"], one["seq"]) for one in logs if one["event"].startswith("the core fails with one event")] == [("pve1", bad[0])]


async def test_several_of_them_are_each_kept_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is found and kept by itself, and all that lies between is taken."""
    everything = items()
    bad = [everything[place] for place in (3, 4, 100)]
    monkeypatch.setattr(controller.engine, "step", Defect(lambda _, item: any(item is one[2] for one in bad)))
    with capture_logs():
        _, _, rejects, _ = await take(tmp_path, everything)
    assert rejects == [("pve1", one[1]) for one in bad]


@pytest.mark.parametrize("kind", [Tick, Heard])
async def test_a_defect_that_no_event_brings_blames_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    """When the core fails also without them, no event is acknowledged or called unreadable: the controller ends, and agents keep them."""
    monkeypatch.setattr(controller.engine, "step", Defect(lambda _, item: isinstance(item, kind)))
    with capture_logs(), pytest.raises(KeyError):
        await take(tmp_path, items())
    with closing(open_readonly(tmp_path / "faultline.db")) as connection:
        assert connection.execute("SELECT count(*) FROM log").fetchone() == (0,)
