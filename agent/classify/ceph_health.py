"""Health checks of Ceph to events: raised, changed, muted, cleared; by their code, whether this version knows it or not. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from agent.classify.ceph_checks import family_of, is_serious
from agent.classify.ceph_view import TEXT, View, number, part, rows, seen, text
from agent.record import RawRecord
from events.base import Event
from events.ceph import CephCheckCleared, CephCheckRaised, CephHealthChanged

_CODE: Final = re.compile(r"[A-Z][A-Z0-9_]{1,63}")
_SEVERITIES: Final = frozenset({"HEALTH_WARN", "HEALTH_ERR"})
_STATUSES: Final = frozenset({"HEALTH_OK", *_SEVERITIES})
_LINES: Final = 8
_AGAIN: Final = 30_000_000
"""Microseconds between two reports of a check of which only numbers changed: a recovery changes them every second."""


class HealthChecks:
    """What was last said of one cluster's health checks."""

    def __init__(self) -> None:
        self._status = ""
        self._said: dict[str, tuple[str, int]] = {}
        """Code to its summary when it was reported, and when (µs)."""

    def classify(self, view: View, health: Mapping[str, Any], record: RawRecord) -> Iterator[Event]:
        """Yield what the answer to `health detail` changes."""
        checks = {code: check for code, check in part(health, "checks").items() if _CODE.fullmatch(code) and isinstance(check, dict)}
        view.codes = frozenset(checks)
        # A sticky mute is there before its check is raised.
        mutes = {text(mute.get("code")) for mute in rows(health.get("mutes"))}
        view.muted = frozenset({*mutes, *(code for code, check in checks.items() if check.get("muted") is True)})
        yield from self._overall(view, text(health.get("status")), record)
        for code, check in sorted(checks.items()):
            yield from self._raised(view, code, check, record)
        for code in sorted(set(self._said) - set(checks)):
            summary, _ = self._said.pop(code)
            event = CephCheckCleared(subject=view.cluster, seen=seen(record, f"{code} cleared (was: {summary})"), code=code)
            yield from view.say(event, record, aspect=f"check {code}")

    def _overall(self, view: View, status: str, record: RawRecord) -> Iterator[Event]:
        if status not in _STATUSES or status == self._status:
            return
        before, self._status = self._status, status
        event = CephHealthChanged(subject=view.cluster, seen=seen(record), health=status, previous=before)
        yield from view.say(event, record, words=status)

    def _raised(self, view: View, code: str, check: Mapping[str, Any], record: RawRecord) -> Iterator[Event]:
        severity = text(check.get("severity"))
        if severity not in _SEVERITIES:  # POOL_SCRUB_FLAGS is raised as HEALTH_OK
            return
        summary = text(part(check, "summary").get("message")) or code
        before, at = self._said.get(code, ("", 0))
        if code in self._said and summary != before and record.at - at < _AGAIN:
            summary = before  # the same trouble with other numbers
        elif summary != before:
            self._said[code] = (summary, record.at)
        count = part(check, "summary").get("count")
        event = CephCheckRaised(
            subject=view.cluster,
            seen=seen(record, f"{severity} {code}: {summary}"),
            code=code,
            family=family_of(code),
            severity=severity,
            summary=summary,
            serious=is_serious(code, severity),
            muted=code in view.muted,
            count=int(number(count)) if isinstance(count, int) else None,
            detail=tuple(text(row.get("message"))[:TEXT] for row in rows(check.get("detail"))[:_LINES]),
        )
        yield from view.say(event, record, words=f"{severity} {summary} {code in view.muted}", aspect=f"check {code}")


def details(health: Mapping[str, Any], code: str) -> list[str]:
    """Return the details of a check, one line each; nothing when it is not raised."""
    return [line for row in rows(part(health, "checks", code).get("detail")) if (line := text(row.get("message")))]


def summary_of(health: Mapping[str, Any], code: str) -> str:
    """Return the summary of a check; empty when it is not raised."""
    return text(part(health, "checks", code, "summary").get("message"))
