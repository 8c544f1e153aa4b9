"""Incidents, events and status as text for people. Machines get JSON from the same objects elsewhere."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from controller.core.report import Change, IncidentReport
from faultline.explain import said, set_aside
from faultline.scoring import Score

_COLOURS = {
    Change.OPENED: "bold red",
    Change.REOPENED: "bold red",
    Change.REVISED: "bold yellow",
    Change.RECOVERING: "bold cyan",
    Change.RESOLVED: "bold green",
}
_SEVERITIES = {"critical": "red", "major": "yellow", "minor": "blue"}


def clock(text: str) -> str:
    """Return the date and time of an RFC 3339 text to the second, UTC."""
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")


def change(report: IncidentReport) -> RenderableType:
    """Return one change of an incident: a line, and the reasons where they are news."""
    head = Text.assemble(
        (clock(report.at), "dim"),
        "  ",
        (f"{report.change.value:<10}", _COLOURS[report.change]),
        " ",
        (report.id, "dim"),
        "  ",
        (report.cause, _SEVERITIES[report.severity]),
        "  ",
        report.entity,
    )
    if report.change in {Change.RECOVERING, Change.RESOLVED}:
        return head
    lines = [Text(f"    {report.title}", style="bold"), *(Text(f"    - {why}") for why in report.why)]
    lines.append(Text(f"    confidence {report.confidence:.2f}; {ha_sentence(report)}", style="dim"))
    lines += [Text(f"    > {remedy}", style="green") for remedy in report.remedies]
    return Group(head, *lines)


def ha_sentence(report: IncidentReport) -> str:
    """Say whether moving guests can help."""
    return "HA can help: other nodes are better off" if report.ha_can_help else "HA cannot help: no other node is better off"


def incident(report: IncidentReport) -> RenderableType:
    """Return one incident with all that is known of it."""
    facts = Table.grid(padding=(0, 2))
    for name, value in (
        ("id", report.id),
        ("state", report.state),
        ("severity", report.severity),
        ("cause", report.cause),
        ("entity", report.entity),
        ("nodes", ", ".join(report.nodes)),
        ("storages", ", ".join(report.storages) or "-"),
        ("backups", "; ".join(f"{one.job} fails at {clock(one.due)}" for one in report.backups) or "-"),
        ("confidence", f"{report.confidence:.2f}"),
        ("opened", clock(report.opened_at)),
        ("resolved", clock(report.resolved_at) if report.resolved_at else "-"),
        ("HA", ha_sentence(report)),
    ):
        facts.add_row(Text(name, style="dim"), Text(value))
    parts: list[RenderableType] = [Text(report.title, style="bold"), facts, *_section("Why", report.why)]
    parts += _section("What to do", report.remedies)
    parts += _section("Set aside", set_aside(report))
    parts += _section("Timeline", [f"{clock(one.at)}  {one.change:<10}  {one.text}" for one in report.timeline])
    evidence = [f"{one.node:<10} {one.at[11:19]}  {said(one)}{': ' + one.excerpt if one.excerpt else ''}" for one in report.evidence]
    return Group(*parts, *_section("Evidence", evidence))


def _section(title: str, lines: Iterable[str]) -> list[RenderableType]:
    rows = [Text(f"  {line}") for line in lines]
    return [Text(""), Text(title, style="bold"), *rows] if rows else []


def incidents(reports: Sequence[IncidentReport]) -> RenderableType:
    """Return a table of incidents, newest last."""
    table = Table("opened (UTC)", "id", "state", "cause", "entity", "nodes", box=None, pad_edge=False, header_style="dim")
    for one in reports:
        colour = _SEVERITIES[one.severity] if one.state != "resolved" else "green"
        nodes = ", ".join(one.nodes) if len(one.nodes) <= 4 else f"{len(one.nodes)} nodes"
        table.add_row(clock(one.opened_at), one.id, Text(one.state, style=colour), one.cause, one.entity, nodes)
    return table


def record(facts: Mapping[str, Any]) -> RenderableType:
    """Return one record of the log as a line."""
    cursor = Text(f"{facts['cursor']:>8}  ", style="dim")
    match facts["type"]:
        case "event":
            colour = {"bad": "red", "ok": "green"}.get(facts["state"], "dim")
            seen = facts["event"].get("seen") or {}
            what = Text.assemble(
                (f"{facts['state']:<4} ", colour), f"{facts['kind']}  {facts['subject']}  ", (seen.get("excerpt", ""), "dim")
            )
            return Text.assemble(cursor, (clock(facts["observed_at"]), "dim"), f"  {facts['node']:<12} ", what)
        case "incident":
            what = Text(f"{facts['change']} {facts['id']} {facts['cause']} {facts['entity']}", style="bold")
            return Text.assemble(cursor, (clock(facts["at"]), "dim"), f"  {'incident':<12} ", what)
        case _:
            rest = {name: value for name, value in facts.items() if name not in {"type", "cursor", "at", "cluster", "data"}}
            return Text.assemble(
                cursor, (clock(facts["at"]), "dim"), f"  {facts['type']:<12} ", " ".join(f"{k}={v}" for k, v in rest.items())
            )


def status(facts: Mapping[str, Any]) -> RenderableType:
    """Return how the cluster stands."""
    unresolved = [IncidentReport.model_validate(one) for one in facts["unresolved"]]
    head = f"Cluster {facts['cluster']}: " + (f"{len(unresolved)} unresolved incident(s)" if unresolved else "no unresolved incident")
    parts: list[RenderableType] = [Text(head, style="bold red" if unresolved else "bold green")]
    if unresolved:
        parts.append(incidents(unresolved))
    parts += [Text(""), _agents(facts["agents"])] if facts["agents"] else [Text("no agent was ever heard", style="yellow")]
    if facts["notifiers"]:
        table = Table("notifier", "waiting", "told", "given up", "last trouble", box=None, pad_edge=False, header_style="dim")
        for one in facts["notifiers"]:
            table.add_row(one["name"], str(one["pending"]), str(one["sent"]), str(one["dead"]), one["last_error"] or "-")
        parts += [Text(""), table]
    for gap in facts["gaps"]:
        text = f"lost for good: {gap['node']} stream {gap['stream']} sequences {gap['first']} to {gap['last']}: {gap['reason']}"
        parts.append(Text(text, style="yellow"))
    return Group(*parts)


def _agents(agents: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = Table("agent", "is", "heard (UTC)", "events", "last event (UTC)", box=None, pad_edge=False, header_style="dim")
    for one in agents:
        silent = bool(one.get("silent"))
        heard, last = one.get("heard_at"), one.get("last_event_at")
        state = Text("silent" if silent else "heard", style="red" if silent else "green")
        table.add_row(one["node"], state, clock(heard) if heard else "-", str(one["events"]), clock(last) if last else "-")
    return table


def scores(score: Score) -> RenderableType:
    """Return the comparison with a recording's truth."""
    table = Table("fault (UTC)", "cause", "entity", "verdict", box=None, pad_edge=False, header_style="dim")
    for match in score.matches:
        fault = match.fault
        if match.problem:
            verdict = Text(match.problem, style="red")
        elif match.incident is None:
            verdict = Text("left no line, nothing named", style="dim")
        else:
            verdict = Text(match.incident, style="green")
        table.add_row(f"{fault.start:%H:%M:%S}", fault.cause, fault.entity, verdict)
    summary = Text(f"precision {score.precision:.2f}  recall {score.recall:.2f}", style="bold")
    extra = [Text(f"not one of the faults: {one}", style="red") for one in score.spurious]
    return Group(Text(""), table, *extra, summary)


class _Console(Console):
    """Writes what others named: storages, exports, log lines. Brackets and colons in it are text, and nothing of it steers the terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Render it with what would steer the terminal written out."""
        for segment in super().render(renderable, options):
            yield segment if segment.control or _is_plain(segment.text) else Segment(_printable(segment.text), segment.style)


def _printable(text: str) -> str:
    """Return a text with control characters, and what turns the writing around, written out."""
    return "".join(char if _is_plain(char) else f"\\x{ord(char):02x}" for char in text)


def _is_plain(text: str) -> bool:
    return text.isprintable() or all(char == "\n" or char.isprintable() or unicodedata.category(char) == "Zs" for char in text)


def console(*, stderr: bool = False) -> Console:
    """Return a console that writes whole lines when its output is no terminal."""
    made = _Console(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = 240  # a file or pipe has no width to fit into
    return made
