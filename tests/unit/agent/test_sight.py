"""Looks that hang or fail: a monitor that is blind says so, and what its classifier says is not touched."""

from __future__ import annotations

from typing import Any

from agent.classify.sight import Sighted
from agent.record import RawRecord
from events.agent import AgentSourceFailed, AgentSourceWorks
from events.base import Event, Source


class Quiet:
    """A classifier that keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[str] = []
        self.repeated = 0

    def classify(self, record: RawRecord) -> list[Event]:
        """Say nothing."""
        self.given.append(record.fields["look"])
        return []

    def memory(self) -> dict[str, Any]:
        """Return what was given."""
        return {"given": self.given}

    def repeat(self) -> None:
        """Count."""
        self.repeated += 1


def said(one: Sighted, at: float, look: str, **fields: str) -> list[Event]:
    """Return what a record at so many seconds says."""
    return one.classify(RawRecord(Source.MULTIPATH, int(at * 1e6), int(at * 1e6), "b", {"look": look, **fields}))


def test_a_look_that_hangs_is_told_and_taken_back() -> None:
    """Blindness that lasts is said with the look's name, again each minute, and sight when it is back; sight alone is no news."""
    one = Sighted("pve1", Quiet())
    assert said(one, 0, "paths", found="{}") == []
    assert said(one, 10, "paths", hung="10.0") == []
    (failed,) = said(one, 40, "paths", hung="40.0")
    assert said(one, 41, "daemon", found="{}") == []
    (again,) = said(one, 101, "daemon", found="{}")
    (works,) = said(one, 105, "paths", found="{}")

    assert isinstance(failed, AgentSourceFailed)
    assert (str(failed.subject), failed.source, failed.reason) == ("node/pve1", "multipath", "paths: the look does not come back")
    assert failed.seen.source is Source.MULTIPATH  # what a probe says bad is renewed, or the controller lets it go
    assert again == failed
    assert isinstance(works, AgentSourceWorks)
    assert said(one, 106, "paths", found="{}") == []


def test_a_look_that_is_late_once_is_no_blindness() -> None:
    """A busy node may take longer than a deadline now and then: nothing is said of it."""
    one = Sighted("pve1", Quiet())

    assert [said(one, at, "paths", **{key: "1"}) for at, key in enumerate(("hung", "found", "hung", "found", "error", "found"))] == [[]] * 6


def test_several_blind_looks_are_one_blindness() -> None:
    """It is over when every look is back."""
    one = Sighted("pve1", Quiet())
    kinds = [
        [type(event) for event in said(one, at, look, **fields)]
        for at, (look, fields) in enumerate(
            [
                *[("a", {"error": "no memory"}), ("b", {"hung": "7.0"})] * 2,
                *[("a", {"found": "1"}), ("b", {"found": "1"}), ("b", {"found": "2"})],
            ]
        )
    ]

    assert kinds == [[], [], [AgentSourceFailed], [AgentSourceFailed], [AgentSourceFailed], [AgentSourceWorks], []]


def test_the_classifier_gets_every_record() -> None:
    """What the source's own classifier is given, remembers and repeats is what it would be without this one."""
    inner = Quiet()
    one = Sighted("pve1", inner)
    said(one, 0, "a", hung="1.0")
    said(one, 1, "a", hung="31.0")
    said(one, 2, "b", found="{}")
    one.repeat()

    assert inner.given == ["a", "a", "b"]
    assert one.memory() == {"given": ["a", "a", "b"]}
    assert inner.repeated == 1
    assert len(said(one, 3, "b", found="{}")) == 1  # the blindness too is said again


def test_any_error_text_gives_a_valid_event() -> None:
    """However long what the system says is, it fits."""
    one = Sighted("pve1", Quiet())
    (event,) = [event for at in (0, 60) for event in said(one, at, "paths", error="x" * 5000)]

    assert isinstance(event, AgentSourceFailed)
    assert len(event.reason) == 256
