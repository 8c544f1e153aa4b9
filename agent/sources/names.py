"""Host names to addresses, without ever waiting for a resolver: a dead one keeps getaddrinfo(3) for minutes.

Each name is looked up again and again in a thread of its own that may be abandoned. Who asks gets what is known.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from agent.sources.background import Background

_EVERY: Final = 5.0
_SOON: Final = 2.0
"""Seconds between two look-ups of a name: of one that resolves, and of one that does not."""
_DEADLINE: Final = 7.0
"""Seconds after which a look-up counts as unanswered. glibc asks a second server, or the only one again, after 5 s (resolv.conf(5))."""
_MOST: Final = 16
"""Most addresses of one name."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What is known of a name. ``trouble`` says why the latest look-up failed; ``addresses`` are the last that were known."""

    addresses: tuple[str, ...] = ()
    trouble: str = ""
    asked: bool = True
    """Whether there was an answer or a failure yet."""


@dataclass(slots=True)
class _Name:
    due: float = 0.0
    began: float | None = None
    known: Resolved = Resolved(asked=False)


class Names:
    """Looks names up. For one thread at a time."""

    def __init__(self, every: float = _EVERY, soon: float = _SOON, deadline: float = _DEADLINE) -> None:
        self._every, self._soon, self._deadline = every, soon, deadline
        self._background = Background("name")
        self._names: dict[str, _Name] = {}

    def ask(self, host: str) -> Resolved:
        """Return what is known of a host now; an address is its own answer. Never blocks."""
        if is_address(host):
            return Resolved((host.strip("[]"),))
        self._collect()
        name, now = self._names.setdefault(host, _Name()), time.monotonic()
        if name.began is None and now >= name.due and self._background.start(host, lambda: _look_up(host)):
            name.began = now
        elif name.began is not None and now - name.began >= self._deadline:
            trouble = f"no answer from the resolver within {self._deadline:g} s"
            name.known = Resolved(name.known.addresses, trouble)
        return name.known

    def keep(self, hosts: set[str]) -> None:
        """Forget all other hosts that are not being looked up."""
        self._names = {host: name for host, name in self._names.items() if host in hosts or name.began is not None}
        self._background.keep(self._names)

    def _collect(self) -> None:
        for ended in self._background.collect():
            name = self._names.get(ended.name)
            if name is None:
                continue
            name.began = None
            if ended.error is None:
                name.known, name.due = Resolved(ended.value), time.monotonic() + self._every
            else:
                name.known, name.due = Resolved(name.known.addresses, _reason(ended.error)), time.monotonic() + self._soon


def is_address(host: str) -> bool:
    """Tell whether a host is an IP address, with or without brackets or zone."""
    try:
        ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    return True


def _look_up(host: str) -> tuple[str, ...]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(place[4][0]) for place in found))[:_MOST]


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return "not a host name"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
