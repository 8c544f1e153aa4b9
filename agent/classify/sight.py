"""What a probing source cannot see, to events: a look that hangs or fails says nothing of the far end, but a monitor that is blind says so.

Records of every :class:`agent.sources.looking.LookingSource` pass here on their way to the source's own classifier. Blindness is believed
at its second sight, half a minute to a minute after the first: one look that came late is a busy node, not a blind monitor.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from agent.classify.changes import BELIEVED, Changes, Streak
from agent.record import RawRecord
from events.agent import AgentSourceFailed, AgentSourceWorks
from events.base import EXCERPT_LENGTH, Event, Seen
from events.entity import Entity, EntityKind

_TEXT: Final = 256
_KEY: Final = "looks"


class _Classifier(Protocol):
    """What :class:`agent.pipeline.Classifier` is: the way there leads upwards."""

    def classify(self, record: RawRecord) -> list[Event]: ...

    def memory(self) -> dict[str, Any]: ...

    def repeat(self) -> None: ...


class Sighted:
    """A source's classifier, and beside it what its looks do not see."""

    def __init__(self, node: str, classifier: _Classifier) -> None:
        self._node, self._classifier = Entity(EntityKind.NODE, node), classifier
        self._trouble: dict[str, str] = {}
        self._changes, self._streak = Changes(), Streak()

    def memory(self) -> dict[str, Any]:
        """Return what the classifier must know after a restart."""
        return self._classifier.memory()

    def repeat(self) -> None:
        """Say everything again at its next sight."""
        self._changes = Changes()
        self._classifier.repeat()

    def classify(self, record: RawRecord) -> list[Event]:
        """Return the events that a record stands for."""
        events = self._classifier.classify(record)  # first: when it fails, what a look does not see must not count as told
        return [*self._sight(record), *events]

    def _sight(self, record: RawRecord) -> list[Event]:
        fields = record.fields
        look = fields.get("look", "")
        trouble = "the look does not come back" if "hung" in fields else fields.get("error", "")
        times = self._streak.count(look, trouble)
        if not trouble:
            self._trouble.pop(look, None)
        elif times >= BELIEVED:
            self._trouble[look] = f"{look}: {trouble}"
        words = "; ".join(why for _, why in sorted(self._trouble.items()))
        # Seeing is what is expected: it is worth a word only after blindness.
        if (not words and not self._changes.was_bad(_KEY)) or not self._changes.is_news(_KEY, words, record.at, bad=bool(words)):
            return []
        source = record.source
        seen = Seen(source=source, excerpt=(words or f"{look} is seen again")[:EXCERPT_LENGTH])
        if words:
            return [AgentSourceFailed(subject=self._node, seen=seen, source=source.value, reason=words[:_TEXT])]
        return [AgentSourceWorks(subject=self._node, seen=seen, source=source.value)]
