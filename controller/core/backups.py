"""Backup jobs that are due soon and will fail as long as an incident lasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from controller.core.topology.impact import Effect, Impact
from controller.core.topology.topology import Topology
from events.definitions import BackupJobDefined, GuestDefined
from pve import calendar_event
from pve.calendar_event import CalendarEventError

AHEAD: Final = 24 * 3600
"""Seconds within which a job that is due is told."""
_SECOND: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Backup:
    """One job: when it is due (UTC µs), whom it will not save, and the nodes on which its storage is gone (none: it works)."""

    job: str
    due: int
    storage: str
    guests: tuple[str, ...]
    gone_on: tuple[str, ...]


def due(topology: Topology, hit: Impact, now: int) -> list[Backup]:
    """Return the jobs that are due within :data:`AHEAD` of ``now`` (UTC µs) and fail for a guest, the next one first."""
    gone = {one.storage: frozenset(one.failed) for one in hit.storages if one.failed}
    still = {one.vmid for one in hit.with_effect(Effect.FROZEN, Effect.STOPPED)}
    found = []
    for name, job in topology.facts.of(BackupJobDefined).items():
        failing = dict(_failing(topology, job, gone.get(job.storage, frozenset()), still)) if job.enabled else {}
        if failing and (when := _next(job, now)) is not None:
            where = tuple(sorted(set(failing.values()) - {""}))
            found.append(Backup(name, when, job.storage, tuple(sorted(failing, key=_number)), where))
    return sorted(found, key=lambda one: (one.due, one.job))


def _failing(topology: Topology, job: BackupJobDefined, gone: frozenset[str], still: set[str]) -> Iterator[tuple[str, str]]:
    """Yield each guest that cannot be saved, and its node when that cannot write to the job's storage."""
    for vmid in _saved(topology.guests, job):
        node = topology.guests[vmid].node
        if node in gone or vmid in still:
            yield vmid, node if node in gone else ""


def _saved(guests: Mapping[str, GuestDefined], job: BackupJobDefined) -> Iterator[str]:
    chosen = [vmid for vmid in guests if vmid not in job.exclude] if job.everything else [vmid for vmid in job.guests if vmid in guests]
    return (vmid for vmid in chosen if not job.node or guests[vmid].node == job.node)


def _next(job: BackupJobDefined, now: int) -> int | None:
    try:
        when = calendar_event.parse(job.schedule).next_after(now // _SECOND, job.utc_offset)
    except CalendarEventError:
        return None  # cut off, or of a future Proxmox VE
    return when * _SECOND if when is not None and when <= now // _SECOND + AHEAD else None


def _number(vmid: str) -> tuple[int, str]:
    return (int(vmid), "") if vmid.isdigit() else (0, vmid)
