"""Lines of Proxmox VE's daemons: pvestatd (pve-storage), pmxcfs, corosync, the HA manager (pve-ha-manager)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agent.classify import nfs
from agent.classify.line import Line, Rule, rule
from events.base import Event
from events.block import LvmVgMissing
from events.cluster import (
    BackupEnded,
    BackupStarted,
    HaNodeFenced,
    HaNodeFencing,
    HaNodeMaintenance,
    HaServiceError,
    HaServiceSettled,
    QuorumLost,
    QuorumRegained,
    StorageInactive,
)
from events.entity import Entity, EntityKind
from events.errors import EntityError


def _inactive(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield StorageInactive(subject=Entity(EntityKind.STORAGE, match["storage"]), seen=line.seen(), reason=line.text[:256])


def _no_vg(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield LvmVgMissing(subject=Entity(EntityKind.VG, match["vg"]), seen=line.seen(), reason="no such volume group")


def _backup_began(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield BackupStarted(subject=Entity(EntityKind.NODE, line.node), seen=line.seen(), task=match["task"])


def _backup_writes(line: Line, match: re.Match[str]) -> Iterator[Event]:
    storage = _STORAGE.search(match["options"])
    yield BackupStarted(subject=Entity(EntityKind.NODE, line.node), seen=line.seen(), storage=storage[1] if storage else "")


def _backup_ended(line: Line, match: re.Match[str]) -> Iterator[Event]:
    found = match.groupdict("")
    yield BackupEnded(
        subject=Entity(EntityKind.NODE, line.node), seen=line.seen(), task=found.get("task", ""), result=found["result"][:255]
    )


_STORAGE: Final = re.compile(r"(?:^| )--storage '?([A-Za-z][\w.-]*)'?(?: |$)")
_VZDUMP: Final = r"UPID:[\w.-]+:[0-9A-F]{8}:[0-9A-F]{8,9}:[0-9A-F]{8}:vzdump:[^:]*:[^:]+:"
"""PVE::Tools::upid_encode: node, pid, start of the process, start of the task, type, id, user."""
BACKUPS: Final[tuple[Rule, ...]] = (
    rule("PVE-16", "<", rf"<[^>]+> starting task (?P<task>{_VZDUMP})", _backup_began),
    rule("PVE-16", "<", rf"<[^>]+> end task (?P<task>{_VZDUMP}) (?P<result>.*)", _backup_ended),
    rule("PVE-17", "INFO: Backup job", r"INFO: Backup job (?P<result>finished (?:successfully|with errors))", _backup_ended),
    rule("PVE-17", "ERROR: Backup job", r"ERROR: Backup job (?P<result>failed - .*)", _backup_ended),
    rule("PVE-17", "INFO: starting", r"INFO: starting new backup job: vzdump(?P<options>.*)", _backup_writes),
)
"""Rules for what runs backups: pvescheduler by plan, pvedaemon and vzdump by hand. One runs on a node at a time, for it holds a lock
(pve-manager ``PVE/VZDump.pm``); the end of its task is told also when it was killed."""


PVESTATD: Final[tuple[Rule, ...]] = (
    rule("PVE-01", "storage '", r"storage '(?P<storage>[^']+)' is not online", _inactive),
    rule("PVE-02", "connection check", r"connection check for storage '(?P<storage>[^']+)' failed - .*", _inactive),
    rule(
        "PVE-03/04", "unable to activate", r"unable to activate storage '(?P<storage>[^']+)' - directory '.*' does not exist.*", _inactive
    ),
    rule("PVE-09", "no such volume group", r"no such volume group '(?P<vg>[^']+)'", _no_vg),
    *nfs.MOUNT,
)


def _quorum_lost(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield QuorumLost(subject=Entity(EntityKind.NODE, line.node), seen=line.seen())


def _quorum_held(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield QuorumRegained(subject=Entity(EntityKind.NODE, line.node), seen=line.seen())


PMXCFS: Final[tuple[Rule, ...]] = (
    rule("PMX-01", "[status] ", r"\[status\] notice: node lost quorum", _quorum_lost),
    rule("PMX-02", "[status] ", r"\[status\] notice: node has quorum", _quorum_held),
)

COROSYNC: Final[tuple[Rule, ...]] = (
    rule(
        "COR-09", "[QUORUM] ", r"\[QUORUM\] This node is within the non-primary component and will NOT provide any services\.", _quorum_lost
    ),
    rule("COR-10", "[QUORUM] ", r"\[QUORUM\] This node is within the primary component and will provide service\.", _quorum_held),
)


def _node_state(line: Line, match: re.Match[str]) -> Iterator[Event]:
    """``fence`` is the fault; ``unknown`` alone is the 60 s before it and says nothing yet."""
    subject, before, now = Entity(EntityKind.NODE, match["node"]), match["before"], match["now"]
    if now == "fence":
        yield HaNodeFencing(subject=subject, seen=line.seen())
    elif before in {"fence", "unknown"} and now == "online":
        yield HaNodeFenced(subject=subject, seen=line.seen(), outcome=now)
    elif "maintenance" in {before, now}:
        yield HaNodeMaintenance(subject=subject, seen=line.seen(), active=now == "maintenance")


def _service_state(line: Line, match: re.Match[str]) -> Iterator[Event]:
    try:
        subject = Entity(EntityKind.HA, match["service"])
    except EntityError:
        return
    if match["now"] == "error":
        yield HaServiceError(subject=subject, seen=line.seen(), reason=line.text[:256])
    elif match["before"] == "error":
        yield HaServiceSettled(subject=subject, seen=line.seen(), request=match["now"])


HA: Final[tuple[Rule, ...]] = (
    rule("HA-05", "node '", r"node '(?P<node>[^']+)': state changed from '(?P<before>\w+)' => '(?P<now>\w+)'", _node_state),
    rule(
        "HA-06",
        "service '",
        r"service '(?P<service>[^']+)': state changed from '(?P<before>\w+)' to '(?P<now>\w+)'.*",
        _service_state,
    ),
)
