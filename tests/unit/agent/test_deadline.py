import threading
import time
from collections.abc import Iterator

import pytest

from agent.sources.deadline import OneAtATime


@pytest.fixture
def calls() -> Iterator[OneAtATime[int]]:
    one = OneAtATime[int]("test-deadline")
    yield one
    one.close()


def test_results_and_errors(calls: OneAtATime[int]) -> None:
    """A call's result or error is the caller's."""
    assert calls.call(lambda: 1, 5) == 1
    with pytest.raises(ZeroDivisionError):
        calls.call(lambda: 1 // 0, 5)
    assert calls.call(lambda: 2, 5) == 2


def test_abandoned_call(calls: OneAtATime[int]) -> None:
    """A call that hangs is given up at its deadline, later ones do not start beside it, and its late result is nobody's."""
    release, started = threading.Event(), []

    def hang() -> int:
        started.append(1)
        release.wait(30)
        return 1

    before = time.monotonic()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            calls.call(hang, 0.05)
    assert time.monotonic() - before < 5
    assert started == [1]
    release.set()
    assert calls.call(lambda: 2, 5) == 2


def test_thread_ends() -> None:
    """Closing ends the thread."""
    one = OneAtATime[int]("test-deadline-end")
    one.call(lambda: 1, 5)
    thread = next(thread for thread in threading.enumerate() if thread.name == "test-deadline-end")
    one.close()
    thread.join(5)
    assert not thread.is_alive()
