"""Calls that may never return, and the threads that they cost."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Iterator

import pytest

from agent.sources.background import Background, Ended


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """Return what a hanging call waits for; it is let go at the end."""
    event = threading.Event()
    yield event
    event.set()


def ended(background: Background) -> list[Ended]:
    """Wait for calls to end and return them."""
    select.select([background], [], [], 20)
    return background.collect()


def threads(prefix: str) -> list[str]:
    """Return the names of a background's threads."""
    return sorted(one.name for one in threading.enumerate() if one.name.startswith(prefix))


def gone(prefix: str, left: list[str]) -> bool:
    """Wait until only these threads are left."""
    end = time.monotonic() + 20
    while threads(prefix) != left and time.monotonic() < end:
        time.sleep(0.005)
    return threads(prefix) == left


def test_a_name_has_one_thread_for_all_its_calls() -> None:
    """Call after call of one name runs in the same thread, and an exception is what it ended with."""
    background, seen = Background("one"), []
    for _ in range(3):
        assert background.start("x", threading.get_ident)
        seen += [one.value for one in ended(background)]
    background.start("x", lambda: 1 // 0)
    (failed,) = ended(background)
    background.close()

    assert len(set(seen)) == 1
    assert isinstance(failed.error, ZeroDivisionError)
    assert gone("one-", [])


def test_a_name_that_hangs_is_not_called_again(held: threading.Event) -> None:
    """While a call has not been collected no other of its name starts; other names go on."""
    background = Background("two")
    assert background.start("dead", held.wait)
    assert [background.start("dead", held.wait) for _ in range(3)] == [False] * 3
    assert background.start("other", lambda: "here")
    assert [(one.name, one.value) for one in ended(background)] == [("other", "here")]
    held.set()

    assert [(one.name, one.value) for one in ended(background)] == [("dead", True)]
    background.close()


def test_threads_of_names_that_are_not_kept_end(held: threading.Event) -> None:
    """What nobody asks for any more costs no thread once its call has ended; a forgotten name may come back."""
    background = Background("three")
    for name, call in (("kept", str), ("gone", str), ("dead", held.wait)):
        background.start(name, call)
    names = {one.name for one in ended(background)}
    while names < {"kept", "gone"}:
        names |= {one.name for one in ended(background)}
    background.keep({"kept"})
    assert gone("three-", ["three-dead", "three-kept"])
    held.set()
    assert [one.name for one in ended(background)] == ["dead"]
    background.keep({"kept"})
    assert gone("three-", ["three-kept"])

    assert background.start("gone", lambda: "again")
    assert [one.value for one in ended(background)] == ["again"]
    background.close()
