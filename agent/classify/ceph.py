"""Records of :mod:`agent.sources.ceph` to events, cluster by cluster. Pure.

Each part of a cluster has its classifier: health checks, monitors, OSDs, placement groups, space. They share a view of the cluster, and
are asked in the order in which what one finds matters to the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agent.classify.ceph_groups import Groups
from agent.classify.ceph_health import HealthChecks
from agent.classify.ceph_monitors import Monitors
from agent.classify.ceph_osds import Osds
from agent.classify.ceph_space import Space
from agent.classify.ceph_view import TEXT, View, is_fsid, rows, seen, text
from agent.classify.changes import BELIEVED, Changes
from agent.record import RawRecord
from events.agent import AgentSourceFailed, AgentSourceWorks
from events.base import Event, Source
from events.ceph import CephUnwatched
from events.entity import Entity, EntityKind

_HUNG: Final = "the look `health` does not come back"
"""The source's own deadlines, and librados', are shorter: it is the agent that is stuck, and the monitors may be well."""


@dataclass(slots=True)
class _Cluster:
    """The classifiers of one cluster."""

    view: View = field(default_factory=View)
    checks: HealthChecks = field(default_factory=HealthChecks)
    monitors: Monitors = field(default_factory=Monitors)
    osds: Osds = field(default_factory=Osds)
    groups: Groups = field(default_factory=Groups)
    space: Space = field(default_factory=Space)
    trouble: str = ""


class CephClassifier:
    """Turns one node's Ceph records, in order, into events.

    ``memory`` is what :meth:`memory` returned before, or None at the very first start: which OSDs were up and in, and how large pools were.
    """

    def __init__(self, node: str, memory: dict[str, Any] | None = None) -> None:
        self._node = Entity(EntityKind.NODE, node)
        self._clusters: dict[str, _Cluster] = {}
        for name, state in (memory or {}).get("clusters", {}).items():
            used = {pool: [(at, size) for at, size in samples] for pool, samples in state["used"].items()}
            view = View(fsid=state["fsid"], failing=frozenset(state["failing"]), used=used)
            self._clusters[name] = _Cluster(view=view, osds=Osds(state["osds"]))

    def memory(self) -> dict[str, Any]:
        """Return what must be known after a restart."""
        return {
            "clusters": {
                name: {
                    "fsid": one.view.fsid,
                    "failing": sorted(one.view.failing),
                    "osds": one.osds.dump(),
                    "used": {pool: [list(sample) for sample in samples] for pool, samples in one.view.used.items()},
                }
                for name, one in self._clusters.items()
            }
        }

    def repeat(self) -> None:
        """Say everything again at its next sight."""
        for one in self._clusters.values():
            one.view.changes = Changes()

    def classify(self, record: RawRecord) -> list[Event]:
        """Return what a record changes, and now and then the full picture."""
        look, _, name = record.fields.get("look", "").partition("@")
        found: Any = {"cluster": name, "trouble": _HUNG} if "hung" in record.fields else json.loads(record.fields.get("found", "null"))
        if not isinstance(found, dict):
            return []
        cluster = self._clusters.setdefault(name, _Cluster())
        if is_fsid(found.get("fsid")) and found["fsid"] != cluster.view.fsid:
            self._clusters[name] = cluster = _Cluster(view=View(fsid=found["fsid"]))
        return list(self._cluster(cluster, look, found, record))

    def _cluster(self, one: _Cluster, look: str, found: Mapping[str, Any], record: RawRecord) -> Iterator[Event]:
        if look == "health":
            yield from self._access(one, found, record)
        if not one.view.fsid:
            return
        match look:
            case "health":
                yield from _health(one, found, record)
            case "monitors":
                yield from one.monitors.listen(one.view, rows(found.get("monitors")), record)
            case "log":
                for line in rows(found.get("lines")):
                    one.groups.listen(text(line.get("text")), record.at)
                    yield from one.osds.hear(one.view, text(line.get("text")), record)
            case "map" if "tree" in found:
                yield from one.monitors.classify(one.view, found, record)
                yield from one.osds.classify(one.view, found, record)
                yield from one.groups.classify(one.view, found, record)
                yield from one.space.classify(one.view, found, record)
            case "load" if "perf" in found:
                yield from one.groups.load(found["perf"], one.view, record)
            case _:
                pass

    def _access(self, one: _Cluster, found: Mapping[str, Any], record: RawRecord) -> Iterator[Event]:
        """Yield whether this agent can ask the cluster at all: that it cannot is the agent's trouble, not the cluster's."""
        trouble, keyless = text(found.get("trouble")), text(found.get("keyless"))
        # One look that comes late is a busy node (agent.classify.sight).
        if one.view.streak.count("access", trouble if trouble == _HUNG else "") < BELIEVED and trouble == _HUNG:
            return
        if trouble:
            event = AgentSourceFailed(subject=self._node, seen=seen(record, trouble), source=Source.CEPH.value, reason=trouble[:TEXT])
            yield from one.view.say(event, record, words=trouble)
        elif keyless:
            yield from one.view.say(CephUnwatched(subject=self._node, seen=seen(record), reason=keyless[:TEXT]), record, words=keyless)
        elif one.trouble:
            works = AgentSourceWorks(subject=self._node, seen=seen(record), source=Source.CEPH.value)
            yield from one.view.say(works, record)
        one.trouble = trouble or keyless


def _health(one: _Cluster, found: Mapping[str, Any], record: RawRecord) -> Iterator[Event]:
    if found.get("trouble") or found.get("keyless"):
        one.monitors.unasked()
    if "silent" in found:
        yield from one.monitors.silence(one.view, text(found["silent"]), record)
    health = found.get("health")
    if isinstance(health, dict) and isinstance(health.get("checks"), dict):
        yield from one.checks.classify(one.view, health, record)
        yield from one.monitors.answer(one.view, health, record)
        yield from one.groups.hear(one.view, health, record)
        yield from one.space.hear(one.view, health, record)
