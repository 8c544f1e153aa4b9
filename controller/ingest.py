"""Where agents arrive: a ROUTER socket with CURVE, decoding, deduplication by sequence, acknowledgement after commit.

Rules: a frame is only believed to come from the node that its key belongs to; what cannot be read is counted and answered, never
fatal; an envelope that cannot be read inside a good batch is kept as it is; an Ack is sent only for what ``accept`` made durable.
Of each stream one delivery is accepted at a time, in order; what arrives meanwhile goes with the next one.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final

import structlog
import zmq
import zmq.asyncio

from controller.endpoint import on_ipv6
from controller.errors import PermanentError, described
from events.codec import decode
from events.envelope import Envelope
from events.errors import CodecError
from events.wire import MAX_FRAME, Ack, EventBatch, Heartbeat, Hello, Message, Refused, Rewind, Welcome, pack, unpack

log = structlog.get_logger()

DOMAIN: Final = "ingest"
"""ZAP domain of this socket."""
WAITING: Final = 32
"""Messages of one agent that may wait, unread or decoded; its window is smaller."""
MOST: Final = 4000
"""Events in one delivery."""


class BindError(PermanentError):
    """The endpoint cannot be bound."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Bytes in a stream that are no event, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """New events of one stream in order, without any that came before. ``gap``: sequences lost before them for good."""

    node: str
    stream: str
    boot_id: str
    items: tuple[tuple[int, bytes, Envelope | Reject], ...]
    last: int
    gap: tuple[int, int] | None = None


@dataclass(slots=True)
class _Stream:
    """One stream, whichever connection it comes by: how far it was read, how far it is durable, what waits for that."""

    name: str
    tail: int = 0
    durable: int = 0
    waiting: deque[tuple[bytes, Delivery]] = field(default_factory=deque)
    """With the route that each came by: only that connection is told."""
    committing: asyncio.Task[None] | None = None


@dataclass(slots=True)
class _Peer:
    """One agent's connection."""

    node: str
    route: bytes
    inbox: asyncio.Queue[Message] = field(default_factory=lambda: asyncio.Queue(WAITING))
    stream: _Stream | None = None
    boot_id: str = "-"
    serving: asyncio.Task[None] | None = None


Accept = Callable[[Delivery], Awaitable[int]]


class Ingest:
    """Listens for agents.

    ``accept`` makes a delivery durable; ``acked`` tells how far a stream is; ``heard`` notes a living node and what its clock says
    (UTC µs, 0: nothing); ``allowed`` says whether a node may still speak: ZeroMQ asks only at the handshake, and a connection lasts
    for months.
    """

    def __init__(
        self,
        bind: str,
        keys: tuple[bytes, bytes],
        accept: Accept,
        acked: Callable[[str, str], Awaitable[int]],
        heard: Callable[[str, int], None],
        allowed: Callable[[str], bool],
    ) -> None:
        self.endpoint = ""
        self.refused: Counter[str] = Counter()
        """Messages refused, by node."""
        self.listening = asyncio.Event()
        self._bind = bind
        self._keys = keys
        self._accept = accept
        self._acked = acked
        self._heard = heard
        self._allowed = allowed
        self._peers: dict[str, _Peer] = {}
        """Of each node its newest connection: an agent has one."""
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._socket: zmq.asyncio.Socket

    async def run(self) -> None:
        """Listen until cancelled.

        :raises BindError: when the endpoint cannot be bound.
        """
        with zmq.asyncio.Context.instance().socket(zmq.ROUTER) as self._socket:
            self._listen(self._socket)
            self.listening.set()
            log.info("listening for agents", endpoint=self.endpoint)
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await self._one(tasks)

    def _listen(self, socket: zmq.asyncio.Socket) -> None:
        socket.linger = 0
        socket.maxmsgsize = MAX_FRAME
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = self._keys
        socket.zap_domain = DOMAIN.encode()
        socket.ipv6 = on_ipv6(self._bind)
        try:
            socket.bind(self._bind)
        except zmq.ZMQError as error:
            raise BindError(f"cannot listen on {self._bind}: {error}") from error
        self.endpoint = str(socket.getsockopt_string(zmq.LAST_ENDPOINT))

    async def _one(self, tasks: asyncio.TaskGroup) -> None:
        frames = await self._socket.recv_multipart(copy=False)
        route, frame = frames[0].bytes, frames[-1]
        node = _user(frame)
        if not self._allowed(node):
            await self._refuse(route, node, "its key was taken off the allow-list")
            return
        if len(frames) != 2:
            await self._refuse(route, node, "message of several frames")
            return
        try:
            message = unpack(frame.buffer)
        except CodecError as error:
            await self._refuse(route, node, str(error))
            return
        peer = self._peers.get(node)
        if peer is None or peer.route != route:
            if not isinstance(message, Hello):
                # Also what is still to be read of a connection that the agent has given up: it must not displace the new one.
                await self._refuse(route, node, "first message is no Hello")
                return
            peer = self._meet(node, route, tasks)
        try:
            peer.inbox.put_nowait(message)
        except asyncio.QueueFull:
            # Its window is smaller than the inbox: it does not keep to it. What is dropped here it is asked for again.
            await self._refuse(route, node, "more messages than its window allows")

    def _meet(self, node: str, route: bytes, tasks: asyncio.TaskGroup) -> _Peer:
        """Begin a connection, in place of the node's older one."""
        older = self._peers.get(node)
        if older is not None and older.serving is not None:
            older.serving.cancel()
        peer = self._peers[node] = _Peer(node, route)
        peer.serving = tasks.create_task(self._serve(peer, tasks), name=f"ingest {node}")
        return peer

    async def _serve(self, peer: _Peer, tasks: asyncio.TaskGroup) -> None:
        while True:
            message = await peer.inbox.get()
            self._heard(peer.node, message.at if isinstance(message, Heartbeat) and message.node == peer.node else 0)
            match message:
                case Hello():
                    await self._greet(peer, message)
                case EventBatch():
                    await self._batch(peer, message, tasks)
                case Heartbeat():
                    if message.node != peer.node:
                        await self._refuse(peer.route, peer.node, f"the key belongs to node {peer.node}, the message says {message.node}")
                case _:
                    await self._refuse(peer.route, peer.node, f"an agent does not say {type(message).__name__}")

    async def _greet(self, peer: _Peer, hello: Hello) -> None:
        if hello.node != peer.node:
            await self._refuse(peer.route, peer.node, f"the key belongs to node {peer.node}, the message says {hello.node}")
            return
        for key, old in list(self._streams.items()):
            if key[0] == peer.node and key[1] != hello.stream and old.committing is None:
                del self._streams[key]
        stream = self._streams.setdefault((peer.node, hello.stream), _Stream(hello.stream))
        # What an earlier connection brought must be durable before we say from where to go on, or it would be counted twice.
        while stream.committing is not None:
            await asyncio.wait((stream.committing,))
        stream.tail = stream.durable = await self._acked(peer.node, hello.stream)
        peer.stream, peer.boot_id = stream, hello.boot_id
        log.info("agent connected", node=peer.node, stream=hello.stream, version=hello.version, acked=stream.tail, last=hello.last)
        await self._say(peer.route, Welcome(hello.stream, stream.tail))

    async def _batch(self, peer: _Peer, batch: EventBatch, tasks: asyncio.TaskGroup) -> None:
        stream = peer.stream
        if stream is None or batch.stream != stream.name:
            await self._refuse(peer.route, peer.node, "events before a Hello for their stream")
            return
        if batch.previous > stream.tail:
            await self._say(peer.route, Rewind(batch.stream, stream.tail))
            return
        last = batch.first + len(batch.envelopes) - 1
        if last <= stream.tail:
            # It came twice: the first Ack may have been lost. What is not durable yet is acknowledged when it is.
            await self._say(peer.route, Ack(stream.name, stream.durable))
            return
        if len(stream.waiting) >= WAITING:
            await self._refuse(peer.route, peer.node, "more messages than its window allows")
            return
        gap = (stream.tail + 1, batch.first - 1) if batch.first - 1 > stream.tail else None
        items = tuple(
            (seq, data, _decode(peer.node, stream.name, seq, data))
            for seq, data in enumerate(batch.envelopes, batch.first)
            if seq > stream.tail
        )
        stream.tail = last
        stream.waiting.append((peer.route, Delivery(peer.node, stream.name, peer.boot_id, items, last, gap)))
        if stream.committing is None:
            stream.committing = tasks.create_task(self._commit(stream), name=f"commit {peer.node}")

    async def _commit(self, stream: _Stream) -> None:
        """Have everything that waits made durable, one delivery after the other, and say so."""
        try:
            while stream.waiting:
                route, delivery = _joined(stream.waiting)
                stream.durable = await self._accept(delivery)
                await self._say(route, Ack(delivery.stream, stream.durable))
        finally:
            stream.committing = None

    async def _refuse(self, route: bytes, node: str, reason: str) -> None:
        self.refused[node] += 1
        if self.refused[node] == 1:
            log.warning("message refused; further ones of this node are only counted", node=node, reason=reason)
        await self._say(route, Refused(reason[:1000]))

    async def _say(self, route: bytes, message: Message) -> None:
        try:
            await self._socket.send_multipart([route, pack(message)], flags=zmq.NOBLOCK)
        except zmq.ZMQError as error:
            # The agent is gone or does not read: it will ask again.
            log.debug("cannot answer", error=str(error))


def _joined(waiting: deque[tuple[bytes, Delivery]]) -> tuple[bytes, Delivery]:
    """Take as many deliveries off as make one: up to a gap, up to :data:`MOST` events, of one connection."""
    route, first = waiting.popleft()
    items, last = list(first.items), first.last
    while waiting and waiting[0][0] == route and waiting[0][1].gap is None and len(items) + len(waiting[0][1].items) <= MOST:
        _, more = waiting.popleft()
        items += more.items
        last = more.last
    return route, replace(first, items=tuple(items), last=last)


def _decode(node: str, stream: str, seq: int, data: bytes) -> Envelope | Reject:
    try:
        envelope = decode(data)
    except CodecError as error:
        return Reject(str(error))
    except Exception as error:  # the edge of an event: unacknowledged it would come again after each restart, for ever
        log.exception("an event cannot be read by a defect, which should be reported", node=node, seq=seq)
        return Reject(f"the controller fails with it: {described(error)}")
    if envelope.seq != seq or envelope.stream != stream or envelope.node != node:
        return Reject(f"envelope says {envelope.identity}, it came as {node}/{stream}/{seq}")
    return envelope


def _user(frame: zmq.Frame) -> str:
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""
