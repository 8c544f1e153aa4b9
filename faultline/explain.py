"""Why a verdict is what it is, for the one who has to believe it: the signs node by node, and every other explanation with its score."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from controller.core.report import Evidence, IncidentReport

_SPEAKS: Final = {
    "for": "What it explains",
    "against": "What speaks against it",
    "consequence": "What follows from it",
}
_SCORES: Final = "Scores are in nats: each point makes an explanation 2.7 times likelier; below 0 the signs may be an accident."
_MOST: Final = 12
"""Most lines of one kind; the rest is counted."""


def explained(report: IncidentReport) -> RenderableType:
    """Return a report's reasons, its signs by node, and its rivals."""
    head = [Text(report.title, style="bold"), *(Text(f"  - {line}") for line in report.why)]
    return Group(*head, Text(""), signs_and_rivals(report))


def signs_and_rivals(report: IncidentReport) -> RenderableType:
    """Return a report's signs by node and its rivals, with their scores."""
    parts: list[RenderableType] = [
        Text(f"{report.cause} {report.entity}: probability {report.confidence:.2f}, score {report.score:+.1f}", style="dim")
    ]
    for speaks, title in _SPEAKS.items():
        signs = [one for one in report.evidence if one.speaks == speaks]
        if signs:
            parts += [Text(""), Text(title, style="bold"), _signs(signs)]
    if not any(one.speaks == "against" for one in report.evidence):
        parts += [Text(""), Text("Nothing speaks against it.", style="bold")]
    return Group(*parts, Text(""), *_rivals(report))


def _signs(signs: list[Evidence]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for one in sorted(signs, key=lambda sign: (sign.node, sign.entity, sign.aspect))[:_MOST]:
        when = one.at[11:19] if one.state == "bad" else ""
        table.add_row(f"  {one.node}", one.state, escape(f"{one.entity} ({one.aspect})"), when, escape(one.excerpt))
    if len(signs) > _MOST:
        table.add_row(f"  and {len(signs) - _MOST} more")
    return table


def _rivals(report: IncidentReport) -> Iterator[RenderableType]:
    if not report.alternatives:
        yield Text("No other explanation covers any of these signs.", style="bold")
        return
    yield Text("Other explanations, likeliest first", style="bold")
    table = Table.grid(padding=(0, 2))
    for one in report.alternatives:
        table.add_row(f"  {one.confidence:.2f}", f"{one.score:+.1f}", escape(f"{one.cause} {one.entity}"), escape(one.reason))
    yield table
    yield Text(f"  {_SCORES}", style="dim")
