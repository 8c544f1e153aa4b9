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

from controller.errors import PermanentError
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


class BindError(PermanentError):
    """The endpoint cannot be bound."""


class XpubSink:
    """Publishes rows of the log. Not durable: what nobody is there to hear is gone, on purpose."""

    name = "xpub"

    def __init__(self, bind: str, keys: tuple[bytes, bytes], cluster: str) -> None:
        self._cluster = cluster
        # A plain socket: XPUB never waits to send. Of the asyncio context, since its authenticator answers for that one.
        self._socket: zmq.Socket[bytes] = zmq.Socket(zmq.asyncio.Context.instance(), zmq.XPUB)
        socket = self._socket
        socket.linger = 0
        socket.maxmsgsize = _SUBSCRIPTION
        socket.sndhwm = HIGH_WATER
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = keys
        socket.zap_domain = DOMAIN.encode()
        try:
            socket.bind(bind)
        except zmq.ZMQError as error:
            socket.close()
            raise BindError(f"cannot listen on {bind}: {error}") from error
        self.endpoint = str(socket.getsockopt_string(zmq.LAST_ENDPOINT))
        log.info("publishing", endpoint=self.endpoint)

    async def write(self, rows: Sequence[LogRow]) -> None:
        """Publish rows. See :class:`controller.stream.follow.Sink`."""
        self._forget_subscriptions()
        messages = []  # all, before the first is sent: a row of which none can be made must not have those before it sent again and again
        for number, row in enumerate(rows, 1):
            messages.append([topic(row), line(row, self._cluster)[:-1]])
            if not number % _TURN:
                await asyncio.sleep(0)
        for message in messages:
            self._socket.send_multipart(message)

    def _forget_subscriptions(self) -> None:
        """Take what XPUB tells of subscriptions: unread it would pile up for as long as we run."""
        with suppress(zmq.Again):
            while True:
                self._socket.recv(zmq.NOBLOCK)

    def close(self) -> None:
        """Stop publishing."""
        self._socket.close()
