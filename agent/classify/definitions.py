"""What was published of each subject, so that a definition is said again only when it differs.

The controller keeps facts durably: what it was told once need not be repeated after each start of an agent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

from events.base import Event

_APART = " "
"""Between kind and key; a kind holds no blank."""


class Definitions:
    """Digests of what was said last, by kind and subject. ``memory`` is what :meth:`memory` returned before."""

    def __init__(self, memory: Mapping[str, str] | None = None) -> None:
        self._said: dict[str, str] = dict(memory or {})

    def memory(self) -> dict[str, str]:
        """Return what must be kept over a restart."""
        return dict(self._said)

    def repeat(self) -> None:
        """Say everything again at its next sight. Who was said is still known, so that its end is told."""
        self._said = dict.fromkeys(self._said, "")

    def news(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield those that were not said like this before."""
        for event in events:
            name, digest = f"{event.kind}{_APART}{event.subject.key}", _digest(event)
            if self._said.get(name) != digest:
                self._said[name] = digest
                yield event

    def missing(self, kind: str, present: Iterable[str]) -> list[str]:
        """Return, and forget, the keys of a kind's subjects that were said and are not present any more."""
        prefix, there = f"{kind}{_APART}", set(present)
        gone = [name for name in self._said if name.startswith(prefix) and name.removeprefix(prefix) not in there]
        for name in gone:
            del self._said[name]
        return sorted(name.removeprefix(prefix) for name in gone)

    def said(self, kind: str, key: str) -> bool:
        """Tell whether a subject was said."""
        return f"{kind}{_APART}{key}" in self._said


def _digest(event: Event) -> str:
    body = event.model_dump_json(exclude={"seen"}, exclude_defaults=True)
    return hashlib.sha1(body.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
