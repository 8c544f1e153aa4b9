"""Calendar events: when a job of Proxmox VE is due, ``mon..fri 22:30``, ``*/2:00``, ``daily``, ``2026-1..6-1 3:15 UTC``.

Source: proxmox-rs ``proxmox-time/src/calendar_event.rs``, which Proxmox VE has used since 7.1. It resembles systemd.time(7) and is not the
same: bare ``30`` is a minute of each hour, seconds may be left out, ``~`` and time zones other than UTC are unknown. No library
in Debian knows this grammar.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final, NamedTuple

_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAY_NAMES: Final = {name[:length]: number for number, name in enumerate(_DAYS) for length in (3, len(name))}
_WORDS: Final = {
    "minutely": "*:*",
    "hourly": "*:0",
    "daily": "0:0",
    "weekly": "mon 0:0",
    "monthly": "*-*-1 0:0",
    "yearly": "*-1-1 0:0",
    "annually": "*-1-1 0:0",
    "quarterly": "*-1,4,7,10-1 0:0",
    "semiannually": "*-1,7-1 0:0",
    "semi-annually": "*-1,7-1 0:0",
}
_WEEKDAYS: Final = re.compile(r"([a-z]+(?:\.\.[a-z]+)?(?:,[a-z]+(?:\.\.[a-z]+)?)*) *(.*)", re.ASCII | re.IGNORECASE)
_LIST: Final = r"(?:\*(?:/[0-9]+)?|[0-9./,]+)"
_DATE: Final = re.compile(rf"(?:({_LIST})-)?({_LIST})-({_LIST}) *(.*)", re.ASCII)
_TIME: Final = re.compile(rf"(?:({_LIST}):)?({_LIST})(?::({_LIST}))?", re.ASCII)
_PART: Final = re.compile(r"([0-9]{1,4})(?:\.\.([0-9]{1,4}))?(?:/([0-9]{1,4}))?", re.ASCII)
_DAYS_AHEAD: Final = 366 * 28
"""Days looked through for the next one: after that many weekdays and leap years begin anew."""


class CalendarEventError(ValueError):
    """A text that is no calendar event; the message says which part is wrong."""


class _Unit(NamedTuple):
    """A part of a date or time: its name, the least that ``*/n`` starts at, and what no number may reach."""

    name: str
    first: int
    end: int


_YEAR, _MONTH, _DAY = _Unit("year", 0, 2200), _Unit("month", 1, 13), _Unit("day", 1, 32)
_HOUR, _MINUTE, _SECOND = _Unit("hour", 0, 24), _Unit("minute", 0, 60), _Unit("second", 0, 60)


@dataclass(frozen=True, slots=True)
class CalendarEvent:
    """A parsed calendar event: which numbers each part may have, None for any. ``utc`` means that local time does not matter."""

    days: frozenset[int] | None
    """Weekdays, 0 is Monday."""
    years: frozenset[int] | None
    months: frozenset[int] | None
    dates: frozenset[int] | None
    hours: frozenset[int] | None
    minutes: frozenset[int] | None
    seconds: frozenset[int] | None
    utc: bool

    def next_after(self, last: int, offset: int = 0) -> int | None:
        """Return the first time after ``last`` at which it is due, both seconds since 1970; None when there is none.

        ``offset`` is local time's distance from UTC, minutes to the east.
        """
        zone = UTC if self.utc else timezone(timedelta(minutes=offset))
        start = datetime.fromtimestamp(last + 1, zone)
        day = start.replace(hour=0, minute=0, second=0)
        for ahead in range(_DAYS_AHEAD):
            try:
                one = day + timedelta(days=ahead)
            except OverflowError:
                return None
            if self._is_on(one) and (found := self._within(one, start if ahead == 0 else one)) is not None:
                return int(found.timestamp())
        return None

    def _is_on(self, day: datetime) -> bool:
        allowed = ((self.years, day.year), (self.months, day.month), (self.dates, day.day), (self.days, day.weekday()))
        return all(numbers is None or number in numbers for numbers, number in allowed)

    def _within(self, day: datetime, start: datetime) -> datetime | None:
        for hour in _choices(self.hours, _HOUR):
            if hour < start.hour:
                continue
            for minute in _choices(self.minutes, _MINUTE):
                if (hour, minute) < (start.hour, start.minute):
                    continue
                for second in _choices(self.seconds, _SECOND):
                    if (hour, minute, second) >= (start.hour, start.minute, start.second):
                        return day.replace(hour=hour, minute=minute, second=second)
        return None


def _choices(numbers: frozenset[int] | None, unit: _Unit) -> list[int]:
    return sorted(numbers) if numbers is not None else list(range(unit.first, unit.end))


def parse(text: str) -> CalendarEvent:
    """Read a calendar event.

    :raises CalendarEventError: when Proxmox VE would not take it.
    """
    utc = text.endswith("UTC")
    rest = text.removesuffix("UTC").rstrip(" ") if utc else text
    rest = _WORDS.get(rest, rest)
    days: frozenset[int] | None = None
    if rest[:1].isascii() and rest[:1].isalpha():
        match = _WEEKDAYS.fullmatch(rest)
        if match is None:
            raise CalendarEventError(f"{text!r}: unable to read its weekdays")
        days, rest = _weekdays(match[1]), match[2]
    elif not rest:
        raise CalendarEventError("it names neither a date nor a time")
    years = months = dates = None
    if match := _DATE.fullmatch(rest):
        years, months, dates = _numbers(match[1] or "*", _YEAR), _numbers(match[2], _MONTH), _numbers(match[3], _DAY)
        rest = match[4]
    if not rest:
        midnight = frozenset({0})
        return CalendarEvent(days, years, months, dates, midnight, midnight, midnight, utc)
    match = _TIME.fullmatch(rest)
    if match is None:
        raise CalendarEventError(f"{text!r}: unable to read its date or time")
    hours, minutes, seconds = _numbers(match[1] or "*", _HOUR), _numbers(match[2], _MINUTE), _numbers(match[3] or "0", _SECOND)
    return CalendarEvent(days, years, months, dates, hours, minutes, seconds, utc)


def _weekdays(text: str) -> frozenset[int] | None:
    found: set[int] = set()
    for part in text.lower().split(","):
        first, dots, last = part.partition("..")
        try:
            start = _DAY_NAMES[first]
            end = _DAY_NAMES[last] if dots else start
        except KeyError as unknown:
            raise CalendarEventError(f"{unknown.args[0]!r} is no weekday") from None
        found.update((start + ahead) % 7 for ahead in range((end - start) % 7 + 1))  # sat..mon is three days
    return frozenset(found)


def _numbers(text: str, unit: _Unit) -> frozenset[int] | None:
    """Return which numbers a list allows, None for any."""
    star, slash, every = text.partition("/")
    if star == "*":
        step = _number(every, unit) if slash else 0
        if slash and not step:
            raise CalendarEventError(f"{text!r}: a repetition of 0")
        return frozenset(range(unit.first, unit.end, step)) if step else None
    return frozenset(number for part in text.split(",") for number in _part(part, unit))


def _part(text: str, unit: _Unit) -> Iterator[int]:
    match = _PART.fullmatch(text)
    if match is None:
        raise CalendarEventError(f"{text!r} is no {unit.name}")
    start = _number(match[1], unit)
    if match[2] is None and match[3] is None:
        return iter((start,))
    end = _number(match[2], unit) if match[2] is not None else unit.end - 1
    if start > end:
        raise CalendarEventError(f"{text!r}: the first {unit.name} is behind the last")
    step = _number(match[3], unit) if match[3] is not None else 1
    return iter(range(start, end + 1, step) if step else (start,))


def _number(text: str, unit: _Unit) -> int:
    if (number := int(text)) >= unit.end:
        raise CalendarEventError(f"{text} is no {unit.name}")
    return number
