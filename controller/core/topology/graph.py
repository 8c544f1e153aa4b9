"""A graph of needs: a thing works while of each group of things that it needs enough work.

``all`` is a group of one, ``any`` a group of several of which one is needed, a quorum a group of which most are needed. Failure
spreads upwards; a thing that lost some of a group but not too much is degraded, and so is what needs something degraded.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Final, NamedTuple


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


_NOBODY: Final[Mapping[str, bool]] = MappingProxyType({})
"""The users of what nobody needs."""


class Graph:
    """Needs by name, and who needs what. Names that need nothing need not be set."""

    def __init__(self) -> None:
        self._needs: dict[str, tuple[Group, ...]] = {}
        self._users: dict[str, dict[str, bool]] = {}
        """Who needs a thing, and whether its loss alone is theirs."""

    def set(self, name: str, needs: Iterable[Group]) -> None:
        """Say what a thing needs, in place of what was said before."""
        if name in self._needs:
            self.remove(name)
        groups = self._needs[name] = tuple(needs)
        for members, needed in groups:
            is_fatal = needed >= len(members)
            for member in members:
                users = self._users.get(member)
                if users is None:
                    users = self._users[member] = {}
                users[name] = is_fatal or users.get(name, False)

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

    def spread(self, failed: Iterable[str], within: Container[str] | None = None) -> dict[str, State]:
        """Return everything that is not well when these have failed, with how it is.

        ``within``: only how these things are is asked for. They must hold all that they need, as :meth:`below` returns it.
        """
        states = dict.fromkeys(failed, State.FAILED)
        waiting = list(states)
        while waiting:
            name = waiting.pop()
            is_lost = states[name] is State.FAILED
            for user, is_fatal in self._users.get(name, _NOBODY).items():
                before = states.get(user)
                if before is State.FAILED or (within is not None and user not in within):
                    continue
                # What is merely hurt hurts its users: if something else costs them more, that is waiting too.
                if is_lost and (is_fatal or self._fails(user, states)):
                    states[user] = State.FAILED
                elif before is None:
                    states[user] = State.DEGRADED
                else:
                    continue
                waiting.append(user)
        return states

    def _fails(self, name: str, states: dict[str, State]) -> bool:
        """Tell whether a thing lost too much of a group of which it may lose some."""
        for members, needed in self._needs[name]:
            spare = len(members) - needed
            if spare > 0 and sum(states.get(member) is State.FAILED for member in members) > spare:
                return True
        return False

    def below(self, *names: str) -> frozenset[str]:
        """Return everything that things need, directly or not."""
        found: dict[str, None] = {}
        waiting = list(names)
        while waiting:
            for group in self._needs.get(waiting.pop(), ()):
                for member in group.members:
                    if member not in found:
                        found[member] = None
                        waiting.append(member)
        return frozenset(found)
