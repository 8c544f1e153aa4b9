"""Run the core over envelopes in order of time: what ``replay`` and the simulator share.

Each envelope goes through the real codec bytes; between envelopes time jumps from deadline to deadline, so hours take
milliseconds and nothing depends on the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controller.core.correlate import Input, Joined, Tick, step
from controller.core.effects import Tell
from controller.core.report import IncidentReport
from controller.core.state import CoreState
from controller.core.timings import Timings
from events.codec import decode, encode
from events.envelope import Envelope


class Timeline:
    """A core on a virtual clock. ``nodes`` take part from the beginning and count as alive for good."""

    def __init__(self, cluster: str, nodes: Iterable[str], timings: Timings | None = None) -> None:
        self.state = CoreState(cluster)
        self.timings = timings or Timings()
        self.now = 0
        for node in nodes:
            self._step(Joined(node), 0)

    def feed(self, envelope: Envelope, at: int | None = None) -> Iterator[IncidentReport]:
        """Advance to ``at`` (default: when it was observed), take the envelope, and yield what is told on the way."""
        when = max(envelope.observed_at if at is None else at, self.now)
        yield from self.advance(when)
        yield from self._step(decode(encode(envelope)), when)

    def give(self, given: Input, at: int) -> Iterator[IncidentReport]:
        """Advance to ``at`` and take any other input."""
        yield from self.advance(at)
        yield from self._step(given, max(at, self.now))

    def advance(self, until: int) -> Iterator[IncidentReport]:
        """Let time pass, stopping at each deadline of the core."""
        while self.state.look_at is not None and self.state.look_at <= until:
            yield from self._step(Tick(), max(self.state.look_at, self.now))
        self.now = max(self.now, until)

    def _step(self, given: Input, at: int) -> Iterator[IncidentReport]:
        self.now = max(self.now, at)
        self.state, effects = step(self.state, given, at, self.timings)
        return (effect.report for effect in effects if isinstance(effect, Tell))
