"""``jobs.cfg``: backup jobs, and when each is due.

Source: pve-manager ``PVE/Jobs/VZDump.pm``, ``PVE/API2/VZDump.pm``; pve-guest-common ``PVE/VZDump/JobBase.pm``, ``PVE/VZDump/Common.pm``;
pve-common ``PVE/Job/Registry.pm``. Values that say neither when, where nor what are taken as they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from pve import calendar_event
from pve.calendar_event import CalendarEventError
from pve.section_config import Kind, Property, Section, ValueWrongError, Warned, flag
from pve.section_config import parse as parse_sections

FILE: Final = "jobs.cfg"
_ID: Final = re.compile(r"[a-z][a-z0-9_-]{1,63}", re.ASCII | re.IGNORECASE)
_SEPARATORS: Final = re.compile(r"[,; \t]+")
_VMID: Final = re.compile(r"[1-9][0-9]{2,8}", re.ASCII)
_HOW: Final = (
    "bwlimit compress dow dumpdir exclude-path fleecing id ionice job-id lockwait mailnotification mailto maxfiles mode notes-template "
    "notification-mode notification-policy notification-target pbs-change-detection-mode performance pigz prune-backups quiet remove "
    "script size starttime stdexcludes stop stopwait tmpdir zstd protected"
)
"""Properties that say how a backup is made and who is told."""
_OF_SYNC: Final = "realm scope remove-vanished enable-new"


def _schedule(text: str) -> str:
    try:
        calendar_event.parse(text)
    except CalendarEventError as wrong:
        raise ValueWrongError(f"invalid calendar event: {wrong}") from None
    return text


def _vmids(text: str) -> frozenset[str]:
    found = [word for word in _SEPARATORS.split(text) if word]
    if not all(_VMID.fullmatch(vmid) for vmid in found):
        raise ValueWrongError("invalid format - value does not look like a valid VM ID")
    return frozenset(found)


_ANY: Final = Property(str, is_flag=True)
_COMMON: Final = {
    "schedule": Property(_schedule, required=True),
    "enabled": Property(flag, is_flag=True),
    "repeat-missed": Property(flag, is_flag=True),
    "comment": Property(str),
}
_VZDUMP: Final = Kind(
    {
        **dict.fromkeys(_HOW.split(), _ANY),
        **_COMMON,
        "storage": Property(str),
        "node": Property(str),
        "pool": Property(str),
        "vmid": Property(_vmids),
        "exclude": Property(_vmids),
        "all": Property(flag, is_flag=True),
    },
    frozenset({"type", *_OF_SYNC.split()}),
)
_SYNC: Final = Kind({**dict.fromkeys(_OF_SYNC.split(), _ANY), **_COMMON})


@dataclass(frozen=True, slots=True)
class BackupJob:
    """A backup job, with the defaults of Proxmox VE for what is not set."""

    id: str
    schedule: str
    """A calendar event that :func:`pve.calendar_event.parse` takes."""
    enabled: bool = True
    storage: str = ""
    """Where it writes to; empty when vzdump.conf of each node says so."""
    node: str = ""
    """The only node whose guests it saves; empty for all."""
    pool: str = ""
    vmids: frozenset[str] = frozenset()
    everything: bool = False
    """Whether it saves all guests but ``exclude``."""
    exclude: frozenset[str] = frozenset()
    repeat_missed: bool = False
    line: int = 0

    def guests(self, pools: Mapping[str, Collection[str]]) -> frozenset[str]:
        """Return the VMIDs that it names, itself or by its pool; of one that saves everything none."""
        return frozenset(pools.get(self.pool, ())) if self.pool else self.vmids


@dataclass(frozen=True, slots=True)
class Jobs:
    """All backup jobs by id, in the file's order."""

    backups: Mapping[str, BackupJob]
    digest: str
    warnings: tuple[Warned, ...] = ()


def parse(data: bytes, filename: str = FILE) -> Jobs:
    """Read the file's bytes, none for a file that is not there. Any bytes give a value, as they do for Proxmox VE."""
    found = parse_sections(data, filename, {"vzdump": _VZDUMP, "realm-sync": _SYNC}, _header)
    backups = {name: _job(section) for name, section in found.sections.items() if section.type == "vzdump"}
    return Jobs(backups, found.digest, found.warnings)


def _header(_kind: str, name: str) -> tuple[str, str]:
    return name, "" if _ID.fullmatch(name) else f"invalid configuration ID '{name}'"


def _job(section: Section) -> BackupJob:
    values = section.values
    pool, vmids = values.get("pool", ""), values.get("vmid", frozenset())
    return BackupJob(
        section.id,
        values["schedule"],
        values.get("enabled", True),
        values.get("storage", ""),
        values.get("node", ""),
        pool,
        frozenset() if pool else vmids,  # of the three ways to choose guests the first that is there holds
        not pool and not vmids and bool(values.get("all") or values.get("exclude")),
        values.get("exclude", frozenset()),
        values.get("repeat-missed", False),
        section.line,
    )
