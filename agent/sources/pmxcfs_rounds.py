"""Looks at /etc/pve again and again in a thread that may be abandoned, and wakes another only when there is something to say.

A round is one call of :class:`agent.sources.background.Background`: it looks each ``interval`` seconds for as long as each look finds
what the one before found. At rest that is one waking of one thread for each look. Whoever waits for a round also sees to the deadline
of the look under way: one that passes it is given up, and while it has not returned no other begins. No look begins while nobody waits.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from agent.sources.background import Background
from agent.sources.pmxcfs_files import Files
from agent.sources.pmxcfs_look import HA, Look, Wanted, look
from agent.sources.pmxcfs_notify import LocalChanges

_PAUSE: Final = 0.1
"""Fewest seconds between two looks, however much is written here."""
_SLOW: Final = 10.0
"""Seconds between two looks at what changes all the time: the status daemon and HA's managers write every 10 s."""
_ROUND: Final = "look"


class Rounds:
    """Rounds of looks at ``root`` for the guests of ``node``; a look that takes longer than ``deadline`` seconds is given up.

    All methods are for one thread, which is not the one that looks. ``background`` runs them; whoever begins anew, after an error or to
    say everything again, gives the same one, so that a look that hangs costs one thread however often that happens.
    """

    def __init__(self, root: Path, node: str, interval: float, deadline: float, background: Background | None = None) -> None:
        self._root, self._node, self._interval, self._deadline = root, node, interval, deadline
        self._own = background is None
        self._background = background or Background("pmxcfs")
        self._running = self._left_behind = False
        """Whether a round is under way, and whether it is one of who looked before this."""
        self._orders: queue.SimpleQueue[None] = queue.SimpleQueue()
        """For the looking thread: something changed here, or it shall see that this is closed."""
        self._changed_here = False
        """Whether that was told to it and no round has ended since; until then further changes are of no interest."""
        self._lock = threading.Lock()
        """Of the following, which both threads write."""
        self._awaited = False
        self._began: float | None = None
        self._given_up = False
        self._closed = False
        self._local: LocalChanges | None = None
        # The looking thread's own, one round after the other:
        self._files = Files(root)
        self._due = self._slow_due = 0.0
        self._everything = False

    def begin(self, known: Look | None, plain: bool | None) -> None:
        """Begin a round, or go on with the one under way: look until something is not as in ``known``, which :func:`look` describes."""
        with self._lock:
            self._awaited = True
        if not self._running:
            self._running = True
            self._left_behind = not self._background.start(_ROUND, partial(self._round, known, plain))
            if self._left_behind:
                with self._lock:
                    self._began = time.monotonic()  # it may hang, and is waited for like one of our own

    def pause(self) -> bool:
        """Begin no look any more; True when none is under way, but one that was given up. One that is under way ends its round."""
        with self._lock:
            self._awaited = False
            return self._began is None or self._given_up

    def fileno(self) -> int:
        """Return what becomes readable when a round has ended."""
        return self._background.fileno()

    def take(self) -> Look | None:
        """Return what the round found that has ended; None when none has, or its look had been given up: that is too old to be of use.

        :raises OSError: as :func:`agent.sources.pmxcfs_look.look`.
        """
        for ended in self._background.collect():
            # What ends though none was begun is of who looked before this: it says only what that had not known.
            given_up, self._given_up = self._given_up or self._left_behind or not self._running, False
            self._running = self._changed_here = False
            if self._left_behind:
                self._left_behind, self._began = False, None
            if given_up:
                self.unwatch()
            elif ended.error is not None:
                raise ended.error
            else:
                found: Look | None = ended.value
                return found
        return None

    def give_up(self) -> bool:
        """Give up the look under way if it has passed its deadline; True when that is so now and was not before."""
        with self._lock:
            if self._began is None or self._given_up or time.monotonic() < self._began + self._deadline:
                return False
            self._given_up = True
            return True

    def next_check(self) -> float:
        """Return when, on the monotonic clock, a look may pass its deadline; never, when the one under way was given up."""
        with self._lock:
            if self._given_up:
                return math.inf
            # When none is under way, none can have begun before now.
            return (self._began if self._began is not None else time.monotonic()) + self._deadline

    # Changes made on this node

    def local_fileno(self) -> int | None:
        """Return what becomes readable when something changed on this node; None while that is of no interest."""
        with self._lock:
            return self._local.fileno() if self._local is not None and not self._changed_here else None

    def hurry(self) -> None:
        """Take note of what changed on this node: the round under way looks soon, at everything, and ends."""
        if self._local is not None and self._local.drain():
            self._changed_here = True
            self._orders.put(None)

    def unwatch(self) -> None:
        """Watch for changes on this node no longer: the watches died with their mount. A round that finds another sets new ones."""
        with self._lock:
            local, self._local = self._local, None
        if local is not None:
            local.close()

    def close(self) -> None:
        """Give up looking. A look that hangs is left behind."""
        with self._lock:
            self._closed = True
        self._orders.put(None)
        if self._own:
            self._background.close()
        self.unwatch()

    # In the thread that may be abandoned

    def _round(self, known: Look | None, plain: bool | None) -> Look | None:
        """Look until something is not as it is known; None when given up meanwhile, or when nobody waits any more."""
        while self._await_due():
            with self._lock:
                if not self._awaited:
                    return None
                self._began = now = time.monotonic()
            wanted = Wanted(self._node, self._everything, now >= self._slow_due)
            if wanted.slow:
                self._slow_due = now + max(_SLOW, self._interval)
            try:
                found = look(self._files, known, plain, wanted)
                if found.how == "served" and (known is None or known.how != "served"):
                    self._watch()
            finally:
                with self._lock:
                    self._began, given_up, awaited = None, self._given_up, self._awaited
                self._due = 0.0 if given_up else time.monotonic() + self._interval
            self._everything = False
            news = wanted.everything or found is not known
            if news or given_up or not awaited:
                return found if news else None
        return None

    def _await_due(self) -> bool:
        """Wait until the next look is due; False when there shall be none."""
        with suppress(queue.Empty):  # nobody told us anything until then
            while not self._closed:
                self._orders.get(timeout=max(0.0, self._due - time.monotonic()))
                self._everything, self._due = True, min(self._due, time.monotonic() + _PAUSE)
        return not self._closed

    def _watch(self) -> None:
        """Watch for changes made here. That they cannot be watched costs a second: the next look sees them."""
        with suppress(OSError):
            local = LocalChanges()
            local.watch(self._root, self._root / HA)
            with self._lock:
                if not self._closed:
                    self._local = local
                    return
            local.close()
