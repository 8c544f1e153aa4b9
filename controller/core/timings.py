"""How long the core waits for what."""

from __future__ import annotations

from dataclasses import dataclass

from controller.core.evidence import SECOND


@dataclass(frozen=True, slots=True)
class Timings:
    """Waiting times, microseconds."""

    settle: int = 2 * SECOND
    """From the first sign to the earliest telling: what is over sooner is no incident."""
    longest: int = 10 * SECOND
    """From the first sign to the latest telling, however much may still be reported."""
    respite: int = 10 * SECOND
    """Between two messages that an incident has merely spread to more nodes."""
    confirm: int = 30 * SECOND
    """How long a verdict must hold to be called confirmed."""
    recovery_hold: int = 20 * SECOND
    """How long everything must stay well before an incident is resolved."""
    consequence_hold: int = 120 * SECOND
    """How long consequences may outlast their recovered cause before they become a fault of their own."""
    rebuild_hold: int = 86_400 * SECOND
    """The same where data must be copied first: a disk that is back is made whole for hours, and that is no fault of its own."""
    flap_window: int = 45 * SECOND
    """A relapse this soon after recovery reopens; doubled from the third recurrence on."""
    flap_window_max: int = 180 * SECOND
    """Bound of the doubled window."""
    flap_memory: int = 1800 * SECOND
    """How long a resolved incident is remembered as one that may recur."""
    await_agents: int = 10 * SECOND
    """After a restart: how long nothing new is opened while agents that were known have not come back with what they saw."""
    silent_after: int = 20 * SECOND
    """Without a heartbeat for this long a node's agent is silent."""
