"""The result of all checks for people (rich text), for programs (JSON) and for code hosts (SARIF 2.1.0)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from controller.check.catalog import CHECKS, SUBJECTS
from controller.check.finding import Finding, Gap, Report, Severity
from controller.check.suppress import Sorted, Suppression


class CheckFormat(StrEnum):
    """Of ``faultline check``."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


_STYLES: Final = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "blue"}
_LEVELS: Final = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}
"""SARIF's words (SARIF 2.1.0 §3.27.10)."""
_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_VERSION: Final = 1
"""Of the JSON form: fields are only ever added to it."""


def text(console: Console, report: Report, found: Sorted) -> None:
    """Print the findings that stand, what was not checked and what was hidden."""
    for finding in found.standing:
        _finding(console, finding)
    _gaps(console, report.not_checked)
    for entry in found.unused:
        console.print(Text(f"suppression {entry.number} ({entry.id}, {entry.object}) hides nothing: remove it", style="yellow"))
    for entry in found.ended:
        console.print(Text(f"suppression {entry.number} ({entry.id}, {entry.object}) ended on {entry.until}", style="yellow"))
    console.print(Text(summary(report, found), style="bold"))


def _finding(console: Console, one: Finding) -> None:
    where = f" on {', '.join(one.nodes)}" if one.nodes else ""
    head = Text.assemble((one.severity.value, _STYLES[one.severity]), " ", (one.id, "bold"), " ", one.object, where, ": ", one.message)
    console.print(head)
    console.print(Text(f"    why: {one.why}", style="dim"))
    console.print(Text(f"    do:  {one.remedy}"))


def _gaps(console: Console, gaps: Iterable[Gap]) -> None:
    """Print what was not checked, checks with the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for gap in gaps:
        by_reason.setdefault(gap.reason, []).append(gap.id)
    for reason, ids in by_reason.items():
        names = ", ".join(ids[:4]) + (f" and {len(ids) - 4} more" if len(ids) > 4 else "")
        console.print(Text.assemble(("not checked", "cyan"), f": {reason} ({names})"))


def summary(report: Report, found: Sorted) -> str:
    """Return one sentence about a run."""
    counts = ", ".join(f"{sum(one.severity is severity for one in found.standing)} {severity.value}(s)" for severity in Severity)
    open_ = len({gap.id for gap in report.not_checked})
    hidden = f"; {len(found.hidden)} suppressed" if found.hidden else ""
    return f"{report.checks} checks: {counts}{hidden}; {open_} check(s) not done, or not everywhere"


def as_json(cluster: str, report: Report, found: Sorted) -> dict[str, Any]:
    """Return a run as plain data, the form of ``faultline check --format json``."""
    return {
        "version": _VERSION,
        "cluster": cluster,
        "checks": report.checks,
        "findings": [_finding_json(one) for one in found.standing],
        "suppressed": [{**_finding_json(one), "suppression": entry.number, "reason": entry.reason} for one, entry in found.hidden],
        "not_checked": [{"id": gap.id, "node": gap.node or None, "reason": gap.reason} for gap in report.not_checked],
        "suppressions_unused": [_entry_json(entry) for entry in found.unused],
        "suppressions_ended": [_entry_json(entry) for entry in found.ended],
    }


def _finding_json(one: Finding) -> dict[str, Any]:
    return {
        "id": one.id,
        "severity": one.severity.value,
        "object": one.object,
        "nodes": list(one.nodes),
        "message": one.message,
        "why": one.why,
        "remedy": one.remedy,
    }


def _entry_json(entry: Suppression) -> dict[str, Any]:
    until = entry.until.isoformat() if entry.until else None
    return {"number": entry.number, "id": entry.id, "object": entry.object, "node": entry.node, "reason": entry.reason, "until": until}


def as_sarif(report: Report, found: Sorted, version: str) -> dict[str, Any]:
    """Return a run in SARIF 2.1.0: entities are logical locations, and what was not checked are notifications."""
    results = [_result(one) for one in found.standing]
    results += [{**_result(one), "suppressions": [{"kind": "external", "justification": entry.reason}]} for one, entry in found.hidden]
    gaps = [{"level": "note", "message": {"text": f"{gap.id}: {gap.reason}"}} for gap in report.not_checked]
    rules = [
        {
            "id": one.id,
            "shortDescription": {"text": one.title},
            "fullDescription": {"text": one.why},
            "help": {"text": one.general_remedy},
            "defaultConfiguration": {"level": _LEVELS[one.severity]},
        }
        for one in CHECKS
    ]
    driver = {"name": "faultline", "version": version, "rules": rules}
    run = {
        "tool": {"driver": driver},
        "results": results,
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": gaps}],
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(one: Finding) -> dict[str, Any]:
    where = [one.object, *(f"node/{node}" for node in one.nodes if f"node/{node}" != one.object)]
    return {
        "ruleId": one.id,
        "level": _LEVELS[one.severity],
        "message": {"text": f"{one.object}: {one.message}. {one.remedy}"},
        "locations": [{"logicalLocations": [{"fullyQualifiedName": name} for name in where]}],
        "partialFingerprints": {"object/v1": f"{one.id} {one.object}"},
    }


def catalog(console: Console) -> None:
    """Print all checks by subject."""
    for subject, checks in SUBJECTS.items():
        console.print(Text(subject, style="bold"))
        for one in checks:
            console.print(Text.assemble("  ", (f"{one.severity.value:<8}", _STYLES[one.severity]), f"{one.id:<34} ", (one.title, "dim")))


def catalog_json() -> str:
    """Return all checks as a JSON text."""
    found = [
        {
            "id": one.id,
            "severity": one.severity.value,
            "subject": subject,
            "title": one.title,
            "why": one.why,
            "remedy": one.general_remedy,
            "needs": [need.value for need in one.needs],
        }
        for subject, checks in SUBJECTS.items()
        for one in checks
    ]
    return json.dumps(found, indent=2)
