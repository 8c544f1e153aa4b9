"""Looks at things again and again, each at its own pace and in a thread that may be abandoned, and yields what was found as raw records.

A look is a function that blocks, at worst for ever. It is taken each ``interval`` seconds, or each ``fast`` seconds while what it found
is bad; each time a little off, so that the agents of a cluster do not ask one server in step. While a look has not returned nobody
waits for it and it is not taken again: one thing that hangs costs one thread.

Records have ``look``, its name, and one of ``found`` (what the function returned, as JSON), ``error`` (an OSError's text) and
``hung`` (seconds since the look began; again each half minute). A picture that did not change is yielded again only after ``again``
seconds. A look that returns the very object that it returned before says that nothing changed, and costs least.

A look's thread keeps its pace by itself and speaks only when there is something to yield: on a node that is well it is the only one
that wakes. Whoever reads wakes beside that when a look under way would pass its deadline.
"""

from __future__ import annotations

import json
import os
import queue
import random
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from agent.record import Batch, RawRecord
from agent.sources.background import Background
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


class _News(NamedTuple):
    """What a look found and is worth a record: its key and text."""

    key: str
    text: str


class _Repeated:
    """A look that is taken again and again, in a thread of its own, until there is something to tell."""

    def __init__(self, look: Look, hurry: Callable[..., None]) -> None:
        self.look = look
        self._hurry = hurry
        self.due = 0.0
        """When it is taken next."""
        self.began: float | None = None
        """When the one under way began; None between two."""
        self.hung_due = 0.0
        """When the one under way is told to hang, for the first time or again."""
        self._stopped = self._dropped = False
        self._lock = threading.Lock()
        """Of what both threads write: when it is due, what is under way, what was said."""
        self._latest = -_FOREVER
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._found: Found | None = None
        self._said: _News | None = None
        self._times = 0
        """How often in a row ``_said`` was found."""
        self._yielded = 0.0

    def run(self) -> _News | None:
        """Take it until there is something to tell, and return that; None when it was stopped before, or dropped meanwhile.

        :raises Exception: what the look raises, but for errors of the system: they are what it found.
        """
        while self._wait():
            with self._lock:
                self.began = self._latest = now = time.monotonic()
                self.hung_due = now + self.look.deadline
            if (news := self._take()) is not None and not self._dropped:
                return news
        return None

    def follow(self, now: float) -> None:
        """Take note that another's look of this name is under way still: it counts as one of ours that began now."""
        self.hung_due, self.began = now + self.look.deadline, now

    def hangs(self, now: float) -> float | None:
        """Return for how many seconds the one under way hangs, when that shall be told now."""
        with self._lock:
            if self.began is None or now < self.hung_due:
                return None
            self.hung_due, self._said = now + _HUNG_AGAIN, None  # what it finds at last is told, whatever was told before
            return now - self.began

    def check_due(self, now: float) -> float:
        """Return until when no look can have passed its deadline."""
        with self._lock:
            return self.hung_due if self.began is not None else max(self.due, now) + self.look.deadline

    def hurry(self) -> None:
        """Take it as soon as its gap allows, once more when one is under way: that may have begun before the push. From any thread."""
        self._hurried()
        if self._bell.empty():  # one that rings is heard later than now
            self._bell.put(None)

    def stop(self, *, drop: bool = False) -> None:
        """Take it no more. One that is under way tells what it finds, unless that shall be dropped."""
        self._stopped, self._dropped = True, drop
        self._bell.put(None)

    def _wait(self) -> bool:
        """Wait until it is due; False when it was stopped."""
        while not self._stopped:
            left = self.due - time.monotonic()
            try:
                self._bell.get(left > 0, max(left, 0.0))
            except queue.Empty:
                return True
            self._hurried()
        return False

    def _hurried(self) -> None:
        with self._lock:
            self.due = min(self.due, self._latest + self.look.gap)

    def _take(self) -> _News | None:
        look, error = self.look, ""
        found: Found | None = None
        try:
            found = look.take()
        except OSError as raised:
            error = str(raised)
        finally:
            with self._lock:
                self.began = None  # from here on it is not said to hang, whatever becomes of what it found
        now = time.monotonic()
        with self._lock:
            self.due = now + self._interval(found) * random.uniform(1 - _JITTER, 1)  # noqa: S311  # no secret
        before, self._found = self._found, found
        if found is not None and found.hurry:
            self._hurry(*found.hurry)
        late = now - self._yielded >= look.again
        if found is not None and found is before and self._said is not None and self._times >= look.sights and not late:
            return None
        said = _News("found", json.dumps(found.picture, sort_keys=True)) if found is not None else _News("error", error)
        self._times = self._times + 1 if said == self._said else 1
        self._said = said
        if self._times > look.sights and not late:
            return None
        self._yielded = now
        return said

    def _interval(self, found: Found | None) -> float:
        if found is None or found.bad:
            return self.look.fast
        return max(self.look.interval, _EMPTY) if found.empty else self.look.interval


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
        self._looks: dict[str, _Repeated] = {}
        self._asked: set[str] = set()
        """Looks whose thread was asked for news and has told none yet."""
        self._own = background is None
        self._background = background or Background(source.value)
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closing = threading.Lock()
        """So that nobody writes to what has the wakeup's number after it was closed."""
        self.add(looks)

    def read_batch(self, max_records: int = 512, timeout: float = 1.0) -> Batch | None:
        """Return what the looks have found within ``timeout`` seconds; None when nothing has.

        ``max_records`` is not needed: a source has a handful of looks.

        :raises Exception: what a look raised, but for errors of the system.
        """
        del max_records
        end = time.monotonic() + timeout
        while not (records := [*self._news(), *self._hung()]):
            self._go_on()
            until = min(end, self._next())
            if time.monotonic() >= end or self._woken(until - time.monotonic()):
                return None
        return Batch(self._source, tuple(records))

    def wake(self) -> None:
        """Make a waiting :meth:`read_batch` return at once. Callable from any thread; nothing happens once it is closed."""
        with self._closing:
            if self._wakeup >= 0:
                os.eventfd_write(self._wakeup, 1)

    def hurry(self, *names: str) -> None:
        """Take these looks as soon as their gap allows: something was pushed. Callable from any thread."""
        for name in names:
            if (one := self._looks.get(name)) is not None:
                one.hurry()
        self.wake()  # it shall know when to look whether they hang

    def add(self, looks: Iterable[Look]) -> None:
        """Begin to take further looks."""
        self._looks |= {look.name: _Repeated(look, self.hurry) for look in looks if look.name not in self._looks}

    def drop(self, names: Iterable[str]) -> None:
        """Take these looks no more; what one that is under way finds is dropped. They may be added again at once."""
        for name in names:
            if (one := self._looks.pop(name, None)) is not None:
                one.stop(drop=True)
                self._asked.discard(name)

    def close(self) -> None:
        """Give up looking. A look that hangs is left behind."""
        for one in self._looks.values():
            one.stop()
        if self._own:
            self._background.close()
        with self._closing:
            held, self._wakeup = self._wakeup, -1
            if held >= 0:
                os.close(held)

    def _news(self) -> Iterator[RawRecord]:
        """Yield what was found."""
        for ended in self._background.collect():
            self._asked.discard(ended.name)
            one = self._looks.get(ended.name)
            if ended.error is not None and one is not None:
                raise ended.error
            if ended.value is not None and one is not None:
                yield self._record(ended.name, *ended.value)

    def _go_on(self) -> None:
        """Have all looks taken again of which nothing is waiting to be yielded."""
        for name in self._looks.keys() - self._asked:
            self._asked.add(name)
            one = self._looks[name]
            one.began = None  # what was followed has ended
            # A look that the source before this one left behind is not taken a second time: it is waited for like one of our own.
            if not self._background.start(name, one.run):
                one.follow(time.monotonic())

    def _hung(self) -> Iterator[RawRecord]:
        now = time.monotonic()
        for name, one in self._looks.items():
            if (seconds := one.hangs(now)) is not None:
                yield self._record(name, "hung", f"{seconds:.1f}")

    def _next(self) -> float:
        """Return when it is time to see whether a look hangs."""
        now = time.monotonic()
        return min((one.check_due(now) for one in self._looks.values()), default=now + _FOREVER)

    def _record(self, look: str, key: str, value: str) -> RawRecord:
        now = self._moment()
        return RawRecord(self._source, now.at, now.monotonic, now.boot_id, {"look": look, key: value})

    def _woken(self, seconds: float) -> bool:
        poller = select.poll()
        poller.register(self._wakeup, select.POLLIN)
        poller.register(self._background.fileno(), select.POLLIN)
        if self._wakeup not in {fd for fd, _ in poller.poll(max(0.0, seconds) * 1000)}:
            return False
        os.eventfd_read(self._wakeup)
        return True
