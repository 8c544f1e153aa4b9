"""The log as a ZeroMQ stream: XPUB with CURVE, one message a record, ``[topic, JSON]``.

A subscriber begins at now. ZeroMQ drops for a subscriber that does not keep up or is away; the growing ``cursor`` in each record
shows that something is missing, and the JSONL file or ``faultline events --since`` has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import structlog
import zmq
import zmq.asyncio

from controller.endpoint import on_ipv6
from controller.errors import PermanentError, TemporaryError
from controller.store.reading import LogRow
from controller.stream.record import line, topic

log = structlog.get_logger()

DOMAIN: Final = "stream"
"""ZAP domain of this socket."""
HIGH_WATER: Final = 50_000
"""Messages kept for a slow subscriber, about 50 MB, before ZeroMQ drops for it alone."""


_TURN: Final = 50
"""Records sent before the event loop gets its turn: a backlog must not delay acknowledgements to agents."""
_SUBSCRIPTION: Final = 4096
"""Longest message that a subscriber may send, bytes: it only ever sends topics."""


_FREED: Final = 2.0
"""Seconds within which libzmq has freed the address of a closed socket."""
_BACK: Final = 0.5
"""Seconds that subscribers have to come back before the next record: ZeroMQ's default is to try each 0.1 s."""


class BindError(PermanentError):
    """The endpoint cannot be bound."""


class RebindError(TemporaryError):
    """The endpoint cannot be taken again."""


class XpubSink:
    """Publishes rows of the log. Not durable: what nobody is there to hear is gone, on purpose."""

    name = "xpub"

    def __init__(self, bind: str, keys: tuple[bytes, bytes], cluster: str) -> None:
        self._cluster = cluster
        self._keys = keys
        self._stale = False
        try:
            self._socket = self._listen(bind)
        except zmq.ZMQError as error:
            raise BindError(f"cannot listen on {bind}: {error}") from error
        self.endpoint = str(self._socket.getsockopt_string(zmq.LAST_ENDPOINT))
        log.info("publishing", endpoint=self.endpoint)

    def _listen(self, bind: str) -> zmq.Socket[bytes]:
        # A plain socket: XPUB never waits to send. Of the asyncio context, since its authenticator answers for that one.
        socket: zmq.Socket[bytes] = zmq.Socket(zmq.asyncio.Context.instance(), zmq.XPUB)
        socket.linger = 0
        socket.maxmsgsize = _SUBSCRIPTION
        socket.sndhwm = HIGH_WATER
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = self._keys
        socket.zap_domain = DOMAIN.encode()
        socket.ipv6 = on_ipv6(bind)
        try:
            socket.bind(bind)
        except zmq.ZMQError:
            socket.close()
            raise
        return socket

    def turn_away(self) -> None:
        """Have all subscribers connect anew before anything else is published: a key was taken off the list.

        ZeroMQ asks only at the handshake, and a subscription lasts for months.
        """
        self._stale = True

    async def write(self, rows: Sequence[LogRow]) -> None:
        """Publish rows. See :class:`controller.stream.follow.Sink`.

        :raises RebindError: when the endpoint cannot be taken again after subscribers were turned away.
        """
        if self._stale:
            await self._renew()
        self._forget_subscriptions()
        messages = []  # all, before the first is sent: a row of which none can be made must not have those before it sent again and again
        for number, row in enumerate(rows, 1):
            messages.append([topic(row), line(row, self._cluster)[:-1]])
            if not number % _TURN:
                await asyncio.sleep(0)
        for message in messages:
            self._socket.send_multipart(message)

    async def _renew(self) -> None:
        """Close the socket, which ends every connection, and listen anew. Who is still allowed comes back by itself."""
        self._socket.close()
        end = asyncio.get_running_loop().time() + _FREED
        while True:
            try:
                self._socket = self._listen(self.endpoint)
            except zmq.ZMQError as error:
                # libzmq closes in a thread of its own: for a moment the address is still taken.
                if asyncio.get_running_loop().time() > end:
                    raise RebindError(f"cannot listen on {self.endpoint} again: {error}") from error
                await asyncio.sleep(0.02)
            else:
                break
        self._stale = False
        log.info("publishing anew, a subscriber's key was taken off the list", endpoint=self.endpoint)
        await asyncio.sleep(_BACK)

    def _forget_subscriptions(self) -> None:
        """Take what XPUB tells of subscriptions: unread it would pile up for as long as we run."""
        with suppress(zmq.Again):
            while True:
                self._socket.recv(zmq.NOBLOCK)

    def close(self) -> None:
        """Stop publishing."""
        self._socket.close()
