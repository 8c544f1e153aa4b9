"""The conditions under which trials are run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tests.sim.channel import Channel


@dataclass(frozen=True, slots=True)
class Condition:
    """What kind of trials: how many faults at once, and how bad the reports are."""

    name: str
    about: str = ""
    """One sentence for who reads the results."""
    channel: Channel = field(default_factory=Channel)
    together: int = 1
    verbs: tuple[str, ...] = ()
    """Only these; empty for all."""
    single: bool = False
    """Only faults of single nodes."""
    sizes: tuple[int, int] = (3, 64)


CONDITIONS: Final = (
    Condition("clean", "One fault, nothing lost."),
    Condition("noisy", "One fault; 10 % of all messages are lost, 2 % of all probes report falsely once.", Channel(loss=0.1, alarms=0.02)),
    Condition("pairs", "Two faults within a minute.", together=2),
    Condition("single-node", "One fault of a single node.", single=True),
    Condition(
        "rough",
        "One fault; 5 % of all messages are lost, doubled, or late by up to 5 s, and clocks are wrong by up to 2 s.",
        Channel(loss=0.05, doubled=0.05, delay=0.5, disorder=0.05, skew=2.0),
    ),
)
BY_NAME: Final = {one.name: one for one in CONDITIONS}
