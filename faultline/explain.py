"""Why a verdict is what it is, for the one who has to believe it: the signs node by node, and every other explanation with its score."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from controller.core.report import Alternative, Evidence, IncidentReport
from controller.core.words import counted, fault, sign

_SPEAKS: Final = {
    "for": "What speaks for it, node by node",
    "against": "What speaks against it",
    "consequence": "What follows from it",
}
_SCORES: Final = (
    "Score: the signs that an explanation explains, less those against it and how rare it is. One point more is 2.7 times likelier, seven"
    " points 1000 times; below 0 the signs may as well be accidents."
)
_MOST_NODES: Final = 12
_MOST_SIGNS: Final = 6
"""Most that is shown of each node; the rest is counted."""
_REST: Final = 0.015
"""Least probability that is worth a line of its own."""


def explained(report: IncidentReport) -> RenderableType:
    """Return a report's reasons, its signs by node, and its rivals."""
    head = [Text(report.title, style="bold"), *(Text(f"  - {line}") for line in report.why)]
    return Group(*head, Text(""), signs_and_rivals(report))


def signs_and_rivals(report: IncidentReport) -> RenderableType:
    """Return a report's signs by node and its rivals, with their scores."""
    parts: list[RenderableType] = [
        Text(f"It is this with a probability of {percent(report.confidence)}; its score is {report.score:+.1f} (see below).", style="dim")
    ]
    for speaks, title in _SPEAKS.items():
        signs = [one for one in report.evidence if one.speaks == speaks]
        if signs:
            parts += [Text(""), Text(title, style="bold"), _signs(signs, len(report.nodes) if speaks == "for" else 0)]
    if not any(one.speaks == "against" for one in report.evidence):
        parts += [Text(""), Text("Nothing speaks against it.", style="bold")]
    return Group(*parts, Text(""), *_rivals(report))


def percent(share: float) -> str:
    """Return a probability for people."""
    return f"{share:.0%}" if share >= 0.01 else "less than 1%"


def said(one: Evidence) -> str:
    """Return what a node says, as the rest of a sentence that begins with its name."""
    words = sign(one.entity, one.aspect, bad=one.state == "bad")
    if one.state == "unknown":
        return f"{sign(one.entity, one.aspect, bad=one.speaks != 'against')}, and nothing is known since"
    if one.speaks == "against":
        return f"{words}, and did not when this began" if one.state == "bad" else f"still {words}"
    if one.state == "bad":
        return words
    # A sign of the fault itself keeps its first proof; of what followed the latest word is shown.
    return f"{sign(one.entity, one.aspect, bad=True)}, and is well again" if one.speaks == "for" else f"{words} again"


def set_aside(report: IncidentReport) -> list[str]:
    """Return each other explanation and why it was set aside, one sentence each."""
    return [f"{_fault(one)}: {one.reason}" for one in report.alternatives]


def _fault(one: Alternative) -> str:
    return fault(one.cause, one.entity)


def _signs(signs: Iterable[Evidence], nodes: int) -> RenderableType:
    """Return signs by node. ``nodes``: how many there are at least, for a report does not list all signs of a large cluster."""
    table = Table.grid(padding=(0, 2))
    by_node = [(node, list(mine)) for node, mine in groupby(sorted(signs, key=lambda one: (one.node, one.at)), key=lambda one: one.node)]
    for node, mine in by_node[:_MOST_NODES]:
        rows = list(dict.fromkeys((said(one), one.at[11:19], one.excerpt) for one in mine))
        for number, (words, when, excerpt) in enumerate(rows[:_MOST_SIGNS]):
            table.add_row("" if number else f"  {node}", when, words, excerpt)
        if len(rows) > _MOST_SIGNS:
            table.add_row("", "", f"and {counted(len(rows) - _MOST_SIGNS, 'further sign')}")
    if (more := max(nodes, len(by_node)) - len(by_node[:_MOST_NODES])) > 0:
        table.add_row(f"  and {counted(more, 'further node')}")
    return table


def _rivals(report: IncidentReport) -> Iterator[RenderableType]:
    if not report.alternatives:
        yield Text("No other explanation covers any of these signs.", style="bold")
    else:
        yield Text("Other explanations, likeliest first, and why each was set aside", style="bold")
        table = Table.grid(padding=(0, 2))
        table.add_row("  probability", "score", "")
        for one in report.alternatives:
            table.add_row(f"  {percent(one.confidence)}", f"{one.score:+.1f}", f"{_fault(one)}:")
            table.add_row("", "", f"  {one.reason}")
        yield table
    rest = 1 - report.confidence - sum(one.confidence for one in report.alternatives)
    if rest >= _REST:
        yield Text(f"  The rest, {percent(rest)}, is left for accidents and for what nobody thought of.", style="dim")
    yield Text(_SCORES, style="dim")
