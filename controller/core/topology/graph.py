"""A graph of needs: a thing works while of each group of things that it needs enough work.

``all`` is a group of one, ``any`` a group of several of which one is needed, a quorum a group of which most are needed. Failure
spreads upwards; a thing that lost some of a group but not too much is degraded, and so is what needs something degraded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple


class State(IntEnum):
    """How a thing is; a higher number is worse."""

    WORKS = 0
    DEGRADED = 1
    FAILED = 2


class Group(NamedTuple):
    """Things of which at least ``needed`` must work. A thing that counts twice stands there twice."""

    members: tuple[str, ...]
    needed: int = 1


def all_of(*members: str) -> tuple[Group, ...]:
    """Return groups that need each of the members."""
    return tuple(Group((member,)) for member in members)


class Graph:
    """Needs by name, and who needs what. Names that need nothing need not be set."""

    def __init__(self) -> None:
        self._needs: dict[str, tuple[Group, ...]] = {}
        self._users: dict[str, dict[str, None]] = {}

    def set(self, name: str, needs: Iterable[Group]) -> None:
        """Say what a thing needs, in place of what was said before."""
        self.remove(name)
        groups = self._needs[name] = tuple(needs)
        for group in groups:
            for member in group.members:
                self._users.setdefault(member, {})[name] = None

    def remove(self, name: str) -> None:
        """Forget what a thing needs. What needs it still does."""
        for group in self._needs.pop(name, ()):
            for member in group.members:
                users = self._users.get(member)
                if users is not None:
                    users.pop(name, None)
                    if not users:
                        del self._users[member]

    def __contains__(self, name: object) -> bool:
        """Tell whether a thing needs something or is needed."""
        return name in self._needs or name in self._users

    def names(self) -> Iterator[str]:
        """Yield everything that needs something or is needed."""
        yield from self._needs
        yield from (name for name in self._users if name not in self._needs)

    def needs(self, name: str) -> tuple[Group, ...]:
        """Return what a thing needs."""
        return self._needs.get(name, ())

    def users(self, name: str) -> Iterator[str]:
        """Yield what needs a thing directly."""
        yield from self._users.get(name, ())

    def spread(self, failed: Iterable[str]) -> dict[str, State]:
        """Return everything that is not well when these have failed, with how it is."""
        states = dict.fromkeys(failed, State.FAILED)
        waiting = list(states)
        while waiting:
            for user in self._users.get(waiting.pop(), ()):
                before = states.get(user, State.WORKS)
                if before is not State.FAILED:
                    now = self._state(user, states)
                    if now > before:
                        states[user] = now
                        waiting.append(user)
        return states

    def _state(self, name: str, states: dict[str, State]) -> State:
        worst = State.WORKS
        for members, needed in self._needs[name]:
            lost, hurt = 0, False
            for member in members:
                state = states.get(member)
                if state is State.FAILED:
                    lost += 1
                elif state is not None:
                    hurt = True
            if lost > len(members) - needed:
                return State.FAILED
            if lost or hurt:
                worst = State.DEGRADED
        return worst

    def below(self, name: str) -> frozenset[str]:
        """Return everything that a thing needs, directly or not."""
        found: dict[str, None] = {}
        waiting = [name]
        while waiting:
            for group in self._needs.get(waiting.pop(), ()):
                for member in group.members:
                    if member not in found:
                        found[member] = None
                        waiting.append(member)
        return frozenset(found)
