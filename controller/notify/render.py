"""A report as mail: subject, text, HTML, and the headers that make one thread of an incident. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from html import escape

from controller.core.report import Change, IncidentReport
from controller.core.words import fault

_WORDS = {
    Change.OPENED: "opened",
    Change.REVISED: "explained better",
    Change.RECOVERING: "recovering",
    Change.RESOLVED: "resolved",
    Change.REOPENED: "broke again",
}


def subject(report: IncidentReport) -> str:
    """Return the subject: what changed, and then for all mails about one entity the same text.

    Clients that thread by subject strip "Re:" and what stands in brackets before it (RFC 5256 §2.1); the others go by References.
    """
    prefix = "" if report.number == 1 else "Re: "
    return _one_line(f"{prefix}[{_WORDS[report.change]}] [{report.cluster}] {report.entity} ({report.id})")


def _one_line(text: str) -> str:
    """Return a text that is safe in a header: printable and without line breaks."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def thread_id(report: IncidentReport, domain: str, number: int | None = None) -> str:
    """Return the Message-ID of a change's mail; the same for a repeated delivery, so that a mailbox shows it once."""
    identity = re.sub(r"[^A-Za-z0-9_-]", "-", report.id)
    return f"<{identity}.{report.number if number is None else number}@{domain}>"


def mail(report: IncidentReport, sender: str, to: tuple[str, ...], first: int, at: int) -> EmailMessage:
    """Return the mail for a change. ``first`` is the number of the change that began the thread, ``at`` UTC µs."""
    domain = sender.rpartition("@")[2]
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(to)
    message["Subject"] = subject(report)
    message["Date"] = format_datetime(datetime.fromtimestamp(at / 1_000_000, UTC))
    message["Message-ID"] = thread_id(report, domain)
    if report.number != first:
        message["In-Reply-To"] = thread_id(report, domain, first)
        message["References"] = thread_id(report, domain, first)
    message["Auto-Submitted"] = "auto-generated"
    message["X-Faultline-Incident"] = _one_line(report.id)
    message["X-Faultline-Change"] = report.change.value
    message.set_content(text(report))
    message.add_alternative(html(report), subtype="html")
    return message


def _sections(report: IncidentReport) -> list[tuple[str, list[str]]]:
    set_aside = [f"{fault(one.cause, one.entity)}: {one.reason}" for one in report.alternatives]
    timeline = [f"{one.at[:19].replace('T', ' ')}  {one.change}: {one.text}" for one in report.timeline]
    sections = [("Why", list(report.why)), ("What to do", list(report.remedies)), ("Set aside", set_aside), ("Timeline (UTC)", timeline)]
    return [(title, lines) for title, lines in sections if lines]


def _facts(report: IncidentReport) -> list[tuple[str, str]]:
    ha = "can help: other nodes are better off" if report.ha_can_help else "cannot help: no other node is better off"
    facts = [
        ("Change", f"{_WORDS[report.change]} at {report.at[:19].replace('T', ' ')} UTC"),
        ("State", report.state),
        ("Severity", report.severity),
        ("Cause", report.cause),
        ("Entity", report.entity),
        ("Nodes", ", ".join(report.nodes)),
        ("Storages", ", ".join(report.storages)),
        ("Guests", _guests(report)),
        ("Backups", _backups(report)),
        ("Took along", ", ".join(report.related)),
        ("Confidence", f"{report.confidence:.2f}"),
        ("HA", ha),
        ("Incident", report.id),
    ]
    return [(name, value) for name, value in facts if value]


def _guests(report: IncidentReport) -> str:
    told = (("frozen", report.guests.frozen), ("at risk", report.guests.at_risk))
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in told if names)


def _backups(report: IncidentReport) -> str:
    return "; ".join(f"{one.job} fails at {one.due[:16].replace('T', ' ')} UTC" for one in report.backups)


def text(report: IncidentReport) -> str:
    """Return the plain text of a report."""
    lines = [f"{_WORDS[report.change].upper()}: {report.title}", ""]
    lines += [f"{name + ':':<12}{value}" for name, value in _facts(report)]
    for title, entries in _sections(report):
        lines += ["", f"{title}:", *(f"  - {entry}" for entry in entries)]
    return "\n".join(lines) + "\n"


_STYLE = "font-family:sans-serif;font-size:14px;color:#222;max-width:50em"
_COLOURS = {"critical": "#b00020", "major": "#b26a00", "minor": "#1f5fa8"}


def html(report: IncidentReport) -> str:
    """Return the HTML of a report; every text in it is escaped."""
    colour = "#1b7a3d" if report.change is Change.RESOLVED else _COLOURS[report.severity]
    rows = "".join(
        f'<tr><td style="color:#666;padding:0 1em 0 0;vertical-align:top">{escape(name)}</td><td>{escape(value)}</td></tr>'
        for name, value in _facts(report)
    )
    sections = "".join(
        f"<h3>{escape(title)}</h3><ul>{''.join(f'<li>{escape(entry)}</li>' for entry in entries)}</ul>"
        for title, entries in _sections(report)
    )
    head = f'<h2 style="color:{colour}">{escape(_WORDS[report.change].capitalize())}: {escape(report.title)}</h2>'
    return f'<!DOCTYPE html><html><body style="{_STYLE}">{head}<table>{rows}</table>{sections}</body></html>\n'
