"""Monitors and their quorum to events: what they say of each other, whether this node hears them, and whether they answer. Pure.

A command that nobody answers means lost quorum when most monitors are not heard either; while most are, they may be electing another
leader, and get time for it. Where none is heard it may as well be this node's network: the controller sees that by the other nodes.

Proxmox VE names monitors by their nodes, as CRUSH hosts are: a monitor that is down beside all OSDs of the host of its name shares its
reboot.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from agent.classify.ceph_health import details
from agent.classify.ceph_view import PLANNED, TEXT, View, part, rows, seen, text
from agent.classify.changes import BELIEVED
from agent.record import RawRecord
from events.base import Event
from events.ceph import CephMonDown, CephMonReachable, CephMonUnreachable, CephMonUp, CephQuorumFormed, CephQuorumLost, CephSilence
from events.definitions import CephMonitor, CephMonitorsListed
from events.entity import Entity, EntityKind
from events.errors import EntityError

_DOWN: Final = re.compile(r"mon\.(\S+) \(rank -?\d+\) addr .* is down \(out of quorum\)", re.DOTALL)
_HOW: Final = {
    "refused": CephSilence.REFUSED,
    "no-route": CephSilence.NO_ROUTE,
    "no-answer": CephSilence.NO_REPLY,
    "mute": CephSilence.MUTE,
}
_OSD_DOWN: Final = re.compile(r"osd\.(\d{1,9}) \((?:.*,)?host=([^,)]+)\) is down")
_ACCEPTED: Final = "accepted"
_ELECTION: Final = 20_000_000
"""Microseconds that monitors which are all there may take to elect another leader: a lease of 5 s, twice that until it is missed, and
elections of 5 s (docs.ceph.com "Monitor config reference": mon_lease, mon_lease_ack_timeout_factor, mon_election_timeout)."""
_HEARD: Final = 15_000_000
"""Microseconds for which what was heard of the monitors holds."""
_UNMAPPED: Final = 5
"""Times that a monitor is seen down before it is told while the maps are not known: they say whether its host is worked on."""
_MOST: Final = 32


class Monitors:
    """What was last known of one cluster's monitors."""

    def __init__(self) -> None:
        self._names: frozenset[str] = frozenset()
        self._members: tuple[str, ...] = ()
        self._leader = ""
        self._silent, self._words = 0, ""
        """Since when nobody answers (µs; 0 while somebody does), and in which words that was said."""
        self._nameless: set[str] = set()
        """Addresses of monitors that were called unreachable before their names were known."""
        self._unbelieved: Mapping[str, Any] | None = None
        """The last answer to `health detail`, while this node hears too few monitors to believe it."""
        self._meant: dict[str, int] = {}
        """Monitors that are down with their hosts, on which somebody works, and when that was seen last (µs)."""
        self._listened, self._count = -1, 0
        """When this node listened to the monitors last (µs), and to how many."""

    def listen(self, view: View, found: list[Mapping[str, Any]], record: RawRecord) -> Iterator[Event]:
        """Yield which monitors this node hears, from the look ``monitors``. Silence is believed at its second sight."""
        heard = 0
        for row in found[:_MOST]:
            name = text(row.get("name")) or text(row.get("address"))
            subject, outcome = _named(view, name), text(row.get("outcome"))
            if subject is None:
                continue
            address, key = text(row.get("address")), f"reach {name}"
            if outcome == _ACCEPTED:
                heard += 1
                view.streak.count(key, "")
                yield from self._heard(view, text(row.get("name")), address, record)
            elif outcome in _HOW and view.streak.count(key, "silent") >= BELIEVED:
                words = f"mon.{name} at {address}: {text(row.get('detail')) or outcome}"
                event = CephMonUnreachable(subject=subject, seen=seen(record, words), how=_HOW[outcome], address=address)
                yield from view.say(event, record)
                if name == address:
                    self._nameless.add(address)
        asked = sum(text(row.get("outcome")) in {_ACCEPTED, *_HOW} for row in found)
        view.reached, self._count, self._listened = heard, asked, record.at
        if self._unbelieved is not None and not self._is_minority(view, record.at):
            yield from self.answer(view, self._unbelieved, record)
        if self._silent:
            yield from self._lost(view, record)

    def _heard(self, view: View, name: str, address: str, record: RawRecord) -> Iterator[Event]:
        """Yield that a monitor is heard. One without a name tells it soon and is not to be two: of it only a bad word is taken back."""
        names = [name] if name else []
        if address in self._nameless:
            self._nameless.discard(address)
            names.append(address)
        for one in names:
            if (subject := _named(view, one)) is not None:
                yield from view.say(CephMonReachable(subject=subject, seen=seen(record), address=address), record)

    def answer(self, view: View, health: Mapping[str, Any], record: RawRecord) -> Iterator[Event]:
        """Yield what an answered question says: there is a quorum, and these monitors are not in it."""
        self._unbelieved = None
        if self._is_minority(view, record.at):
            # A monitor without a quorum answers all the same, from its memory, and calls everything well.
            self._unbelieved = health
            return
        self._silent = 0
        down = {match[1] for line in details(health, "MON_DOWN") if (match := _DOWN.fullmatch(line))}
        osds = _osds_down(view, health)
        for name in sorted(down | self._names):
            subject = _named(view, name)
            if subject is None:
                continue
            if name in down:
                spare = max(0, (len(self._names) - 1) // 2 - len(down)) if self._names else None
                if not view.hosts and view.streak.count(f"down {name}", "before the map") < _UNMAPPED:
                    continue
                planned = "MON_DOWN" in view.muted or self._is_meant(view, name, osds.get(name, set()), record.at)
                event = CephMonDown(subject=subject, seen=seen(record, f"mon.{name} is out of quorum"), spare=spare, planned=planned)
                yield from view.say(event, record)
            else:
                self._meant.pop(name, None)
                yield from view.say(CephMonUp(subject=subject, seen=seen(record)), record)
        members = tuple(name for name in self._members if name not in down)
        yield from view.say(CephQuorumFormed(subject=view.cluster, seen=seen(record), leader=self._leader, members=members), record)

    def _is_minority(self, view: View, at: int) -> bool:
        """Tell whether this node heard some monitors just now, and not most of them."""
        return 0 < view.reached <= self._count // 2 and at - self._listened < _HEARD

    def _is_meant(self, view: View, name: str, down: set[int], at: int) -> bool:
        """Tell whether somebody works on a monitor's host: all its OSDs are down, and each is meant to be; or they were just now.

        When the host is back an OSD of it may be there before the monitor.
        """
        there = {osd for osd, host in view.hosts.items() if host == name} - view.retired
        if not there or not there <= down:
            return 0 <= at - self._meant.get(name, -PLANNED) < PLANNED
        if not all(view.is_planned(osd, name, at) for osd in there):
            self._meant.pop(name, None)
            return False
        self._meant[name] = at
        return True

    def unasked(self) -> None:
        """Take note that nothing was asked: the agent has no key, a wrong one, or is blind. What nobody asked nobody failed to answer."""
        self._silent = 0

    def silence(self, view: View, words: str, record: RawRecord) -> Iterator[Event]:
        """Yield what an unanswered question says, once this node has listened to the monitors since."""
        if not self._silent:
            self._silent, self._words = record.at, words
        if self._listened >= self._silent:
            yield from self._lost(view, record)

    def _lost(self, view: View, record: RawRecord) -> Iterator[Event]:
        enough = view.reached > self._count // 2
        if enough and record.at - self._silent < _ELECTION:
            return
        reason = self._words if view.reached else f"{self._words}; this node hears no monitor"
        event = CephQuorumLost(subject=view.cluster, seen=seen(record, reason), reason=reason[:TEXT], reachable=view.reached)
        yield from view.say(event, record, words=f"lost {bool(view.reached)}")

    def classify(self, view: View, found: Mapping[str, Any], record: RawRecord) -> Iterator[Event]:
        """Yield what the list of monitors changes, from the answer to `quorum_status`."""
        quorum = part(found, "quorum")
        names = quorum.get("quorum_names")
        self._members = tuple(text(name) for name in names[:_MOST] if text(name)) if isinstance(names, list) else ()
        self._leader = text(quorum.get("quorum_leader_name"))
        listed = tuple(_monitor(row) for row in rows(part(quorum, "monmap").get("mons"))[:_MOST] if text(row.get("name")))
        if listed:
            self._names = frozenset(one.name for one in listed)
            fact = CephMonitorsListed(subject=view.cluster, seen=seen(record), monitors=listed)
            yield from view.say(fact, record, words=str([(one.name, one.address) for one in listed]), aspect="monitors")


def _osds_down(view: View, health: Mapping[str, Any]) -> dict[str, set[int]]:
    """Return the OSDs that are down by CRUSH host: by the maps, and by the same answer that calls a monitor down, which is newer."""
    found: dict[str, set[int]] = {}
    for line in details(health, "OSD_DOWN"):
        if match := _OSD_DOWN.fullmatch(line):
            found.setdefault(match[2], set()).add(int(match[1]))
    for osd in view.failing:
        found.setdefault(view.hosts.get(osd, ""), set()).add(osd)
    return found


def _monitor(row: Mapping[str, Any]) -> CephMonitor:
    vector = rows(part(row, "public_addrs").get("addrvec"))
    address = text(vector[0].get("addr")) if vector else text(row.get("addr")).partition("/")[0]
    return CephMonitor(name=text(row.get("name")), address=address)


def _named(view: View, name: str) -> Entity | None:
    try:
        return view.entity(EntityKind.CEPH_MON, name) if name else None
    except EntityError:
        return None
