"""Records of :mod:`agent.sources.pmxcfs` to events: /etc/pve served or not, quorum, members; files go to the classifier of their subject.

What a state is (served, quorum, members) is said anew after each start of the agent: while it was silent, its evidence was
worth nothing. What is defined (storages, guests, rules) is said when it differs from what was said last, also over a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from agent.classify import cluster_files
from agent.classify.backup_jobs import backup_jobs
from agent.classify.definitions import Definitions
from agent.classify.guests import GuestClassifier
from agent.classify.ha_files import HaClassifier
from agent.classify.status_feed import StatusFeedClassifier
from agent.classify.storage_config import StorageConfigClassifier
from agent.record import RawRecord
from events.base import EXCERPT_LENGTH, Event, Seen
from events.cluster import ClusterFileChanged, MemberJoined, MemberLeft, PmxcfsLost, PmxcfsServed, QuorumLost, QuorumRegained
from events.entity import Entity, EntityKind
from events.errors import EntityError

STORAGE_CFG: Final = "storage.cfg"


class PmxcfsClassifier:
    """Turns one node's pmxcfs records, in order, into events.

    ``memory`` is what :meth:`memory` returned before, or None at the very first start.
    """

    def __init__(self, node: str, memory: dict[str, Any] | None = None) -> None:
        state = memory or {}
        self._name = node
        self._node = Entity(EntityKind.NODE, node)
        self._starttime: str | None = state.get("starttime")
        self._digests: dict[str, str] = dict(state.get("digests", {}))
        self._said: dict[str, str] = {}
        self._nodes: list[str] = list(state.get("nodes", ()))
        self._online: set[str] = set()
        self._vmids: list[str] = []
        self._definitions = Definitions(state.get("definitions"))
        self._storages = StorageConfigClassifier(self._definitions, state.get("storages"))
        self._guests = GuestClassifier(self._definitions)
        self._ha = HaClassifier(node, self._definitions, state.get("ha"))
        self._feed = StatusFeedClassifier(node, self._definitions, state.get("feed"))
        self._kinds: Mapping[str, Callable[[RawRecord], Iterator[Event]]] = {
            "served": self._served,
            "lost": self._lost,
            "quorum": self._quorum,
            "member": self._member,
            "nodes": self._all_nodes,
            "file": self._file,
            "ha": lambda record: self._ha.configuration(record, self._nodes),
            "jobs": lambda record: backup_jobs(record, self._definitions),
            "manager": lambda record: self._ha.manager(record, self._cluster(record)),
            "lrm": lambda record: self._ha.lrm(record, self._cluster(record)),
            "guest": self._guests.guest,
            "guests": self._present,
            "rrd": self._rrd,
        }

    def memory(self) -> dict[str, Any]:
        """Return what must be kept for a change to be seen as one after a restart: plain data without secrets."""
        return {
            "starttime": self._starttime,
            "digests": dict(self._digests),
            "nodes": list(self._nodes),
            "definitions": self._definitions.memory(),
            "storages": self._storages.memory(),
            "ha": self._ha.memory(),
            "feed": self._feed.memory(),
        }

    def repeat(self) -> None:
        """Say all definitions again at their next sight: a controller does not know them."""
        self._definitions.repeat()

    def classify(self, record: RawRecord) -> list[Event]:
        """Return the events that a record stands for. Never raises for any text."""
        judge = self._kinds.get(record.fields.get("what", ""))
        return list(judge(record)) if judge else []

    def _is_news(self, about: str, value: str) -> bool:
        news = self._said.get(about) != value
        self._said[about] = value
        return news

    def _served(self, record: RawRecord) -> Iterator[Event]:
        before, now = self._starttime, record.fields.get("starttime", "")
        self._starttime = now
        if self._is_news("served", now):
            restarted = before not in (None, now)
            excerpt = f".version: starttime {now}" if now else "files are there"
            yield PmxcfsServed(subject=self._node, seen=_seen(record, excerpt), restarted=restarted)

    def _lost(self, record: RawRecord) -> Iterator[Event]:
        how = record.fields.get("how", "")
        if how in _LOST and self._is_news("served", f"lost {how}"):
            yield PmxcfsLost.model_validate({"subject": self._node, "seen": _seen(record, _LOST[how]), "how": how})

    def _quorum(self, record: RawRecord) -> Iterator[Event]:
        held = record.fields.get("held", "")
        if held not in ("yes", "no") or not self._is_news("quorum", held):
            return
        if held == "yes":
            yield QuorumRegained(subject=self._node, seen=_seen(record, "write bit of /etc/pve/local is set"))
        else:
            yield QuorumLost(subject=self._node, seen=_seen(record, "write bit of /etc/pve/local is not set"))

    def _member(self, record: RawRecord) -> Iterator[Event]:
        node, online, address = (record.fields.get(name, "") for name in ("node", "online", "address"))
        try:
            subject = Entity(EntityKind.NODE, node)
        except EntityError:
            return
        (self._online.add if online == "yes" else self._online.discard)(node)
        if not self._is_news(f"member {node}", f"{online} {address}"):
            return
        seen = _seen(record, f".members: {node} online {online}")
        yield MemberJoined(subject=subject, seen=seen, address=address[:256]) if online == "yes" else MemberLeft(subject=subject, seen=seen)

    def _all_nodes(self, record: RawRecord) -> Iterator[Event]:
        self._nodes = record.fields.get("names", "").split()
        yield from self._definitions.news(cluster_files.nodes(record, self._cluster(record), _seen(record, "nodes of the cluster")))

    def _file(self, record: RawRecord) -> Iterator[Event]:
        path, digest = record.fields.get("path", ""), record.fields.get("digest", "")
        if not path:
            return
        before, self._digests[path] = self._digests.get(path), digest
        if path == STORAGE_CFG:
            yield from self._storages.take(record, self._cluster(record), self._nodes)
            return
        if before is not None and before != digest:  # seen for the first time is not changed
            seen = _seen(record, f"digest of {path}")
            yield ClusterFileChanged(subject=self._cluster(record), seen=seen, path=path[:256], digest=digest or None)
        if define := cluster_files.FILES.get(path):
            data = record.fields.get("text", "").encode("latin-1")
            yield from self._definitions.news(define(data, self._cluster(record), _seen(record, f"digest of {path}: {digest}")))

    def _present(self, record: RawRecord) -> Iterator[Event]:
        if record.fields.get("node") == self._name:
            self._vmids = record.fields.get("vmids", "").split()
        yield from self._guests.present(record)

    def _rrd(self, record: RawRecord) -> Iterator[Event]:
        # A broken section keeps the status daemon from telling any storage: that is told by itself.
        enabled = {} if self._storages.broken else self._storages.enabled
        yield from self._feed.take(record, enabled, self._online or {self._name}, self._vmids)

    def _cluster(self, record: RawRecord) -> Entity:
        """Name whose file it is: the cluster's, or the node's when it stands alone."""
        try:
            return Entity(EntityKind.CLUSTER, record.fields.get("cluster", ""))
        except EntityError:
            return self._node


_LOST: Final[Mapping[str, str]] = {
    "unmounted": "/etc/pve is empty",
    "crashed": "/etc/pve: Transport endpoint is not connected",
    "hung": "/etc/pve does not answer",
}
"""What was seen, by ``how``."""


def _seen(record: RawRecord, excerpt: str) -> Seen:
    """Return the proof: a sentence of ours, never a line of a file."""
    return Seen(source=record.source, cursor=record.cursor, excerpt=excerpt[:EXCERPT_LENGTH])
