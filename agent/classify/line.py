"""One journal line on its way to an event, and the tables that lines are looked up in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from agent.classify.inventory import Inventory
from agent.record import RawRecord
from events.base import EXCERPT_LENGTH, Event, Seen
from events.errors import EntityError


@dataclass(frozen=True, slots=True)
class Line:
    """A journal line with all that a rule may need to judge it.

    ``text`` has no leading blanks: iSCSI and corosync lines begin with some.
    """

    text: str
    node: str
    record: RawRecord
    inventory: Inventory

    def seen(self) -> Seen:
        """Return the proof for events made from this line."""
        record = self.record
        return Seen(source=record.source, cursor=record.cursor, excerpt=self.text[:EXCERPT_LENGTH])


Build = Callable[[Line, "re.Match[str]"], "Iterable[Event]"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Lines that match ``pattern`` mean what ``build`` makes of them.

    ``prefix`` is a cheap first test on the text's beginning: most kernel lines are none of ours.
    """

    name: str
    """Id of the line in the field's catalogue (kernel or daemon source), for tests and documentation."""
    prefix: str
    pattern: re.Pattern[str]
    build: Build


def rule(name: str, prefix: str, pattern: str, build: Build) -> Rule:
    """Make a rule; the pattern must match the whole text, newlines included."""
    return Rule(name, prefix, re.compile(pattern, re.DOTALL), build)


class Table:
    """Rules of one sender, tried in order; the first that matches decides."""

    def __init__(self, *groups: Sequence[Rule]) -> None:
        self.rules: tuple[Rule, ...] = tuple(one for group in groups for one in group)
        self._prefixes = tuple({one.prefix for one in self.rules})

    def classify(self, line: Line) -> list[Event]:
        """Return the events that a line stands for, most often none."""
        text = line.text
        if not text.startswith(self._prefixes):
            return []
        for one in self.rules:
            if text.startswith(one.prefix) and (match := one.pattern.fullmatch(text)):
                try:
                    return list(one.build(line, match))
                except (ValidationError, EntityError):
                    # Names or numbers that no kernel prints: any process can log under a daemon's name.
                    return []
        return []


def nothing(line: Line, match: re.Match[str]) -> tuple[()]:
    """Build for lines that only teach the inventory, or that must not fall through to a later rule."""
    return ()
