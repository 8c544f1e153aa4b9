"""The RPC NULL call to an NFS server: the bytes of it, and a conversation over a non-blocking socket of its own.

Sources: RFC 5531 (ONC RPC version 2: §9 messages, §11 record marking), RFC 1813 and RFC 7530 (NFS is program 100003; procedure 0 of each
version does nothing). A server answers it without looking at exports, permissions or disks, also from an unprivileged port. No
byte of an answer is trusted, and not more than :data:`LONGEST` are ever held.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from enum import StrEnum
from typing import Final, NamedTuple

PROGRAM: Final = 100003
LONGEST: Final = 1024
"""Most bytes of one record. An answer to NULL has 24, with the longest verifier 424."""
_MOST_READ: Final = 1 << 16
"""Most bytes that are read for one call, answers to other calls included."""
_CALL, _REPLY, _RPC, _NULL, _AUTH_NONE = 0, 1, 2, 0, 0
_ACCEPTED, _DENIED = 0, 1
_SUCCESS, _PROG_MISMATCH = 0, 2
_LAST: Final = 1 << 31
_LONGEST_VERIFIER: Final = 400


class Outcome(StrEnum):
    """How a call ended. All but ANSWERED and BLIND mean that no NFS server was reached."""

    ANSWERED = "answered"
    NO_REPLY = "no-reply"
    REFUSED = "refused"
    NO_ROUTE = "no-route"
    CLOSED = "closed"
    """The connection was taken and closed without an answer."""
    GARBLED = "garbled"
    """What came is no answer to this call."""
    NOT_SERVED = "not-served"
    """Something answers, but it serves no NFS, or not this version."""
    BLIND = "blind"
    """We could not even ask: no socket, no right to connect. Says nothing of the server."""


class Answer(NamedTuple):
    """The end of a call. ``rtt`` in seconds from sending to the answer, None without one; ``versions`` that the server names instead."""

    outcome: Outcome
    detail: str = ""
    rtt: float | None = None
    versions: tuple[int, int] | None = None


def null_call(xid: int, version: int) -> bytes:
    """Return the record of a call to NULL of that version of NFS, without credentials."""
    body = struct.pack("!10I", xid, _CALL, _RPC, PROGRAM, version, _NULL, _AUTH_NONE, 0, _AUTH_NONE, 0)
    return struct.pack("!I", _LAST | len(body)) + body


def record(data: bytes) -> tuple[bytes, bytes] | None:
    """Split the first whole record off; None while it is not there.

    :raises ValueError: when a record is longer than :data:`LONGEST`, or made of too many pieces.
    """
    body, rest = b"", data
    for _ in range(16):
        if len(rest) < 4:
            return None
        mark = int.from_bytes(rest[:4])
        length = mark & (_LAST - 1)
        if len(body) + length > LONGEST:
            raise ValueError(f"a record of {length} bytes")
        if len(rest) < 4 + length:
            return None
        body, rest = body + rest[4 : 4 + length], rest[4 + length :]
        if mark & _LAST:
            return body, rest
    raise ValueError("a record in more than 16 pieces")


def judge(body: bytes, xid: int) -> Answer | None:
    """Return what a record says of the call ``xid``; None when it answers another one."""
    words = struct.unpack(f"!{len(body) // 4}I", body[: len(body) // 4 * 4])
    if len(words) < 3 or words[1] != _REPLY:
        return Answer(Outcome.GARBLED, "no RPC answer")
    if words[0] != xid:
        return None
    if words[2] == _DENIED:
        return Answer(Outcome.ANSWERED, "call denied")  # it speaks RPC and knows who asks: it is there
    return _accepted(words[3:]) if words[2] == _ACCEPTED else Answer(Outcome.GARBLED, "neither accepted nor denied")


def _accepted(words: tuple[int, ...]) -> Answer:
    """Return what an accepted reply says, from its verifier on (RFC 5531 §9, ``accepted_reply``)."""
    if len(words) < 3 or words[1] > _LONGEST_VERIFIER or len(words) < 3 + (words[1] + 3) // 4:
        return Answer(Outcome.GARBLED, "answer cut short")
    status, *rest = words[2 + (words[1] + 3) // 4 :]
    if status == _SUCCESS:
        return Answer(Outcome.ANSWERED)
    if status == _PROG_MISMATCH and len(rest) >= 2:
        return Answer(Outcome.NOT_SERVED, f"it serves NFS versions {rest[0]} to {rest[1]}", versions=(rest[0], rest[1]))
    return Answer(Outcome.NOT_SERVED, f"it serves no NFS (RPC accept status {status})")


_ROUTES: Final = frozenset(
    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EHOSTDOWN, errno.ENETDOWN, errno.EAFNOSUPPORT}
)
_CUT: Final = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ENOTCONN})


def of_error(number: int) -> Answer:
    """Return what an errno of connect, send or receive says."""
    text = os.strerror(number)
    if number == errno.ECONNREFUSED:
        return Answer(Outcome.REFUSED, text)
    if number in _ROUTES:
        return Answer(Outcome.NO_ROUTE, text)
    if number == errno.ETIMEDOUT:
        return Answer(Outcome.NO_REPLY, text)
    return Answer(Outcome.CLOSED if number in _CUT else Outcome.BLIND, text)


class Conversation:
    """Calls to one address, one after the other, over one connection that is kept between them.

    A kept connection costs a server no more than a mount does, and tells at once when the server closes it. When it fails, the
    call is made once more over a new one before it counts as failed: the old one may have died of something else.
    Nothing here blocks; times are seconds of one steady clock, which the caller reads. Name look-ups are the caller's matter.
    """

    def __init__(self, address: str, port: int, version: int, *, patience: float, first_patience: float) -> None:
        self._place = (address, port)
        self.version = version
        self._patience, self._first_patience = patience, first_patience
        self._socket: socket.socket | None = None
        self._connected = self._kept = False
        self._xid = int.from_bytes(os.urandom(4))
        self._unsent = self._got = b""
        self._read = 0
        self._sent_at: float | None = None
        self._strange = ""
        self.deadline: float | None = None
        """When the call under way is given up; None between calls."""

    def fileno(self) -> int:
        """Return the socket's descriptor, -1 without one."""
        return self._socket.fileno() if self._socket is not None else -1

    def polled(self) -> int:
        """Return the poll(2) events that :meth:`ready` waits for."""
        return select.POLLIN if self._connected and not self._unsent else select.POLLIN | select.POLLOUT

    def call(self, now: float) -> Answer | None:
        """Begin a call; an answer when it ends at once. Only between calls."""
        return self._begin(now, self._first_patience if self._kept else self._patience)

    def ready(self, now: float) -> Answer | None:
        """Go on after the socket became ready; an answer when the call ended. Between calls, an answer means that the server hung up."""
        try:
            return self._advance(now)
        except OSError as error:
            return self._failed(of_error(error.errno or 0), now)

    def expired(self, now: float) -> Answer | None:
        """Go on after the deadline passed; an answer when the call ended."""
        waited = "" if self._connected else ", not even to a connection"
        kept = self._strange or f"no answer{waited}"
        return self._failed(Answer(Outcome.GARBLED if self._strange else Outcome.NO_REPLY, kept), now)

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._connected, self._kept, self.deadline = None, False, False, None
        self._got = self._unsent = b""

    def _begin(self, now: float, patience: float) -> Answer | None:
        self._xid = (self._xid + 1) & 0xFFFFFFFF
        self._unsent, self._read, self._strange, self._sent_at = null_call(self._xid, self.version), 0, "", None
        self.deadline = now + patience
        try:
            if self._socket is None:
                self._connect()
            elif self._connected:
                self._send(now)
        except OSError as error:
            return self._failed(of_error(error.errno or 0), now)
        except UnicodeError:
            return self._failed(Answer(Outcome.BLIND, "not an address"), now)
        return None

    def _connect(self) -> None:
        family = socket.AF_INET6 if ":" in self._place[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # An address with a zone (fe80::1%eth0) is taken apart by the resolver in libc, from its text alone.
        place = socket.getaddrinfo(*self._place, family=family, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0][4]
        self._got = b""
        number = self._socket.connect_ex(place)
        if number not in (0, errno.EINPROGRESS):
            raise OSError(number, os.strerror(number))

    def _advance(self, now: float) -> Answer | None:
        assert self._socket is not None
        if not self._connected:
            if number := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(number, os.strerror(number))
            self._connected = True
        if self._unsent:
            self._send(now)
        return self._receive(now)

    def _send(self, now: float) -> None:
        assert self._socket is not None
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent, socket.MSG_NOSIGNAL) :]
        except BlockingIOError:
            return
        if not self._unsent:
            self._sent_at = now

    def _receive(self, now: float) -> Answer | None:
        assert self._socket is not None
        try:
            more = self._socket.recv(4096)
        except BlockingIOError:
            return None
        if not more:
            return self._failed(Answer(Outcome.CLOSED, "connection closed without an answer"), now)
        self._got, self._read = self._got + more, self._read + len(more)
        if self.deadline is None or self._read > _MOST_READ:
            return self._failed(Answer(Outcome.GARBLED, "more than was asked for"), now)
        return self._judged(now)

    def _judged(self, now: float) -> Answer | None:
        try:
            while (found := record(self._got)) is not None:
                body, self._got = found
                if (answer := judge(body, self._xid)) is not None:
                    return self._ended(answer, now)
                self._strange = "an answer to another call"
        except ValueError as error:
            return self._failed(Answer(Outcome.GARBLED, str(error)), now)
        return None

    def _ended(self, answer: Answer, now: float) -> Answer | None:
        if answer.outcome is Outcome.GARBLED or self._got:
            return self._failed(answer if not self._got else Answer(Outcome.GARBLED, "more than was asked for"), now)
        self.deadline, self._kept = None, True
        rtt = now - self._sent_at if self._sent_at is not None else None
        return answer._replace(rtt=rtt if answer.outcome is Outcome.ANSWERED else None)

    def _failed(self, answer: Answer, now: float) -> Answer | None:
        again = self._kept and self.deadline is not None
        self.close()
        return self._begin(now, self._patience) if again else answer
