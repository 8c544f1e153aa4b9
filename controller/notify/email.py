"""Mail over SMTP with STARTTLS, implicit TLS and authentication; one thread an incident."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Literal

from controller.core.report import Change, IncidentReport
from controller.errors import PermanentError
from controller.notify.base import Message, PermanentDeliveryError, TemporaryDeliveryError
from controller.notify.render import mail


class PasswordFileError(PermanentError):
    """A password file is missing or empty."""


@dataclass(frozen=True, slots=True)
class Server:
    """An SMTP server and how to speak to it; ``timeout`` in seconds for each step and for the whole session."""

    host: str
    port: int
    security: Literal["none", "starttls", "tls"]
    username: str
    password_file: Path | None
    timeout: float
    ca_file: Path | None


class EmailNotifier:
    """Sends reports as mails. ``changes`` are those that it is told: the first of them begins an incident's thread."""

    def __init__(self, server: Server, sender: str, to: tuple[str, ...], changes: Sequence[Change]) -> None:
        self._server = server
        self._sender = sender
        self._to = to
        self._changes = frozenset(changes)
        self._thread = ThreadPoolExecutor(1, "smtp")
        self._password = _read_password(server.password_file)

    async def send(self, message: Message) -> str:
        """Send one report. See :class:`controller.notify.base.Notifier`."""
        letter = mail(message.report, self._sender, self._to, self._first(message.report), message.at)
        session = asyncio.get_running_loop().run_in_executor(self._thread, self._session, letter)
        try:
            async with asyncio.timeout(self._server.timeout * 2):
                return await asyncio.shield(session)
        except TimeoutError:
            # The thread is left to its socket's own deadlines; the next attempt gets another one.
            self._thread.shutdown(wait=False)
            self._thread = ThreadPoolExecutor(1, "smtp")
            raise TemporaryDeliveryError(f"no answer within {self._server.timeout * 2:g} s") from None

    def _first(self, report: IncidentReport) -> int:
        """Return the number of the change whose mail began the thread: the first one that we are told."""
        told = [moment.change for moment in report.timeline if moment.change in _CHANGES]
        return next((number for number, change in enumerate(told, 1) if Change(change) in self._changes), report.number)

    def _session(self, letter: EmailMessage) -> str:
        server = self._server
        try:
            with self._connect() as session:
                if server.security == "starttls":
                    session.starttls(context=_context(server.ca_file))
                if server.username:
                    session.login(server.username, self._password)
                refused = session.send_message(letter)
        except smtplib.SMTPResponseException as error:
            raise _judged(error.smtp_code, error.smtp_error) from error
        except smtplib.SMTPRecipientsRefused as error:
            code, reason = next(iter(error.recipients.values()))
            raise _judged(code, reason) from error
        except smtplib.SMTPNotSupportedError as error:
            raise PermanentDeliveryError(f"the server cannot do what the configuration asks for: {error}") from error
        except (smtplib.SMTPException, OSError) as error:
            raise TemporaryDeliveryError(f"{type(error).__name__}: {error}") from error
        return f"accepted, but refused for {', '.join(sorted(refused))}" if refused else "accepted"

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        if server.security == "tls":
            return smtplib.SMTP_SSL(server.host, server.port, timeout=server.timeout, context=_context(server.ca_file))
        return smtplib.SMTP(server.host, server.port, timeout=server.timeout)


_CHANGES = {change.value for change in Change}


def _context(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(cafile=str(ca_file))
    return context


def _judged(code: int, reason: bytes | str) -> TemporaryDeliveryError | PermanentDeliveryError:
    """Read an SMTP reply (RFC 5321 §4.2.1): 4yz may be tried again, 5yz not, except for a login that somebody will correct."""
    text = f"SMTP {code}: {reason.decode(errors='replace') if isinstance(reason, bytes) else reason}"
    if code in _LOGIN or not 500 <= code < 600:
        return TemporaryDeliveryError(text)
    return PermanentDeliveryError(text)


_LOGIN = {530, 534, 535, 538}
"""Authentication refused: the password can be corrected, and what waits meanwhile must not be lost."""


def _read_password(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        password = file.read_text(encoding="utf-8").strip("\n")
    except OSError as error:
        raise PasswordFileError(f"{file}: cannot be read: {error.strerror or error}") from error
    if not password:
        raise PasswordFileError(f"{file}: is empty")
    return password
