"""Looks at their own pace, in threads that may be abandoned."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from agent.record import RawRecord
from agent.sources.background import Background, Ended
from agent.sources.looking import Found, Look, LookingSource
from events.base import Source


def look(name: str, take: Callable[[], Found], **given: Any) -> Look:
    """Return a look with paces that suit a test."""
    return Look(name, take, **{"interval": 0.05, "fast": 0.02, "deadline": 0.3, "again": 60.0, **given})


def records(source: LookingSource, seconds: float) -> Iterator[RawRecord]:
    """Yield what a source finds within some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        batch = source.read_batch(timeout=max(0.0, end - time.monotonic()))
        yield from batch.records if batch else ()


def until(source: LookingSource, enough: Callable[[list[RawRecord]], bool]) -> list[RawRecord]:
    """Return what a source finds until it is enough, or half a minute: a busy machine starts threads late."""
    found: list[RawRecord] = []
    end = time.monotonic() + 30
    while not enough(found) and time.monotonic() < end:
        batch = source.read_batch(timeout=0.1)
        found += batch.records if batch else ()
    return found


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """Return what a hanging look waits for; it is let go at the end."""
    event = threading.Event()
    yield event
    event.set()


def test_a_picture_is_told_once_and_again_when_it_changes() -> None:
    """What does not change is told once; what changes is told as soon as the next look sees it."""
    picture: dict[str, Any] = {"state": "fine"}
    source = LookingSource(Source.NFS, [look("one", lambda: Found(dict(picture)))])

    first = [json.loads(record.fields["found"]) for record in [*until(source, bool), *records(source, 0.2)]]
    picture["state"] = "broken"
    later = [json.loads(record.fields["found"]) for record in [*until(source, bool), *records(source, 0.2)]]
    source.close()

    assert (first, later) == ([{"state": "fine"}], [{"state": "broken"}])


def test_where_there_is_nothing_to_look_at_looks_are_seldom() -> None:
    """A node without anything of the kind is not looked at twice within half a second, whatever the pace."""
    taken: list[float] = []

    def take() -> Found:
        taken.append(time.monotonic())
        return Found([], empty=True)

    source = LookingSource(Source.NFS, [look("one", take)])
    until(source, bool)
    list(records(source, 0.5))
    source.close()

    assert len(taken) == 1


def test_the_same_picture_is_told_again_now_and_then() -> None:
    """After ``again`` seconds a picture is told although it is the same, so that nothing rests on one message."""
    source = LookingSource(Source.NFS, [look("one", lambda: Found("same"), again=0.1)])

    found = [record.fields["found"] for record in until(source, lambda told: len(told) >= 3)]
    source.close()

    assert len(found) >= 3
    assert set(found) == {'"same"'}


def test_a_look_that_returns_what_it_returned_before_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The very object that a look returned before is not written down again until it is due, and what comes after it is."""
    found, written = [Found("same")], list[object]()
    write = json.dumps

    def counted(value: object, **options: Any) -> str:
        written.append(value)
        return write(value, **options)

    monkeypatch.setattr("agent.sources.looking.json.dumps", counted)
    source = LookingSource(Source.NFS, [look("one", lambda: found[0], interval=0.01)])
    first = [*until(source, bool), *records(source, 0.3)]
    found[0] = Found("other")
    later = until(source, bool)
    source.close()

    assert [record.fields["found"] for record in [*first, *later]] == ['"same"', '"other"']
    assert written == ["same", "other"]


@pytest.mark.parametrize("kept", [Found("same"), None], ids=["the same object", "an equal one"])
def test_what_is_believed_at_its_second_sight_is_told_twice(kept: Found | None) -> None:
    """With two sights a picture is told two times in a row, then only when it is due again; another picture likewise."""
    source = LookingSource(Source.NFS, [look("one", lambda: kept or Found("same"), interval=0.01, sights=2)])
    found = [*until(source, lambda told: len(told) >= 2), *records(source, 0.3)]
    source.close()

    assert [record.fields["found"] for record in found] == ['"same"'] * 2


def test_a_look_may_hurry_another() -> None:
    """What one look finds can make another be taken at once, however long its turn is away."""
    taken: list[float] = []

    def seldom() -> Found:
        taken.append(time.monotonic())
        return Found(len(taken))

    lost = iter([(), (), ("seldom",)])
    looks = [look("seldom", seldom, interval=600), look("often", lambda: Found("o", hurry=next(lost, ())))]
    source = LookingSource(Source.NFS, looks)
    told = until(source, lambda told: _of("seldom", told) == 2)
    source.close()

    assert _of("seldom", told) == 2


def test_what_is_bad_is_looked_at_faster() -> None:
    """While a look finds something bad it is taken at the fast pace."""
    counts = {True: 0, False: 0}

    def take(bad: bool) -> Found:
        counts[bad] += 1
        return Found(None, bad)

    looks = [look(str(bad), partial(take, bad), interval=0.5, fast=0.02) for bad in counts]
    source = LookingSource(Source.NFS, looks)
    told = until(source, lambda _: counts[False] == 3)
    source.close()

    assert len(told) == 2
    assert counts[True] > 3 * counts[False]


def _of(name: str, told: list[RawRecord]) -> int:
    return sum(record.fields["look"] == name for record in told)


def test_a_hanging_look_is_told_once_and_not_taken_again(held: threading.Event) -> None:
    """A look that hangs is told after its deadline, costs one thread for ever, and stops no other look."""
    source = LookingSource(Source.NFS, [look("dead", lambda: Found(held.wait())), look("other", lambda: Found(time.monotonic()), again=0)])
    before = threading.active_count()

    found = until(source, lambda told: any("hung" in one.fields for one in told) and _of("other", told) >= 10)
    threads = threading.active_count()

    assert [record.fields["look"] for record in found if "hung" in record.fields] == ["dead"]
    assert _of("other", found) >= 10
    assert threads <= before + 2

    held.set()
    back = [record for record in until(source, lambda told: _of("dead", told) > 0) if record.fields["look"] == "dead"]
    source.close()
    assert [record.fields.get("found") for record in back] == ["true"]


def test_a_look_that_still_hangs_is_told_again(held: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blindness is told now and then while it lasts, so that nothing rests on one message."""
    monkeypatch.setattr("agent.sources.looking._HUNG_AGAIN", 0.1)
    source = LookingSource(Source.NFS, [look("dead", lambda: Found(held.wait()), deadline=0.1)])
    told = [float(record.fields["hung"]) for record in until(source, lambda told: len(told) >= 3)]
    source.close()

    assert len(told) >= 3
    assert told == sorted(told)


def test_a_source_started_again_takes_no_hanging_look_twice(held: threading.Event) -> None:
    """Whoever starts a source again over the same background leaves a hanging look alone, waits for it in peace and gets its result."""
    background = Counting("kept")
    calls = []

    def take() -> Found:
        calls.append(1)
        held.wait()
        return Found("back")

    told = []
    for _ in range(3):
        source = LookingSource(Source.NFS, [look("dead", take, deadline=0.1)], background=background)
        told.append([float(record.fields["hung"]) for record in [*until(source, bool), *records(source, 0.1)]])
        source.close()
    source = LookingSource(Source.NFS, [look("dead", take)], background=background)
    threading.Timer(0.1, held.set).start()
    back = next(records(source, 20)).fields

    assert len(calls) == 1
    assert [len(hung) for hung in told] == [1, 1, 1]
    assert min(hung[0] for hung in told) >= 0.1
    assert back == {"look": "dead", "found": '"back"'}
    assert background.asked == 4  # once by each source: none of them spins
    source.close()


def test_looks_that_find_nothing_new_wake_nobody() -> None:
    """While a look finds what it found before, its own thread goes on alone: whoever reads does not even collect."""
    background, taken = Counting("rest"), []

    def take() -> Found:
        taken.append(1)
        return Found("same")

    source = LookingSource(Source.NFS, [look("one", take, interval=0.01, deadline=60.0)], background=background)
    until(source, bool)
    source.read_batch(timeout=0.0)
    taken.clear()
    before = background.collected
    assert source.read_batch(timeout=1.0) is None
    source.close()
    background.close()

    assert len(taken) > 10
    assert background.collected - before <= 3


def test_a_source_started_again_looks_at_once() -> None:
    """A look that its predecessor would have taken in an hour is given back when that is closed."""
    background, taken = Background("again"), []

    def take() -> Found:
        taken.append(1)
        return Found(len(taken))

    for _ in range(3):
        source = LookingSource(Source.NFS, [look("one", take, interval=3600.0)], background=background)
        found = until(source, bool)
        source.read_batch(timeout=0.0)  # has it go on
        source.close()
    background.close()

    assert [json.loads(record.fields["found"]) for record in found] == [3]


def test_what_is_dropped_is_looked_at_no_more() -> None:
    """A look that was dropped is not taken again, and the others go on."""
    taken: list[str] = []

    def take(name: str) -> Found:
        taken.append(name)
        return Found(len(taken))

    source = LookingSource(Source.NFS, [look(name, partial(take, name)) for name in ("one", "two")])
    until(source, lambda found: {record.fields["look"] for record in found} == {"one", "two"})
    source.drop(["one"])
    list(records(source, 0.3))
    taken.clear()
    list(records(source, 0.3))
    source.close()

    assert set(taken) == {"two"}


def test_a_look_that_is_added_again_while_it_hangs_is_told_to_hang(held: threading.Event) -> None:
    """Under the name of one that was dropped and hangs: it is told to hang, and what the old one finds at last is nobody's."""

    def hang() -> Found:
        began.set()
        held.wait()
        return Found("old")

    began = threading.Event()
    source = LookingSource(Source.CEPH, [look("one", hang)])
    assert source.read_batch(timeout=0.0) is None
    assert began.wait(20)
    source.drop(["one"])
    source.add([look("one", lambda: Found("new"), deadline=0.1)])
    hung = [*until(source, bool)]
    held.set()
    found = until(source, lambda found: any("found" in record.fields for record in found))
    source.close()

    assert {*hung[0].fields} == {"look", "hung"}
    assert [record.fields["found"] for record in found if "found" in record.fields] == ['"new"']


def test_a_look_that_outlives_its_source_may_hurry_others(held: threading.Event) -> None:
    """It does so in vain, and neither it nor the source that is started in place of its own fails."""

    def lost() -> Found:
        began.set()
        held.wait()
        return Found("lost", hurry=("other",))

    began, background = threading.Event(), Background("outlived")
    looks = [look("one", lost), look("other", lambda: Found("other"))]
    source = LookingSource(Source.ISCSI, looks, background=background)
    source.read_batch(timeout=0.0)
    assert began.wait(20)
    source.close()
    following = LookingSource(Source.ISCSI, looks, background=background)
    following.read_batch(timeout=0.0)
    held.set()
    found = until(following, lambda found: {record.fields["look"] for record in found} == {"one", "other"})
    following.close()
    background.close()

    assert {record.fields.get("found") for record in found} == {'"lost"', '"other"'}


class Counting(Background):
    """A background that counts how often it was asked to start something, and for what ended."""

    asked = 0
    collected = 0

    def collect(self) -> list[Ended]:
        """Collect it."""
        self.collected += 1
        return super().collect()

    def start(self, name: str, function: Callable[[], Any]) -> bool:
        """Start it."""
        self.asked += 1
        return super().start(name, function)


def test_an_error_of_the_system_is_told_with_its_text() -> None:
    """An OSError of a look is what was found; it is told once."""

    def take() -> Found:
        raise OSError(5, "Input/output error")

    source = LookingSource(Source.NFS, [look("one", take)])
    found = [record.fields for record in [*until(source, bool), *records(source, 0.2)]]
    source.close()

    assert found == [{"look": "one", "error": "[Errno 5] Input/output error"}]


def test_a_fault_of_ours_ends_the_source() -> None:
    """Any other exception of a look is raised where it is read, and ends the agent: it is a defect of ours, and systemd starts all anew."""

    def take() -> Found:
        raise KeyError("bug")

    source = LookingSource(Source.NFS, [look("one", take)])
    with pytest.raises(KeyError):
        until(source, bool)
    source.close()


def test_waking_ends_a_wait_at_once() -> None:
    """A waiting source that is woken returns without waiting for its looks."""
    source = LookingSource(Source.NFS, [look("slow", lambda: Found(None), interval=60)])
    list(records(source, 0.2))
    threading.Timer(0.1, source.wake).start()
    began = time.monotonic()

    assert source.read_batch(timeout=30) is None
    assert time.monotonic() - began < 20
    source.close()
