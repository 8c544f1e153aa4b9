"""Looks at what a node is made of, again and again, and yields what differs from the look before as raw records.

Place in the flow: IO only; :mod:`agent.classify.host` says what a record means. A record has ``what`` (``networks``, ``mounts``,
``iscsi``, ``multipath``, ``volumes``, ``ceph``), ``found``, the whole picture of that as JSON, and ``denied``, the files that it lacks
since we may not read them, between blanks.

* A look runs in :class:`agent.sources.deadline.OneAtATime`: what hangs is abandoned, never waited for.
* Mounts are looked at each ``mounts_interval`` seconds and, on the host itself, as soon as the kernel says that its table changed
  (poll on /proc/self/mountinfo, proc_pid_mountinfo(5)); everything else each ``interval`` seconds.
* ``root`` may be a copied tree (`tests/samples/hosts/record.sh` makes one): then nothing outside it is read.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from agent.record import Batch, RawRecord
from agent.sources.deadline import OneAtATime
from agent.sources.errors import HostHungError
from agent.sources.host_ceph import ceph
from agent.sources.host_files import Tree
from agent.sources.host_mounts import MOUNTINFO, mounts
from agent.sources.host_networks import LIVE, networks
from agent.sources.host_storage import BlockStorage
from agent.sources.moment import Moment, host_moment
from events.base import Source

_PAUSE: Final = 1.0
"""Fewest seconds between two looks at the mounts, however many containers start."""

Fields = dict[str, str]
Pictures = dict[str, Any]
_PACES: Final = ("mounts", "rest")
"""What is looked at together."""


def look(root: Path, paces: tuple[str, ...] = _PACES, stored: BlockStorage | None = None) -> list[Fields]:
    """Return the fields of a record for each picture of a host or a copied tree. Blocks, as long as the file system does.

    ``stored`` is what was read of its disks before, for the next look to begin with.
    """
    found = []
    for pace in paces:
        tree = Tree(root)
        pictures = {"mounts": mounts(tree)} if pace == "mounts" else _rest(tree, stored or BlockStorage(root))
        denied = " ".join(sorted(tree.denied))
        found += [{"what": what, "found": json.dumps(picture, sort_keys=True), "denied": denied} for what, picture in pictures.items()]
    return found


def _rest(tree: Tree, stored: BlockStorage) -> Pictures:
    return {"networks": networks(tree), "ceph": ceph(tree), **stored.look(tree)}


class HostSource:
    """Looks at ``root`` and yields what changed; the first batch says everything. For one thread, except :meth:`wake`.

    A look that takes longer than ``deadline`` seconds is an error. ``worker`` is the thread that looks; whoever starts a source again
    after an error gives the same one, so that one hanging look costs one thread and not one for each start.
    """

    ended: Final = False

    def __init__(
        self,
        root: Path = LIVE,
        *,
        mounts_interval: float = 10.0,
        interval: float = 30.0,
        deadline: float = 10.0,
        moment: Callable[[], Moment] = host_moment,
        worker: OneAtATime[Any] | None = None,
    ) -> None:
        self._root, self._deadline, self._moment = root, deadline, moment
        self._intervals = {"mounts": mounts_interval, "rest": interval}
        self._dues = dict.fromkeys(_PACES, 0.0)
        self._stored = BlockStorage(root, interval / 2)
        self._own_worker = worker is None
        self._worker: OneAtATime[Any] = worker or OneAtATime("host-look")
        self._said: dict[str, Fields] = {}
        self._changes = os.open(f"/{MOUNTINFO}", os.O_RDONLY | os.O_CLOEXEC) if root == LIVE else -1
        self._changed = False
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def read_batch(self, max_records: int = 512, timeout: float = 1.0) -> Batch | None:
        """Look once, when a look is due within ``timeout`` seconds, and return what changed; None when nothing did.

        ``max_records`` is not needed: a look yields at most five.

        :raises HostHungError: when it does not end in time.
        """
        del max_records
        due = self._await_due(timeout)
        news = [fields for fields in self._look(due) if self._said.get(fields["what"]) != fields] if due else []
        if not news:
            return None
        self._said |= {fields["what"]: fields for fields in news}
        now = self._moment()
        return Batch(Source.HOST, tuple(RawRecord(Source.HOST, now.at, now.monotonic, now.boot_id, fields) for fields in news))

    def wake(self) -> None:
        """Make a waiting :meth:`read_batch` return at once. Callable from any thread."""
        os.eventfd_write(self._wakeup, 1)

    def close(self) -> None:
        """Give up watching. A look that hangs is left behind."""
        if self._own_worker:
            self._worker.close()
        held, self._wakeup, self._changes = (self._wakeup, self._changes), -1, -1
        for fd in held:
            if fd >= 0:
                os.close(fd)

    def _await_due(self, seconds: float) -> tuple[str, ...]:
        """Wait until a look is due and return which ones are; none when none is within ``seconds``, or when woken."""
        end = time.monotonic() + seconds
        while not (due := tuple(pace for pace, at in self._dues.items() if at <= time.monotonic())):
            until = min(end, *self._dues.values())
            if time.monotonic() >= end or self._woken(until - time.monotonic()):
                return ()
        return due

    def _woken(self, seconds: float) -> bool:
        """Wait; a change of the kernel's mount table makes the next look at it due soon."""
        poller = select.poll()
        poller.register(self._wakeup, select.POLLIN)
        if self._changes >= 0 and not self._changed:
            poller.register(self._changes, select.POLLPRI)
        ready = {fd for fd, _ in poller.poll(max(0.0, seconds) * 1000)}
        if self._wakeup in ready:
            os.eventfd_read(self._wakeup)
            return True
        if ready:
            self._changed = True
            last = self._dues["mounts"] - self._intervals["mounts"]
            self._dues["mounts"] = min(self._dues["mounts"], max(time.monotonic(), last + _PAUSE))
        return False

    def _look(self, paces: tuple[str, ...]) -> list[Fields]:
        if "mounts" in paces:
            self._changed = False
        try:
            found: list[Fields] = self._worker.call(partial(look, self._root, paces, self._stored), self._deadline)
        except TimeoutError:
            raise HostHungError(
                f"{self._root}: reading /proc, /sys, /run and /etc did not end within {self._deadline:g} s; is the root file system dead?"
            ) from None
        now = time.monotonic()
        self._dues |= {pace: now + self._intervals[pace] for pace in paces}
        return found
