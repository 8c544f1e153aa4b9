"""Where agents arrive: a ROUTER socket with CURVE, decoding, deduplication by sequence, acknowledgement after commit.

Rules: a frame is only believed to come from the node that its key belongs to; what cannot be read is counted and answered, never
fatal; an envelope that cannot be read inside a good batch is kept as it is; an Ack is sent only for what ``accept`` made durable.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import structlog
import zmq
import zmq.asyncio

from controller.errors import PermanentError
from events.codec import decode
from events.envelope import Envelope
from events.errors import CodecError
from events.wire import MAX_FRAME, Ack, EventBatch, Heartbeat, Hello, Message, Refused, Rewind, Welcome, pack, unpack

log = structlog.get_logger()

DOMAIN: Final = "ingest"
"""ZAP domain of this socket."""
WAITING: Final = 32
"""Messages of one agent that may wait; its window is smaller."""


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
class _Peer:
    """One agent's connection: where its stream stands, and what is being made durable."""

    node: str
    route: bytes
    inbox: asyncio.Queue[Message] = field(default_factory=lambda: asyncio.Queue(WAITING))
    stream: str = ""
    tail: int = 0
    boot_id: str = "-"
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


Accept = Callable[[Delivery], Awaitable[int]]


class Ingest:
    """Listens for agents. ``accept`` makes a delivery durable; ``acked`` tells how far a stream is; ``heard`` notes a living node."""

    def __init__(
        self,
        bind: str,
        keys: tuple[bytes, bytes],
        accept: Accept,
        acked: Callable[[str, str], Awaitable[int]],
        heard: Callable[[str], None],
    ) -> None:
        self.endpoint = ""
        self.refused: Counter[str] = Counter()
        self._bind = bind
        self._keys = keys
        self._accept = accept
        self._acked = acked
        self._heard = heard
        self._peers: dict[bytes, _Peer] = {}
        self._pending: dict[tuple[str, str], asyncio.Future[int]] = {}
        """The newest delivery of each stream that is being made durable."""
        self._socket: zmq.asyncio.Socket | None = None
        self.listening = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled.

        :raises BindError: when the endpoint cannot be bound.
        """
        with zmq.asyncio.Context.instance().socket(zmq.ROUTER) as socket:
            self._socket = socket
            socket.linger = 0
            socket.maxmsgsize = MAX_FRAME
            socket.curve_server = True
            socket.curve_publickey, socket.curve_secretkey = self._keys
            socket.zap_domain = DOMAIN.encode()
            socket.router_handover = True
            try:
                socket.bind(self._bind)
            except zmq.ZMQError as error:
                raise BindError(f"cannot listen on {self._bind}: {error}") from error
            self.endpoint = str(socket.getsockopt_string(zmq.LAST_ENDPOINT))
            self.listening.set()
            log.info("listening for agents", endpoint=self.endpoint)
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await self._one(socket, tasks)

    async def _one(self, socket: zmq.asyncio.Socket, tasks: asyncio.TaskGroup) -> None:
        frames = await socket.recv_multipart(copy=False)
        route, frame = frames[0].bytes, frames[-1]
        node = _user(frame)
        if not node:
            return  # its key was taken off the allow-list a moment ago
        if len(frames) != 2:
            await self._refuse(route, node, "message of several frames")
            return
        try:
            message = unpack(frame.buffer)
        except CodecError as error:
            await self._refuse(route, node, str(error))
            return
        peer = self._peers.get(route)
        if peer is None:
            peer = self._peers[route] = _Peer(node, route)
            peer.tasks.add(tasks.create_task(self._serve(peer, tasks), name=f"ingest {node}"))
            self._forget_others(peer)
        try:
            peer.inbox.put_nowait(message)
        except asyncio.QueueFull:
            # Its window is smaller than the inbox: it does not keep to it. What is dropped here it is asked for again.
            await self._refuse(route, node, "more messages than its window allows")

    def _forget_others(self, peer: _Peer) -> None:
        """End older connections of the same node: an agent has one."""
        for other in [one for one in self._peers.values() if one.node == peer.node and one is not peer]:
            del self._peers[other.route]
            for task in other.tasks:
                task.cancel()

    async def _serve(self, peer: _Peer, tasks: asyncio.TaskGroup) -> None:
        while True:
            message = await peer.inbox.get()
            self._heard(peer.node)
            match message:
                case Hello():
                    await self._greet(peer, message)
                case EventBatch():
                    await self._batch(peer, message, tasks)
                case Heartbeat():
                    if message.node != peer.node:
                        await self._refuse(peer.route, peer.node, f"speaks for node {message.node}")
                case _:
                    await self._refuse(peer.route, peer.node, f"an agent does not say {type(message).__name__}")

    async def _greet(self, peer: _Peer, hello: Hello) -> None:
        if hello.node != peer.node:
            await self._refuse(peer.route, peer.node, f"the key belongs to node {peer.node}, the message says {hello.node}")
            return
        peer.stream, peer.boot_id = hello.stream, hello.boot_id
        # What an earlier connection brought must be durable before we say from where to go on, or it would be counted twice.
        await self._settled(peer)
        peer.tail = await self._acked(peer.node, hello.stream)
        log.info("agent connected", node=peer.node, stream=hello.stream, version=hello.version, acked=peer.tail, last=hello.last)
        await self._say(peer.route, Welcome(hello.stream, peer.tail))

    async def _batch(self, peer: _Peer, batch: EventBatch, tasks: asyncio.TaskGroup) -> None:
        if batch.stream != peer.stream:
            await self._refuse(peer.route, peer.node, "events before a Hello for their stream")
            return
        if batch.previous > peer.tail:
            await self._say(peer.route, Rewind(batch.stream, peer.tail))
            return
        last = batch.first + len(batch.envelopes) - 1
        if last <= peer.tail:
            peer.tasks.add(tasks.create_task(self._again(peer, batch.stream), name=f"ack {peer.node}"))
            return
        gap = (peer.tail + 1, batch.first - 1) if batch.first - 1 > peer.tail else None
        items = tuple(
            (seq, data, self._decode(peer, seq, data)) for seq, data in enumerate(batch.envelopes, batch.first) if seq > peer.tail
        )
        peer.tail = last
        delivery = Delivery(peer.node, batch.stream, peer.boot_id, items, last, gap)
        # Accepted in order, since tasks start in order; the next batch is decoded while this one is being committed.
        durable = asyncio.ensure_future(self._accept(delivery))
        self._pending[peer.node, peer.stream] = durable
        task = tasks.create_task(self._commit(peer, delivery, durable), name=f"commit {peer.node}")
        peer.tasks.add(task)
        task.add_done_callback(peer.tasks.discard)

    def _decode(self, peer: _Peer, seq: int, data: bytes) -> Envelope | Reject:
        try:
            envelope = decode(data)
        except CodecError as error:
            return Reject(str(error))
        if (envelope.node, envelope.stream, envelope.seq) != (peer.node, peer.stream, seq):
            return Reject(f"envelope says {envelope.identity}, it came as {peer.node}/{peer.stream}/{seq}")
        return envelope

    async def _commit(self, peer: _Peer, delivery: Delivery, durable: asyncio.Future[int]) -> None:
        # Shielded: the delivery goes on when the connection ends, only nobody is told.
        seq = await asyncio.shield(durable)
        await self._say(peer.route, Ack(delivery.stream, seq))

    async def _settled(self, peer: _Peer) -> None:
        durable = self._pending.get((peer.node, peer.stream))
        if durable is not None:
            await asyncio.shield(durable)

    async def _again(self, peer: _Peer, stream: str) -> None:
        """Acknowledge once more what came twice: the first Ack may have been lost."""
        await self._settled(peer)
        await self._say(peer.route, Ack(stream, await self._acked(peer.node, stream)))

    async def _refuse(self, route: bytes, node: str, reason: str) -> None:
        self.refused[node] += 1
        if self.refused[node] == 1:
            log.warning("message refused; further ones of this node are only counted", node=node, reason=reason)
        await self._say(route, Refused(reason[:1000]))

    async def _say(self, route: bytes, message: Message) -> None:
        assert self._socket is not None
        try:
            await self._socket.send_multipart([route, pack(message)], flags=zmq.NOBLOCK)
        except zmq.ZMQError as error:
            # The agent is gone or does not read: it will ask again.
            log.debug("cannot answer", error=str(error))


def _user(frame: zmq.Frame) -> str:
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""
