"""Looks at things again and again, each at its own pace and in a thread that may be abandoned, and yields what was found as raw records.

A look is a function that blocks, at worst for ever. It is taken each ``interval`` seconds, or each ``fast`` seconds while what it found
is bad; each time a little off, so that the agents of a cluster do not ask one server in step. While a look has not returned nobody
waits for it and it is not taken again: one thing that hangs costs one thread.

Records have ``look``, its name, and one of ``found`` (what the function returned, as JSON), ``error`` (an OSError's text) and
``hung`` (seconds since the look began; again each half minute). A picture that did not change is yielded again only after ``again``
seconds. A look that returns the very object that it returned before says that nothing changed, and costs least.
"""

from __future__ import annotations

import json
import os
import random
import select
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from agent.record import Batch, RawRecord
from agent.sources.background import Background, Ended
from agent.sources.moment import Moment, host_moment
from events.base import Source

_JITTER: Final = 0.1
"""Largest part of an interval that a look comes early."""
_EMPTY: Final = 5.0
"""Seconds until the next look of which the last found nothing to look at."""
_FOREVER: Final = 3600.0
_HUNG_AGAIN: Final = 30.0
"""Seconds after which a look that still hangs is told again."""


class Found(NamedTuple):
    """What a look found: plain data of JSON's types."""

    picture: Any
    bad: bool = False
    """Whether anything of it is bad, so that the next look comes soon."""
    empty: bool = False
    """Whether this node has nothing of the kind, so that the next look has time."""
    hurry: tuple[str, ...] = ()
    """Looks that shall be taken as soon as their gap allows, for what was found here."""


@dataclass(frozen=True, slots=True)
class Look:
    """One kind of look. ``take`` blocks; it is called in a thread of its own. All times are seconds."""

    name: str
    take: Callable[[], Found]
    interval: float
    fast: float
    deadline: float
    """A look that takes longer is said to hang."""
    again: float = 60.0
    """Seconds after which a picture is yielded although it is the same; 0 yields each one."""
    sights: int = 1
    """How often in a row a picture is yielded before it counts as one that did not change."""
    gap: float = 0.0
    """Least seconds between two looks, however often it is hurried."""


@dataclass(slots=True)
class _State:
    due: float = 0.0
    began: float | None = None
    latest: float = -_FOREVER
    """When it began last, also when that has ended."""
    hurried: bool = False
    """Whether it shall be taken again as soon as it may: what is under way may have begun before the push."""
    hung_due: float = 0.0
    """When a look under way is told to hang, for the first time or again."""
    last: tuple[str, str] | None = None
    found: Found | None = None
    """What it returned last."""
    times: int = 0
    """How often in a row ``last`` was seen."""
    yielded: float = 0.0


@dataclass(slots=True)
class _Looked:
    look: Look
    state: _State = field(default_factory=_State)


class LookingSource:
    """Takes looks and yields what they found. For one thread, except :meth:`wake` and :meth:`hurry`.

    ``background`` runs the looks; whoever starts a source again after an error gives the same one, so that a look that hangs is
    not taken a second time.
    """

    ended: Final = False

    def __init__(
        self, source: Source, looks: Iterable[Look], *, background: Background | None = None, moment: Callable[[], Moment] = host_moment
    ) -> None:
        self._source, self._moment = source, moment
        self._looks = {look.name: _Looked(look) for look in looks}
        self._own = background is None
        self._background = background or Background(source.value)
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._hurried: deque[str] = deque()

    def read_batch(self, max_records: int = 512, timeout: float = 1.0) -> Batch | None:
        """Take the looks that are due within ``timeout`` seconds and return what has been found; None when nothing has.

        ``max_records`` is not needed: a source has a handful of looks.
        """
        del max_records
        end = time.monotonic() + timeout
        while not (records := self._round()):
            until = min(end, self._next())
            if time.monotonic() >= end or self._woken(until - time.monotonic()):
                return None
        return Batch(self._source, tuple(records))

    def wake(self) -> None:
        """Make a waiting :meth:`read_batch` return at once. Callable from any thread."""
        os.eventfd_write(self._wakeup, 1)

    def hurry(self, *names: str) -> None:
        """Take these looks as soon as their gap allows: something was pushed. Callable from any thread."""
        self._hurried.extend(names)
        with suppress(OSError):  # closed meanwhile
            self.wake()

    def add(self, looks: Iterable[Look]) -> None:
        """Begin to take further looks."""
        self._looks |= {look.name: _Looked(look) for look in looks if look.name not in self._looks}

    def drop(self, names: Iterable[str]) -> None:
        """Take these looks no more; what one that is under way finds is dropped."""
        for name in names:
            self._looks.pop(name, None)

    def close(self) -> None:
        """Give up looking. A look that hangs is left behind."""
        if self._own:
            self._background.close()
        held, self._wakeup = self._wakeup, -1
        if held >= 0:
            os.close(held)

    def _round(self) -> list[RawRecord]:
        now = time.monotonic()
        records = [record for ended in self._background.collect() if (record := self._ended(ended, now)) is not None]
        while self._hurried:
            if (hurried := self._looks.get(self._hurried.popleft())) is not None:
                hurried.state.hurried = True
        for one in self._looks.values():
            look, state = one.look, one.state
            if state.hurried and state.began is None:
                state.hurried, state.due = False, min(state.due, state.latest + look.gap)
            if state.began is None and state.due <= now:
                # A look that the source before this one left behind is not taken a second time: it is waited for like one of our own.
                self._background.start(look.name, look.take)
                state.began, state.latest, state.hung_due = now, now, now + look.deadline
            elif state.began is not None and state.hung_due <= now:
                state.hung_due, state.last = now + _HUNG_AGAIN, None
                records.append(self._record(look.name, "hung", f"{now - state.began:.1f}"))
        return records

    def _ended(self, ended: Ended, now: float) -> RawRecord | None:
        one = self._looks.get(ended.name)
        if one is None:
            return None
        look, state = one.look, one.state
        state.began = None
        if ended.error is not None and not isinstance(ended.error, OSError):
            state.due = now + look.interval
            raise ended.error
        bad = ended.error is not None or ended.value.bad
        empty = ended.error is None and ended.value.empty
        interval = look.fast if bad else max(look.interval, _EMPTY) if empty else look.interval
        state.due = now + interval * random.uniform(1 - _JITTER, 1)  # noqa: S311  # no secret
        before, state.found = state.found, ended.value
        if state.found is not None:
            self._hurried.extend(state.found.hurry)
        same = state.found is not None and state.found is before and state.last is not None
        if same and state.times >= look.sights and not self._is_due(one, now):
            return None
        said = ("error", str(ended.error)) if ended.error is not None else ("found", json.dumps(ended.value.picture, sort_keys=True))
        state.times = state.times + 1 if said == state.last else 1
        state.last = said
        if state.times > look.sights and not self._is_due(one, now):
            return None
        state.yielded = now
        return self._record(look.name, *said)

    @staticmethod
    def _is_due(one: _Looked, now: float) -> bool:
        """Tell whether a picture that did not change shall be yielded again."""
        return now - one.state.yielded >= one.look.again

    def _record(self, look: str, key: str, value: str) -> RawRecord:
        now = self._moment()
        return RawRecord(self._source, now.at, now.monotonic, now.boot_id, {"look": look, key: value})

    def _next(self) -> float:
        """Return when something is due: a look, or the deadline of one under way."""
        states = (one.state for one in self._looks.values())
        return min((one.due if one.began is None else one.hung_due for one in states), default=time.monotonic() + _FOREVER)

    def _woken(self, seconds: float) -> bool:
        poller = select.poll()
        poller.register(self._wakeup, select.POLLIN)
        poller.register(self._background.fileno(), select.POLLIN)
        if self._wakeup not in {fd for fd, _ in poller.poll(max(0.0, seconds) * 1000)}:
            return False
        os.eventfd_read(self._wakeup)
        return True
