"""Compare incidents with the ground truth of a recording: precision and recall."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from controller.core.report import Change, IncidentReport
from events.vocabulary import describe
from faultline.errors import InputError


class Fault(BaseModel):
    """One fault of a recording, a line of ``truth.jsonl``. Times are RFC 3339."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    start: datetime
    end: datetime
    cause: str
    entity: str
    nodes: tuple[str, ...] = ()
    leaves_lines: Annotated[bool, Field(description="False: no node logged anything, so no log can name it")] = True


@dataclass(frozen=True, slots=True)
class Match:
    """A fault with the incident that names it, and what is wrong if it is not named right."""

    fault: Fault
    incident: str | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """Precision: incidents that are a fault, of all incidents. Recall: faults named right, of those that left lines."""

    matches: tuple[Match, ...]
    spurious: tuple[str, ...]
    precision: float
    recall: float


def read_truth(path: Path) -> list[Fault]:
    """Read a ``truth.jsonl``.

    :raises InputError: when the file cannot be read or a line is no fault; names file and line.
    """
    faults = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            faults.append(Fault.model_validate(json.loads(line)))
        except ValidationError as error:
            raise InputError(f"{path}:{number}: {describe(error)}") from error
        except ValueError as error:
            raise InputError(f"{path}:{number}: not JSON: {error}") from error
    return faults


@dataclass(slots=True)
class _Life:
    """One incident over all its changes."""

    last: IncidentReport
    resolved: bool = False


def score(faults: Sequence[Fault], told: Iterable[IncidentReport]) -> Score:
    """Match incidents to faults, one to one.

    A fault is named right when exactly one incident has its cause and entity in its final form, was opened between the fault's
    start and end, and was resolved after its end. An incident merged into another counts as part of that one.
    """
    lives: dict[str, _Life] = {}
    for report in told:
        life = lives.setdefault(report.id, _Life(report))
        life.last, life.resolved = report, report.change is Change.RESOLVED
    free = dict(lives)
    matches = [_match(fault, free) for fault in sorted(faults, key=lambda one: one.start)]
    named = [match for match in matches if match.incident and not match.problem]
    expected = [match for match in matches if match.fault.leaves_lines]
    precision = len(named) / len(lives) if lives else 1.0
    recall = sum(not match.problem and match.incident is not None for match in expected) / len(expected) if expected else 1.0
    return Score(tuple(matches), tuple(sorted(free)), precision, recall)


def _match(fault: Fault, free: dict[str, _Life]) -> Match:
    during = {key: life for key, life in free.items() if fault.start <= datetime.fromisoformat(life.last.opened_at) <= fault.end}
    right = [key for key, life in during.items() if (life.last.cause, life.last.entity) == (fault.cause, fault.entity)]
    key = next(iter(right), next(iter(during), None))
    if key is None:
        return Match(fault, None, "" if not fault.leaves_lines else "no incident")
    life = free.pop(key)
    if not right:
        return Match(fault, key, f"named {life.last.cause} {life.last.entity}")
    if not life.resolved:
        return Match(fault, key, "never resolved")
    if datetime.fromisoformat(life.last.resolved_at or life.last.at) < fault.end:
        return Match(fault, key, "resolved before its end")
    return Match(fault, key)
