from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import zmq
import zmq.asyncio
import zmq.auth
from structlog.testing import capture_logs

import controller.ingest
from controller.access import Access, AllowList, own_keys
from controller.ingest import DOMAIN, MOST, WAITING, BindError, Delivery, Ingest, Reject
from events.codec import decode, encode
from events.envelope import Envelope
from events.wire import MAX_FRAME, Ack, EventBatch, Heartbeat, Hello, Message, Refused, Rewind, Welcome, pack, unpack
from tests.observed import observed

STREAM = "5eed"


def envelopes(first: int, count: int, node: str = "pve1", stream: str = STREAM) -> tuple[bytes, ...]:
    """Return the bytes of events with these sequences."""
    return tuple(
        encode(Envelope("lab", node, one.boot_id, stream, seq, one.at, one.monotonic, one.event))
        for seq, one in enumerate(observed(count), first)
    )


def batch(first: int, count: int, previous: int | None = None, node: str = "pve1") -> EventBatch:
    """Return a batch of the stream, by default without a hole before it."""
    return EventBatch(STREAM, first - 1 if previous is None else previous, first, envelopes(first, count, node))


def hello(node: str = "pve1", stream: str = STREAM) -> Hello:
    """Return a Hello."""
    return Hello(node, stream, "b007", "0.1.0", 1, 0)


class Store:
    """Where deliveries go: durable at once, or when the test says so."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.acked: dict[tuple[str, str], int] = {}
        self.heard: list[str] = []
        self.clocks: list[int] = []
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = 0

    def hear(self, node: str, clock: int) -> None:
        """Note a node that was heard, and its clock."""
        self.heard.append(node)
        self.clocks.append(clock)

    async def accept(self, delivery: Delivery) -> int:
        """Make a delivery durable."""
        self.waiting += 1
        await self.open.wait()
        self.waiting -= 1
        self.deliveries.append(delivery)
        self.acked[delivery.node, delivery.stream] = delivery.last
        return delivery.last

    async def tail(self, node: str, stream: str) -> int:
        """Return how far a stream is durable."""
        return self.acked.get((node, stream), 0)

    def sequences(self, node: str = "pve1") -> list[int]:
        """Return all sequences of a node in the order in which they were accepted."""
        return [seq for delivery in self.deliveries if delivery.node == node for seq, _, _ in delivery.items]


class Agent:
    """An agent in the hands of the test: it says and hears over a real CURVE socket."""

    def __init__(self, endpoint: str, server: bytes, keys: tuple[bytes, bytes]) -> None:
        self.socket = zmq.asyncio.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.curve_serverkey = server
        self.socket.curve_publickey, self.socket.curve_secretkey = keys
        self.socket.connect(endpoint)

    async def say(self, *messages: Message) -> None:
        """Send messages."""
        for message in messages:
            await self.socket.send(pack(message))

    async def hear(self, seconds: float = 5) -> Message:
        """Return the next answer."""
        async with asyncio.timeout(seconds):
            return unpack((await self.socket.recv_multipart())[-1])

    async def hears_nothing(self, seconds: float = 0.3) -> None:
        """Fail when anything comes."""
        with suppress(TimeoutError):
            pytest.fail(f"came: {await self.hear(seconds)}")

    async def stick(self, store: Store, *messages: Message) -> None:
        """Send messages of which the first gets stuck in the store; the others are read, and wait."""
        store.open.clear()
        await self.say(messages[0])
        await until(lambda: store.waiting)
        await self.say(*messages[1:], Hello(**{**asdict(hello()), "node": "marker"}))
        assert isinstance(await self.hear(), Refused)  # so what stood before it was read
        assert store.waiting == 1

    async def greet(self, node: str = "pve1", stream: str = STREAM) -> Message:
        """Say Hello and return the answer."""
        await self.say(hello(node, stream))
        return await self.hear()


@pytest.fixture
def store() -> Store:
    """Return where the deliveries of a test go."""
    return Store()


@pytest.fixture
async def ingest(tmp_path: Path, store: Store, context: zmq.asyncio.Context) -> AsyncIterator[Ingest]:
    """Return a listening ingest that lets pve1 and pve2 in."""
    (tmp_path / "agents").mkdir()
    for node in ("pve1", "pve2", "stranger"):
        zmq.auth.create_certificates(tmp_path, node)
    for node in ("pve1", "pve2"):
        shutil.copy(tmp_path / f"{node}.key", tmp_path / "agents")
    allowed = AllowList(tmp_path / "agents")
    access = Access(context, {DOMAIN: allowed})
    access.start()
    bind = f"ipc://{tmp_path}/ingest"
    ingest = Ingest(bind, own_keys(tmp_path / "own", "controller"), store.accept, store.tail, store.hear, allowed.allows)
    task = asyncio.create_task(ingest.run())
    await asyncio.wait_for(ingest.listening.wait(), 5)
    ingest.reload = allowed.reload  # type: ignore[attr-defined]  # what SIGHUP does
    yield ingest
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    access.stop()


@pytest.fixture
def connect(tmp_path: Path, ingest: Ingest) -> Iterator[Callable[..., Agent]]:
    """Return what connects an agent with a node's key."""
    agents: list[Agent] = []

    def connector(node: str = "pve1") -> Agent:
        server, _ = own_keys(tmp_path / "own", "controller")
        agents.append(Agent(ingest.endpoint, server, own_keys(tmp_path, node)))
        return agents[-1]

    yield connector
    for agent in agents:
        agent.socket.close()


Connect = Callable[..., Agent]


async def until(condition: Callable[[], object], seconds: float = 5) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions of several kinds
            await asyncio.sleep(0.005)


async def test_events_arrive_as_they_were_sent(connect: Connect, store: Store) -> None:
    """A batch is accepted with its bytes and what they say, and acknowledged when it is durable."""
    agent = connect()
    assert await agent.greet() == Welcome(STREAM, 0)
    await agent.say(batch(1, 5))
    assert await agent.hear() == Ack(STREAM, 5)

    (delivery,) = store.deliveries
    assert (delivery.node, delivery.stream, delivery.boot_id, delivery.last, delivery.gap) == ("pve1", STREAM, "b007", 5, None)
    assert [(seq, data) for seq, data, _ in delivery.items] == list(enumerate(envelopes(1, 5), 1))
    assert [item for _, _, item in delivery.items] == [decode(data) for data in envelopes(1, 5)]


async def test_nothing_is_acknowledged_before_it_is_durable(connect: Connect, store: Store) -> None:
    """While the store is stuck no Ack comes, for a batch nor for its repetition; then one comes."""
    agent = connect()
    await agent.greet()
    store.open.clear()
    await agent.say(batch(1, 3))
    await until(lambda: store.waiting)
    await agent.hears_nothing()
    await agent.say(batch(1, 3))
    assert await agent.hear() == Ack(STREAM, 0)
    store.open.set()
    assert await agent.hear() == Ack(STREAM, 3)
    assert store.sequences() == [1, 2, 3]


async def test_what_waits_goes_together_and_in_order(connect: Connect, store: Store) -> None:
    """Batches that come while one is being stored are accepted as one, behind it, never beside it."""
    agent = connect()
    await agent.greet()
    await agent.stick(store, *(batch(first, 10) for first in range(1, 81, 10)))
    store.open.set()
    assert [await agent.hear(), await agent.hear()] == [Ack(STREAM, 10), Ack(STREAM, 80)]
    assert [len(delivery.items) for delivery in store.deliveries] == [10, 70]
    assert store.sequences() == list(range(1, 81))


async def test_a_delivery_is_bounded(connect: Connect, store: Store) -> None:
    """However much waits, one delivery has at most so many events."""
    agent = connect()
    await agent.greet()
    await agent.stick(store, *(batch(first, 1000) for first in range(1, 8001, 1000)))
    store.open.set()
    while await agent.hear() != Ack(STREAM, 8000):
        pass
    assert [len(delivery.items) for delivery in store.deliveries] == [1000, MOST, 3000]


async def test_one_stuck_node_does_not_hold_up_another(connect: Connect, store: Store) -> None:
    """While a node's delivery is not durable, another node is served."""
    agent, other = connect("pve1"), connect("pve2")
    await agent.greet("pve1")
    assert await other.greet("pve2") == Welcome(STREAM, 0)
    store.open.clear()
    await agent.say(batch(1, 3))
    await until(lambda: store.waiting == 1)
    await other.say(batch(1, 3, node="pve2"))
    await until(lambda: store.waiting == 2)
    store.open.set()
    assert (await agent.hear(), await other.hear()) == (Ack(STREAM, 3), Ack(STREAM, 3))


async def test_a_missing_batch_is_asked_for(connect: Connect, store: Store) -> None:
    """A batch that does not follow what came before is not accepted, and the agent is told where to go on."""
    agent = connect()
    await agent.greet()
    await agent.say(batch(1, 5), batch(11, 5))
    assert {await agent.hear(), await agent.hear()} == {Ack(STREAM, 5), Rewind(STREAM, 5)}
    await agent.say(batch(6, 10))
    assert await agent.hear() == Ack(STREAM, 15)
    assert store.sequences() == list(range(1, 16))


async def test_what_came_before_is_dropped(connect: Connect, store: Store) -> None:
    """Batches that come twice, whole or in part, are acknowledged again and counted once."""
    agent = connect()
    await agent.greet()
    for again in (batch(1, 5), batch(1, 5), batch(3, 6), batch(2, 2)):
        await agent.say(again)
        await agent.hear()
    assert store.sequences() == list(range(1, 9))


async def test_what_the_spool_dropped_is_a_gap(connect: Connect, store: Store) -> None:
    """A batch that says that nothing lies between is accepted, and which sequences are gone goes with it; the same after a repetition."""
    agent = connect()
    await agent.greet()
    await agent.say(batch(1, 5), batch(11, 5, previous=5), batch(16, 1), batch(30, 2, previous=2))
    while await agent.hear() != Ack(STREAM, 31):
        pass
    assert [delivery.gap for delivery in store.deliveries if delivery.gap] == [(6, 10), (17, 29)]
    assert store.sequences() == [*range(1, 6), *range(11, 17), 30, 31]


async def test_a_gap_begins_a_delivery_of_its_own(connect: Connect, store: Store) -> None:
    """Batches that wait are never joined over a gap: it would stand in the wrong place."""
    agent = connect()
    await agent.greet()
    await agent.stick(store, batch(1, 1), batch(2, 1), batch(3, 1), batch(8, 1, previous=3), batch(9, 1))
    store.open.set()
    while await agent.hear() != Ack(STREAM, 9):
        pass
    assert [(delivery.items[0][0], delivery.last, delivery.gap) for delivery in store.deliveries] == [
        (1, 1, None),
        (2, 3, None),
        (8, 9, (4, 7)),
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xc1garbage", "not msgpack"),
        (envelopes(2, 1, node="pve2")[0], "pve2/5eed/2"),
        (envelopes(2, 1, stream="other")[0], "pve1/other/2"),
        (envelopes(3, 1)[0], "pve1/5eed/3"),
    ],
)
async def test_an_envelope_that_cannot_be_read_is_kept(connect: Connect, store: Store, data: bytes, reason: str) -> None:
    """Bytes that are no event, or claim another node, stream or sequence, are passed on as they are, with the reason; the rest counts."""
    agent = connect()
    await agent.greet()
    await agent.say(replace(batch(1, 3), envelopes=(envelopes(1, 1)[0], data, envelopes(3, 1)[0])))
    assert await agent.hear() == Ack(STREAM, 3)

    items = store.deliveries[0].items
    assert [type(item) for _, _, item in items] == [Envelope, Reject, Envelope]
    assert items[1][:2] == (2, data)
    assert isinstance(items[1][2], Reject)
    assert reason in items[1][2].reason


async def test_an_envelope_that_is_not_read_by_a_defect_is_kept(connect: Connect, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is passed on as it is and acknowledged with the rest: it would come again after each restart and end the controller for ever."""
    bad = envelopes(1, 3)[1]

    def failing(data: bytes) -> Envelope:
        if data == bad:
            raise KeyError("nobody expected this")
        return decode(data)

    monkeypatch.setattr(controller.ingest, "decode", failing)
    agent = connect()
    await agent.greet()
    await agent.say(batch(1, 3))
    assert await agent.hear() == Ack(STREAM, 3)

    items = store.deliveries[0].items
    assert [type(item) for _, _, item in items] == [Envelope, Reject, Envelope]
    assert items[1] == (2, bad, Reject("the controller fails with it: KeyError: 'nobody expected this'"))


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([b""], "not msgpack"),
        ([b"\xc1\xc1"], "not msgpack"),
        ([b"x"], "frame is no message"),
        ([pack(Ack(STREAM, 1))], "does not say Ack"),
        ([pack(Welcome(STREAM, 1))], "does not say Welcome"),
        ([pack(hello()), b"more"], "several frames"),
        ([pack(Heartbeat("pve2", STREAM, 1, 1, {}))], "belongs to node pve1"),
        ([pack(hello("pve2"))], "belongs to node pve1"),
        ([pack(EventBatch("other", 0, 1, (b"x",)))], "before a Hello"),
        ([pack(batch(1, 1)).replace(b"5eed", b"5ee\xff", 1)], "not msgpack"),
    ],
)
async def test_what_an_agent_must_not_say_is_refused(
    connect: Connect, ingest: Ingest, store: Store, frames: list[bytes], reason: str
) -> None:
    """Garbage and what an agent has no business to say is counted, answered, logged once, and the session goes on."""
    agent = connect()
    await agent.greet()
    with capture_logs() as logs:
        for _ in range(3):
            await agent.socket.send_multipart(frames)
            answer = await agent.hear()
            assert isinstance(answer, Refused)
            assert reason in answer.reason
    assert [entry["event"] for entry in logs] == ["message refused; further ones of this node are only counted"]
    assert ingest.refused == {"pve1": 3}
    await agent.say(batch(1, 1))
    assert await agent.hear() == Ack(STREAM, 1)


async def test_an_oversized_frame_ends_only_its_connection(connect: Connect, store: Store) -> None:
    """A frame beyond the limit is not even taken into memory: that connection is cut, and everybody else is served."""
    agent, other = connect("pve1"), connect("pve2")
    await agent.greet("pve1")
    monitor = agent.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    await agent.socket.send(b"x" * (MAX_FRAME + 1000))
    await asyncio.wait_for(monitor.recv_multipart(), 5)
    agent.socket.disable_monitor()
    monitor.close()
    await other.greet("pve2")
    await other.say(batch(1, 1, node="pve2"))
    assert await other.hear() == Ack(STREAM, 1)
    assert store.sequences("pve1") == []


async def test_an_agent_that_ignores_its_window_is_refused(connect: Connect, store: Store) -> None:
    """While the store is stuck an agent can make the controller hold only so much."""
    agent = connect()
    await agent.greet()
    store.open.clear()
    await agent.say(*(batch(seq, 1) for seq in range(1, 3 * WAITING)))
    answer = await agent.hear()
    assert isinstance(answer, Refused)
    assert "more messages than its window" in answer.reason
    store.open.set()
    await until(lambda: len(store.sequences()) >= WAITING)
    assert store.sequences() == list(range(1, len(store.sequences()) + 1))


async def test_a_second_connection_waits_for_what_the_first_brought(connect: Connect, store: Store) -> None:
    """An agent that comes again while its events are being stored is welcomed behind them: none is counted twice, none missed."""
    first = connect()
    await first.greet()
    store.open.clear()
    await first.say(batch(1, 5), batch(6, 5))
    await until(lambda: store.waiting)
    first.socket.close()
    second = connect()
    await second.say(hello())
    await second.hears_nothing()
    store.open.set()
    welcome = await second.hear()
    assert welcome == Welcome(STREAM, store.acked["pve1", STREAM])
    assert welcome.acked in {5, 10}
    await second.say(batch(6, 10))
    assert await second.hear() == Ack(STREAM, 15)
    assert store.sequences() == list(range(1, 16))


async def test_leftovers_of_an_old_connection_do_not_displace_the_new(connect: Connect, store: Store) -> None:
    """What still arrives by a connection that the agent has given up is refused; the new one goes on undisturbed."""
    old, new = connect(), connect()
    await old.greet()
    await new.greet()
    await old.say(batch(1, 2), Heartbeat("pve1", STREAM, 2, 1, {}))
    assert [type(await old.hear()) for _ in range(2)] == [Refused, Refused]
    await new.say(batch(1, 3))
    assert await new.hear() == Ack(STREAM, 3)
    assert store.sequences() == [1, 2, 3]


async def test_another_stream_of_a_node_begins_anew(connect: Connect, store: Store) -> None:
    """A node whose spool was begun anew is welcomed at 0 of the new stream; the old one's sequences do not count for it."""
    agent = connect()
    await agent.greet()
    await agent.say(batch(1, 5))
    await agent.hear()
    assert await agent.greet(stream="new") == Welcome("new", 0)
    await agent.say(EventBatch("new", 0, 1, envelopes(1, 2, stream="new")))
    assert await agent.hear() == Ack("new", 2)
    assert await agent.greet() == Welcome(STREAM, 5)


async def test_a_key_taken_off_the_list_ends_a_living_connection(connect: Connect, ingest: Ingest, store: Store, tmp_path: Path) -> None:
    """After its key was removed and the lists were read anew, a connected agent is refused, events and all."""
    agent = connect()
    await agent.greet()
    (tmp_path / "agents" / "pve1.key").unlink()
    ingest.reload()  # type: ignore[attr-defined]
    await until(lambda: not ingest._allowed("pve1"))

    await agent.say(batch(1, 3))

    assert await agent.hear() == Refused("its key was taken off the allow-list")
    assert store.sequences() == []


async def test_heartbeats_are_heard(connect: Connect, store: Store) -> None:
    """Everything that a node says shows that its agent lives."""
    agent = connect("pve2")
    await agent.greet("pve2")
    await agent.say(Heartbeat("pve2", STREAM, 0, 1, {"journald": ""}), Heartbeat("pve2", STREAM, 0, 2, {}))
    await until(lambda: len(store.heard) == 3)
    assert store.heard == ["pve2"] * 3
    assert store.clocks == [0, 1, 2]


async def test_a_taken_endpoint_is_named(ingest: Ingest, tmp_path: Path, store: Store) -> None:
    """Two controllers cannot listen at one place: the second says where."""
    taken = zmq.asyncio.Context.instance().socket(zmq.ROUTER)
    port = taken.bind_to_random_port("tcp://127.0.0.1")
    second = Ingest(f"tcp://127.0.0.1:{port}", own_keys(tmp_path / "own", "controller"), store.accept, store.tail, store.hear, bool)
    with pytest.raises(BindError, match=f"tcp://127.0.0.1:{port}"):
        await second.run()
    taken.close()
