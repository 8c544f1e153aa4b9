"""The public form of an incident: what webhook, mail, streams and ``faultline incidents --format json`` carry.

Its first fields are a stable interface; fields are only ever added.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Change(StrEnum):
    """What happened to an incident, as told to people and machines."""

    OPENED = "opened"
    REVISED = "revised"
    RECOVERING = "recovering"
    RESOLVED = "resolved"
    REOPENED = "reopened"


class Part(BaseModel):
    """Base of the parts of a report: immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Guests(Part):
    """Guests hit, by VMID."""

    frozen: tuple[str, ...] = ()
    at_risk: tuple[str, ...] = ()


class Backup(Part):
    """A backup job that is due within a day and will fail for these guests if nothing changes."""

    job: str
    """Its id in jobs.cfg."""
    due: str
    storage: str = ""
    """Where it writes to; empty when vzdump.conf says so."""
    guests: tuple[str, ...] = ()
    reason: str


class Alternative(Part):
    """Another explanation and why it was set aside."""

    cause: str
    entity: str
    confidence: Annotated[float, Field(ge=0, le=1)]
    reason: str
    score: float = 0.0
    """As :attr:`IncidentReport.score`."""


class Evidence(Part):
    """What one node says of one thing, for or against the verdict."""

    node: str
    entity: str
    aspect: str
    state: Literal["bad", "ok", "unknown"]
    speaks: Literal["for", "against", "consequence"]
    at: str
    excerpt: str = ""


class Moment(Part):
    """One entry of the incident's history."""

    at: str
    change: str
    text: str


class IncidentReport(Part):
    """One incident at one moment of its life. Times are RFC 3339, UTC, with microseconds."""

    type: Literal["incident"] = "incident"
    change: Change
    id: str
    number: int
    """1 for the opening, then counting every change of this incident."""
    state: str
    cause: str
    entity: str
    title: str
    """One sentence for a subject line."""
    confidence: Annotated[float, Field(ge=0, le=1)]
    severity: Literal["critical", "major", "minor"]
    nodes: tuple[str, ...]
    storages: tuple[str, ...] = ()
    guests: Guests = Guests()
    backups: tuple[Backup, ...] = ()
    """What is due soon and will fail, the next one first."""
    ha_can_help: bool
    why: tuple[str, ...]
    remedies: tuple[str, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    related: tuple[str, ...] = ()
    """Other entities that the same fault took down."""
    score: float = 0.0
    """How much better the signs are explained with the cause than without, in nats: one more is 2.7 times
    likelier; below 0 they may be an accident."""
    timeline: tuple[Moment, ...] = ()
    planned: bool = False
    """Whether an administrator meant it (`noout`, a mute, a restart in order): it is listed and streamed, and nobody is called."""
    cluster: str
    at: str
    """When this change happened."""
    opened_at: str
    resolved_at: str | None = None
