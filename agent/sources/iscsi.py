"""Looks at iSCSI: the kernel's sessions each second, and whether portals accept connections.

Looks: ``sessions`` (rows of :func:`agent.sources.sysfs.sessions` with ``recovery``, the seconds that the kernel waits for a lost one, and
the targets that storage.cfg wants) and ``portals`` (of each portal that storage.cfg, a session or the node database names: how the
latest connection ended, and its number). What of a session stays while it lives is read again only each half minute and when a session
came or went.

A portal with a living session is asked each ``used`` seconds only. The kernel pings that session every 5 s by itself, and a connection
that is closed before a login is an error to the target: LIO logs `iSCSI Login negotiation failed.`, ctld of TrueNAS that it was lost.
Proxmox VE's own status daemon asks each portal of storage.cfg every 10 s in the same way; 6 s and two deadlines of 2 s tell of a silent
portal about when the pings do. As soon as the session is lost its portal is asked each ``interval``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agent.sources.configured import Configured
from agent.sources.host_files import Kept, Tree
from agent.sources.host_storage import records
from agent.sources.looking import Found, Look
from agent.sources.names import Names
from agent.sources.sysfs import Fields, sessions
from agent.sources.tcp import ACCEPTED, BLIND, Reached, connect_all
from events.entity import portal as portal_entity
from events.errors import EntityError
from pve.storage_cfg import Storage

USED: Final = 6.0
"""Seconds between two connections to a portal whose session lives."""
_FAST: Final = 0.5
"""Seconds between two looks while something is bad."""
_EARLY: Final = 0.7
"""Seconds by which a portal may be asked before its turn rather than a whole look after it: looks come a little early."""
_SCAN: Final = 30.0
"""Seconds after which all of a session is read anew, though none came or went."""
_RECORDS: Final = 60.0
"""Seconds between two looks at the node database."""
_KERNEL: Final = "iscsi"
"""Type of storages whose targets the kernel has sessions with. Those of ``iscsidirect`` are logged in to by QEMU itself (libiscsi)."""
_TYPES: Final = (_KERNEL, "iscsidirect")
_PORT: Final = 3260
_HIGHEST_PORT: Final = 0xFFFF
_LOGGED_IN: Final = "LOGGED_IN"
_RESTLESS: Final = {"state": "state", "recovery": "recovery_tmo"}
"""Fields of a row that change while a session lives, and their files."""
_SLACK: Final = 2.0
"""Seconds beyond its own deadline after which a look itself counts as hung."""
_WAIT: Final = 2.0
"""Seconds that the first look waits for storage.cfg."""


def iscsi_looks(
    configured: Configured,
    *,
    root: Path = Path("/"),
    interval: float = 2.0,
    deadline: float = 2.0,
    sessions_interval: float = 1.0,
    used: float = USED,
) -> list[Look]:
    """Return the looks ``sessions`` and ``portals``."""
    initiator = Initiator(configured, root, deadline, interval, used)
    return [
        Look("sessions", initiator.sessions, sessions_interval, min(_FAST, sessions_interval), deadline + _SLACK),
        Look("portals", initiator.portals, interval, min(_FAST, interval), deadline + _SLACK),
    ]


@dataclass(slots=True)
class _Portal:
    due: float = 0.0
    number: int = 0
    reached: Reached | None = None


@dataclass(slots=True)
class _Seen:
    """What the sessions' look leaves for that of the portals; replaced whole, for they run in threads of their own."""

    portals: frozenset[tuple[str, int]] = frozenset()
    living: frozenset[str] = frozenset()
    wanted: tuple[Storage, ...] = ()
    hurry: frozenset[str] = field(default_factory=frozenset)


class Initiator:
    """This node as an iSCSI initiator."""

    def __init__(self, configured: Configured, root: Path, deadline: float, interval: float, used: float) -> None:
        self._configured, self._root = configured, root
        self._kept = Kept(root / "sys")
        self._rows: list[Fields] = []
        self._told: list[Fields] | None = None
        self._found = Found(None)
        self._numbers: list[str] = []
        self._scan_due = 0.0
        self._deadline, self._interval, self._used = deadline, interval, used
        self._names = Names()
        self._known: dict[str, _Portal] = {}
        self._seen = _Seen()
        self._records: frozenset[tuple[str, int]] = frozenset()
        self._records_due = 0.0
        self._first = True

    def sessions(self) -> Found:
        """Look at the kernel's sessions and at what storage.cfg wants."""
        if self._first:
            self._configured.wait(_WAIT)
            self._first = False
        rows = self._read()
        storages = self._configured.storages(*_TYPES)
        if rows == self._told and storages is self._seen.wanted and not self._seen.hurry:
            return self._found
        self._told = rows
        living = frozenset(name_of(row["address"], row["port"]) for row in rows if row["state"] == _LOGGED_IN)
        lost = self._seen.living - living
        self._seen = _Seen(frozenset((row["address"], int(row["port"])) for row in rows), living, storages, lost)
        wanted = sorted({one.values["target"] for one in storages if one.type == _KERNEL})
        picture = {"sessions": rows, "wanted": wanted}
        missing = set(wanted) - {row["target"] for row in rows}
        bad = bool(missing) or any(row["state"] != _LOGGED_IN for row in rows)
        self._found = Found(picture, bad, empty=not (rows or wanted))
        return self._found._replace(hurry=("portals",)) if lost else self._found

    def _read(self) -> list[Fields]:
        """Return a row for each session of the kernel."""
        tree = Tree(self._root / "sys")
        numbers, lost = tree.names("class/iscsi_session"), self._kept.lost
        if numbers == self._numbers and time.monotonic() < self._scan_due:
            rows = [row | self._restless(row["session"]) for row in self._rows]
            if self._kept.lost == lost:  # else another session has the number of one that went
                return rows
        self._rows = list(sessions(tree))
        self._numbers, self._scan_due = numbers, time.monotonic() + _SCAN
        self._kept.keep([f"{_place(row['session'])}/{name}" for row in self._rows for name in _RESTLESS.values()])
        return [row | self._restless(row["session"]) for row in self._rows]

    def _restless(self, number: str) -> Fields:
        """Return what of a session changes while it lives."""
        return {key: self._kept.text(f"{_place(number)}/{name}") for key, name in _RESTLESS.items()}

    def portals(self) -> Found:
        """Connect to the portals whose turn it is."""
        seen, now = self._seen, time.monotonic()
        places = dict(self._places(seen))
        self._known = {name: self._known.get(name, _Portal()) for name in places}
        self._names.keep({host for host, _ in places.values()})
        resolved = {name: self._names.ask(host) for name, (host, _) in places.items()}
        asked = {}
        for name, (_, port) in places.items():
            known = self._known[name]
            if name in seen.hurry:
                known.due = min(known.due, now)
            if known.due - _EARLY <= now and resolved[name].addresses:
                asked[name] = (resolved[name].addresses[0], port)
        for name, reached in connect_all(asked, self._deadline).items():
            known = self._known[name]
            known.number, known.reached = known.number + 1, reached
            living = name in self._seen.living and reached.outcome == ACCEPTED
            known.due = time.monotonic() + (self._used if living else self._interval if reached.outcome == ACCEPTED else _FAST)
        picture = {name: self._row(name, places[name][0], resolved[name].trouble) for name in places if resolved[name].asked}
        bad = any(one.reached is not None and one.reached.outcome not in (ACCEPTED, BLIND) for one in self._known.values())
        return Found(picture, bad, empty=not places)

    def _row(self, name: str, host: str, trouble: str) -> dict[str, Any]:
        known = self._known[name]
        row: dict[str, Any] = {"host": host, "trouble": trouble, "number": known.number}
        if known.reached is not None:
            row |= {"outcome": known.reached.outcome, "detail": known.reached.detail, "rtt": known.reached.rtt}
        return row

    def _places(self, seen: _Seen) -> Iterator[tuple[str, tuple[str, int]]]:
        """Yield the name of each portal with its host and port."""
        if time.monotonic() >= self._records_due:
            self._records = frozenset(_recorded(records(Tree(self._root))))
            self._records_due = time.monotonic() + _RECORDS
        named = (split_portal(one.values["portal"]) for one in seen.wanted)
        for host, port in sorted({*seen.portals, *self._records, *named}):
            if name := name_of(host, port):
                yield name, (host, port)


def _place(number: str) -> str:
    return f"class/iscsi_session/session{number}"


def _recorded(rows: Iterable[dict[str, str]]) -> Iterator[tuple[str, int]]:
    """Yield the portals of open-iscsi's records: directories called ``address,port,tag``."""
    for row in rows:
        host, _, rest = row["portal"].partition(",")
        port = rest.partition(",")[0]
        if row["startup"] in ("automatic", "onboot") and port.isdecimal():
            yield host, int(port)


def split_portal(text: str) -> tuple[str, int]:
    """Return host and port of a portal as storage.cfg writes it: ``host``, ``host:port``, ``[v6]:port``."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, ""
    return host, int(port) if port.isdecimal() and len(port) <= len("65535") else _PORT


def name_of(host: str, port: str | int) -> str:
    """Return a portal's key, ``address:port``; empty when it can be none's."""
    if not 0 < int(port) <= _HIGHEST_PORT:
        return ""  # libc would take its lower 16 bits and ask somebody else
    try:
        return portal_entity(host, port).key
    except EntityError:
        return ""
