"""What every event has: a kind, a subject, a state, and what exactly was seen."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from events.entity import Entity

EXCERPT_LENGTH = 512
"""Longest excerpt of what was seen, characters: a log line fits, a dump does not."""

Text = Annotated[str, StringConstraints(max_length=256)]
"""A short text fact."""
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
"""A short text fact that is never empty."""
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""A number of things, never negative."""
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A duration in seconds, finite: JSON has no other numbers."""


class State(StrEnum):
    """What an event says of its subject."""

    BAD = "bad"
    OK = "ok"
    INFO = "info"


class Source(StrEnum):
    """Which source of the agent saw it."""

    JOURNALD = "journald"
    PMXCFS = "pmxcfs"
    NFS = "nfs"
    ISCSI = "iscsi"
    MULTIPATH = "multipath"
    LVM = "lvm"
    CEPH = "ceph"
    HOST = "host"
    AGENT = "agent"


class Frozen(BaseModel):
    """A value: immutable, and an unknown field is an error, so that no typo passes for a fact."""

    # A node's agent says a few dozen of all kinds: what checks a kind is built when it is first needed, and saves 2 MB on each node.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", defer_build=True)


class Seen(Frozen):
    """The proof: where it was seen and a bounded excerpt of it. Never holds a secret."""

    source: Source
    cursor: Annotated[str, StringConstraints(max_length=256)] | None = None
    """Position in the source (a journal cursor), so that the original can be found again."""
    excerpt: Annotated[str, StringConstraints(max_length=EXCERPT_LENGTH)] = ""


class Event(Frozen):
    """Base of all kinds. Each kind fixes ``kind`` and ``state``; its docstring is its one-sentence meaning."""

    aspect: ClassVar[str] = ""
    """Which question about the subject this answers (``reach``, ``auth``, …). ``bad`` and ``ok`` kinds of one aspect cancel."""

    kind: str
    subject: Entity
    state: State
    seen: Seen


class BadEvent(Event):
    """Base of kinds that say: this is broken."""

    state: Literal[State.BAD] = State.BAD


class OkEvent(Event):
    """Base of kinds that say: this works."""

    state: Literal[State.OK] = State.OK


class InfoEvent(Event):
    """Base of kinds that say neither: context for a verdict and for the reader."""

    state: Literal[State.INFO] = State.INFO
