"""Multipath lines of kernel (drivers/md/dm-mpath.c) and multipathd 0.9.4 to 0.14.3 (multipathd/main.c, libmultipath/structs_vec.c)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agent.classify.inventory import MapState, disk_of_number, number_of_disk
from agent.classify.line import Line, Rule, rule
from events.base import Event
from events.entity import Entity, EntityKind
from events.multipath import (
    MultipathDaemonFailed,
    MultipathDaemonStarted,
    MultipathIdentityConflict,
    MultipathMapChanged,
    MultipathMapDegraded,
    MultipathMapLost,
    MultipathMapRestored,
    MultipathMapUsable,
    MultipathPathFailed,
    MultipathPathRestored,
    MultipathQueueingDisabled,
    MultipathQueueingEnabled,
    MultipathWwidChanged,
)


def _path(line: Line, leg: str) -> tuple[Entity, str, str]:
    """Name a path by node, LUN (or map) and ``major:minor``; return it with its map's name and its disk.

    Senders write one and the same path as ``8:16`` or as ``sdb``.
    """
    number = leg if ":" in leg else number_of_disk(leg) or leg
    name = line.inventory.map_of_leg(number) or ""
    owner = line.inventory.lun_of_map(line.node, name).key.removeprefix(f"{line.node}/") if name else "-"
    return Entity(EntityKind.PATH, f"{line.node}/{owner}/{number}"), name, disk_of_number(number) or leg


def _failed(line: Line, match: re.Match[str]) -> Iterator[Event]:
    line.inventory.last_path_failed = True
    subject, name, disk = _path(line, match["leg"])
    yield MultipathPathFailed(subject=subject, seen=line.seen(), map=name, device=disk)


def _restored(line: Line, match: re.Match[str]) -> Iterator[Event]:
    line.inventory.last_path_failed = False
    subject, name, disk = _path(line, match["leg"])
    yield MultipathPathRestored(subject=subject, seen=line.seen(), map=name, device=disk)


KERNEL: Final[tuple[Rule, ...]] = (
    rule("MPK-01", "device-mapper: multipath: ", r"device-mapper: multipath: (?:\d+:\d+: )?Failing path (?P<leg>\d+:\d+)\.", _failed),
    rule("MPK-02", "device-mapper: multipath: ", r"device-mapper: multipath: (?:\d+:\d+: )?Reinstating path (?P<leg>\d+:\d+)\.", _restored),
)


def _remaining(line: Line, match: re.Match[str]) -> Iterator[Event]:
    """Judge the count that multipathd prints after each failure and each reinstatement."""
    name, active = match["map"], int(match["active"])
    state = line.inventory.maps.setdefault(name, MapState())
    before, state.active = state.active, active
    state.most = max(state.most, len(state.legs), active, before or 0)
    subject, seen = line.inventory.lun_of_map(line.node, name), line.seen()
    # While only this count is known of a map, "1" may be all it has or what is left: the last word on a path decides.
    expected = state.most if state.most > active or not line.inventory.last_path_failed else None
    if active == 0:
        yield MultipathMapLost(subject=subject, seen=seen, map=name, expected=expected)
    elif expected == active:
        yield MultipathMapRestored(subject=subject, seen=seen, map=name, active=active)
    else:
        if before == 0:
            yield MultipathMapUsable(subject=subject, seen=seen, map=name, active=active)
        yield MultipathMapDegraded(subject=subject, seen=seen, map=name, active=active, expected=expected)


def _table(line: Line, match: re.Match[str]) -> Iterator[Event]:
    name = match["map"]
    state = line.inventory.maps.setdefault(name, MapState())
    state.legs = re.findall(r"(?<![\d:])\d+:\d+(?![\d:])", match["table"])
    state.most = len(state.legs)
    yield MultipathMapChanged(subject=line.inventory.lun_of_map(line.node, name), seen=line.seen(), map=name, change=match["change"])


def _removed(line: Line, match: re.Match[str]) -> Iterator[Event]:
    subject = line.inventory.lun_of_map(line.node, match["map"])
    line.inventory.maps.pop(match["map"], None)
    yield MultipathMapChanged(subject=subject, seen=line.seen(), map=match["map"], change="removed")


def _no_queueing(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield MultipathQueueingDisabled(subject=line.inventory.lun_of_map(line.node, match["map"]), seen=line.seen(), map=match["map"])


def _queueing(line: Line, match: re.Match[str]) -> Iterator[Event]:
    retries = match.groupdict().get("retries")
    yield MultipathQueueingEnabled(
        subject=line.inventory.lun_of_map(line.node, match["map"]),
        seen=line.seen(),
        map=match["map"],
        retries=int(retries) if retries else None,
    )


def _wwid_changed(line: Line, match: re.Match[str]) -> Iterator[Event]:
    disk, groups = match["disk"], match.groupdict()
    subject = line.inventory.lun_of_disk(disk) or Entity(EntityKind.PATH, f"{line.node}/-/{number_of_disk(disk) or disk}")
    yield MultipathWwidChanged(
        subject=subject, seen=line.seen(), device=disk, expected=groups.get("before") or "", found=groups.get("now") or ""
    )


def _conflict(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield MultipathIdentityConflict(
        subject=line.inventory.lun_of_map(line.node, match["map"]), seen=line.seen(), map=match["map"], reason=line.text[:256]
    )


def _daemon_failed(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield MultipathDaemonFailed(subject=Entity(EntityKind.NODE, line.node), seen=line.seen(), reason=line.text[:256])


def _daemon_started(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield MultipathDaemonStarted(subject=Entity(EntityKind.NODE, line.node), seen=line.seen(), version=match["version"])


_MAP: Final = r"(?P<map>[^\s:]+): "
_DISK: Final = r"(?P<disk>sd[a-z]+): "

MULTIPATHD: Final[tuple[Rule, ...]] = (
    rule("MPD-04", "", _MAP + r"remaining active paths: (?P<active>\d+)", _remaining),
    rule("MPD-01", "checker failed", r"checker failed path (?P<leg>\d+:\d+) in map \S+", _failed),
    rule(
        "MPD-02",
        "",
        r"(?P<map>[^\s:]+): (?P<leg>sd[a-z]+) - \w+ checker (?:reports path is down|timed out|has no usable fd|is not available)",
        _failed,
    ),
    rule("MPD-02", "", r"(?P<map>[^\s:]+): (?P<leg>sd[a-z]+) - \w+ checker reports path is up", _restored),
    rule("MPD-03", "", r"(?P<leg>\d+:\d+): reinstated", _restored),
    rule("MPD-05", "", r"(?P<map>[^\s:]+): (?P<leg>sd[a-z]+) - path offline", _failed),
    rule("MPD-20", "sd", r"(?P<leg>sd[a-z]+): mark as failed", _failed),
    rule("MPD-14", "", _MAP + r"(?P<change>addmap|reload) \[(?P<table>.*)\]", _table),
    rule("MPD-06", "", _MAP + r"Entering recovery mode: max_retries=(?P<retries>\d+)", _queueing),
    rule("MPD-07", "", _MAP + r"Disable queueing", _no_queueing),
    rule("MPD-11", "", r"(?P<map>[^\s:]+):? Last path deleted, disabling queueing", _no_queueing),
    rule("MPD-11", "", _MAP + r"(?:removed map|map flushed) after removing all paths", _removed),
    rule("MPD-13", "", r"(?P<map>[^\s:]+):? (?:devmap removed|multipath map removed|map flushed)", _removed),
    rule("MPD-15", "sd", _DISK + r"path wwid changed from '(?P<before>[^']*)' to '(?P<now>[^']*)'", _wwid_changed),
    rule("MPD-15", "sd", _DISK + r"(?:path wwid change detected\. Removing|wwid changed\. Removing device)", _wwid_changed),
    rule("MPD-15", "sd", _DISK + r"wwid '(?P<now>[^']*)' doesn't match wwid '(?P<before>[^']*)' from device", _wwid_changed),
    rule("MPD-16", "", _MAP + r"map \"[^\"]*\" already present with WWID .*", _conflict),
    rule("MPD-16", "", _MAP + r"(?:alias|wwid) \"[^\"]*\" already (?:taken by a|in use by) non-multipath map.*", _conflict),
    rule(
        "MPD-22",
        "",
        r"(?:error starting uevent listener|dmevent waiter thread unexpectedly quit|failed to load configuration)",
        _daemon_failed,
    ),
    rule("MPD-23", "multipathd v", r"multipathd v(?P<version>[\d.]+\S*): start up", _daemon_started),
)
