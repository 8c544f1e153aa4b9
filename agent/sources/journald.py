"""Follows a journal and yields batches of raw records, with the cursor to go on from.

Place in the flow: the first step, IO only. Rules:

* Only wanted entries are read (:mod:`agent.sources.wanted`); the journal's index skips the rest.
* Nothing is lost in silence. An entry that is gone or cannot be read becomes a sentence in ``Batch.losses``.
* The cursor also moves over entries of no interest, now and then, so that a restart does not read far back.
* The file set changes only inside :meth:`JournalSource._await_change`. A reader that is behind keeps the files that it has
  still to read open, even when journald deletes them meanwhile; it lets go of them as soon as it has read to their end.
* A damaged spot is passed in a few ever longer steps, then the end of the journal is taken; then it is an error, never a loop.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal

from agent.record import Batch, RawRecord
from agent.sources.errors import JournalDamagedError
from agent.sources.journal_reader import EntryReader, Place, damage, gap, open_reader, time_of
from agent.sources.wanted import add_matches
from events.base import Source
from systemd import journal

Start = Literal["now", "beginning"]

_TAIL_EVERY: Final = 60.0
"""Seconds between looks at the journal's end while nothing wanted arrives: what a restart reads again is at most that much."""
_SKIPS: Final = (1, 1_000, 1_000_000, 60_000_000)
"""How far ahead of the last record reading is tried again where the journal cannot be read, microseconds."""
_REOPEN_EVERY: Final = 300.0
"""Fewest seconds between two openings of all files, each of which reads all their headers."""


class JournalSource:
    """Reads a journal in order. For one thread, except :meth:`wake`.

    ``cursor`` is where an earlier run ended; without one, ``start`` says whether old entries count. With ``follow`` off
    it ends at the journal's end. ``clock`` returns monotonic seconds.
    """

    def __init__(
        self,
        place: Place = Place(),  # noqa: B008  # immutable
        *,
        cursor: str | None = None,
        start: Start = "now",
        follow: bool = True,
        opener: Callable[[Place], EntryReader] = open_reader,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ended = False
        """True once a journal that is not followed was read to its end."""
        self._place, self._cursor, self._start, self._follow = place, cursor, start, follow
        self._opener, self._clock = opener, clock
        self._reader: EntryReader | None = None
        self._own: str | None = None  # cursor of an entry that is met once more right after seeking, and was handled
        self._last_at: int | None = None  # µs
        self._losses: list[str] = []
        self._reported: set[object] = set()  # losses that would be found again at each look
        self._failures = 0
        self._changed_files = False
        self._tail_due = self._reopen_due = 0.0
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def read_batch(self, max_records: int = 512, timeout: float = 1.0) -> Batch | None:
        """Return the next records, the losses before them, and the cursor after them; wait up to ``timeout`` seconds for any.

        None means that nothing came, or with ``follow`` off that the end is reached (:attr:`ended`). A batch without
        records still carries a newer cursor or a loss.

        :raises JournalMissingError: when the journal is not there (yet).
        :raises JournalDamagedError: when it cannot be read on in any way.
        """
        deadline, before = self._clock() + timeout, self._cursor
        if self._reader is None or (self._changed_files and self._clock() >= self._reopen_due):
            self._open()
        while True:
            records = self._take(max_records) or self._at_end(max_records)
            if records or self._losses or self._cursor != before:
                return self._batch(records)
            remaining = deadline - self._clock()
            if self.ended or remaining <= 0 or not self._await_change(remaining):
                return None

    def wake(self) -> None:
        """Make a waiting :meth:`read_batch` return at once. Callable from any thread."""
        os.eventfd_write(self._wakeup, 1)

    def close(self) -> None:
        """Close the journal. The source cannot be used any more."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        wakeup, self._wakeup = self._wakeup, -1
        if wakeup >= 0:
            os.close(wakeup)

    def _batch(self, records: list[RawRecord]) -> Batch:
        losses, self._losses = tuple(self._losses), []
        return Batch(Source.JOURNALD, tuple(records), self._cursor, losses)

    # Reading

    @property
    def _open_reader(self) -> EntryReader:
        assert self._reader is not None
        return self._reader

    def _take(self, max_records: int) -> list[RawRecord]:
        """Read wanted entries until the end or until there are enough; less when a loss is to be told before reading on."""
        while True:
            records: list[RawRecord] = []
            try:
                self._read_into(records, max_records)
            except OSError as error:
                self._note(records)
                self._retry_or_pass(error)
                if records or self._losses:
                    return records
            else:
                self._note(records)
                self._failures = 0
                return records

    def _read_into(self, records: list[RawRecord], max_records: int) -> None:
        reader = self._open_reader
        while len(records) < max_records and reader.step():
            if self._own is not None and self._is_own(reader):
                continue
            try:
                records.append(reader.record())
            except OSError as error:
                if not self._failures:
                    raise
                self._cursor = reader.cursor()  # it was tried again already: only this entry is lost
                self._losses.append(f"a damaged journal entry could not be read ({error.strerror})")

    def _note(self, records: list[RawRecord]) -> None:
        """Remember how far we are."""
        if records:
            self._cursor, self._last_at, self._failures = records[-1].cursor, records[-1].at, 0

    def _is_own(self, reader: EntryReader) -> bool:
        own, self._own = self._own, None
        return bool(reader.test_cursor(own))

    def _retry_or_pass(self, error: OSError) -> None:
        """Go on after an error.

        First from where we were, for journald may just have been closing that file (EBADMSG then). Next past the spot, ever
        further ahead in time, last at the journal's end.
        """
        self._failures += 1
        steps = self._failures - 2
        if steps > len(_SKIPS):
            raise JournalDamagedError(f"cannot read {self._place}: {error.strerror}") from error
        self._replace_reader()
        if steps < 0:
            self._go_on()
            return
        self._losses.append(f"a part of the journal could not be read ({error.strerror}): entries are missing")
        if self._last_at is None or steps == len(_SKIPS):
            self._seek_end()
            return
        add_matches(self._open_reader)
        self._open_reader.seek_realtime(self._last_at + _SKIPS[steps])
        self._own = None

    # Positioning

    def _open(self) -> None:
        """Open all files anew and go on from the cursor; this also lets go of files that were deleted."""
        self._replace_reader()
        since = time_of(self._cursor) if self._cursor is not None else 0 if self._start == "beginning" else None
        for path, reason in damage(self._place, since).items():
            self._lose(path, reason)
        self._go_on()

    def _go_on(self) -> None:
        """Stand where the next entry to read is."""
        if self._cursor is not None:
            self._resume()
        elif self._start == "now":
            self._seek_end()
        else:
            self._seek(None)
        self._start = "beginning"  # only the first opening means the past when it says now

    def _replace_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self._reader = self._opener(self._place)
        self._changed_files, self._reopen_due = False, self._clock() + _REOPEN_EVERY

    def _resume(self) -> None:
        """Go on after the cursor, and find out whether anything between it and what is left is gone.

        This looks at all entries: when nothing wanted was logged for long, the cursor's own entry is an unwanted one.
        """
        reader, cursor = self._open_reader, self._cursor
        assert cursor is not None
        reader.flush_matches()
        try:
            reader.seek_cursor(cursor)
        except ValueError:
            self._losses.append("the stored journal cursor is not one: the journal is read from its beginning")
            self._seek(None)
            return
        try:
            found = reader.step()
            reason = None if found and reader.test_cursor(cursor) else gap(cursor, reader.cursor() if found else None)
        except OSError as error:
            found, reason = True, f"the journal could not be read where it was left ({error.strerror}): entries may be missing"
        if reason is not None:
            self._lose(cursor, reason)
        if found:
            self._seek(cursor)
        else:  # all that is left is older, as far as clocks tell; what comes next will stand behind it nevertheless
            self._seek_end()

    def _lose(self, what: object, reason: str) -> None:
        if what not in self._reported:
            self._reported.add(what)
            self._losses.append(reason)

    def _seek_end(self) -> None:
        """Stand behind the last entry of any kind, so that whatever comes is read.

        Not by seek_tail with matches: next after that returns old entries up to systemd 253 and nothing at all since.
        """
        try:
            last = self._last()
        except OSError as error:
            raise JournalDamagedError(f"cannot read the end of {self._place}: {error.strerror}") from error
        self._cursor = last  # none in an empty journal: all that comes is new, and a cursor of a former one would mislead
        self._seek(last)

    def _last(self) -> str | None:
        """Return the cursor of the journal's last entry of any kind; the reader's matches and place are gone then."""
        reader = self._open_reader
        reader.flush_matches()
        reader.seek_tail()
        return reader.cursor() if reader.step_back() else None

    def _seek(self, cursor: str | None) -> None:
        """Stand behind the entry of a cursor (None: at the beginning), reading only what is wanted."""
        reader = self._open_reader
        reader.flush_matches()
        add_matches(reader)
        self._own = cursor
        if cursor is None:
            reader.seek_head()
        else:
            reader.seek_cursor(cursor)

    # At the end

    def _at_end(self, max_records: int) -> list[RawRecord]:
        """Finish, or from time to time take the journal's end for the cursor; returns what came in at that moment."""
        if not self._follow:
            self.ended = True
            return []
        if self._losses or self._clock() < self._tail_due:
            return []
        self._tail_due = self._clock() + _TAIL_EVERY
        return self._adopt_tail(max_records)

    def _adopt_tail(self, max_records: int) -> list[RawRecord]:
        """Move the cursor over entries of no interest.

        The end is noted first and only taken when nothing wanted is left before it. Walking there over all entries, which
        costs half a microsecond each, proves that no damaged spot hides the rest: libsystemd stops at one without a word.
        """
        try:
            tail = self._last()
            whole = tail is None or tail == self._cursor or self._walk(tail)
        except OSError:
            tail, whole = None, False
        self._seek(self._cursor)
        if records := self._take(max_records):
            return records
        if not whole:
            self._losses.append("a part of the journal is damaged and was passed: entries may be missing")
            self._replace_reader()
            self._seek_end()
        elif tail is not None:
            self._cursor = tail
            self._seek(tail)
        return []

    def _walk(self, tail: str) -> bool:
        """Step from the cursor over all entries; True when that leads to ``tail``."""
        reader = self._open_reader
        if self._cursor is None:
            reader.seek_head()
        else:
            reader.seek_cursor(self._cursor)
        while reader.step():
            if reader.test_cursor(tail):
                return True
        return False

    # Waiting

    def _await_change(self, seconds: float) -> bool:
        """Wait until the journal changed; False after ``seconds`` or when woken."""
        reader = self._open_reader
        poller = select.poll()
        poller.register(reader.fileno(), reader.get_events())
        poller.register(self._wakeup, select.POLLIN)
        ready = {fd for fd, _ in poller.poll(seconds * 1000)}
        if self._wakeup in ready:
            os.eventfd_read(self._wakeup)
            return False
        if reader.process() == journal.INVALIDATE:
            self._files_changed()
        return bool(ready)

    def _files_changed(self) -> None:
        """Files came or went: rotation, vacuum. What is read next is the same as ever, unless something unread is gone."""
        self._changed_files = True  # until they are opened anew, which is due in a while
        if self._cursor is not None:
            self._resume()


def read_files(*files: Path) -> Iterator[Batch]:
    """Read the wanted entries of native journal files, oldest first, and stop.

    :raises JournalMissingError: when a file is not there or not readable for us.
    :raises JournalDamagedError: when a file is not a journal or cut off.
    """
    source = JournalSource(Place(files=files), start="beginning", follow=False)
    try:
        while (batch := source.read_batch()) is not None:
            yield batch
    finally:
        source.close()
