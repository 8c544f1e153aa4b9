"""Whoever is told, for tests and demonstrations: real HTTP and SMTP servers on loopback that misbehave by script.

Each runs in a thread of its own, keeps what it got, and can go away and come back on the same port.
"""

# ruff: noqa: ARG002 - aiosmtpd calls its handlers with all of these

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType
from typing import Any, Self, cast

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

DRIP = 0.02
"""Seconds between two bytes of a dripping answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an HTTP receiver answers."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Hang:
    """Take everything and never answer."""


@dataclass(frozen=True, slots=True)
class Drip:
    """Answer byte by byte, for ever."""


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection without an answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What an SMTP server says at a command: ``at`` is MAIL, RCPT or DATA."""

    at: str
    text: str


Behaviour = Answer | Hang | Drip | Close
Mishap = Reply | Hang | Drip | Close


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request as it came; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Mail:
    """One accepted mail: what the envelope said, and the parsed message."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage
    over_tls: bool
    login: str


class Receiver:
    """A server on loopback in a thread of its own. Use as a context manager; ``port`` stays the same over ``stop`` and ``start``."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self._tls = tls
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: asyncio.Server | None = None
        self._transports: set[asyncio.BaseTransport] = set()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        self.stop()

    def start(self) -> None:
        """Listen; again on the same port after a stop."""
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name=type(self).__name__, daemon=True)
        self._thread.start()
        assert ready.wait(10), "the receiver did not start"

    def stop(self) -> None:
        """Go away: connections end, and new ones are refused."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
        self._loop = self._thread = None

    def _run(self, ready: threading.Event) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._server = runner.run(self._listen())
            self.port = self._server.sockets[0].getsockname()[1]
            self._loop.call_soon(ready.set)
            self._loop.run_forever()
            runner.run(self._gone())

    async def _gone(self) -> None:
        assert self._server is not None
        self._server.close()
        for transport in list(self._transports):
            cast("asyncio.WriteTransport", transport).abort()
        tasks = asyncio.all_tasks() - {cast("asyncio.Task[Any]", asyncio.current_task())}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self) -> asyncio.Server:
        raise NotImplementedError

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, talk: Callable[..., Coroutine[Any, Any, None]]
    ) -> None:
        """Have a talk over a connection and end it, whatever comes."""
        self._transports.add(writer.transport)
        with suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError, ssl.SSLError):
            await talk(reader, writer)
        self._transports.discard(writer.transport)
        writer.close()
        with suppress(ConnectionError, TimeoutError, ssl.SSLError):
            await writer.wait_closed()


class HttpReceiver(Receiver):
    """Answers by script, then 204. ``calls`` is what it got, whatever it answered; ``connections`` counts connections."""

    def __init__(self, *script: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.script = deque(script)
        self.calls: list[Call] = []
        self.connections = 0

    @property
    def url(self) -> str:
        """Return where to post."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/hooks/storage"

    async def _listen(self) -> asyncio.Server:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            await self._serve(reader, writer, self._talk)

        return await asyncio.start_server(connected, "127.0.0.1", self.port, ssl=self._tls)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (call := await _request(reader)) is not None:
            self.calls.append(call)
            match self.script.popleft() if self.script else Answer():
                case Answer() as answer:
                    writer.write(_response(answer))
                    await writer.drain()
                case Hang():
                    await reader.read()
                case Drip():
                    await _drip(writer, b"HTTP/1.1 200 OK\r\nX-Slow: ", b"y")
                case Close():
                    return


async def _request(reader: asyncio.StreamReader) -> Call | None:
    first = await reader.readline()
    if not first:
        return None
    method, path, _ = first.decode().split(" ", 2)
    headers: dict[str, str] = {}
    while line := (await reader.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return Call(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


def _response(answer: Answer) -> bytes:
    headers = {"Content-Length": str(len(answer.body)), **answer.headers}
    lines = [f"HTTP/1.1 {answer.status} Scripted", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + answer.body


async def _drip(writer: asyncio.StreamWriter, begin: bytes, then: bytes) -> None:
    writer.write(begin)
    while True:
        writer.write(then)
        await writer.drain()
        await asyncio.sleep(DRIP)


class SmtpReceiver(Receiver):
    """Takes mail; misbehaves by script, one mishap a session, then not.

    ``tls`` with ``implicit`` speaks TLS from the first byte on, without it offers (and demands) STARTTLS. With ``login`` (name,
    password) it demands that. ``recipients`` says what it answers to some addresses, always.
    """

    def __init__(
        self,
        *script: Mishap,
        tls: ssl.SSLContext | None = None,
        implicit: bool = False,
        login: tuple[str, str] | None = None,
        recipients: dict[str, str] | None = None,
    ) -> None:
        super().__init__(tls)
        self.script = deque(script)
        self.mails: list[Mail] = []
        self.sessions = 0
        self._implicit = implicit
        self._login = login
        self.recipients = recipients or {}

    async def _listen(self) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        context = self._tls if self._implicit else None
        return await loop.create_server(self._connected, "127.0.0.1", self.port, ssl=context)

    def _connected(self) -> asyncio.Protocol:
        self.sessions += 1
        mishap = self.script.popleft() if self.script else None
        if isinstance(mishap, Hang | Drip | Close):
            reader = asyncio.StreamReader()
            return asyncio.StreamReaderProtocol(reader, lambda _, writer: self._serve(reader, writer, _Mute(mishap)))
        return _TrackedSmtp(
            _Mailbox(self.mails, mishap, self.recipients, login=self._login is not None),
            self._transports,
            hostname="receiver.test",
            tls_context=None if self._implicit else self._tls,
            require_starttls=self._tls is not None and not self._implicit,
            auth_require_tls=self._tls is not None and not self._implicit,
            authenticator=self._check if self._login else None,
            loop=asyncio.get_running_loop(),
        )

    def _check(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        given = (data.login.decode(), data.password.decode()) if isinstance(data, LoginPassword) else None
        return AuthResult(success=given == self._login, handled=False, auth_data=given and given[0])


class _Mute:
    """Says nothing, or one endless line."""

    def __init__(self, mishap: Hang | Drip | Close) -> None:
        self._mishap = mishap

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match self._mishap:
            case Hang():
                await reader.read()
            case Drip():
                await _drip(writer, b"220-receiver.test\r\n", b"220-wait\r\n")
            case Close():
                return


class _TrackedSmtp(SMTP):
    """aiosmtpd's protocol, whose open connections the receiver can end."""

    def __init__(self, handler: Any, transports: set[asyncio.BaseTransport], **more: Any) -> None:
        self._kept = transports
        super().__init__(handler, **more)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._kept.add(transport)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self.transport is not None:
            self._kept.discard(self.transport)
        super().connection_lost(error)


class _Mailbox:
    """Keeps mails, after having said once what the script says."""

    def __init__(self, mails: list[Mail], mishap: Reply | None, recipients: dict[str, str], *, login: bool) -> None:
        self._mails = mails
        self._recipients = recipients
        self._login = login
        self._mishap = mishap

    def _said(self, at: str) -> str | None:
        if self._mishap is not None and self._mishap.at == at:
            mishap, self._mishap = self._mishap, None
            return mishap.text
        return None

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802
        """Take the sender."""
        if said := self._said("MAIL"):
            return said
        if self._login and not session.authenticated:
            return "530 5.7.0 authentication required"
        envelope.mail_from = address
        return "250 ok"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802
        """Take a recipient."""
        if said := self._recipients.get(address) or self._said("RCPT"):
            return said
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Take the mail."""
        if said := self._said("DATA"):
            return said
        message = message_from_bytes(envelope.content, policy=policy.default)
        over_tls = server.transport.get_extra_info("sslcontext") is not None
        self._mails.append(Mail(envelope.mail_from, tuple(envelope.rcpt_tos), message, over_tls, session.auth_data or ""))
        return "250 kept"


def unused_port() -> int:
    """Return a port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
