"""What an agent says of itself: a monitor that is blind must say so."""

from __future__ import annotations

from typing import ClassVar, Literal

from events.base import BadEvent, Count, InfoEvent, Name, OkEvent, Text


class AgentStarted(InfoEvent):
    """The agent of a node started."""

    kind: Literal["agent.started"] = "agent.started"
    version: Name


class AgentStopped(InfoEvent):
    """The agent of a node stopped on purpose."""

    kind: Literal["agent.stopped"] = "agent.stopped"


class AgentSilent(BadEvent):
    """A controller has not heard from a node's agent for too long; its evidence no longer counts."""

    aspect: ClassVar[str] = "agent"
    kind: Literal["agent.silent"] = "agent.silent"
    silent: Count = 0


class AgentHeard(OkEvent):
    """A controller hears a node's agent."""

    aspect: ClassVar[str] = "agent"
    kind: Literal["agent.heard"] = "agent.heard"


class AgentSpoolDropped(InfoEvent):
    """The spool was full: exactly these sequences are lost for the named controllers."""

    kind: Literal["agent.spool.dropped"] = "agent.spool.dropped"
    first: Count
    last: Count
    reason: Text


class AgentJournalLost(InfoEvent):
    """Journal entries may be missing: rotation, vacuum, rate limit or corruption passed the reader."""

    kind: Literal["agent.journal.lost"] = "agent.journal.lost"
    reason: Text
    count: Count | None = None


class AgentSourceFailed(BadEvent):
    """A source of the agent cannot see; the node is blind in that respect."""

    aspect: ClassVar[str] = "source"
    kind: Literal["agent.source.failed"] = "agent.source.failed"
    source: Name
    reason: Text


class AgentSourceWorks(OkEvent):
    """A source of the agent sees again."""

    aspect: ClassVar[str] = "source"
    kind: Literal["agent.source.works"] = "agent.source.works"
    source: Name


class AgentConfigReloaded(InfoEvent):
    """The agent read its configuration anew."""

    kind: Literal["agent.config.reloaded"] = "agent.config.reloaded"
    result: Literal["applied", "refused"] = "applied"
    reason: Text = ""
