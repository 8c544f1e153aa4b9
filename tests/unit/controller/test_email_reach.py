import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from controller.core.report import Change
from controller.notify.base import Message, TemporaryDeliveryError
from controller.notify.email import EmailNotifier, Server
from tests.receivers import SmtpReceiver
from tests.reports import one_incident

HOST = "mail.test"


@contextmanager
def hole(port: int, last: int) -> Iterator[str]:
    """Return a loopback address that swallows connections to a port, as a network without a route does: its queue is full."""
    address = f"127.0.0.{last}"
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((address, port))
        yield address


def resolve(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> None:
    """Let a name have several addresses, which no name on loopback has."""
    real = socket.getaddrinfo

    def found(host: str, port: int, *more: Any, **named: Any) -> Any:
        if host != HOST:
            return real(host, port, *more, **named)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", found)


def notifier(port: int, patience: float) -> EmailNotifier:
    """Return a notifier for the name."""
    server = Server(HOST, port, "none", "", None, patience, None)
    return EmailNotifier(server, "faultline@example.com", ("storage@example.com",), tuple(Change))


def message() -> Message:
    """Return what the drain hands to a notifier."""
    report = one_incident()[0]
    return Message(report, report.model_dump_json(), "email:ops:1", 0)


async def test_address_that_does_not_answer_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with two addresses, the first without a route, gets its mail within the deadline, once."""
    with SmtpReceiver() as receiver, hole(receiver.port, 2) as first:
        resolve(monkeypatch, [first, "127.0.0.1"])
        assert await notifier(receiver.port, 3.0).send(message()) == "accepted"

    assert len(receiver.mails) == 1


async def test_who_connects_too_late_delivers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that finds its server only after the deadline ends there: its mail is tried again and must not arrive twice."""
    with SmtpReceiver() as receiver, ExitStack() as stack:
        holes = [stack.enter_context(hole(receiver.port, last)) for last in range(2, 8)]
        resolve(monkeypatch, [*holes, "127.0.0.1"])
        with pytest.raises(TemporaryDeliveryError, match=r"not done within 0\.6 s"):
            await notifier(receiver.port, 0.6).send(message())
        assert any(thread.name == "smtp" for thread in threading.enumerate()), "six holes take longer than the deadline"

        deadline = time.monotonic() + 10
        while any(thread.name == "smtp" for thread in threading.enumerate()) or not receiver.sessions:
            assert time.monotonic() < deadline, "the session did not end"
            await asyncio.sleep(0.01)
        assert receiver.mails == []
