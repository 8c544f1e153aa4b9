"""Mail over SMTP with STARTTLS, implicit TLS and authentication; one thread an incident.

``smtplib`` blocks, so each session has a thread of its own. At its deadline the socket is shut under it, which ends the thread;
a server that says one byte a minute holds nothing up. The threads are daemons: what still waits for one must not delay our end.
"""

from __future__ import annotations

import asyncio
import smtplib
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from email.errors import MessageError
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final, Literal

from controller.core.report import Change, IncidentReport
from controller.errors import ControllerError, PermanentError
from controller.notify.base import Message, PermanentDeliveryError, TemporaryDeliveryError
from controller.notify.render import mail
from controller.notify.trust import client_context

_CHANGES: Final = {change.value for change in Change}
_PARTLY: Final = 256
"""Mails of which it is remembered who took them, while others are to be tried again."""
_ADDRESSES: Final = 3
"""Into so many parts a session's time is cut when its server is looked for."""


class PasswordFileError(PermanentError):
    """A password file is missing or empty."""


@dataclass(frozen=True, slots=True)
class Server:
    """An SMTP server and how to speak to it; ``timeout`` in seconds for the whole session."""

    host: str
    port: int
    security: Literal["none", "starttls", "tls"]
    username: str
    password_file: Path | None
    timeout: float
    ca_file: Path | None


class EmailNotifier:
    """Sends reports as mails. ``changes`` are those that it is told: the first of them begins an incident's thread.

    :raises PasswordFileError, TrustFileError: when a file that it needs is not there.
    """

    def __init__(self, server: Server, sender: str, to: tuple[str, ...], changes: Sequence[Change]) -> None:
        self._server = server
        self._sender = sender
        self._to = to
        self._changes = frozenset(changes)
        self._taken: dict[str, frozenset[str]] = {}
        """Recipients that took a mail which others are still to get, by its key. A restart forgets them: they get it twice."""
        client_context(server.ca_file)
        _read_password(server.password_file)

    async def send(self, message: Message) -> str:
        """Send one report. See :class:`controller.notify.base.Notifier`."""
        try:
            letter = mail(message.report, self._sender, self._to, self._first(message.report), message.at)
        except (ValueError, MessageError) as error:
            raise PermanentDeliveryError(f"cannot be written as a mail: {type(error).__name__}: {error}") from error
        session = _Session(self._server)
        try:
            async with asyncio.timeout(self._server.timeout):
                return self._answer(message.key, await asyncio.wrap_future(session.start(letter, self._left(message.key))))
        except TimeoutError:
            raise TemporaryDeliveryError(f"not done within {self._server.timeout:g} s") from None
        finally:
            session.end()

    def _left(self, key: str) -> tuple[str, ...]:
        """Return who is still to get a mail."""
        return tuple(one for one in self._to if one not in self._taken.get(key, ()))

    def _answer(self, key: str, refused: _Refused) -> str:
        """Return the answer for the record, or say who is to be tried again: whoever took the mail is not offered it twice."""
        taken = frozenset(self._to) - frozenset(refused)
        if not taken:
            raise _judged(list(refused.values()))
        but = "".join(f", but for {name} {_reply(*reply)}" for name, reply in sorted(refused.items()))
        if any(_may_pass(code) for code, _ in refused.values()):
            self._taken[key] = taken
            while len(self._taken) > _PARTLY:
                del self._taken[next(iter(self._taken))]
            raise TemporaryDeliveryError(f"accepted{but}")
        self._taken.pop(key, None)
        return f"accepted{but}"

    def _first(self, report: IncidentReport) -> int:
        """Return the number of the change whose mail began the thread: the first one that we are told."""
        told = [moment.change for moment in report.timeline if moment.change in _CHANGES]
        return next((number for number, change in enumerate(told, 1) if Change(change) in self._changes), report.number)


class _Session:
    """One connection to the server, in its own thread."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.smtp: smtplib.SMTP | None = None
        self.ended = False

    def start(self, letter: EmailMessage, to: tuple[str, ...]) -> Future[_Refused]:
        """Deliver a mail; the future has who was refused, or a delivery error."""
        future: Future[_Refused] = Future()
        future.set_running_or_notify_cancel()  # whoever stops waiting cannot cancel it: the thread sets it whatever happens
        threading.Thread(target=self._work, args=(letter, to, future), name="smtp", daemon=True).start()
        return future

    def end(self) -> None:
        """Shut the socket, wherever the thread waits for it, or have it stop as soon as it has one. Harmless when all is done."""
        self.ended = True
        sock = None if self.smtp is None else self.smtp.sock
        if sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not SSLSocket's, which would change what the thread is using

    def _work(self, letter: EmailMessage, to: tuple[str, ...], future: Future[_Refused]) -> None:
        try:
            future.set_result(self._deliver(letter, to))
        except ControllerError as error:
            future.set_exception(error)

    def _deliver(self, letter: EmailMessage, to: tuple[str, ...]) -> _Refused:
        try:
            session = self._open()
        except ControllerError as error:
            raise TemporaryDeliveryError(str(error)) from error
        except smtplib.SMTPResponseException as error:
            # Refused before the mail was offered: a password, an address list or a certificate is wrong, and somebody will
            # correct it. What waits meanwhile must not be lost.
            raise TemporaryDeliveryError(_reply(error.smtp_code, error.smtp_error)) from error
        except OSError as error:  # smtplib's own are, too
            raise TemporaryDeliveryError(f"{type(error).__name__}: {error}") from error
        except UnicodeError:
            raise TemporaryDeliveryError("username and password must be ASCII") from None  # its text would show a part of them
        try:
            return _offer(session, letter, to)
        finally:
            with suppress(OSError):
                session.quit()  # how it takes leave says nothing of the mail, which it has taken or refused

    def _open(self) -> smtplib.SMTP:
        server = self._server
        context = client_context(server.ca_file)
        session: smtplib.SMTP = _OverTls(self, server, context=context) if server.security == "tls" else _Plain(self, server)
        try:
            if server.security == "starttls":
                session.starttls(context=context)
            if server.username:
                session.login(server.username, _read_password(server.password_file))
        except BaseException:
            session.close()
            raise
        return session


class _Plain(smtplib.SMTP):
    """Known to its session before it connects: who ends the session must find the socket while the greeting is awaited."""

    def __init__(self, session: _Session, server: Server, **more: Any) -> None:
        session.smtp = self
        self._session = session
        super().__init__(server.host, server.port, timeout=server.timeout, **more)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        """Connect, with a part of the time for each address: one that does not answer (IPv6 without a route) leaves some for the next."""
        sock: socket.socket = super()._get_socket(host, port, timeout / _ADDRESSES)  # type: ignore[misc]
        sock.settimeout(timeout)
        return sock

    def getreply(self) -> tuple[int, bytes]:
        """Read a reply, unless the session has ended: who connects too late must not deliver what is tried again."""
        if self._session.ended:
            self.close()
            raise TimeoutError("the session has ended")
        return super().getreply()


class _OverTls(_Plain, smtplib.SMTP_SSL):
    """The same with TLS from the first byte on."""


def _offer(session: smtplib.SMTP, letter: EmailMessage, to: tuple[str, ...]) -> _Refused:
    try:
        return session.send_message(letter, to_addrs=to)
    except smtplib.SMTPResponseException as error:
        raise _judged([(error.smtp_code, error.smtp_error)]) from error
    except smtplib.SMTPRecipientsRefused as error:
        return error.recipients
    except smtplib.SMTPNotSupportedError as error:
        raise PermanentDeliveryError(f"the server cannot take this mail: {error}") from error
    except (ValueError, MessageError) as error:
        raise PermanentDeliveryError(f"cannot be written as a mail: {type(error).__name__}: {error}") from error
    except OSError as error:
        raise TemporaryDeliveryError(f"{type(error).__name__}: {error}") from error


_Refused = dict[str, tuple[int, bytes]]
"""Replies to recipients that were refused, by address."""


def _judged(replies: Sequence[tuple[int, bytes | str]]) -> TemporaryDeliveryError | PermanentDeliveryError:
    """Read what a mail was refused with (RFC 5321 §4.2.1): 4yz may be tried again, 5yz not.

    Of several recipients the most hopeful reply counts. A missing login (530, RFC 4954 §6) is the configuration's fault, not the mail's.
    """
    for code, reason in replies:
        if _may_pass(code):
            return TemporaryDeliveryError(_reply(code, reason))
    return PermanentDeliveryError(_reply(*replies[0]))


def _may_pass(code: int) -> bool:
    return not 500 <= code < 600 or code == _LOGIN_REQUIRED


_LOGIN_REQUIRED: Final = 530


def _reply(code: int, reason: bytes | str) -> str:
    text = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
    return f"SMTP {code}: {' '.join(text.split())}"


def _read_password(file: Path | None) -> str:
    """Read a password; for each session anew, so that a corrected one works without a restart."""
    if file is None:
        return ""
    try:
        password = file.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise PasswordFileError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or 'is not text'}") from error
    if not password:
        raise PasswordFileError(f"{file}: is empty")
    return password
