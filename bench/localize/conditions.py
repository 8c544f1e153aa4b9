"""The conditions under which trials are run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tests.sim.channel import Channel


@dataclass(frozen=True, slots=True)
class Condition:
    """What kind of trials: how many faults at once, and how bad the reports are."""

    name: str
    channel: Channel = field(default_factory=Channel)
    together: int = 1
    verbs: tuple[str, ...] = ()
    """Only these; empty for all."""
    single: bool = False
    """Only faults of single nodes."""
    sizes: tuple[int, int] = (3, 64)


CONDITIONS: Final = (
    Condition("clean"),
    Condition("noisy", Channel(loss=0.1, alarms=0.02)),
    Condition("pairs", together=2),
    Condition("single-node", single=True),
    Condition("rough", Channel(loss=0.05, doubled=0.05, delay=0.5, disorder=0.05, skew=2.0)),
)
BY_NAME: Final = {one.name: one for one in CONDITIONS}
