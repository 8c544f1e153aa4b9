"""TCP connections that are made and given up at once: does a port accept? Several at a time, none longer than a deadline."""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

ACCEPTED, REFUSED, SILENT, NO_ROUTE, BLIND = "accepted", "refused", "no-answer", "no-route", "blind"
"""Outcomes. ``blind``: we could not even ask, which says nothing of the far end."""
MUTE: Final = "mute"
"""Outcome where a greeting is awaited: the machine takes the connection, and the program behind the port says nothing, or hangs up."""
_ROUTES: Final = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL})


class Reached(NamedTuple):
    """How a connection ended; ``rtt`` in seconds when it was accepted."""

    outcome: str
    detail: str = ""
    rtt: float | None = None


def connect_all(
    places: Mapping[str, tuple[str, int]], seconds: float, greetings: Mapping[str, bytes] = MappingProxyType({})
) -> dict[str, Reached]:
    """Connect to (address, port) of each name, all at once, and hang up; return how each ended, within ``seconds``.

    Who has a greeting must say it first, unasked, to count as having accepted: the kernel takes connections for a frozen program too.
    """
    found: dict[str, Reached] = {}
    waiting: dict[int, tuple[str, socket.socket]] = {}
    greeted: set[str] = set()
    """Connected, and not heard yet."""
    poller, began = select.poll(), time.monotonic()
    try:
        for name, (address, port) in places.items():
            begun = _begin(address, port)
            if isinstance(begun, Reached):
                found[name] = begun
            else:
                waiting[begun.fileno()] = (name, begun)
                poller.register(begun, select.POLLOUT)
        while waiting and (left := began + seconds - time.monotonic()) > 0:
            for fd, events in poller.poll(left * 1000):
                name, one = waiting[fd]
                if name in greetings and events == select.POLLOUT:
                    poller.modify(fd, select.POLLIN)  # connected: now it must speak
                    greeted.add(name)
                    continue
                del waiting[fd]
                poller.unregister(fd)
                found[name] = of_error(one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), time.monotonic() - began)
                if name in greeted and not _says(one, greetings[name]):
                    found[name] = Reached(MUTE, "it hung up, or says something else")
                one.close()
    finally:
        for _, one in waiting.values():
            one.close()
    late = f"no answer within {seconds:g} s"
    found |= {name: Reached(MUTE if name in greeted else SILENT, late) for name, _ in waiting.values()}
    return found


def _says(one: socket.socket, greeting: bytes) -> bool:
    try:
        return one.recv(len(greeting)) == greeting
    except OSError:
        return False


def _begin(address: str, port: int) -> socket.socket | Reached:
    try:
        # An address with a zone (fe80::1%eth0) is taken apart by libc, from its text alone: no resolver is asked.
        family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0]
        one = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    except OSError as error:
        return of_error(error.errno or 0, 0.0) if error.errno in _ROUTES else Reached(BLIND, str(error))
    except UnicodeError:
        return Reached(BLIND, "not an address")
    number = one.connect_ex(place)
    if number in (0, errno.EINPROGRESS):
        return one
    one.close()
    return of_error(number, 0.0)


def of_error(number: int, rtt: float) -> Reached:
    """Return what an errno of connect says; 0 is success."""
    if number == 0:
        return Reached(ACCEPTED, rtt=rtt)
    text = os.strerror(number)
    if number == errno.ECONNREFUSED:
        return Reached(REFUSED, text)
    if number in _ROUTES:
        return Reached(NO_ROUTE, text)
    return Reached(SILENT, text) if number == errno.ETIMEDOUT else Reached(BLIND, text)
