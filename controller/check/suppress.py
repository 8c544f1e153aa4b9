"""Findings that an administrator has accepted, with the reason: a TOML file of ``[[suppress]]`` tables.

Each has ``id`` (of a check), ``reason``, and may have ``object`` (a pattern with ``*`` and ``?`` for entities, default all), ``node``
(the same for nodes) and ``until`` (a date, the last day on which it holds). A suppression that hides nothing is told: what it was for
is gone.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from controller.check.catalog import BY_ID
from controller.check.finding import Finding
from controller.errors import ControllerError

_KEYS: Final = frozenset({"id", "object", "node", "reason", "until"})
_LONGEST: Final = 512
"""Characters of a pattern."""


class SuppressError(ControllerError):
    """A file of suppressions is wrong; the text says which entry, why, and what to write."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """One accepted kind of finding. ``number`` counts the file's entries from 1."""

    id: str
    reason: str
    object: str = "*"
    node: str = "*"
    until: date | None = None
    number: int = 1

    def covers(self, finding: Finding) -> bool:
        """Tell whether it is for this finding. One for some nodes covers a finding only when it covers all its nodes."""
        nodes = finding.nodes or ("",)
        return self.id == finding.id and fnmatchcase(finding.object, self.object) and all(fnmatchcase(node, self.node) for node in nodes)

    def holds(self, today: date) -> bool:
        """Tell whether it has not ended."""
        return self.until is None or today <= self.until


@dataclass(frozen=True, slots=True)
class Sorted:
    """Findings after suppressions: those that stand, those that are hidden with the entry that hides each, and entries to look at."""

    standing: tuple[Finding, ...]
    hidden: tuple[tuple[Finding, Suppression], ...]
    unused: tuple[Suppression, ...]
    ended: tuple[Suppression, ...]


def parse(text: str, name: str) -> tuple[Suppression, ...]:
    """Read the file's text; ``name`` is the file's name for errors.

    :raises SuppressError: when it is no TOML, an entry lacks id or reason, or names a check that there is not.
    """
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SuppressError(f"{name}: is no TOML: {error}") from error
    entries = data.pop("suppress", [])
    if data:
        raise SuppressError(f"{name}: knows no {', '.join(sorted(data))}; each entry begins with [[suppress]]")
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise SuppressError(f"{name}: suppress: each entry begins with [[suppress]], in double brackets")
    return tuple(_entry(one, number, f"{name}: [[suppress]] number {number}") for number, one in enumerate(entries, 1))


def _entry(found: Mapping[str, Any], number: int, where: str) -> Suppression:
    if unknown := sorted(found.keys() - _KEYS):
        raise SuppressError(f"{where}: knows no {', '.join(unknown)}; known are {', '.join(sorted(_KEYS))}")
    texts = {key: _text(found, key, where) for key in ("id", "reason", "object", "node") if key in found}
    if texts.get("id") not in BY_ID:
        raise SuppressError(f"{where}: id {texts.get('id')!r} is no check; `faultline check --list-checks` shows all")
    if not texts.get("reason", "").strip():
        raise SuppressError(f"{where}: reason is missing: say why this finding is accepted, for those who come later")
    return Suppression(**texts, until=_day(found.get("until"), where), number=number)


def _text(found: Mapping[str, Any], key: str, where: str) -> str:
    value = found[key]
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise SuppressError(f"{where}: {key}: expected a text of at most {_LONGEST} characters")
    return value


def _day(value: object, where: str) -> date | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    elif isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise SuppressError(f"{where}: until: expected a date such as 2027-01-31")


def apply(findings: Iterable[Finding], suppressions: Iterable[Suppression], today: date) -> Sorted:
    """Sort findings by whether an entry that still holds covers them; the first such entry counts."""
    entries = tuple(suppressions)
    current = [one for one in entries if one.holds(today)]
    standing, hidden = [], []
    for finding in findings:
        entry = next((one for one in current if one.covers(finding)), None)
        if entry is None:
            standing.append(finding)
        else:
            hidden.append((finding, entry))
    used = {entry.number for _, entry in hidden}
    unused = tuple(one for one in current if one.number not in used)
    return Sorted(tuple(standing), tuple(hidden), unused, tuple(one for one in entries if not one.holds(today)))
