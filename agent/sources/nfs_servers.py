"""Looks at NFS servers: whether each that this node needs answers an RPC NULL call, and whether its name resolves.

All servers are asked at once, each over a connection of its own that is kept between the looks, and the look ends with the deadline.
A server that is silent on a kept connection is asked once more over a new one within the same look: both together are proof
enough. The picture has a row for each server and way: address, port, version, how the latest call ended, and its number.
"""

from __future__ import annotations

import select
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.sources.configured import Configured
from agent.sources.host_mounts import MountTable
from agent.sources.looking import Found, Look
from agent.sources.names import Names, Resolved
from agent.sources.nfs_places import Place, nfs_mounts, places
from agent.sources.nfs_rpc import Answer, Conversation, Outcome
from pve.storage_cfg import Storage

_FAST: Final = 0.5
"""Seconds between two looks while something is bad."""
_SHARE: Final = 0.5
"""Part of the deadline that a kept connection has; a new one that replaces it has all of it."""
_SLACK: Final = 2.0
"""Seconds beyond its own deadlines after which a look itself counts as hung."""
_WAIT: Final = 2.0
"""Seconds that the first look waits for storage.cfg."""
_NEWEST: Final = 4
"""Version that is asked for first where none is configured: mount.nfs(8) begins there too."""
_MOST: Final = 64
"""Most servers that are asked."""
_STEADY: Final = 3
"""Looks in a row that found all well and the same, after which that is not told again for a while."""
_COUNTED: Final = ("number", "rtt")
"""Fields of a row that differ in each look."""
_GOOD: Final = frozenset({Outcome.ANSWERED, Outcome.BLIND})


def server_looks(configured: Configured, *, root: Path = Path("/"), interval: float = 2.0, deadline: float = 1.5) -> list[Look]:
    """Return the look ``servers``."""
    watch = Servers(configured, root, deadline)
    return [Look("servers", watch.look, interval, min(_FAST, interval), deadline * (1 + _SHARE) + _SLACK)]


@dataclass(slots=True)
class _Asked:
    """One server's conversation, and how its latest call ended."""

    address: str
    talk: Conversation
    number: int = 0
    answer: Answer | None = None


class Servers:
    """The NFS servers of this node. For one thread at a time."""

    def __init__(self, configured: Configured, root: Path, deadline: float) -> None:
        self._configured, self._mounts, self._deadline = configured, MountTable(root), deadline
        self._names = Names()
        self._asked: dict[Place, _Asked] = {}
        self._first = True
        self._table, self._storages = "", tuple[Storage, ...]()
        self._wanted = tuple[Place, ...]()
        self._facts: list[dict[str, Any]] = []
        self._same = 0
        self._last = Found([])

    def look(self) -> Found:
        """Ask all servers and return how it ended."""
        if self._first:
            self._configured.wait(_WAIT)
            self._first = False
        wanted = self._places()
        self._names.keep({place.server for place in wanted})
        names = {place: self._names.ask(place.server) for place in wanted}
        self._follow({place: self._address(place, names[place]) for place in wanted})
        self._call_all()
        rows = [self._row(place, names[place]) for place in wanted]
        bad = any(row.get("outcome", Outcome.ANSWERED) not in _GOOD or row["trouble"] for row in rows)
        facts = [{name: value for name, value in row.items() if name not in _COUNTED} for row in rows]
        self._same = self._same + 1 if facts == self._facts and not bad else 0
        self._facts = facts
        if self._same < _STEADY:
            self._last = Found(rows, bad, empty=not wanted)
        return self._last

    def close(self) -> None:
        """Hang up everywhere."""
        self._follow({})
        self._mounts.close()

    def _places(self) -> tuple[Place, ...]:
        """Return where to ask; worked out anew when a mount or storage.cfg changed."""
        table, storages = self._mounts.text(), self._configured.storages("nfs")
        if table is not self._table or storages is not self._storages:
            self._table, self._storages = table, storages
            self._wanted = places(storages, nfs_mounts(table))[:_MOST]
        return self._wanted

    def _address(self, place: Place, name: Resolved) -> str:
        """Return whom to ask: a mount's own address, else the one that was asked before while the name still has it."""
        before = self._asked.get(place)
        if place.address:
            return place.address
        if before is not None and before.address in name.addresses:
            return before.address
        return next(iter(name.addresses), "")

    def _follow(self, addresses: dict[Place, str]) -> None:
        """Have a conversation with each place whose address is known, and with no other."""
        for place, one in list(self._asked.items()):
            if addresses.get(place) != one.address:
                one.talk.close()
                del self._asked[place]
        for place, address in addresses.items():
            if address and place not in self._asked:
                share = self._deadline * _SHARE
                talk = Conversation(address, place.port, place.version or _NEWEST, patience=self._deadline, first_patience=share)
                self._asked[place] = _Asked(address, talk)

    def _call_all(self) -> None:
        poller, waiting = select.poll(), dict[Place, _Asked]()
        for place, one in self._asked.items():
            self._take(place, one, one.talk.call(time.monotonic()), waiting)
        while waiting:
            now = time.monotonic()
            by_fd = {one.talk.fileno(): (place, one) for place, one in waiting.items()}
            for fd, (_, one) in by_fd.items():
                poller.register(fd, one.talk.polled())
            left = min(one.talk.deadline or now for one in waiting.values()) - now
            ready = {fd for fd, _ in poller.poll(max(0.0, left) * 1000)}
            for fd in by_fd:
                poller.unregister(fd)
            now = time.monotonic()
            for fd, (place, one) in by_fd.items():
                if fd in ready:
                    self._take(place, one, one.talk.ready(now), waiting)
                elif now >= (one.talk.deadline or now):
                    self._take(place, one, one.talk.expired(now), waiting)

    def _take(self, place: Place, one: _Asked, answer: Answer | None, waiting: dict[Place, _Asked]) -> None:
        if answer is None:
            waiting[place] = one
            return
        waiting.pop(place, None)
        if answer.versions is not None and place.version is None:
            # Any version will do here: that it names those it serves is an answer, and is what it is asked for from now on.
            one.talk.version = min(max(answer.versions), _NEWEST)
            answer = Answer(Outcome.ANSWERED, answer.detail)
        one.number, one.answer = one.number + 1, answer

    def _row(self, place: Place, name: Resolved) -> dict[str, Any]:
        row: dict[str, Any] = {"server": place.server, "port": place.port, "version": place.version or 0}
        row |= {"trouble": name.trouble, "asked": name.asked, "addresses": list(name.addresses)}
        one = self._asked.get(place)
        if one is not None and one.answer is not None:
            answer = one.answer
            row |= {"address": one.address, "number": one.number, "outcome": answer.outcome, "detail": answer.detail, "rtt": answer.rtt}
        return row
