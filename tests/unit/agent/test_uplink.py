from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.asyncio
from structlog.testing import capture_logs

import agent.uplink
from agent.spool import Limits, Spool
from agent.uplink import BATCH, TROUBLE, WINDOW, Identity, Peer, Uplink, UplinkError, by_ipv6
from events.codec import decode
from events.wire import Ack, EventBatch, Heartbeat, Hello, Message, Refused, Rewind, Welcome, pack, unpack
from tests.observed import observed

ROOMY = Limits(bytes=2**30, age=10**15)
SERVER = zmq.curve_keypair()
CLIENT = zmq.curve_keypair()


class Controller:
    """A controller in the hands of the test: it hears and says over a real CURVE socket."""

    def __init__(self, endpoint: str, keys: tuple[bytes, bytes] = SERVER) -> None:
        self.socket = zmq.asyncio.Context.instance().socket(zmq.ROUTER)
        self.socket.ipv6 = "[" in endpoint
        self.socket.linger = 0
        self.socket.curve_server = True
        self.socket.curve_publickey, self.socket.curve_secretkey = keys
        self.socket.bind(endpoint)
        self.route = b""
        self.beats: list[Heartbeat] = []

    async def hear(self, seconds: float = 5) -> Message:
        """Return the next message that is no heartbeat."""
        async with asyncio.timeout(seconds):
            while True:
                self.route, frame = await self.socket.recv_multipart()
                message = unpack(frame)
                if not isinstance(message, Heartbeat):
                    return message
                self.beats.append(message)

    async def hears_nothing(self, seconds: float = 0.2) -> None:
        """Fail when anything but heartbeats comes."""
        with suppress(TimeoutError):
            pytest.fail(f"came: {await self.hear(seconds)}")

    async def say(self, message: Message) -> None:
        """Answer whoever spoke last."""
        await self.socket.send_multipart([self.route, pack(message)])

    async def welcome(self, acked: int = 0) -> Hello:
        """Hear a Hello and answer it."""
        hello = await self.hear()
        assert isinstance(hello, Hello), hello
        await self.say(Welcome(hello.stream, acked))
        return hello

    async def batch(self) -> EventBatch:
        """Hear a batch; its envelopes are what it says."""
        batch = await self.hear()
        assert isinstance(batch, EventBatch), batch
        assert [decode(data).seq for data in batch.envelopes] == list(range(batch.first, batch.first + len(batch.envelopes)))
        return batch


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    """Return where the controller is, or will be."""
    return f"ipc://{tmp_path}/controller"


@pytest.fixture
def controller(endpoint: str) -> Iterator[Controller]:
    """Return a listening controller."""
    controller = Controller(endpoint)
    yield controller
    controller.socket.close()


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    """Return an empty spool for one controller."""
    spool = await Spool.open(tmp_path / "spool.db", ("lab", "pve1"), ROOMY, lambda: 1, ("main",))
    yield spool
    await spool.close()


@asynccontextmanager
async def linked(spool: Spool, endpoint: str, heartbeat: float = 30, troubles: dict[str, str] | None = None) -> AsyncIterator[Uplink]:
    """Run an uplink."""
    identity = Identity("pve1", "b007", "0.1.0", *CLIENT)
    uplink = Uplink(spool, Peer("main", endpoint, SERVER[0]), identity, heartbeat, lambda: 7, lambda: troubles or {})
    task = asyncio.create_task(uplink.run())
    try:
        yield uplink
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], object], seconds: float = 8) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions of several kinds
            await asyncio.sleep(0.01)


async def until_position(spool: Spool, first: int) -> None:
    """Wait until the spool has forgotten what stands before a sequence."""
    async with asyncio.timeout(8):
        while (await spool.position()).first != first:  # noqa: ASYNC110 - written by a task
            await asyncio.sleep(0.01)


async def test_a_session_tells_who_we_are_and_goes_on_where_the_controller_is(spool: Spool, endpoint: str, controller: Controller) -> None:
    """Hello names node, boot and what the spool holds; the first batch follows what the controller has already."""
    await spool.append("journald", observed(10), "c", None)
    async with linked(spool, endpoint) as uplink:
        assert await controller.welcome(acked=4) == Hello("pve1", spool.stream, "b007", "0.1.0", 1, 10)
        batch = await controller.batch()
        assert (batch.stream, batch.previous, batch.first, len(batch.envelopes)) == (spool.stream, 4, 5, 6)
        assert uplink.connected


async def test_new_events_leave_at_once(spool: Spool, endpoint: str, controller: Controller) -> None:
    """An event that is spooled while nothing is to do is sent without any interval passing, and forgotten when acknowledged."""
    async with linked(spool, endpoint):
        await controller.welcome()
        for seq in (1, 2, 3):
            await spool.append("journald", observed(1), "c", None)
            assert (await controller.batch()).first == seq
            await controller.say(Ack(spool.stream, seq))
        await until_position(spool, 4)


async def test_so_many_batches_are_in_flight_and_no_more(spool: Spool, endpoint: str, controller: Controller) -> None:
    """Batches follow each other unasked up to the window; one acknowledgement for several of them lets as many follow."""
    await spool.append("journald", observed(BATCH * (WINDOW + 4)), "c", None)
    async with linked(spool, endpoint):
        await controller.welcome()
        batches = [await controller.batch() for _ in range(WINDOW)]
        assert [(one.previous + 1, len(one.envelopes)) for one in batches] == [(one.first, BATCH) for one in batches]
        await controller.hears_nothing()

        await controller.say(Ack(spool.stream, BATCH * 3))
        assert [(await controller.batch()).first for _ in range(3)] == [BATCH * number + 1 for number in range(WINDOW, WINDOW + 3)]
        await controller.hears_nothing()


async def test_a_rewind_sends_again_from_there(spool: Spool, endpoint: str, controller: Controller) -> None:
    """What the controller asks for again comes again, seamlessly behind the sequence that it names."""
    await spool.append("journald", observed(BATCH * 3), "c", None)
    async with linked(spool, endpoint):
        await controller.welcome()
        assert [(await controller.batch()).first for _ in range(3)] == [1, BATCH + 1, 2 * BATCH + 1]
        await controller.say(Rewind(spool.stream, BATCH))
        again = await controller.batch()
        assert (again.previous, again.first) == (BATCH, BATCH + 1)


async def test_a_rewind_while_the_spool_is_read_makes_no_gap(
    spool: Spool, endpoint: str, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent back while the next batch is being read, the agent does not send that one: it would declare what lies between as dropped."""
    real, gate = spool.read_after, asyncio.Event()

    async def slow(seq: int, count: int, size: int) -> list[tuple[int, bytes]]:
        rows = await real(seq, count, size)
        if seq == BATCH:
            await gate.wait()
        return rows

    monkeypatch.setattr(spool, "read_after", slow)
    await spool.append("journald", observed(BATCH * 2), "c", None)
    async with linked(spool, endpoint) as uplink:
        await controller.welcome()
        first = await controller.batch()
        await controller.say(Rewind(spool.stream, 0))
        await controller.say(Ack(spool.stream, 1))
        await until(lambda: uplink.acked == 1)  # so the Rewind before it was heard too
        gate.set()
        assert await controller.batch() == first


async def test_what_the_spool_dropped_shows(tmp_path: Path, endpoint: str, controller: Controller) -> None:
    """The first batch behind dropped sequences names the last one sent before them: only that declares the loss."""
    spool = await Spool.open(tmp_path / "small.db", ("lab", "pve1"), Limits(20_000, 10**15), lambda: 1, ("main",))
    await spool.append("journald", observed(200), "c", None)
    first = (await spool.position()).first
    async with linked(spool, endpoint):
        await controller.welcome()
        batch = await controller.batch()
    assert (batch.previous, batch.first) == (0, first)
    assert first > 100
    await spool.close()


async def test_what_was_dropped_is_said_again_once(tmp_path: Path, endpoint: str, controller: Controller) -> None:
    """A controller that comes again and again and commits nothing has all said once; and once more when the spool dropped that, too."""
    spool = await Spool.open(tmp_path / "small.db", ("lab", "pve1"), Limits(20_000, 10**15), lambda: 1, ("main",))
    times, so_far = list[None](), list[int]()
    async with linked(spool, endpoint) as uplink:
        uplink.missed = lambda: times.append(None)
        for count in (200, 1, 0, 200, 0):
            await spool.append("journald", observed(count), "c", None)
            await controller.welcome()
            await controller.batch()
            so_far.append(len(times))
            await controller.say(Refused("no room"))
    await spool.close()

    assert so_far == [1, 1, 1, 2, 2]


async def test_silence_after_a_batch_ends_the_session(
    spool: Spool, endpoint: str, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A controller that acknowledges nothing gets a new Hello and the same events again."""
    monkeypatch.setattr(agent.uplink, "ANSWER_WITHIN", 0.3)
    await spool.append("journald", observed(3), "c", None)
    async with linked(spool, endpoint):
        await controller.welcome()
        batch = await controller.batch()
        await controller.welcome()
        assert await controller.batch() == batch


@pytest.mark.parametrize("answer", [Refused("not you"), Ack("5eed", 1), Welcome("another stream", 0)])
async def test_a_wrong_answer_to_hello_ends_the_attempt(spool: Spool, endpoint: str, controller: Controller, answer: Message) -> None:
    """Anything but the Welcome to our stream makes the agent try again, and say why once."""
    with capture_logs() as logs:
        async with linked(spool, endpoint) as uplink:
            for _ in range(3):
                assert isinstance(await controller.hear(), Hello)
                await controller.say(answer)
            assert isinstance(await controller.hear(), Hello)
            assert not uplink.connected
    reasons = [entry["reason"] for entry in logs if entry["event"] == "no session with controller"]
    assert len(reasons) == 1
    assert ("not you" if isinstance(answer, Refused) else "answers a Hello") in reasons[0]


async def test_refused_in_a_session_begins_another(spool: Spool, endpoint: str, controller: Controller) -> None:
    """A refusal ends the session and its reason stands in the log, in the controller's words; nothing is lost by it."""
    await spool.append("journald", observed(3), "c", None)
    with capture_logs() as logs:
        async with linked(spool, endpoint):
            await controller.welcome()
            batch = await controller.batch()
            await controller.say(Refused("more than the window"))
            await controller.welcome()
            assert await controller.batch() == batch
    assert "refuses us: more than the window" in [entry.get("reason") for entry in logs]


async def test_garbage_from_the_controller_begins_another(spool: Spool, endpoint: str, controller: Controller) -> None:
    """What is no message ends the session, not the agent."""
    async with linked(spool, endpoint):
        await controller.welcome()
        await spool.append("journald", observed(1), "c", None)
        await controller.batch()
        await controller.socket.send_multipart([controller.route, b"\xc1"])
        await controller.welcome(acked=1)


async def test_a_controller_that_comes_later_is_found(spool: Spool, endpoint: str) -> None:
    """While nobody listens that is logged once; soon after somebody does the events arrive; the same after a restart of it."""
    await spool.append("journald", observed(2), "c", None)
    with capture_logs() as logs:
        async with linked(spool, endpoint) as uplink:
            await asyncio.sleep(1)
            for seq in (0, 1):
                controller = Controller(endpoint)
                await controller.welcome(acked=seq)
                assert (await controller.batch()).first == seq + 1
                controller.socket.close()
                await until(lambda: not uplink.connected)
    reasons = [entry["reason"] for entry in logs if entry["event"] == "no session with controller"]
    assert reasons[:2] == ["cannot be reached", "connection lost"]


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this kernel has no IPv6")
async def test_a_controller_at_an_ipv6_address_is_reached(spool: Spool) -> None:
    """A session is held with a controller whose endpoint is an IPv6 address."""
    controller = Controller("tcp://[::1]:*")
    endpoint = str(controller.socket.getsockopt_string(zmq.LAST_ENDPOINT))
    try:
        async with linked(spool, endpoint) as uplink:
            await controller.welcome()
            await until(lambda: uplink.connected)
    finally:
        controller.socket.close()


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("tcp://192.168.1.5:5601", [False, False]),
        ("tcp://[fd00::10]:5601", [True, True]),
        ("tcp://controller.example.com:5601", [False, True]),
        ("ipc:///run/controller", [False, False]),
    ],
)
def test_a_name_is_tried_as_both_kinds_of_address(endpoint: str, expected: list[bool]) -> None:
    """An address says what it is; a name may have either kind, and is tried as IPv4 first."""
    assert [by_ipv6(endpoint, attempt) for attempt in range(2)] == expected


async def test_an_endpoint_that_cannot_be_ends_the_attempt_and_not_the_agent(spool: Spool) -> None:
    """What ZeroMQ refuses to connect to is told as the session's trouble, and tried again."""
    with capture_logs() as logs:
        async with linked(spool, "tcp://10.0.0.10/:5601"):
            await until(lambda: logs)
            await asyncio.sleep(0.5)
    assert [entry["reason"].partition(":")[0] for entry in logs] == ["cannot be connected to"]


async def test_a_wrong_key_is_told_apart(spool: Spool, endpoint: str) -> None:
    """A controller with another key than the configured one: one line names the file to check, and nothing is sent."""
    controller = Controller(endpoint, zmq.curve_keypair())
    with capture_logs() as logs:
        async with linked(spool, endpoint) as uplink:
            await until(lambda: logs)
            await controller.hears_nothing(1.5)
            assert not uplink.connected
    controller.socket.close()
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("no session with controller", "warning")]
    assert "CURVE handshake: check public_key_file" in logs[0]["reason"]


async def test_a_spool_behind_its_controller_begins_another_stream(spool: Spool, endpoint: str, controller: Controller) -> None:
    """When the controller has sequences that the spool has not, the events go on under another stream: none is taken for a double."""
    await spool.append("journald", observed(5), "c", None)
    old = spool.stream
    async with linked(spool, endpoint):
        await controller.welcome(acked=9)
        hello = await controller.welcome()
        batch = await controller.batch()
    assert hello.stream == batch.stream == spool.stream != old
    assert (batch.previous, batch.first, len(batch.envelopes)) == (0, 1, 6)


async def test_heartbeats_carry_what_the_node_cannot_see(spool: Spool, endpoint: str, controller: Controller) -> None:
    """Heartbeats come at their interval, with the newest sequence and each source's trouble, cut to what a frame holds."""
    await spool.append("journald", observed(2), "c", None)
    async with linked(spool, endpoint, 0.05, {"journald": "", "pmxcfs": "x" * 100_000}):
        await controller.welcome(acked=2)
        await controller.hears_nothing(0.5)
    assert len(controller.beats) >= 4
    assert set(map(str, controller.beats)) == {str(Heartbeat("pve1", spool.stream, 2, 7, {"journald": "", "pmxcfs": "x" * TROUBLE}))}


async def test_a_failing_disk_delays_only_forgetting(
    spool: Spool, endpoint: str, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the spool cannot note what is acknowledged, sending goes on; it is noted as soon as that works."""
    real, calls = spool.acknowledge, list[int]()

    async def failing(name: str, seq: int) -> None:
        calls.append(seq)
        if len(calls) < 3:
            raise agent.spool.SpoolFullError("full")
        await real(name, seq)

    monkeypatch.setattr(spool, "acknowledge", failing)
    monkeypatch.setattr(agent.uplink, "ACK_EVERY", 0.05)
    async with linked(spool, endpoint):
        await controller.welcome()
        for seq in (1, 2):
            await spool.append("journald", observed(1), "c", None)
            assert (await controller.batch()).first == seq
            await controller.say(Ack(spool.stream, seq))
        await until_position(spool, 3)


async def test_cancelling_leaves_nothing_behind(spool: Spool, endpoint: str, controller: Controller) -> None:
    """An uplink ends within a moment of being told, wherever it stands, and closes its sockets."""
    before = _open_sockets()
    async with linked(spool, endpoint):
        await until(lambda: _open_sockets() > before)
        await controller.hear()
    async with linked(spool, endpoint) as uplink:
        await controller.welcome()
        await until(lambda: uplink.connected)
    assert _open_sockets() == before


async def test_an_end_that_meets_a_failing_session_is_an_end(spool: Spool, endpoint: str, controller: Controller) -> None:
    """Cancelled in the very moment in which its session fails by itself, an uplink ends and does not begin another session."""

    def failing() -> dict[str, str]:
        running.cancel()
        raise UplinkError("fails")

    identity = Identity("pve1", "b007", "0.1.0", *CLIENT)
    running = asyncio.create_task(Uplink(spool, Peer("main", endpoint, SERVER[0]), identity, 30, lambda: 7, failing).run())
    await controller.welcome()
    done, _ = await asyncio.wait((running,), timeout=5)
    assert done
    assert running.cancelled()


def _open_sockets() -> int:
    context: Any = zmq.asyncio.Context.instance()
    return sum(not socket.closed for socket in context._sockets)
