"""Placement groups, recovery and slow requests of a Ceph cluster to events. Pure.

Health checks say that something is wrong; the placement groups' states say it sooner (a group is `inactive` to Ceph after a minute only)
and how far recovery is. Both are the manager's word: without one they are a memory, and nothing is said of them. A new one knows a
group only when an OSD has told of it (`unknown`), and one that no living OSD tells of is a memory too (`stale`): such groups are neither
well nor, before they last, at a standstill.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any, Final

from agent.classify.ceph_health import details, summary_of
from agent.classify.ceph_view import View, number, part, rows, seen, text
from agent.classify.changes import BELIEVED
from agent.record import RawRecord
from events.base import Event
from events.ceph import (
    CephOpsNormal,
    CephOpsSlow,
    CephPgsActive,
    CephPgsClean,
    CephPgsDegraded,
    CephPgsInactive,
    CephRecoveryCalm,
    CephRecoveryProgress,
    CephRecoverySaturated,
)
from events.entity import EntityKind

_MOVING: Final = ("backfilling", "recovering")
_TO_MOVE: Final = frozenset({*_MOVING, "remapped", "backfill_wait", "recovery_wait"})
_PAUSED: Final = frozenset({"norebalance", "nobackfill", "norecover"})
_WAITING: Final = ("backfill_wait", "recovery_wait", *_MOVING)
_SUFFERING: Final = (
    "SLOW_OPS",
    "REQUEST_SLOW",
    "REQUEST_STUCK",
    "OSD_SLOW_PING_TIME_BACK",
    "OSD_SLOW_PING_TIME_FRONT",
    "BLUESTORE_SLOW_OP_ALERT",
)
LATENCY: Final = "OSD latency"
_SLOW_COMMIT: Final = 200.0
"""Milliseconds per commit, median of all OSDs, from which clients feel it: a healthy disk takes under 50."""
_CALM: Final = 20_000_000
"""Microseconds without signs after which clients no longer suffer: slow requests come and go while data moves."""
_BEGINS: Final = 60_000_000
"""Microseconds until data moves after an OSD was taken out or in: groups peer first."""
_STALLED: Final = 600_000_000
"""Microseconds without any data moved after which a rebalance is no longer going on."""
_PROGRESS: Final = 10_000_000
"""Microseconds between two reports of progress."""
_GROUP: Final = re.compile(r"pg (\d+)\.[0-9a-f]+ ")
_DAEMON: Final = re.compile(r"osd\.(\d{1,9})")
_MONITORS: Final = re.compile(r"(?:mon\.[^\s,\[\]]+ has|daemons \[mon\.[^\s,\[\]]+(?:,mon\.[^\s,\[\]]+)*\] have) slow ops")
"""Where monitors alone are named (``_summarize`` in mgr/DaemonHealthMetricCollector.cc); an ellipsis stands for others."""
_SLOW: Final = re.compile(r"(\d+) slow ops, oldest one blocked for (\d+) sec")
_TYPES: Final = re.compile(r"\d+ slow requests \(by type \[ (.*?) \]")
_TYPE: Final = re.compile(r"'([^']+)' : \d+")
_SUB_OPS: Final = "waiting for sub ops"
_FRESH: Final = 30_000_000
"""Microseconds for which a line about slow requests holds; an OSD writes one each second while it has any."""
_TRANSIENT: Final = frozenset({"peering", "activating", "creating"})
"""States that a group passes through in seconds; only where they last do they count."""
_LASTS: Final = 15_000_000
_UNSEEN: Final = frozenset({"unknown", "stale"})
"""States in which the manager does not know what a group does."""
_UNSEEN_LASTS: Final = 60_000_000
"""Microseconds after which groups that nobody tells of are taken to stand still: as many as Ceph waits (``mon_pg_stuck_threshold``)."""
_GATHERS: Final = 60_000_000
"""Microseconds that a new manager is given to hear of all groups; each OSD tells it each 5 s (``mgr_stats_period``)."""
_MANAGER: Final = re.compile(r"Activating manager daemon |Manager daemon \S+ is (?:now available|unresponsive)|Active manager daemon ")
"""Lines of the cluster's log on another manager (``MgrMonitor`` in mon/MgrMonitor.cc)."""
_MERGING: Final = "premerge"
"""Groups that wait to become one with another stop serving I/O on purpose, for seconds, when a pool gets fewer of them."""
_MOST: Final = 32
_MOST_OSDS: Final = 16
"""Beyond as many OSDs with slow requests it is the cluster that is slow, not its disks."""


class Groups:
    """What was last said of one cluster's placement groups."""

    def __init__(self) -> None:
        self._pools: dict[int, str] = {}
        self._health: Mapping[str, Any] = {}
        self._suffered = 0
        self._saturated = False
        self._latency = 0.0
        self._slow: frozenset[int] = frozenset()
        self._waits, self._works = -_FRESH, -_FRESH
        """When slow requests were last said to wait for other OSDs, and when for their own (µs)."""
        self._transient: int | None = None
        self._unseen: int | None = None
        """Since when some groups are stale or unknown without a break (µs); None when there are none."""
        self._managed = -_GATHERS
        """When the manager was last another one, or none (µs)."""
        self._told = 0
        self._was_moving = False
        self._rate = 0
        self._moving = False

    def hear(self, view: View, health: Mapping[str, Any], record: RawRecord) -> Iterator[Event]:
        """Yield what the health checks say of slow requests."""
        self._health = health
        if "MGR_DOWN" in view.codes:
            self._managed = record.at
        yield from self._ops(view, record)
        yield from self._saturation(view, record)

    def listen(self, words: str, at: int) -> None:
        """Take in what the cluster's log says of slow requests (``OSD::get_health_metrics`` in osd/OSD.cc) and of managers."""
        if _MANAGER.match(words):
            self._managed = at
        elif match := _TYPES.match(words):
            if set(_TYPE.findall(match[1])) == {_SUB_OPS}:
                self._waits = at
            else:
                self._works = at

    def load(self, perf: object, view: View, record: RawRecord) -> Iterator[Event]:
        """Yield what the OSDs' latencies say, from the answer to `osd perf`; before Ceph 14 without `osdstats`."""
        infos = rows(part(perf, "osdstats").get("osd_perf_infos")) or rows(part(perf).get("osd_perf_infos"))
        commits = [number(part(info, "perf_stats").get("commit_latency_ms")) for info in infos]
        self._latency = median(commits) if commits else 0.0
        yield from self._saturation(view, record)

    def classify(self, view: View, found: Mapping[str, Any], record: RawRecord) -> Iterator[Event]:
        """Yield what the map of placement groups changes."""
        self._pools = {int(number(pool.get("pool"))): text(pool.get("pool_name")) for pool in rows(part(found, "dump").get("pools"))}
        status = part(found, "status")
        if part(status, "mgrmap").get("available") is False or "MGR_DOWN" in view.codes:
            self._managed = record.at
            return
        groups = part(status, "pgmap")
        if not groups:
            return
        states = [(text(row.get("state_name")), int(number(row.get("count")))) for row in rows(groups.get("pgs_by_state"))]
        yield from self._activity(view, states, record)
        _go_on(view, groups, states, record.at)
        yield from self._redundancy(view, groups, states, record)
        moving = frozenset(_MOVING) if view.flags & _PAUSED else _TO_MOVE
        self._moving = any(moving & set(name.split("+")) for name, _ in states)
        self._rate = int(number(groups.get("recovering_bytes_per_sec")))
        yield from self._progress(view, groups, states, record)
        yield from self._saturation(view, record)

    def _activity(self, view: View, states: list[tuple[str, int]], record: RawRecord) -> Iterator[Event]:
        checked = details(self._health, "PG_AVAILABILITY")
        groups = [(set(name.split("+")), count) for name, count in states if checked or _MERGING not in name.split("+")]
        inactive = [(words, count) for words, count in groups if "active" not in words and "unknown" not in words]
        lasting = sum(count for words, count in inactive if not words & _TRANSIENT)
        passing = sum(count for words, count in inactive if words & _TRANSIENT)
        if not passing:
            self._transient = None
        elif self._transient is None:
            self._transient = record.at
        elif record.at - self._transient >= _LASTS:
            lasting += passing
        unseen = sum(count for words, count in groups if "unknown" in words or {"stale", "active"} <= words)
        if self._is_lost(bool(unseen), checked, record.at):
            lasting += unseen
        if lasting and (view.streak.count("groups", "inactive") >= BELIEVED or checked):
            pools = {self._pools.get(int(match[1]), "") for line in checked if (match := _GROUP.match(line))}
            event = CephPgsInactive(
                subject=view.cluster,
                seen=seen(record, summary_of(self._health, "PG_AVAILABILITY") or f"{lasting} placement groups are not active"),
                pgs=lasting,
                pools=tuple(sorted(pools - {""}))[:_MOST],
            )
            yield from view.say(event, record, words="inactive")
        elif not lasting and not _is_unseen(states):
            view.streak.count("groups", "active")
            if not passing:
                yield from view.say(CephPgsActive(subject=view.cluster, seen=seen(record)), record)

    def _is_lost(self, unseen: bool, checked: list[str], at: int) -> bool:
        """Tell whether groups that the manager does not know of stand still: Ceph says so, in the details ``checked``, or they last."""
        if not unseen:
            self._unseen = None
            return False
        self._unseen = at if self._unseen is None else self._unseen
        # A new manager's word on groups that it has not heard of yet is no word on their I/O.
        since = self._managed + _GATHERS
        named = any(word in line for line in checked for word in _UNSEEN)
        return at >= since and (named or at - max(self._unseen, since) >= _UNSEEN_LASTS)

    def _redundancy(self, view: View, groups: Mapping[str, Any], states: list[tuple[str, int]], record: RawRecord) -> Iterator[Event]:
        lacking = sum(count for name, count in states if {"degraded", "undersized"} & set(name.split("+")))
        if lacking:
            if view.rearranged is not None and not view.failing:
                return  # copies are made where an administrator wants them: recovery tells how far, and a standstill is told
            planned = "PG_DEGRADED" in view.muted or (bool(view.flags) and _is_meant(view, record.at))
            event = CephPgsDegraded(
                subject=view.cluster,
                seen=seen(record, summary_of(self._health, "PG_DEGRADED") or f"{lacking} placement groups lack copies"),
                pgs=lacking,
                objects=int(number(groups.get("degraded_objects"))),
                planned=planned,
            )
            yield from view.say(event, record, words=f"degraded {planned}")
        elif not _is_unseen(states):
            yield from view.say(CephPgsClean(subject=view.cluster, seen=seen(record)), record)

    def _progress(self, view: View, groups: Mapping[str, Any], states: list[tuple[str, int]], record: RawRecord) -> Iterator[Event]:
        lacking = number(groups.get("degraded_objects")) + number(groups.get("misplaced_objects"))
        pending = _is_waiting(states) or lacking > 0
        if not pending and not self._was_moving:
            return
        if pending and record.at - self._told < _PROGRESS and self._was_moving:
            return
        self._told, self._was_moving = record.at, pending
        speed = number(groups.get("recovering_objects_per_sec"))
        event = CephRecoveryProgress(
            subject=view.cluster,
            seen=seen(record),
            degraded=round(100 * number(groups.get("degraded_ratio")), 2),
            misplaced=round(100 * number(groups.get("misplaced_ratio")), 2),
            bytes_per_second=self._rate,
            objects_per_second=int(speed),
            seconds_left=round(lacking / speed) if speed and lacking else None,
        )
        yield from view.say(event, record, words=str(record.at))

    def _saturation(self, view: View, record: RawRecord) -> Iterator[Event]:
        """Yield whether recovery starves clients: data moves, and clients suffer at the same time, seen twice."""
        signs: list[str] = [code for code in _SUFFERING if code in view.codes - view.muted and (code != "SLOW_OPS" or self._clients_wait())]
        if self._latency >= _SLOW_COMMIT:
            signs.append(LATENCY)
        if self._moving and signs:
            self._suffered = record.at
            self._saturated |= view.streak.count("recovery", "saturated") >= BELIEVED
        else:
            view.streak.count("recovery", "calm")
            self._saturated &= record.at - self._suffered < _CALM
        if self._saturated and signs:
            event = CephRecoverySaturated(
                subject=view.cluster,
                seen=seen(record, f"data moves at {self._rate / 1e6:.1f} MB/s, and clients suffer: {', '.join(signs)}"),
                bytes_per_second=self._rate,
                signs=tuple(signs),
            )
            yield from view.say(event, record, words="saturated")
        elif not self._saturated:
            yield from view.say(CephRecoveryCalm(subject=view.cluster, seen=seen(record)), record)

    def _clients_wait(self) -> bool:
        """Tell whether slow requests are clients'. A monitor's are commands and daemons' reports: no guest's I/O passes through it."""
        return not _MONITORS.search(summary_of(self._health, "SLOW_OPS"))

    def _ops(self, view: View, record: RawRecord) -> Iterator[Event]:
        summary = summary_of(self._health, "SLOW_OPS") if self._clients_wait() else ""
        match = _SLOW.search(summary)
        count, oldest = (int(match[1]), int(match[2])) if match else (0, 0)
        osds = frozenset(int(one) for one in _DAEMON.findall(summary)) if summary else frozenset()
        planned = "SLOW_OPS" in view.muted
        # Who waits for others' copies is named by Ceph, and whom it waits for is not.
        elsewhere = record.at - self._waits < _FRESH <= record.at - self._works
        if summary and (not osds or elsewhere or len(osds) > _MOST_OSDS):
            event = CephOpsSlow(subject=view.cluster, seen=seen(record, summary), count=count, oldest=oldest, planned=planned)
            yield from view.say(event, record, words=f"slow {planned}")
            osds = frozenset()
        else:
            yield from view.say(CephOpsNormal(subject=view.cluster, seen=seen(record)), record)
        for osd in sorted(osds):
            subject = view.entity(EntityKind.CEPH_OSD, osd)
            event = CephOpsSlow(subject=subject, seen=seen(record, summary), count=count, oldest=oldest, planned=planned)
            yield from view.say(event, record, words=f"slow {planned}")
        for osd in sorted(self._slow - osds):
            yield from view.say(CephOpsNormal(subject=view.entity(EntityKind.CEPH_OSD, osd), seen=seen(record)), record)
        self._slow = osds


def _go_on(view: View, groups: Mapping[str, Any], states: list[tuple[str, int]], at: int) -> None:
    """Note whether what somebody set in motion by taking an OSD out or in still goes on."""
    if view.rearranged is None:
        return
    lacking = number(groups.get("degraded_objects")) + number(groups.get("misplaced_objects"))
    if number(groups.get("recovering_objects_per_sec")) or number(groups.get("recovering_bytes_per_sec")):
        view.rearranged = at
    elif at - view.rearranged >= (_STALLED if lacking or _is_waiting(states) else _BEGINS):
        view.rearranged = None


def _is_unseen(states: list[tuple[str, int]]) -> bool:
    return any(not _UNSEEN.isdisjoint(name.split("+")) for name, _ in states)


def _is_waiting(states: list[tuple[str, int]]) -> bool:
    return any(word in name.split("+") for name, _ in states for word in _WAITING)


def _is_meant(view: View, at: int) -> bool:
    """Tell whether everything that is down is meant to be."""
    return bool(view.failing) and all(view.is_planned(osd, view.hosts.get(osd, ""), at) for osd in view.failing)
