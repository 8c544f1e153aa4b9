"""The way up: spooled envelopes to one controller, in order, until it has acknowledged them.

A session begins with Hello and Welcome. Batches follow each other, several in flight; what is not acknowledged in time, or what
the controller asks for again, is sent again from the spool. A lost connection ends the session; the next begins after a pause
that grows while it keeps failing. Nothing here is the only copy of anything.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Final

import structlog
import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from agent.errors import TemporaryError
from agent.spool import Position, Spool
from events.errors import CodecError
from events.wire import Ack, EventBatch, Heartbeat, Hello, Message, Refused, Rewind, Welcome, pack, unpack

log = structlog.get_logger()

BATCH: Final = 1000
"""Envelopes in a batch."""
BATCH_BYTES: Final = 768 * 1024
WINDOW: Final = 8
"""Batches in flight: enough to keep a controller busy while it commits, little to send again."""
ANSWER_WITHIN: Final = 10.0
"""Seconds within which a Hello or a batch must be answered."""
ACK_EVERY: Final = 0.5
"""Seconds between two writes of the acknowledged sequence: it only frees space, so it need not be written each time."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between attempts to connect."""
TROUBLE: Final = 200
"""Characters of a source's trouble that a heartbeat carries."""


class UplinkError(TemporaryError):
    """The session with a controller ended; the text says why."""


class HandshakeRefusedError(UplinkError):
    """The CURVE handshake failed: a wrong key on one side."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A controller: its name in the spool, ZeroMQ endpoint and public key (Z85)."""

    name: str
    endpoint: str
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are: node, boot and version as told to controllers, and our CURVE key pair (Z85)."""

    node: str
    boot_id: str
    version: str
    public_key: bytes
    secret_key: bytes


class Uplink:
    """Sends a spool to one controller for as long as :meth:`run` runs.

    ``now`` returns UTC µs; ``sources`` returns each source's trouble (empty text: none); ``heartbeat`` is in seconds.
    """

    def __init__(
        self,
        spool: Spool,
        peer: Peer,
        identity: Identity,
        heartbeat: float,
        now: Callable[[], int],
        sources: Callable[[], dict[str, str]],
        missed: Callable[[], None] = lambda: None,
    ) -> None:
        self.peer = peer
        self.connected = False
        self.acked = 0
        self.spool = spool
        self.identity = identity
        self._heartbeat = heartbeat
        self._now = now
        self._sources = sources
        self.missed = missed
        """Called when the controller will never get events that the spool no longer holds."""
        self._repeated = ("", 0)
        """Since which sequence of which stream all that has a state was said again for that reason."""
        self._said = ""

    async def run(self) -> None:
        """Hold sessions until cancelled, each in a task of its own: whether we are told to end is then ours alone to know.

        :raises agent.spool.SpoolDamagedError: when the spool turns out to be damaged.
        """
        pause, attempts = FIRST_PAUSE, count()
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        while True:
            began = loop.time()
            try:
                await asyncio.create_task(self._hold(next(attempts)), name=f"session {self.peer.name}")
            except* TemporaryError as group:
                self._complain(group)
            self.connected = False
            if task is not None and task.cancelling():
                # Told to end while the session was failing by itself: a TaskGroup before Python 3.13 then raises the failure alone.
                raise asyncio.CancelledError
            if loop.time() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - only spreads reconnects
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _hold(self, attempt: int) -> None:
        """Hold one session until something of it fails."""
        connected = _connected(self.peer, self.identity, by_ipv6(self.peer.endpoint, attempt))
        async with connected as (socket, monitor), asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(monitor), name="watch")
            tasks.create_task(_Session(self, socket).run(), name="session")

    def welcomed(self, stream: str, acked: int) -> None:
        """Note that a session has begun, and how far the controller is."""
        self.connected, self.acked, self._said = True, acked, ""
        log.info("session with controller", controller=self.peer.name, stream=stream, goes_on_behind=acked)

    def lacks(self, position: Position) -> None:
        """Have said again what the controller will never get; not while the spool still holds all that was said again for it before.

        A controller that cannot commit begins a session each few seconds, and others would be told everything as often.
        """
        stream, first = self._repeated
        if position.stream != stream or position.first > first:
            self._repeated = position.stream, position.last + 1
            self.missed()

    def heartbeat(self) -> Heartbeat:
        """Return what a heartbeat says now."""
        sources = {name: trouble[:TROUBLE] for name, trouble in self._sources().items()}
        return Heartbeat(self.identity.node, self.spool.stream, self.spool.last, self._now(), sources)

    async def beat(self) -> None:
        """Wait until the next heartbeat is due."""
        await asyncio.sleep(self._heartbeat)

    def _complain(self, group: BaseExceptionGroup[TemporaryError]) -> None:
        """Log why a session ended; the same reason once, not at every attempt."""
        reasons = sorted(_leaves(group), key=lambda error: not isinstance(error, HandshakeRefusedError))
        reason = str(reasons[0])
        if reason != self._said:
            log.warning("no session with controller", controller=self.peer.name, endpoint=self.peer.endpoint, reason=reason)
            self._said = reason

    async def _watch(self, monitor: zmq.asyncio.Socket) -> None:
        """Turn the socket's events into the reason for the session's end."""
        while True:
            event = (await recv_monitor_message(monitor))["event"]
            if event in _REFUSED:
                raise HandshakeRefusedError(
                    "does not complete the CURVE handshake: check public_key_file here, and this node's key in the controller's allow-list"
                )
            if event in _GONE:
                raise UplinkError("connection lost" if self.connected else "cannot be reached")


_REFUSED: Final = {zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL}
_GONE: Final = {zmq.EVENT_DISCONNECTED, zmq.EVENT_CLOSED, zmq.EVENT_CONNECT_RETRIED}


def _leaves(group: BaseExceptionGroup[TemporaryError]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def by_ipv6(endpoint: str, attempt: int) -> bool:
    """Tell whether to connect over IPv6. libzmq takes one kind of address only, so a name is tried as both, in turns."""
    transport, _, host = endpoint.partition("://")
    if transport != "tcp" or host.startswith("["):
        return transport == "tcp"
    return any(char.isalpha() for char in host) and attempt % 2 == 1


@asynccontextmanager
async def _connected(peer: Peer, identity: Identity, ipv6: bool) -> AsyncIterator[tuple[zmq.asyncio.Socket, zmq.asyncio.Socket]]:
    """Give a connecting socket and its monitor; nothing of both is left afterwards."""
    socket = zmq.asyncio.Context.instance().socket(zmq.DEALER)
    socket.linger = 0
    socket.ipv6 = ipv6
    socket.sndhwm = WINDOW * 4
    socket.curve_serverkey = peer.public_key
    socket.curve_publickey, socket.curve_secretkey = identity.public_key, identity.secret_key
    # We make the next attempt ourselves, with a growing pause and a fresh socket.
    socket.reconnect_ivl = -1
    socket.handshake_ivl = int(ANSWER_WITHIN * 1000)
    # A controller whose host vanished without a word is noticed also while there is nothing to send.
    socket.heartbeat_ivl, socket.heartbeat_timeout = 5_000, 15_000
    monitor = socket.get_monitor_socket()
    monitor.linger = 0
    try:
        try:
            socket.connect(peer.endpoint)
        except zmq.ZMQError as error:
            raise UplinkError(f"cannot be connected to: {error}") from error
        yield socket, monitor
    finally:
        socket.disable_monitor()
        monitor.close()
        socket.close()


class _Session:
    """One conversation: what is sent, what is acknowledged."""

    def __init__(self, uplink: Uplink, socket: zmq.asyncio.Socket) -> None:
        self._uplink = uplink
        self._spool = uplink.spool
        self._stream = ""
        self._socket = socket
        self._sent = self._acked = self._saved = 0
        self._flying: deque[int] = deque()
        """Last sequence of each batch that is not acknowledged."""
        self._answered = asyncio.Event()
        self._acknowledged = asyncio.Event()
        """Set when the controller has more than the spool knows."""

    async def run(self) -> None:
        """Say Hello, then send, receive and beat until something fails."""
        await self._greet()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send(), name="send")
            tasks.create_task(self._receive(), name="receive")
            tasks.create_task(self._beat(), name="beat")
            tasks.create_task(self._save(), name="save")

    async def _say(self, message: Message) -> None:
        await self._socket.send(pack(message))

    async def _hear(self) -> Message:
        frames = await self._socket.recv_multipart()
        try:
            return unpack(frames[-1])
        except CodecError as error:
            raise UplinkError(f"says what cannot be understood: {error}") from error

    async def _greet(self) -> None:
        position, identity = await self._spool.position(), self._uplink.identity
        self._stream = position.stream
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await self._say(Hello(identity.node, position.stream, identity.boot_id, identity.version, position.first, position.last))
                answer = await self._hear()
        except TimeoutError:
            raise UplinkError(f"does not answer within {ANSWER_WITHIN:.0f} s") from None
        if isinstance(answer, Refused):
            raise UplinkError(f"refuses us: {answer.reason}")
        if not isinstance(answer, Welcome) or answer.stream != position.stream:
            raise UplinkError("answers a Hello with something else")
        if answer.acked > position.last:
            await self._renew(answer.acked, position.last)
        self._sent = self._acked = answer.acked
        self._acknowledged.set()
        self._uplink.welcomed(position.stream, answer.acked)
        if answer.acked + 1 < position.first:
            # It is new, lost its database, or the spool dropped events: definitions that did not change since were among them.
            self._uplink.lacks(position)

    async def _renew(self, acked: int, last: int) -> None:
        """Begin another stream: the sequences that we would use next name other events at the controller."""
        reason = f"the spool went back in time: it ends with sequence {last}, the controller has {acked}; another stream begins"
        log.error(reason, controller=self._uplink.peer.name)
        await self._spool.renew(self._stream, reason)
        raise UplinkError("had more of our stream than the spool: another one begins")

    async def _send(self) -> None:
        spool = self._spool
        while True:
            while len(self._flying) >= WINDOW:
                await self._wait_for_answer()
            # Before the look: an answer that comes after it (a Rewind) must end the wait for news.
            self._answered.clear()
            previous = self._sent
            rows = await spool.read_after(previous, BATCH, BATCH_BYTES)
            if spool.stream != self._stream:
                raise UplinkError("must be told of another stream")
            if previous != self._sent:
                # Sent back meanwhile. These rows behind the new place would say that the spool dropped what lies between.
                continue
            if not rows:
                await self._idle()
                continue
            self._sent = rows[-1][0]
            self._flying.append(self._sent)
            await self._say(EventBatch(self._stream, previous, rows[0][0], tuple(data for _, data in rows)))

    async def _idle(self) -> None:
        """Wait for news or for an answer; not for ever while something is unanswered."""
        news = asyncio.create_task(self._spool.appended(self._stream, self._sent), name="news")
        answer = asyncio.create_task(self._answered.wait(), name="answer")
        try:
            limit = ANSWER_WITHIN if self._flying else None
            done, _ = await asyncio.wait((news, answer), timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
            answer.cancel()
        if not done:
            raise UplinkError(f"acknowledges nothing for {ANSWER_WITHIN:.0f} s")

    async def _wait_for_answer(self) -> None:
        self._answered.clear()
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await self._answered.wait()
        except TimeoutError:
            raise UplinkError(f"acknowledges nothing for {ANSWER_WITHIN:.0f} s") from None

    async def _receive(self) -> None:
        while True:
            match await self._hear():
                case Ack(stream, seq) if stream == self._stream:
                    self._acked = self._uplink.acked = max(self._acked, seq)
                    if self._acked > self._saved:
                        self._acknowledged.set()
                    while self._flying and self._flying[0] <= self._acked:
                        self._flying.popleft()
                case Rewind(stream, seq) if stream == self._stream:
                    self._sent = seq
                    self._flying.clear()
                case Refused(reason):
                    raise UplinkError(f"refuses us: {reason}")
                case _:
                    continue
            self._answered.set()

    async def _beat(self) -> None:
        while True:
            await self._say(self._uplink.heartbeat())
            await self._uplink.beat()

    async def _save(self) -> None:
        """Let the spool forget what is acknowledged, now and then."""
        while True:
            await self._acknowledged.wait()
            self._acknowledged.clear()
            self._saved = self._acked
            try:
                await self._spool.acknowledge(self._uplink.peer.name, self._saved)
            except TemporaryError as error:
                # A full disk: freeing space must wait until there is some, sending need not.
                log.warning("cannot free spooled events", error=str(error))
                self._acknowledged.set()
            await asyncio.sleep(ACK_EVERY)
