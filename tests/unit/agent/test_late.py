"""Calls that may come late, or never."""

from __future__ import annotations

import threading

import pytest

from agent.sources.late import Late


def test_what_comes_late_is_there_when_it_is_asked_for_again() -> None:
    """Who asks waits so long and no longer; the call is not made a second time, and what it returns at last is not lost."""
    gate, calls = threading.Event(), list[int]()

    def call() -> int:
        calls.append(len(calls))
        assert gate.wait(10)
        return calls[-1]

    late = Late("late", call)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            late.ask(0.01)
    pending = [late.pending]
    gate.set()

    assert late.ask(10) == 0
    assert [*pending, late.pending] == [True, False]
    assert late.ask(10) == 1


def test_what_it_raises_is_raised_once() -> None:
    """An error of the call reaches who asks; the next time it is called anew."""
    errors = [FileNotFoundError("one"), PermissionError("two")]

    def call() -> None:
        raise errors.pop(0)

    late = Late("late", call)
    with pytest.raises(FileNotFoundError, match="one"):
        late.ask(10)
    with pytest.raises(PermissionError, match="two"):
        late.ask(10)
