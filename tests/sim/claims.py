"""Whether what was told is what is true: every fault by its name, once, as long as it lasts, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from controller.core.report import Change, IncidentReport
from tests.sim.logbook import micros
from tests.sim.script import Claim, Script
from tests.sim.stage import SECOND
from tests.sim.truth import Name


def complaints(script: Script, told: Sequence[IncidentReport], begin: int) -> list[str]:
    """Return what of the told is against the script's truth; ``begin`` is its virtual beginning, UTC µs."""
    lives: dict[str, list[IncidentReport]] = {}
    for one in told:
        lives.setdefault(one.id, []).append(one)
    whole = [life for life in lives.values() if not _is_merged(life)]
    found = list(_unknown(script, told))
    for claim in sorted(script.claims, key=lambda one: (one.begin, one.name)):
        life = next((one for one in whole if _tells(one, claim, begin)), None)
        if life is None:
            found.append(f"not told: {_text(claim)}")
            continue
        whole.remove(life)
        found += [f"{_text(claim)}: {problem}" for problem in _wrong(life, claim, begin)]
    return found + [f"told without a fault: {' '.join(_name(life[-1]))}" for life in whole]


def _name(report: IncidentReport) -> Name:
    return report.cause, report.entity


def _text(claim: Claim) -> str:
    span = f"{claim.begin / SECOND:g}-" + ("" if claim.end is None else f"{claim.end / SECOND:g}")
    return f"{span} {' '.join(claim.name)}"


def _is_merged(life: Sequence[IncidentReport]) -> bool:
    return life[-1].change is Change.RESOLVED and life[-1].timeline[-1].text.startswith("part of ")


def _unknown(script: Script, told: Sequence[IncidentReport]) -> Iterator[str]:
    known = {*script.passing, *(one.name for one in script.claims)}
    for name in dict.fromkeys(_name(one) for one in told):
        if name not in known:
            yield f"told, though not true: {' '.join(name)}"
    for name in sorted(script.passing - {_name(one) for one in told}):
        yield f"never told, so it need not pass: {' '.join(name)}"


def _at_end(life: Sequence[IncidentReport], claim: Claim, begin: int) -> IncidentReport:
    """Return what was last told while it lasted, or first afterwards."""
    until = [one for one in life if claim.end is None or micros(one.at) - begin <= claim.end]
    return until[-1] if until else life[0]


def _tells(life: Sequence[IncidentReport], claim: Claim, begin: int) -> bool:
    return micros(life[0].at) - begin >= claim.begin and _name(_at_end(life, claim, begin)) == claim.name


def _wrong(life: Sequence[IncidentReport], claim: Claim, begin: int) -> Iterator[str]:
    last, nodes = life[-1], _at_end(life, claim, begin).nodes
    if claim.nodes and set(nodes) != set(claim.nodes):
        yield f"said of {', '.join(nodes)}"
    if claim.end is None:
        if last.change is Change.RESOLVED:
            yield "called over while it lasts"
    elif last.change is not Change.RESOLVED:
        yield "never called over"
    elif micros(last.at) - begin < claim.end:
        yield "called over before it was"
    if claim.outgrown:
        if not life[0].planned or _at_end(life, claim, begin).planned:
            yield "not told as planned first, and as more than that while it lasts"
    elif any(one.planned is not claim.planned for one in life):
        yield "told as not planned" if claim.planned else "told as planned"
