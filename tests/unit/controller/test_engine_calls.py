"""Who is told what of an incident that was planned at first."""

import asyncio
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

import pytest

from controller.core.report import Change
from controller.core.timings import Timings
from controller.engine import Engine
from controller.ingest import Delivery
from controller.store.database import open_readonly
from controller.store.store import Store
from events.base import Event, Seen, Source
from events.ceph import CephOsdDown, CephOsdUp, CephPgsActive, CephPgsInactive
from events.codec import encode
from events.envelope import Envelope

SECOND = 1_000_000
START = 1_795_000_000 * SECOND
FSID = "4b5c8c0a-ff60-454b-a1b4-9747aa737d19"
SEEN = Seen(source=Source.CEPH)
INACTIVE = CephPgsInactive(subject=f"ceph/{FSID}", seen=SEEN, pgs=8)
ACTIVE = CephPgsActive(subject=f"ceph/{FSID}", seen=SEEN)
UP = CephOsdUp(subject=f"ceph-osd/{FSID}/1", seen=SEEN, host="pve1")
WANTED = {
    "pager": (Change.OPENED, Change.RESOLVED),
    "mail": (Change.OPENED, Change.REVISED, Change.RESOLVED),
    "log": (Change.RECOVERING,),
}


def down(*, planned: bool) -> Event:
    """Return that an OSD is down."""
    return CephOsdDown(subject=f"ceph-osd/{FSID}/1", seen=SEEN, host="pve1", planned=planned)


async def called(folder: Path, *said: tuple[int, Event]) -> dict[str, list[str]]:
    """Return the changes that each notifier is given when a node that lives says this at these seconds."""
    clock = [START]
    store = await Store.open(folder / "faultline.db")
    engine = Engine(store, "pve", Timings(), WANTED, lambda: clock[0])
    await engine.load()
    running, numbers = asyncio.create_task(engine.run()), count(1)
    try:
        for second in range(max(at for at, _ in said) + 60):
            clock[0] = now = START + second * SECOND
            engine.heard("pve1")
            items = []
            for event in [event for at, event in said if at == second]:
                one = Envelope("pve", "pve1", "boot", "s", next(numbers), now, now, event)
                items.append((one.seq, encode(one), one))
            if items or second % 2 == 0:
                last = items[-1][0] if items else 0
                await asyncio.wait_for(engine.accept(Delivery("pve1", "s", "boot", tuple(items), last, None)), 30)
        with closing(open_readonly(store.path)) as connection:
            rows = connection.execute("SELECT performer, json_extract(payload, '$.change') FROM outbox ORDER BY id").fetchall()
        return {name: [change for performer, change in rows if performer == name] for name in WANTED}
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await store.close()


async def test_who_wants_to_hear_of_what_opens_hears_of_what_outgrows_its_plan(tmp_path: Path) -> None:
    """A planned incident calls nobody; when it stops I/O everybody who wants openings is given that, and its end."""
    found = await called(tmp_path, (2, down(planned=True)), (12, INACTIVE), (30, ACTIVE), (31, UP))

    assert found == {"pager": ["revised", "resolved"], "mail": ["revised", "resolved"], "log": ["recovering"]}


@pytest.mark.parametrize(("planned", "expected"), [(True, []), (False, ["opened", "resolved"])])
async def test_others_are_given_what_they_want(tmp_path: Path, planned: bool, expected: list[str]) -> None:
    """What was planned all the time is given to nobody, and what never was is given as its changes are wanted."""
    found = await called(tmp_path, (2, down(planned=planned)), (30, UP))

    assert found["pager"] == expected
