"""Watches /etc/pve (pmxcfs), or a directory with a copy of it, and yields what changed as raw records.

Place in the flow: IO only; :mod:`agent.classify.pmxcfs` says what a record means. Rules:

* Changes made on other nodes are invisible to inotify, so ``.version`` is polled. pyinotify only makes us look at once when
  something was changed on this node.
* Every access may hang, so looks run in the thread of :class:`agent.sources.pmxcfs_rounds.Rounds`, which goes on by itself while
  nothing changes.
* A directory without anything in it is a restart or an unmounted file system. It never means that storages were removed.
* What a record says is only ever a change since the record before; the first look says everything.

Fields of a record, by ``what``: ``served`` has ``starttime``, ``lost`` ``how``, ``quorum`` ``held``, ``member`` ``node``, ``online``
and ``address``, ``nodes`` ``names`` (between blanks) and ``cluster``, ``file`` ``path``, ``digest`` (empty: no such file), ``cluster``,
``release`` and ``text``, ``ha`` ``resources``, ``groups`` and ``rules``, ``jobs`` ``jobs``, ``user`` and
``offset`` (minutes of local time east of UTC), ``guest`` ``node``, ``vmid``, ``kind`` and ``text``, ``guests``
``node`` and ``vmids``, ``lrm`` ``node`` and ``text``, ``manager`` and ``rrd`` ``text``. Truth is yes or no. A text is a file's bytes as
Latin-1; it may hold a secret, and no classifier lets it go further.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from agent.record import Batch, RawRecord
from agent.sources.background import Background
from agent.sources.errors import PmxcfsDeniedError
from agent.sources.moment import Moment, host_moment
from agent.sources.pmxcfs_files import ABSENT, Content
from agent.sources.pmxcfs_look import ALL, HA, HA_FILES, JOBS_FILES, MANAGER, RRD, STORAGE_CFG, Look
from agent.sources.pmxcfs_rounds import Rounds
from events.base import Source

PVE: Final = Path("/etc/pve")
EMPTY: Final = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
"""SHA-1 of nothing, which is also Proxmox VE's digest of a storage.cfg that is not there."""
Fields = dict[str, str]


class PmxcfsSource:
    """Looks at ``root`` each ``interval`` seconds and yields what changed. For one thread, except :meth:`wake`.

    ``plain`` says that it is a directory with a copy of the files and no file system of its own; None finds out by whether
    `.version` is there, but `/etc/pve` itself is never taken for a plain directory. A look that takes longer than
    ``deadline`` seconds counts as hung. ``node`` is whose guests are told: this one's by default, :data:`ALL` for those of all nodes.
    """

    ended: Final = False

    def __init__(
        self,
        root: Path = PVE,
        *,
        plain: bool | None = None,
        interval: float = 1.0,
        deadline: float = 5.0,
        moment: Callable[[], Moment] = host_moment,
        node: str | None = None,
        background: Background | None = None,
    ) -> None:
        self._node = node or os.uname().nodename.partition(".")[0]
        self._root, self._moment = root, moment
        self._plain = False if root == PVE else plain
        self._rounds = Rounds(root, self._node, interval, deadline, background)
        self._known: Look | None = None
        self._said: dict[str, Fields] = {}
        self._emptied: set[str] = set()
        self._jobs_files: Fields | None = None
        self._feed = b""
        """The status feed as a slow look found it last."""
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def read_batch(self, max_records: int = 512, timeout: float = 1.0) -> Batch | None:
        """Return what changed as soon as a look finds it; None when none did within ``timeout`` seconds, or what it found is no news.

        The first look is waited for, however short ``timeout`` is, and so is one that is under way at its end; both at most until their
        deadline. ``max_records`` is not needed: one look yields a few records for each node and file.

        :raises PmxcfsDeniedError: when we may not read it at all.
        """
        del max_records
        found = self._await_look(timeout)
        news = list(self._news(found)) if found is not None else []
        if not news:
            return None
        now = self._moment()
        return Batch(Source.PMXCFS, tuple(RawRecord(Source.PMXCFS, now.at, now.monotonic, now.boot_id, fields) for fields in news))

    def wake(self) -> None:
        """Make a waiting :meth:`read_batch` return at once. Callable from any thread."""
        os.eventfd_write(self._wakeup, 1)

    def close(self) -> None:
        """Give up watching. A look that hangs is left behind."""
        wakeup, self._wakeup = self._wakeup, -1
        if wakeup >= 0:
            self._rounds.close()
            os.close(wakeup)

    # Waiting

    def _await_look(self, seconds: float) -> Look | None:
        """Return what a look found that is not as it is known; None when none did within ``seconds``, when it was torn, or when woken."""
        end = time.monotonic() + seconds if self._known is not None else math.inf
        while True:
            try:
                if (found := self._rounds.take()) is not None:
                    return found
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise PmxcfsDeniedError(
                        f"cannot read {self._root}: {error.strerror}; it is readable for root and group www-data"
                    ) from error
                return None
            now, until = time.monotonic(), self._rounds.next_check()
            if now < end:
                self._rounds.begin(self._known, self._plain)
                until = min(until, end)
            elif self._rounds.pause():
                return None
            if self._rounds.give_up():
                return Look("hung")
            if self._woken(until - now):
                self._rounds.pause()
                return None

    def _woken(self, seconds: float) -> bool:
        """Wait for a round to end; a change made on this node makes it look at once."""
        poller = select.poll()
        poller.register(self._wakeup, select.POLLIN)
        poller.register(self._rounds.fileno(), select.POLLIN)
        if (local := self._rounds.local_fileno()) is not None:
            poller.register(local, select.POLLIN)
        ready = {fd for fd, _ in poller.poll(max(0.0, seconds) * 1000)}
        if self._wakeup in ready:
            os.eventfd_read(self._wakeup)
            return True
        if local in ready:
            self._rounds.hurry()
        return False

    # Saying

    def _news(self, found: Look) -> Iterator[Fields]:
        """Yield the fields of a record for everything that is not as it was said last."""
        before, self._known = self._known, found
        if found.how != "served":
            self._rounds.unwatch()
            yield from self._say("state", {"what": "lost", "how": found.how})
            return
        self._plain = found.plain
        yield from self._say("state", {"what": "served", "starttime": found.starttime})
        if found.quorate is not None:
            yield from self._say("quorum", {"what": "quorum", "held": _truth(found.quorate)})
        for node, (online, address) in found.members.items():
            yield from self._say(f"member {node}", {"what": "member", "node": node, "online": _truth(online), "address": address})
        if found.nodes:
            yield from self._say("nodes", {"what": "nodes", "names": " ".join(found.nodes), "cluster": found.cluster})
        self._feed = found.slow.get(RRD, self._feed)
        deferred = set()
        for path, content in self._contents(found):
            if self._is_half_written(path, content):
                deferred.add(path)
            else:
                yield from self._say(f"file {path}", _file(path, content, found, self._feed))
        self._emptied = deferred
        yield from self._ha(found, deferred)
        yield from self._jobs(found, deferred)
        yield from self._guests(found)
        yield from self._restless(found)
        self._known = _known(before, found, deferred)

    def _ha(self, found: Look, deferred: set[str]) -> Iterator[Fields]:
        """Yield HA's files together, when all that are there were read and none is half written."""
        if any(path in found.files for path in HA_FILES) and not deferred & set(HA_FILES):
            texts = {Path(path).stem: _text(found.files.get(path)) for path in HA_FILES}
            yield from self._say("ha", {"what": "ha", **texts})

    def _jobs(self, found: Look, deferred: set[str]) -> Iterator[Fields]:
        """Yield the jobs with the pools that they may name; also when local time changes, by which they are due."""
        if any(path in found.files for path in JOBS_FILES) and not deferred & set(JOBS_FILES):
            self._jobs_files = {Path(path).stem: _text(found.files.get(path)) for path in JOBS_FILES}
        if self._jobs_files is not None:
            yield from self._say("jobs", {"what": "jobs", **self._jobs_files, "offset": str(found.offset)})

    def _guests(self, found: Look) -> Iterator[Fields]:
        for vmid, one in found.guests.items():
            fields = {"what": "guest", "node": one.node, "vmid": vmid, "kind": one.kind, "text": _text(one.content)}
            yield from self._say(f"guest {vmid}", fields)
        if found.present is not None:
            nodes = set(found.nodes) if self._node == ALL else {self._node}
            for node in sorted(nodes):
                vmids = sorted((vmid for vmid, (where, _) in found.present.items() if where == node), key=int)
                yield from self._say(f"guests {node}", {"what": "guests", "node": node, "vmids": " ".join(vmids)})
            for about in [
                about for about in self._said if about.startswith("guest ") and about.removeprefix("guest ") not in found.present
            ]:
                del self._said[about]

    def _restless(self, found: Look) -> Iterator[Fields]:
        for path, data in found.slow.items():
            text = data.decode("latin-1")
            if path == RRD:
                yield {"what": "rrd", "text": text}
            elif path == MANAGER:
                yield {"what": "manager", "text": text, "cluster": found.cluster}
            else:
                yield {"what": "lrm", "node": Path(path).parts[1], "text": text, "cluster": found.cluster}

    def _contents(self, found: Look) -> Iterator[tuple[str, Content]]:
        yield from found.files.items()
        if found.plain:  # without counters, a file that is gone is one that was not found
            gone = [key.removeprefix("file ") for key in self._said if key.startswith("file ")]
            yield from ((path, ABSENT) for path in gone if path not in found.files)

    def _is_half_written(self, path: str, content: Content) -> bool:
        """Whether a file became empty or went away just now: it may be between truncating and writing. One look is waited."""
        said = self._said.get(f"file {path}")
        empty = ("", EMPTY)
        return (content.digest or "") in empty and said is not None and said["digest"] not in empty and path not in self._emptied

    def _say(self, about: str, fields: Fields) -> Iterator[Fields]:
        """Yield fields that are not as they were said last; of a text only its digest is kept for that."""
        kept = {name: _digest(value) if len(value) > _SHORT else value for name, value in fields.items()}
        if self._said.get(about) != kept:
            self._said[about] = kept
            yield fields


_SHORT: Final = 64
"""Characters of a value that is kept as it is."""


def _known(before: Look | None, found: Look, deferred: set[str]) -> Look:
    """Return what the next look need not find again. After one with ``deferred`` files it must show these, changed or not."""
    files, guests = (found.files, found.guests) if found.plain and not deferred else ({}, {})
    counters = {path: count for path, count in found.counters.items() if path not in deferred}
    present = before.present if found.present is None and before is not None else found.present
    return replace(found, counters=counters, present=present, files=files, guests=guests, slow={})


def _digest(text: str) -> str:
    return hashlib.sha1(text.encode("latin-1", "replace"), usedforsecurity=False).hexdigest()


def _file(path: str, content: Content, found: Look, feed: bytes) -> Fields:
    """Return the fields of a file; those of HA come together in a record of their own."""
    fields = {"what": "file", "path": path, "digest": content.digest or "", "cluster": found.cluster}
    if path in (*HA_FILES, *JOBS_FILES) or path.startswith(f"{HA}/"):
        return fields
    if path == STORAGE_CFG:
        fields |= {"digest": content.digest or EMPTY, "release": "8" if _is_eight(found, feed) else "9"}
    return {**fields, "text": _text(content)}


def _is_eight(found: Look, feed: bytes) -> bool:
    """Tell whether the parser of Proxmox VE 8 reads storage.cfg here: by what pmxcfs counts, in a copy by what its files look like."""
    rules, groups = HA_FILES[-1], HA_FILES[1]
    if found.counters:
        return rules not in found.counters
    if b"pve-node-9.0/" in feed or b"pve2-node/" in feed:
        return b"pve-node-9.0/" not in feed
    return bool(_text(found.files.get(groups)).strip()) and not _text(found.files.get(rules)).strip()


def _text(content: Content | None) -> str:
    return content.data.decode("latin-1") if content is not None else ""


def _truth(value: bool) -> str:
    return "yes" if value else "no"
