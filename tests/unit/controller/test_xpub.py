import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.asyncio
import zmq.auth

from controller.access import Access, AllowList, own_keys
from controller.core.report import IncidentReport
from controller.errors import PermanentError
from controller.store.reading import LogRow
from controller.stream import xpub
from controller.stream.record import line
from controller.stream.xpub import DOMAIN, HIGH_WATER, BindError, XpubSink
from tests.reports import events, one_incident

PATIENCE = 20.0
"""Seconds that a subscriber waits for what must come."""


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Return a directory with keys: the server's, and of subscribers ``siem`` (allowed) and ``stranger`` (not)."""
    for name in ("siem", "stranger"):
        zmq.auth.create_certificates(tmp_path, name)
    (tmp_path / "subscribers").mkdir()
    (tmp_path / "siem.key").rename(tmp_path / "subscribers" / "siem.key")
    own_keys(tmp_path, "controller")
    return tmp_path


@pytest.fixture
async def access(keys: Path, context: zmq.asyncio.Context) -> AsyncIterator[Access]:
    """Return who answers whether a key is allowed."""
    made = Access(context, {DOMAIN: AllowList(keys / "subscribers")})
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def sink(keys: Path, access: Access) -> AsyncIterator[XpubSink]:
    """Return a sink on a free port."""
    made = XpubSink("tcp://127.0.0.1:*", own_keys(keys, "controller"), "pve")
    yield made
    made.close()


ENDS = {
    zmq.EVENT_HANDSHAKE_SUCCEEDED: "let in",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "refused",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "not understood",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "not understood",
}


@contextmanager
def subscriber(sink: XpubSink, keys: Path, *topics: bytes, name: str = "siem", server: str = "controller") -> Iterator[zmq.asyncio.Socket]:
    """Return a connected subscriber with its own key, or none if ``name`` is empty; ``server`` is whom it believes to speak with."""
    with zmq.asyncio.Context.instance().socket(zmq.SUB) as socket:
        socket.linger = 0
        socket.rcvhwm = 0
        if name:
            socket.curve_publickey, socket.curve_secretkey = own_keys(keys, name)
            socket.curve_serverkey = own_keys(keys, server)[0]
        for topic in topics:
            socket.subscribe(topic)
        yield socket


async def connected(sink: XpubSink, socket: zmq.asyncio.Socket) -> str:
    """Connect a subscriber and return how the handshake ended."""
    monitor = socket.get_monitor_socket()
    socket.connect(sink.endpoint)
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                event = int.from_bytes((await monitor.recv_multipart())[0][:2], "little")
                if event in ENDS:
                    return ENDS[zmq.Event(event)]
    finally:
        socket.disable_monitor()
        monitor.close()


def rows(count: int, first: int = 1) -> list[LogRow]:
    """Return rows of the log with real events."""
    return [LogRow(number, *one[:4], one[-1]) for number, one in enumerate(events()[:count], first)]


async def subscribed(sink: XpubSink, socket: zmq.asyncio.Socket) -> None:
    """Connect a subscriber and wait until it gets what is published."""
    assert await connected(sink, socket) == "let in"
    async with asyncio.timeout(PATIENCE):
        while not await socket.poll(20):
            await sink.write([LogRow(0, "gap", "probe", "gap", 0, b"{}")])


async def received(socket: zmq.asyncio.Socket, count: int) -> list[tuple[bytes, dict[str, Any]]]:
    """Return the next messages that are no probes, as (topic, record)."""
    got: list[tuple[bytes, dict[str, Any]]] = []
    async with asyncio.timeout(PATIENCE):
        while len(got) < count:
            topic, record = await socket.recv_multipart()
            if topic != b"gap.probe":
                got.append((topic, json.loads(record)))
    return got


async def test_subscriber_gets_everything_from_now_on(sink: XpubSink, keys: Path) -> None:
    """An allowed subscriber gets each record once, in order, with its topic and its cursor; nothing from before it came."""
    await sink.write(rows(3))
    with subscriber(sink, keys, b"") as socket:
        await subscribed(sink, socket)
        report = one_incident()[0]
        await sink.write([*rows(60, first=4), LogRow(64, "incident", "", "opened", 1, report.model_dump_json().encode())])
        got = await received(socket, 61)

    assert [record["cursor"] for _, record in got] == list(range(4, 65))
    assert all(topic == f"event.{record['kind']}.{record['node']}".encode() for topic, record in got[:60])
    assert got[60][0] == f"incident.opened.{report.cause}".encode()
    assert IncidentReport.model_validate({name: value for name, value in got[60][1].items() if name != "cursor"}) == report


async def test_topics_choose(sink: XpubSink, keys: Path) -> None:
    """A subscriber gets only what its topics name: a family of kinds, or one kind of change."""
    wanted = [row for row in rows(60) if row.kind.startswith("iscsi.")]
    assert 0 < len(wanted) < 60
    with subscriber(sink, keys, b"event.iscsi.", b"gap.probe", b"incident.resolved") as socket:
        await subscribed(sink, socket)
        incidents = [
            LogRow(100 + one.number, "incident", "", one.change.value, 1, one.model_dump_json().encode()) for one in one_incident()
        ]
        await sink.write([*rows(60), *incidents])
        got = await received(socket, len(wanted) + 1)

    assert [record["cursor"] for _, record in got] == [*(row.cursor for row in wanted), incidents[-1].cursor]


async def test_stranger_gets_nothing(sink: XpubSink, keys: Path) -> None:
    """A subscriber whose key is not in the directory is refused at the handshake; the allowed one beside it gets everything."""
    with subscriber(sink, keys, b"", name="stranger") as stranger, subscriber(sink, keys, b"") as siem:
        assert await connected(sink, stranger) == "refused"
        await subscribed(sink, siem)
        await sink.write(rows(20))
        assert len(await received(siem, 20)) == 20
        assert not await stranger.poll(0)


async def test_key_that_is_added_later_is_let_in(sink: XpubSink, keys: Path, access: Access) -> None:
    """Who is put into the directory is let in after a reload, without a restart."""
    with subscriber(sink, keys, b"", name="stranger") as early, subscriber(sink, keys, b"", name="stranger") as late:
        assert await connected(sink, early) == "refused"
        (keys / "stranger.key").rename(keys / "subscribers" / "stranger.key")
        access.reload()
        await subscribed(sink, late)


async def test_without_curve_there_is_nothing(sink: XpubSink, keys: Path) -> None:
    """A subscriber that does not encrypt gets nothing."""
    with subscriber(sink, keys, b"", name="") as plain:
        assert await connected(sink, plain) == "not understood"
        await sink.write(rows(5))
        assert not await plain.poll(0)


async def test_subscriber_believes_only_its_controller(sink: XpubSink, keys: Path) -> None:
    """A subscriber that expects another server's key does not connect: nobody can pass for the controller."""
    with subscriber(sink, keys, b"", server="stranger") as socket:
        assert await connected(sink, socket) == "not understood"


async def test_slow_subscriber_slows_nobody_and_sees_what_it_missed(keys: Path, access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one subscriber reads nothing publishing does not wait; it alone misses records, and sees it by a jump of the cursor."""
    assert HIGH_WATER >= 10_000
    monkeypatch.setattr(xpub, "HIGH_WATER", 10)
    sink = XpubSink("tcp://127.0.0.1:*", own_keys(keys, "controller"), "pve")
    with subscriber(sink, keys, b"reject.", b"gap.probe") as slow, subscriber(sink, keys, b"reject.", b"gap.probe") as quick:
        slow.rcvhwm = 1
        await subscribed(sink, slow)
        await subscribed(sink, quick)
        got: list[int] = []
        for number in range(1, 301):
            await sink.write([LogRow(number, "reject", "pve1", "long", 1, bytes(60_000))])
            got += [record["cursor"] for _, record in await received(quick, 1)]
        missed = [record["cursor"] for _, record in await received(slow, 5)]
        while await slow.poll(200):
            missed += [record["cursor"] for _, record in await received(slow, 1)]
    sink.close()

    assert got == list(range(1, 301))
    assert 5 < len(missed) < 300
    assert missed == sorted(missed)


async def test_subscriptions_do_not_pile_up(sink: XpubSink, keys: Path) -> None:
    """What subscribers say is taken from the socket whenever something is published: it cannot fill our memory."""
    with subscriber(sink, keys, b"gap.probe") as socket:
        await subscribed(sink, socket)
        for number in range(200):
            socket.subscribe(b"t%d" % number)
        socket.subscribe(b"gap.last")
        async with asyncio.timeout(PATIENCE):
            topic = b""
            while topic != b"gap.last":  # then all that it said before has arrived, too
                await sink.write([LogRow(0, "gap", "last", "gap", 0, b"{}")])
                topic = (await socket.recv_multipart())[0] if await socket.poll(20) else b""
        await sink.write(rows(1))
        assert not sink._socket.poll(0)


async def test_events_are_published_in_turns(sink: XpubSink) -> None:
    """A backlog does not keep the event loop from anything else for longer than a few records."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await sink.write(rows(60) * 20)
    task.cancel()

    assert turns >= 1200 // xpub._TURN


async def test_a_row_that_cannot_be_sent_repeats_nothing(sink: XpubSink, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows come again when one of them fails, so nothing of them was sent by then."""
    several = rows(3)
    broken = several[2].cursor

    def breaking(row: LogRow, cluster: str) -> bytes:
        if row.cursor == broken:
            raise KeyError("nobody expected this")
        return line(row, cluster)

    with subscriber(sink, keys, b"") as socket:
        await subscribed(sink, socket)
        with monkeypatch.context() as patch:
            patch.setattr(xpub, "line", breaking)
            for _ in range(3):
                with pytest.raises(KeyError):
                    await sink.write(several)
        await sink.write(several)
        got = await received(socket, len(several))
    assert [record["cursor"] for _, record in got] == [row.cursor for row in several]


async def test_endpoint_that_is_taken_is_named(sink: XpubSink, keys: Path) -> None:
    """When the endpoint is in use the error names it; trying again does not help by itself."""
    with pytest.raises(BindError, match=sink.endpoint) as caught:
        XpubSink(sink.endpoint, own_keys(keys, "controller"), "pve")
    assert isinstance(caught.value, PermanentError)


async def test_who_is_taken_off_the_list_gets_nothing_more(context: zmq.asyncio.Context, keys: Path) -> None:
    """A subscriber whose key is taken away is cut off before the next record; the others come back and get it."""
    zmq.auth.create_certificates(keys, "other")
    (keys / "other.key").rename(keys / "subscribers" / "other.key")
    listed = AllowList(keys / "subscribers")
    access = Access(context, {DOMAIN: listed})
    access.start()
    sink = XpubSink("tcp://127.0.0.1:*", own_keys(keys, "controller"), "pve")
    listed.removed = sink.turn_away
    try:
        with subscriber(sink, keys, b"") as stays, subscriber(sink, keys, b"", name="other") as leaves:
            await subscribed(sink, stays)
            await subscribed(sink, leaves)
            (keys / "subscribers" / "other.key").unlink()
            listed.reload()
            await listed.refresh()
            await sink.write(rows(3))
            got = await received(stays, 3)
            late = []
            while await leaves.poll(300):
                late.append((await leaves.recv_multipart())[0])
    finally:
        sink.close()
        access.stop()
    assert [record["cursor"] for _, record in got] == [1, 2, 3]
    assert set(late) <= {b"gap.probe"}


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this kernel has no IPv6")
@pytest.mark.parametrize(("bind", "hosts"), [("tcp://[::1]:*", ["[::1]"]), ("tcp://*:*", ["[::1]", "127.0.0.1"])])
async def test_published_over_ipv6(access: Access, keys: Path, bind: str, hosts: list[str]) -> None:
    """A sink bound to an IPv6 address is reached there; one bound to any address by IPv4 and by IPv6."""
    made = XpubSink(bind, own_keys(keys, "controller"), "pve")
    try:
        for host in hosts:
            made.endpoint = f"tcp://{host}:{made.endpoint.rpartition(':')[2]}"
            with subscriber(made, keys, b"") as socket:
                socket.ipv6 = host.startswith("[")
                await subscribed(made, socket)
    finally:
        made.close()
