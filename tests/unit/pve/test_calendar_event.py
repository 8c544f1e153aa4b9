"""Calendar events as Proxmox VE's jobs use them: what is taken, and when each is due next."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve import calendar_event
from pve.calendar_event import CalendarEventError

# Sunday.
START = int(datetime(2026, 11, 29, 12, 34, 56, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("21:00", "2026-11-29 21:00:00"),
        ("mon..fri 22:30", "2026-11-30 22:30:00"),
        ("sun 01:00", "2026-12-06 01:00:00"),
        ("sat..mon 1:00", "2026-11-30 01:00:00"),
        ("Mon,Wed..Friday 0:0", "2026-11-30 00:00:00"),
        ("30", "2026-11-29 13:30:00"),
        ("*/15", "2026-11-29 12:45:00"),
        ("*/2:00", "2026-11-29 14:00:00"),
        ("8..17,22/2:0/20", "2026-11-29 12:40:00"),
        ("12:34:*/30", "2026-11-30 12:34:00"),
        ("12:34:57", "2026-11-29 12:34:57"),
        ("minutely", "2026-11-29 12:35:00"),
        ("hourly", "2026-11-29 13:00:00"),
        ("daily", "2026-11-30 00:00:00"),
        ("weekly", "2026-11-30 00:00:00"),
        ("monthly", "2026-12-01 00:00:00"),
        ("quarterly", "2027-01-01 00:00:00"),
        ("semi-annually", "2027-01-01 00:00:00"),
        ("yearly", "2027-01-01 00:00:00"),
        ("sat *-1..7 15:00", "2026-12-05 15:00:00"),
        ("sat *-*-1..7 15:00", "2026-12-05 15:00:00"),
        ("2028-2-29", "2028-02-29 00:00:00"),
        ("2-29 6:00", "2028-02-29 06:00:00"),
        ("daily UTC", "2026-11-30 00:00:00"),
        ("2026-11-29 12:34:56", None),
        ("2-30 0:0", None),
    ],
)
def test_next_time_in_utc(text: str, due: str | None) -> None:
    """What is due next after a Sunday noon; a moment that is now is over."""
    found = calendar_event.parse(text).next_after(START)
    assert (found and f"{datetime.fromtimestamp(found, UTC):%Y-%m-%d %H:%M:%S}") == due


def test_local_time_counts_unless_utc_is_asked_for() -> None:
    """22:30 two hours east of Greenwich is 20:30 UTC."""
    assert calendar_event.parse("22:30").next_after(START, 120) == datetime(2026, 11, 29, 20, 30, tzinfo=UTC).timestamp()
    assert calendar_event.parse("22:30 UTC").next_after(START, 120) == datetime(2026, 11, 29, 22, 30, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "UTC",
        "someday",
        "mon..",
        "24:00",
        "1:60",
        "1:2:60",
        "13-1",
        "0:0 x",
        "1..",
        "5..3",
        "*/0",
        "~1",
        "mon 1:00 Europe/Vienna",
        "32-1",
    ],
)
def test_what_is_none(text: str) -> None:
    """Proxmox VE refuses these."""
    with pytest.raises(CalendarEventError):
        calendar_event.parse(text)


@given(st.text(alphabet="mondayfriUTC0123456789*/.,:- ", max_size=24))
def test_any_text_is_an_event_or_none(text: str) -> None:
    """Whatever stands there: an error, or an event whose next time is later than now and on a day that it allows."""
    try:
        event = calendar_event.parse(text)
    except CalendarEventError:
        return
    found = event.next_after(START)
    if found is not None:
        moment = datetime.fromtimestamp(found, UTC)
        assert found > START
        assert event.minutes is None or moment.minute in event.minutes
        assert event.days is None or moment.weekday() in event.days
