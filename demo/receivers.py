"""Who gets told in the demo: a real HTTP receiver and a real SMTP server on loopback, which keep what they got."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller


@dataclass(frozen=True, slots=True)
class Call:
    """One webhook call."""

    headers: dict[str, str]
    body: bytes


class WebhookReceiver:
    """Answers 204 to every POST and keeps it."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        calls = self.calls

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                calls.append(Call(dict(self.headers), body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
                """Say nothing: the demo shows what arrived."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        """Return where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


class MailReceiver:
    """Accepts every mail and keeps it."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.port = _free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: N802 - the library's name
        """Keep a mail."""
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 kept"

    def close(self) -> None:
        """Stop."""
        self._controller.stop()


def _free_port() -> int:
    """Return a port that is free now: aiosmtpd cannot pick one by itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
