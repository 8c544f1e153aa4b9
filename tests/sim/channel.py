"""What happens to reports on their way to the controller: lost, doubled, delayed, out of order, stamped by wrong clocks, held back.

All bytes go through the real codec.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from controller.core.correlate import Heard
from events.codec import decode, encode
from events.envelope import Envelope
from tests.sim.stage import SECOND, Sent


class Arrival(NamedTuple):
    """What the controller gets, and when (UTC µs)."""

    at: int
    what: Envelope | Heard


@dataclass(frozen=True, slots=True)
class Partition:
    """Nodes whose agents cannot reach the controller for a while; what they saw arrives afterwards, their heartbeats never."""

    nodes: frozenset[str]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Channel:
    """How bad it is. Shares are of all messages, times are seconds."""

    loss: float = 0.0
    doubled: float = 0.0
    delay: float = 0.02
    """Mean of a delay that is exponentially distributed; a node's messages stay in order."""
    disorder: float = 0.0
    """Share of messages that are late by up to 5 s more, and overtaken by later ones."""
    skew: float = 0.0
    """Most by which a node's clock is wrong."""
    alarms: float = 0.0
    """Share of probes that report once something bad that is not."""


@dataclass(slots=True)
class Transport:
    """Carries what agents send."""

    channel: Channel
    chance: Random
    partitions: Collection[Partition] = ()
    skews: dict[str, int] = field(default_factory=dict)
    """By how much nodes' clocks are wrong, µs; of others it is drawn."""
    _last: dict[str, int] = field(default_factory=dict)

    def carry(self, sent: Iterable[Sent]) -> list[Arrival]:
        """Return what arrives, in order of arrival."""
        found = [arrival for one in sent for arrival in self._one(one)]
        found.sort(key=lambda one: one.at)
        return found

    def _one(self, sent: Sent) -> list[Arrival]:
        channel, chance, node = self.channel, self.chance, sent.node
        held = next((one for one in self.partitions if node in one.nodes and one.begin <= sent.at < one.end), None)
        if (channel.loss and chance.random() < channel.loss) or (held is not None and isinstance(sent.what, Heard)):
            return []
        begin = sent.at if held is None else held.end
        at = max(begin + int(chance.expovariate(1 / channel.delay) * SECOND), self._last.get(node, 0) + 1)
        self._last[node] = at
        if channel.disorder and chance.random() < channel.disorder:
            at += int(chance.uniform(0, 5) * SECOND)
        if isinstance(sent.what, Heard):
            # A heartbeat says what its node's clock says (events/wire.py), so that the controller can put right what else it stamps.
            skew = self._skew(node)
            return [Arrival(at, Heard(node, sent.at + skew) if skew else sent.what)]
        envelope = decode(encode(self._stamped(sent.what)))
        found = [Arrival(at, envelope)]
        if channel.doubled and chance.random() < channel.doubled:
            found.append(Arrival(at + int(chance.uniform(0, 10) * SECOND), envelope))
        return found

    def _stamped(self, envelope: Envelope) -> Envelope:
        skew = self._skew(envelope.node)
        return envelope._replace(observed_at=envelope.observed_at + skew) if skew else envelope

    def _skew(self, node: str) -> int:
        if node not in self.skews:
            most = self.channel.skew
            self.skews[node] = int(self.chance.uniform(-most, most) * SECOND) if most else 0
        return self.skews[node]
