import time

import pytest

from controller.clock import Steps, rehearsal, utc

BEGIN = 1_795_402_260_000_000
"""2026-11-23T02:51:00Z in UTC µs."""


def test_utc_is_the_worlds_time() -> None:
    """Time is counted in microseconds since 1970, UTC."""
    before, now, after = time.time(), utc(), time.time()

    assert before - 0.001 <= now / 1_000_000 <= after + 0.001


def test_rehearsal_begins_when_told_and_runs_faster() -> None:
    """A rehearsal shows its time at its beginning, and later that many times as much more."""
    begun = time.time() - 100
    now = rehearsal(f"2026-11-23T02:51:00Z@20@{begun}")

    first = now()
    passed = time.time() - begun
    assert 100 * 20 <= (first - BEGIN) / 1_000_000 <= passed * 20 + 1
    time.sleep(0.01)  # what is measured is the passing of time itself
    assert now() - first >= 20 * 10_000


def test_rehearsal_begins_now_by_default() -> None:
    """Without a beginning the given time is now; zones are minded."""
    assert 0 <= rehearsal("2026-11-23T03:51:00+01:00@1")() - BEGIN < 5_000_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-23T02:51:00Z",
        "2026-11-23T02:51:00@20",
        "yesterday@20",
        "2026-11-23T02:51:00Z@0",
        "2026-11-23T02:51:00Z@-1",
        "2026-11-23T02:51:00Z@1001",
        "2026-11-23T02:51:00Z@nan",
        "2026-11-23T02:51:00Z@fast",
        "2026-11-23T02:51:00Z@20@inf",
        "2026-11-23T02:51:00Z@20@nan",
        "2026-11-23T02:51:00Z@20@1@2",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """What is no time with a zone and a speed is refused at once, not when the clock is first read."""
    with pytest.raises(ValueError, match=r"."):
        rehearsal(text)


def test_a_clock_that_was_set_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of the world's clock are told in both directions, each once; time that passes is none."""
    wall, monotonic = [5_000_000_000], [2_000_000_000]
    monkeypatch.setattr(time, "time_ns", lambda: wall[0])
    monkeypatch.setattr(time, "monotonic_ns", lambda: monotonic[0])
    steps = Steps()

    told = []
    for passed, moved in ((1, 1), (1, 3601), (1, 1), (1, -599), (1, 1)):
        monotonic[0] += passed * 1_000_000_000
        wall[0] += moved * 1_000_000_000
        told.append(steps() // 1_000_000)

    assert told == [0, 3600, 0, -600, 0]
