"""The way up: spooled envelopes to one controller, in order, until it has acknowledged them.

A session begins with Hello and Welcome. Batches follow each other, several in flight; what is not acknowledged in time, or what
the controller asks for again, is sent again from the spool. A lost connection ends the session; the next begins after a pause
that grows while it keeps failing. Nothing here is the only copy of anything.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from agent.errors import TemporaryError
from agent.spool import Spool
from events.errors import CodecError
from events.wire import Ack, EventBatch, Heartbeat, Hello, Message, Refused, Rewind, Welcome, pack, unpack

log = structlog.get_logger()

BATCH: Final = 500
"""Envelopes in a batch."""
BATCH_BYTES: Final = 400 * 1024
WINDOW: Final = 8
"""Batches in flight: enough to keep a controller busy while it commits, little to send again."""
ANSWER_WITHIN: Final = 10.0
"""Seconds within which a Hello or a batch must be answered."""
ACK_EVERY: Final = 0.5
"""Seconds between two writes of the acknowledged sequence: it only frees space, so it need not be written each time."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between attempts to connect."""


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
    ) -> None:
        self.peer = peer
        self.connected = False
        self.acked = 0
        self._spool = spool
        self._identity = identity
        self._heartbeat = heartbeat
        self._now = now
        self._sources = sources
        self._said = ""

    async def run(self) -> None:
        """Hold sessions until cancelled."""
        pause = FIRST_PAUSE
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._session()
            except* UplinkError as group:
                self._say(str(group.exceptions[0]))
            self.connected = False
            if asyncio.get_running_loop().time() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - only spreads reconnects
            pause = min(pause * 2, LONGEST_PAUSE)

    def _say(self, reason: str) -> None:
        """Log a reason once, not at every attempt."""
        if reason != self._said:
            log.warning("no session with controller", controller=self.peer.name, endpoint=self.peer.endpoint, reason=reason)
            self._said = reason

    async def _session(self) -> None:
        with zmq.asyncio.Context.instance().socket(zmq.DEALER) as socket:
            socket.linger = 0
            socket.sndhwm = WINDOW * 4
            socket.curve_serverkey = self.peer.public_key
            socket.curve_publickey, socket.curve_secretkey = self._identity.public_key, self._identity.secret_key
            # We make the next attempt ourselves, with a growing pause and a fresh socket.
            socket.reconnect_ivl = -1
            socket.handshake_ivl = int(ANSWER_WITHIN * 1000)
            monitor = socket.get_monitor_socket()
            try:
                socket.connect(self.peer.endpoint)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._watch(monitor), name="watch")
                    tasks.create_task(_Session(self, socket).run(), name="session")
            finally:
                socket.disable_monitor()

    async def _watch(self, monitor: zmq.asyncio.Socket) -> None:
        """Turn the socket's events into the reason for the session's end."""
        while True:
            event = (await recv_monitor_message(monitor))["event"]
            if event in _REFUSED:
                raise HandshakeRefusedError(
                    "it refuses the CURVE handshake: check the controller's public_key_file here and this node's key in its allow-list"
                )
            if event in _GONE:
                raise UplinkError("cannot be reached" if not self.connected else "connection lost")


_REFUSED: Final = {zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL}
_GONE: Final = {zmq.EVENT_DISCONNECTED, zmq.EVENT_CLOSED, zmq.EVENT_CONNECT_RETRIED}


class _Session:
    """One conversation: what is sent, what is acknowledged."""

    def __init__(self, uplink: Uplink, socket: zmq.asyncio.Socket) -> None:
        self._uplink = uplink
        self._spool = uplink._spool  # noqa: SLF001 - one thing in two classes: the attempt and the conversation
        self._identity = uplink._identity  # noqa: SLF001
        self._socket = socket
        self._sent = self._acked = self._saved = 0
        self._flying = 0
        self._answered = asyncio.Event()
        self._loop = asyncio.get_running_loop()

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
        position, identity = await self._spool.position(), self._identity
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
        self._sent = self._acked = answer.acked
        self._uplink.connected = True
        self._uplink._said = ""  # noqa: SLF001
        log.info("session with controller", controller=self._uplink.peer.name, stream=position.stream, goes_on_behind=answer.acked)

    async def _send(self) -> None:
        spool = self._spool
        while True:
            while self._flying >= WINDOW:
                await self._wait_for_answer()
            rows = await spool.read_after(self._sent, BATCH, BATCH_BYTES)
            if not rows:
                await self._idle()
                continue
            previous, self._sent = self._sent, rows[-1][0]
            self._flying += 1
            await self._say(EventBatch(spool.stream, previous, rows[0][0], tuple(data for _, data in rows)))

    async def _idle(self) -> None:
        """Wait for news, while keeping an eye on what is still unanswered."""
        if self._flying:
            waits = [asyncio.create_task(self._spool.appended(self._sent)), asyncio.create_task(self._wait_for_answer())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if waits[1].done():
                    waits[1].result()
            finally:
                for task in waits:
                    task.cancel()
                await asyncio.gather(*waits, return_exceptions=True)
        else:
            await self._spool.appended(self._sent)

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
                case Ack(stream, seq) if stream == self._spool.stream:
                    self._acked = self._uplink.acked = max(self._acked, seq)
                    self._flying = max(0, self._flying - 1) if seq < self._sent else 0
                case Rewind(stream, seq) if stream == self._spool.stream:
                    self._sent, self._flying = seq, 0
                case Refused(reason):
                    raise UplinkError(f"refuses us: {reason}")
                case _:
                    continue
            self._answered.set()

    async def _beat(self) -> None:
        uplink = self._uplink
        while True:
            sources = uplink._sources()  # noqa: SLF001
            await self._say(Heartbeat(self._identity.node, self._spool.stream, self._spool.last, uplink._now(), sources))  # noqa: SLF001
            await asyncio.sleep(uplink._heartbeat)  # noqa: SLF001

    async def _save(self) -> None:
        """Let the spool forget what is acknowledged, now and then."""
        while True:
            await asyncio.sleep(ACK_EVERY)
            if self._acked > self._saved:
                self._saved = self._acked
                try:
                    await self._spool.acknowledge(self._uplink.peer.name, self._saved)
                except TemporaryError as error:
                    # A full disk: freeing space must wait until there is some, sending need not.
                    log.warning("cannot free spooled events", error=str(error))
                    self._saved = 0
