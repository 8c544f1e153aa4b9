"""OSDs, CRUSH hosts and flags of a Ceph cluster to events, from its maps and from the lines that its monitors push. Pure.

What is down is believed when it is seen twice, or at once when the monitors say so in words (``osd.3 failed (…,host=pve2) (…)``): after a
stop in order the map is there before the goodbye (``osd.3 marked itself down``) that tells it from a crash. A line can also be here before
the answer to a look that was asked earlier: that an OSD is up is then believed when the maps say so twice, or a line says that it booted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from agent.classify.ceph_view import TEXT, View, part, rows, seen, text, words
from agent.classify.changes import BELIEVED
from agent.record import RawRecord
from events.base import Event
from events.ceph import CephFlagsChanged, CephHostDown, CephHostUp, CephOsdDown, CephOsdMoved, CephOsdUp
from events.definitions import CephHostDefined, CephHostGone
from events.entity import Entity, EntityKind
from events.errors import EntityError

_FLAGS: Final = frozenset(
    {"noout", "nodown", "noup", "noin", "nobackfill", "norecover", "norebalance", "noscrub", "nodeep-scrub", "pauserd"}
)
_MOST_FLAGS: Final = 32
_MOST_OSDS: Final = 512
_MOST: Final = 4096
_DEEPEST: Final = 16
"""Levels of buckets: a map has a dozen at most; a broken answer may have a circle."""
_FAILED: Final = re.compile(r"osd\.(\d{1,9}) failed \(([^()]*)\) \((.*)\)", re.DOTALL)
_STOPPED: Final = re.compile(r"osd\.(\d{1,9}) marked itself down.*", re.DOTALL)
_SILENT: Final = re.compile(r"osd\.(\d{1,9}) marked down after no beacon for .*", re.DOTALL)
_DISPUTED: Final = re.compile(r"Monitor daemon marked osd\.(\d{1,9}) down, but it is still running", re.DOTALL)
_REARRANGED: Final = re.compile(r"Client \S+ marked osd\.\d{1,9} (out, while it was still marked up|in)\b.*", re.DOTALL)
_BOOT: Final = re.compile(r"osd\.(\d{1,9}) .* boot", re.DOTALL)
_HOST: Final = re.compile(r"(?:^|,)host=([^,]+)")


class _Osd(NamedTuple):
    number: int
    host: str
    up: bool
    within: bool
    """Whether it is `in`: data belongs to it."""
    groups: frozenset[str] = frozenset()
    """The CRUSH buckets that it is in, up to the root, and its device class."""


class _Bucket(NamedTuple):
    """A CRUSH bucket below the root with all OSDs in it, however deep."""

    name: str
    type: str
    parent: str
    osds: tuple[int, ...]


class Osds:
    """What was last known of one cluster's OSDs."""

    def __init__(self, known: Mapping[str, Any] | None = None) -> None:
        state = known or {}
        self._up: dict[int, bool] = {int(osd): up for osd, up in state.get("up", {}).items()}
        self._in: dict[int, bool] = {int(osd): inside for osd, inside in state.get("in", {}).items()}
        self._flags: frozenset[str] | None = None
        self._reasons: dict[int, str] = {}
        self._ahead: set[int] = set()
        """OSDs that are down by a line, and not yet by the maps."""
        self._buckets: dict[str, str] = {}
        """CRUSH bucket with OSDs to what it is part of."""

    def dump(self) -> dict[str, Any]:
        """Return what must be known after a restart: which OSDs were up, and which were in."""
        return {
            "up": {str(osd): up for osd, up in sorted(self._up.items())},
            "in": {str(osd): inside for osd, inside in sorted(self._in.items())},
        }

    # -- lines

    def hear(self, view: View, line: str, record: RawRecord) -> Iterator[Event]:
        """Yield what a line of the cluster's log says of an OSD."""
        if match := _STOPPED.fullmatch(line):
            view.stopped = {osd: at for osd, at in view.stopped.items() if record.at - at < 10 * _DAY}
            view.stopped[int(match[1])] = record.at
            self._reasons[int(match[1])] = "it was stopped in order"
        elif match := _FAILED.fullmatch(line):
            host = found[1] if (found := _HOST.search(match[2])) else ""
            yield from self._heard(view, int(match[1]), host, match[3], record, line)
        elif match := _SILENT.fullmatch(line):
            yield from self._heard(view, int(match[1]), view.hosts.get(int(match[1]), ""), line.partition(" ")[2], record, line)
        elif match := _DISPUTED.match(line):
            reason = "it was said to be down, and still runs: its peers or the monitors do not hear it"
            yield from self._heard(view, int(match[1]), view.hosts.get(int(match[1]), ""), reason, record, line)
        elif _REARRANGED.fullmatch(line):
            view.rearranged = record.at
        elif match := _BOOT.fullmatch(line):
            self._reasons.pop(int(match[1]), None)
            self._ahead.discard(int(match[1]))
            view.stopped.pop(int(match[1]), None)

    # -- maps

    def classify(self, view: View, found: Mapping[str, Any], record: RawRecord) -> Iterator[Event]:
        """Yield what the maps change: flags first, for they say what is meant."""
        nodes = {node["id"]: node for node in rows(found.get("tree")) if _is_id(node.get("id"))}
        if not nodes:
            return
        parents = {child: node for node in nodes.values() for child in _children(node)}
        osds = list(_osds(nodes, parents))[:_MOST]
        buckets = list(_buckets(nodes, parents))
        if dump := part(found, "dump"):
            yield from self._flagged(view, dump, record)
        yield from self._gone(view, {osd.number for osd in osds}, record)
        view.hosts = {osd.number: osd.host for osd in osds}
        view.groups = {osd.number: osd.groups for osd in osds}
        for osd in osds:
            yield from self._state(view, osd, record)
        down = {osd.number for osd in osds if (not osd.up or osd.number in self._ahead) and self._is_failing(view, osd)}
        view.retired = frozenset(osd.number for osd in osds if not osd.up and osd.number not in down)
        before, self._buckets = self._buckets, {bucket.name: bucket.parent for bucket in buckets if bucket.osds}
        for bucket in buckets:
            yield from self._bucket(view, bucket, before.get(bucket.name, bucket.parent), down, record)
        for name in sorted(set(before) - set(self._buckets)):
            yield from self._no_more(view, name, before[name], record)
        yield from self._facts(view, buckets, record)
        self._up = {osd.number: osd.up for osd in osds}
        self._in = {osd.number: osd.within for osd in osds}

    def _is_failing(self, view: View, osd: _Osd) -> bool:
        """Tell whether an OSD that is down is a fault: one that was out already when we came was given up long ago.

        One that was out before it was stopped in order was drained: somebody takes it away.
        """
        drained = self._in.get(osd.number) is False and osd.number in view.stopped
        return osd.within or osd.number in view.failing or (self._up.get(osd.number, False) and not drained)

    def _state(self, view: View, osd: _Osd, record: RawRecord) -> Iterator[Event]:
        key = f"osd {osd.number}"
        was_in = self._in.get(osd.number)
        if was_in is not None and was_in != osd.within:
            if osd.up and osd.number not in view.failing:
                view.rearranged = record.at
            yield from view.say(
                CephOsdMoved(
                    subject=view.entity(EntityKind.CEPH_OSD, osd.number), seen=seen(record), to="in" if osd.within else "out", host=osd.host
                ),
                record,
                words=f"{osd.within} {record.at}",
            )
        if not osd.up or view.streak.count(key, "up") >= BELIEVED:
            self._ahead.discard(osd.number)
        if osd.up and osd.number not in self._ahead:
            view.failing -= {osd.number}
            self._reasons.pop(osd.number, None)
            event = CephOsdUp(subject=view.entity(EntityKind.CEPH_OSD, osd.number), seen=seen(record), host=osd.host)
            yield from view.say(event, record)
        elif not osd.up and self._is_failing(view, osd):
            times = view.streak.count(key, "down")
            if times >= BELIEVED or osd.number in view.failing or osd.number in view.stopped:
                yield from self._down(view, osd.number, osd.host, record, f"osd.{osd.number} ({osd.host}) is down")

    def _heard(self, view: View, osd: int, host: str, reason: str, record: RawRecord, line: str) -> Iterator[Event]:
        """Yield that an OSD is down by a line of the log."""
        self._reasons[osd] = reason[:TEXT]
        self._ahead.add(osd)
        view.streak.count(f"osd {osd}", "down by a line")
        yield from self._down(view, osd, host, record, line)

    def _down(self, view: View, osd: int, host: str, record: RawRecord, words: str) -> Iterator[Event]:
        view.failing |= {osd}
        planned = view.is_planned(osd, host, record.at)
        event = CephOsdDown(
            subject=view.entity(EntityKind.CEPH_OSD, osd),
            seen=seen(record, words),
            host=host[:TEXT],
            reason=self._reasons.get(osd, ""),
            planned=planned,
        )
        yield from view.say(event, record, words=f"down {host} {planned}")

    def _gone(self, view: View, there: set[int], record: RawRecord) -> Iterator[Event]:
        for osd in sorted((set(self._up) | view.failing) - there):
            view.failing -= {osd}
            self._ahead.discard(osd)
            event = CephOsdMoved(
                subject=view.entity(EntityKind.CEPH_OSD, osd), seen=seen(record), to="removed", host=view.hosts.get(osd, "")
            )
            yield from view.say(event, record, words=str(record.at))

    def _bucket(self, view: View, bucket: _Bucket, was_in: str, down: set[int], record: RawRecord) -> Iterator[Event]:
        """Yield whether a bucket is down. What was said of it ends where it was said: somebody may have moved it since."""
        subject = _named(view, bucket.name)
        if subject is None or len(bucket.osds) < 2:  # of one OSD alone it is the OSD that is down
            return
        key = f"bucket {bucket.name}"
        counted = set(bucket.osds) - view.retired
        if down >= counted:
            if len(counted) < 2:  # the others were taken out of service before
                return
            planned = all(view.is_planned(osd, view.hosts.get(osd, ""), record.at) for osd in counted)
            if view.streak.count(key, "down") < BELIEVED and not counted <= view.failing:
                return
            if was_in != bucket.parent:
                yield from self._no_more(view, bucket.name, was_in, record)
            event = CephHostDown(
                subject=subject,
                seen=seen(record, f"{bucket.type} {bucket.name}: all {len(bucket.osds)} OSDs are down"),
                osds=bucket.osds[:_MOST_OSDS],
                type=bucket.type[:TEXT] or "host",
                within=bucket.parent[:TEXT],
                planned=planned,
            )
            yield from view.say(event, record, words=f"down {bucket.parent} {planned}")
        else:
            view.streak.count(key, "up")
            yield from view.say(CephHostUp(subject=subject, seen=seen(record), within=was_in[:TEXT]), record)

    def _no_more(self, view: View, name: str, parent: str, record: RawRecord) -> Iterator[Event]:
        if (subject := _named(view, name)) is not None:
            yield from view.say(CephHostGone(subject=subject, seen=seen(record), within=parent[:TEXT]), record, words=str(record.at))

    def _facts(self, view: View, buckets: list[_Bucket], record: RawRecord) -> Iterator[Event]:
        hosts = {bucket.name: bucket for bucket in buckets if bucket.type == "host" and bucket.osds}
        for name, bucket in hosts.items():
            if (subject := _named(view, name)) is not None:
                fact = CephHostDefined(subject=subject, seen=seen(record), osds=bucket.osds[:_MOST_OSDS], within=bucket.parent[:TEXT])
                yield from view.say(fact, record, words=f"{bucket.osds} {bucket.parent}")

    def _flagged(self, view: View, dump: Mapping[str, Any], record: RawRecord) -> Iterator[Event]:
        flags = _flags(dump)
        view.flags = flags
        if self._flags is not None and flags == self._flags:
            return
        before, self._flags = self._flags, flags
        if before is None and not flags:
            return
        event = CephFlagsChanged(
            subject=view.cluster,
            seen=seen(record),
            flags=tuple(sorted(flags))[:_MOST_FLAGS],
            set=tuple(sorted(flags - (before or frozenset())))[:_MOST_FLAGS],
            unset=tuple(sorted((before or frozenset()) - flags))[:_MOST_FLAGS],
        )
        yield from view.say(event, record, words=f"{sorted(flags)} {record.at}")


_DAY: Final = 86_400_000_000


def _named(view: View, bucket: str) -> Entity | None:
    try:
        return view.entity(EntityKind.CEPH_HOST, bucket)
    except EntityError:
        return None


def _is_id(found: object) -> bool:
    """Tell whether something is the number of a CRUSH item: 32 bits, negative for buckets (crush/crush.h)."""
    return isinstance(found, int) and not isinstance(found, bool) and -(2**31) <= found < 2**31


def _children(node: Mapping[str, Any]) -> list[int]:
    found = node.get("children")
    return [child for child in found if _is_id(child)] if isinstance(found, list) else []


def _osds(nodes: Mapping[int, Mapping[str, Any]], parents: Mapping[int, Mapping[str, Any]]) -> Iterator[_Osd]:
    for number, node in sorted(nodes.items()):
        if node.get("type") != "osd" or number < 0 or number not in parents:  # a stray one is in no tree: no data is placed on it
            continue
        reweight = node.get("reweight")
        yield _Osd(
            number,
            text(parents[number].get("name")),
            node.get("status") == "up",
            isinstance(reweight, int | float) and reweight > 0,
            frozenset({*_above(number, parents), text(node.get("device_class"))} - {""}),
        )


def _above(number: int, parents: Mapping[int, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the names of the buckets that an item is in, from its host to the root."""
    for _ in range(_DEEPEST):
        if (node := parents.get(number)) is None:
            return
        yield text(node.get("name"))
        number = node["id"]


def _buckets(nodes: Mapping[int, Mapping[str, Any]], parents: Mapping[int, Mapping[str, Any]]) -> Iterator[_Bucket]:
    """Yield all buckets below a root, hosts and larger failure domains."""

    def below(number: int, depth: int) -> Iterator[int]:
        for child in _children(nodes.get(number, {})):
            if depth < _DEEPEST:
                yield from [child] if child >= 0 else below(child, depth + 1)

    for number, node in sorted(nodes.items(), reverse=True):
        parent = parents.get(number)
        if number >= 0 or parent is None or not text(node.get("name")):
            continue
        name = "" if text(parent.get("type")) == "root" else text(parent.get("name"))
        yield _Bucket(text(node.get("name")), text(node.get("type")), name, tuple(sorted(set(below(number, 0)))))


def _flags(dump: Mapping[str, Any]) -> frozenset[str]:
    """Return the flags that change what Ceph does by itself; `flags_set` is in no release before 14."""
    whole = dump.get("flags_set")
    names = words(whole) if isinstance(whole, list) else text(dump.get("flags")).split(",")
    found = {name for name in names if name in _FLAGS}
    for where in ("crush_node_flags", "device_class_flags"):
        for name, flags in part(dump, where).items():
            found |= {f"{flag} of {name}"[:TEXT] for flag in words(flags) if flag in _FLAGS}
    for osd in rows(dump.get("osds")):
        found |= {f"{flag} of osd.{osd.get('osd')}"[:TEXT] for flag in words(osd.get("state")) if flag in _FLAGS}
    return frozenset(found)
