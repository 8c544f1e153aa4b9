"""How full pools and OSDs of a Ceph cluster are, to events: which pool, since when, and when it will be full at the present rate. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from agent.classify.ceph_health import details
from agent.classify.ceph_view import View, number, part, rows, seen, text
from agent.record import RawRecord
from events.base import Event
from events.ceph import CephCapacityNormal, CephFull, CephNearFull
from events.definitions import CephPoolDefined, CephPoolGone
from events.entity import Entity, EntityKind
from events.errors import EntityError

NORMAL, NEARFULL, BACKFILLFULL, FULL = 0, 1, 2, 3
_POOLS: Final = {"POOL_NEAR_FULL": NEARFULL, "POOL_NEARFULL": NEARFULL, "POOL_BACKFILLFULL": BACKFILLFULL, "POOL_FULL": FULL}
_OSDS: Final = {"OSD_NEARFULL": NEARFULL, "OSD_BACKFILLFULL": BACKFILLFULL, "OSD_FULL": FULL}
_POOL: Final = re.compile(r"pool '([^']+)' ")
_QUOTA: Final = re.compile(r"running out of quota|reached quota", re.IGNORECASE)
_OSD: Final = re.compile(r"osd\.(\d{1,9}) ")
_HOUR: Final = 3_600_000_000
_APART: Final = 60_000_000
"""Microseconds between two samples of a pool's size."""
_LEAST: Final = 300_000_000
"""Microseconds that samples must span before a rate is believed."""
_FARTHEST: Final = 366 * 86_400
_MOST: Final = 512


class _Pool(NamedTuple):
    used: int
    free: int
    share: float | None


class Space:
    """What was last said of one cluster's capacity."""

    def __init__(self) -> None:
        self._health: Mapping[str, Any] = {}
        self._pools: dict[str, _Pool] = {}
        self._osds: frozenset[int] = frozenset()
        self._known: set[str] = set()
        self._full: set[str] = set()

    def hear(self, view: View, health: Mapping[str, Any], record: RawRecord) -> Iterator[Event]:
        """Yield what the health checks say of pools and OSDs."""
        self._health = health
        yield from self._say_pools(view, record)
        yield from self._say_osds(view, record)

    def classify(self, view: View, found: Mapping[str, Any], record: RawRecord) -> Iterator[Event]:
        """Yield the pools that there are, and take note of how large they are."""
        pools = {
            text(pool.get("pool_name")): pool for pool in rows(part(found, "dump").get("pools"))[:_MOST] if text(pool.get("pool_name"))
        }
        if not pools:
            return
        self._pools = {}
        for row in rows(part(found, "df").get("pools")):
            stats, name = part(row, "stats"), text(row.get("name"))
            share = stats.get("percent_used")
            self._pools[name] = _Pool(
                int(number(stats.get("stored"))),
                int(number(stats.get("max_avail"))),
                round(100 * number(share), 2) if share is not None else None,
            )
            _sample(view, name, self._pools[name].used, record.at)
        view.used = {name: samples for name, samples in view.used.items() if name in pools}
        for name, pool in pools.items():
            if (subject := _named(view, name)) is not None:
                fact = CephPoolDefined(
                    subject=subject,
                    seen=seen(record),
                    number=int(number(pool.get("pool"))),
                    size=int(number(pool.get("size"))),
                    min_size=int(number(pool.get("min_size"))),
                    internal=is_internal(pool),
                )
                yield from view.say(fact, record, words=f"{fact.number} {fact.size} {fact.min_size} {fact.internal}", aspect="pool")
        for name in sorted(self._known - set(pools)):
            if (subject := _named(view, name)) is not None:
                yield from view.say(CephPoolGone(subject=subject, seen=seen(record)), record, words=str(record.at))
        self._known = set(pools)
        yield from self._say_pools(view, record)

    def _say_pools(self, view: View, record: RawRecord) -> Iterator[Event]:
        levels: dict[str, int] = {}
        quota = set()
        for code, level in _POOLS.items():
            for line in details(self._health, code) if code not in view.muted else ():
                if match := _POOL.match(line):
                    levels[match[1]] = max(levels.get(match[1], NORMAL), level)
                    if _QUOTA.search(line):
                        quota.add(match[1])
        for name in sorted({*levels, *self._pools}):
            if (subject := _named(view, name)) is None:
                continue
            pool = self._pools.get(name, _Pool(0, 0, None))
            left = None if name in quota else _seconds_left(view, name, pool.free, record.at)
            yield from self._level(view, subject, levels.get(name, NORMAL), pool.share, name in quota, left, record)

    def _say_osds(self, view: View, record: RawRecord) -> Iterator[Event]:
        levels: dict[int, int] = {}
        for code, level in _OSDS.items():
            for line in details(self._health, code) if code not in view.muted else ():
                if match := _OSD.match(line):
                    levels[int(match[1])] = max(levels.get(int(match[1]), NORMAL), level)
        for osd in sorted({*levels, *self._osds}):
            subject = view.entity(EntityKind.CEPH_OSD, osd)
            yield from self._level(view, subject, levels.get(osd, NORMAL), None, False, None, record)
        self._osds = frozenset(levels)

    def _level(
        self, view: View, subject: Entity, level: int, share: float | None, quota: bool, left: float | None, record: RawRecord
    ) -> Iterator[Event]:
        name = str(subject)
        if level == FULL:
            self._full.add(name)
            words = f"{subject.key.partition('/')[2]} is full" + (": its quota is reached" if quota else "")
            event = CephFull(subject=subject, seen=seen(record, words), percent=share, quota=quota)
            yield from view.say(event, record, words=f"full {quota}", aspect="space")
        elif level:
            which = "backfillfull" if level == BACKFILLFULL else "nearfull"
            words = f"{subject.key.partition('/')[2]} is {which}"
            near = CephNearFull(
                subject=subject,
                seen=seen(record, words),
                level=which,
                percent=share,
                seconds_left=left,
            )
            yield from view.say(near, record, words=which, aspect="space")
            self._full.discard(name)
        else:
            yield from view.say(CephCapacityNormal(subject=subject, seen=seen(record), percent=share), record, aspect="space")
            self._full.discard(name)


def is_internal(pool: Mapping[str, Any]) -> bool:
    """Tell whether a pool is the manager's own: `.mgr`, before Ceph 17 `device_health_metrics`."""
    return "mgr" in part(pool, "application_metadata") or text(pool.get("pool_name")) in {".mgr", "device_health_metrics"}


def _named(view: View, pool: str) -> Entity | None:
    try:
        return view.entity(EntityKind.CEPH_POOL, pool)
    except EntityError:
        return None


def _sample(view: View, pool: str, used: int, at: int) -> None:
    samples = view.used.setdefault(pool, [])
    if not samples or at - samples[-1][0] >= _APART:
        samples.append((at, used))
    while samples and at - samples[0][0] > _HOUR:
        samples.pop(0)


def _seconds_left(view: View, pool: str, free: int, at: int) -> float | None:
    """Return when a pool is full at the rate of the last hour, seconds; None when it does not grow, or was not watched for long enough."""
    samples = view.used.get(pool, [])
    if not samples or at - samples[0][0] < _LEAST:
        return None
    growth = samples[-1][1] - samples[0][1]
    if growth <= 0:
        return None
    return float(min(_FARTHEST, round(free * (samples[-1][0] - samples[0][0]) / 1e6 / growth)))
